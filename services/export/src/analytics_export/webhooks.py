"""Calls that tell somebody's server that an export has ended, signed as Standard Webhooks (standardwebhooks.com).

The URL comes from a tenant, the call from inside our network: only hosts that the operator has listed are called, only
at public addresses unless the operator says otherwise, at the very address that was checked, and redirects are not
followed.
"""

import asyncio
import hashlib
import hmac
import socket
from base64 import b64encode
from datetime import datetime
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any, cast
from urllib.parse import urlsplit
from uuid import UUID

import httpx

from analytics_core.errors import AnalyticsError
from analytics_export.limits import WEBHOOK_TIMEOUT_SECONDS, WEBHOOK_URL_CHARACTERS_MAX
from analytics_export.settings import Settings

_PREFIX = "whsec_"
# Addresses that lead to an IPv4 address inside of them, where a translator is in the way.
_NAT64 = ip_network("64:ff9b::/96")


class WebhookError(AnalyticsError):
    """A call that was not taken; the text is fit for the export's user."""


def secret_for(settings: Settings, org_id: UUID) -> str:
    """What one organisation verifies its calls with: nobody can forge those to another organisation with it."""
    return _PREFIX + b64encode(_key(settings, org_id)).decode()


def headers(settings: Settings, org_id: UUID, message_id: str, now: datetime, body: bytes) -> dict[str, str]:
    """The headers of a call; the signature covers id, time and body."""
    timestamp = str(int(now.timestamp()))
    signed = f"{message_id}.{timestamp}.".encode() + body
    signature = b64encode(hmac.digest(_key(settings, org_id), signed, hashlib.sha256)).decode()
    return {
        "Content-Type": "application/json",
        "User-Agent": settings.service_name,
        "webhook-id": message_id,
        "webhook-timestamp": timestamp,
        "webhook-signature": f"v1,{signature}",
    }


def _key(settings: Settings, org_id: UUID) -> bytes:
    secret = settings.export_webhook_secret
    if secret is None:
        raise WebhookError("webhooks are not set up")
    return hmac.digest(secret.get_secret_value().encode(), org_id.bytes, hashlib.sha256)


def url_problem(url: str, settings: Settings) -> str | None:
    """Why this URL may not be called, in words for the person who gave it; None when it may."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return "is no URL"
    if len(url) > WEBHOOK_URL_CHARACTERS_MAX or not url.isascii() or not url.isprintable() or " " in url:
        return f"expected at most {WEBHOOK_URL_CHARACTERS_MAX} printable ASCII characters"
    schemes = ("https", "http") if settings.export_webhook_private else ("https",)
    if parts.scheme not in schemes or not host:
        return f"expected {schemes[0]}://host/…"
    if parts.username is not None or parts.password is not None:
        return "must not hold a password: the signature proves who calls"
    if not _is_listed(host, settings.webhook_hosts):
        return f"the host {host[:100]!r} is not one that webhooks may call"
    return None


def _is_listed(host: str, patterns: tuple[str, ...]) -> bool:
    """`*.example.com` stands for every name below example.com, not for itself."""
    return any(host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern for pattern in patterns)


async def call(url: str, settings: Settings, head: dict[str, str], body: bytes) -> None:
    """POST the body once. Raises `WebhookError` unless a 2xx comes back in time."""
    problem = url_problem(url, settings)
    if problem is not None:
        raise WebhookError(problem)
    parts = urlsplit(url)
    host = cast("str", parts.hostname)
    try:
        async with asyncio.timeout(WEBHOOK_TIMEOUT_SECONDS):
            address = await _address(host, parts.port or (443 if parts.scheme == "https" else 80), settings)
            status = await _post(httpx.URL(url), host, address, head, body)
    except TimeoutError:
        raise WebhookError(f"no answer within {WEBHOOK_TIMEOUT_SECONDS} s") from None
    except httpx.HTTPError as error:
        raise WebhookError(f"could not be called: {type(error).__name__}") from error
    if not 200 <= status < 300:
        raise WebhookError(f"answered {status}")


async def _post(url: httpx.URL, host: str, address: str, head: dict[str, str], body: bytes) -> int:
    # The name goes into Host and TLS, the connection to the address: asking DNS again might give another one.
    extensions: dict[str, Any] = {"sni_hostname": host}
    named = {**head, "Host": url.netloc.decode("ascii")}
    async with (
        httpx.AsyncClient(trust_env=False, follow_redirects=False, timeout=WEBHOOK_TIMEOUT_SECONDS) as client,
        # The answer's body is never read, however long it is.
        client.stream(
            "POST", url.copy_with(host=address), headers=named, content=body, extensions=extensions
        ) as response,
    ):
        return response.status_code


async def _address(host: str, port: int, settings: Settings) -> str:
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        raise WebhookError("its host has no address") from error
    addresses = [str(sockaddr[0]) for *_, sockaddr in found]
    # One private address among public ones is a trap, not an alternative.
    if not settings.export_webhook_private and not all(is_public(ip_address(address)) for address in addresses):
        raise WebhookError("its host has an address that is not public")
    return addresses[0]


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address is on the internet, and so is the IPv4 address that it may stand for."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo or (None, None))[1]
        if address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None and not is_public(inner):
            return False
        if address.ipv4_mapped is not None:
            return True
    return address.is_global and not address.is_multicast
