"""Which URLs and addresses webhooks may call, and how a receiver tells that a call is ours."""

import hashlib
import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime
from ipaddress import ip_address
from uuid import UUID

import pytest

from analytics_export.settings import Settings
from analytics_export.webhooks import headers, is_public, secret_for, url_problem
from tests.unit.export.test_export_settings import loaded

ORG, OTHER = UUID(int=1), UUID(int=2)
SECRET = "a secret of the operator's, 32 bytes"


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    return loaded(monkeypatch, EXPORT_WEBHOOK_HOSTS="hooks.example.com,*.example.org", EXPORT_WEBHOOK_SECRET=SECRET)


@pytest.mark.parametrize(
    "url", ["https://hooks.example.com/x?y=z", "https://a.b.example.org:8443/", "https://HOOKS.example.com"]
)
def test_listed_hosts_may_be_called(settings: Settings, url: str) -> None:
    """By name, in whatever case, at any port."""
    assert url_problem(url, settings) is None


@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/", "https://example.org/", "https://evilexample.org/", "https://hooks.example.com.evil.net/",
     "https://hooks.example.com@evil.net/", "https://u:p@hooks.example.com/", "https://127.0.0.1/", "https://[::1]/",
     "ftp://hooks.example.com/", "//hooks.example.com/", "https://hooks.example.com:99999/", "https://[", "", "https:///x",
     "https://hooks.example.com/\r\nX: y", "https://hooks.example.com/ä", "https://evil.net\\@hooks.example.com/"],
)  # fmt: skip
def test_other_urls_are_refused(settings: Settings, url: str) -> None:
    """However they are spelled."""
    assert url_problem(url, settings)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1"])
def test_public_addresses(address: str) -> None:
    """The internet."""
    assert is_public(ip_address(address))


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
     "::1", "fe80::1", "fd00::1", "::", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe",
     "2002:a00:1::", "ff02::1", "255.255.255.255"],
)  # fmt: skip
def test_addresses_of_our_own_network(address: str) -> None:
    """Written as themselves, or inside of an address that leads to them."""
    assert not is_public(ip_address(address))


def test_a_receiver_verifies_a_call_with_its_own_secret(settings: Settings) -> None:
    """As contracts/exports/webhooks.md says; with another organisation's secret it does not hold."""
    now, body = datetime(2026, 4, 1, tzinfo=UTC), b'{"type":"export.succeeded"}'
    head = headers(settings, ORG, "id-1", now, body)
    signed = f"{head['webhook-id']}.{head['webhook-timestamp']}.".encode() + body

    def signature(org_id: UUID) -> str:
        key = b64decode(secret_for(settings, org_id).removeprefix("whsec_"))
        return "v1," + b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()

    assert head["webhook-signature"] == signature(ORG)
    assert head["webhook-signature"] != signature(OTHER)
    assert head["webhook-timestamp"] == str(int(now.timestamp()))
