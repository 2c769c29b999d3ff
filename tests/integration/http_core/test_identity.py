"""Who is calling: every way to forge, confuse, replay or outlive an identity ends in a 401, and on record."""

import hashlib
import hmac
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any
from uuid import UUID

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from analytics_core.database import WriteDatabase
from analytics_core.http.identity import actor_signature
from tests.integration.http_core.conftest import AuditRows
from tests.integration.http_core.probe import NOW, Probe, open_probe, things
from tests.support.callers import JWT_SECRET, bearer, token

ROLE = "analytics:usage:read"
SIGNATURE_SECRET = "another key of at least thirty-two bytes"
RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
OTHER_RSA_KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC_KEY = ec.generate_private_key(ec.SECP256R1())
RSA_PEM = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with whatever header, and no signature."""
    parts = (urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in (header, claims))
    return f"{'.'.join(parts)}."


def hmac_signed(claims: dict[str, Any], secret: str) -> str:
    """Signed with a secret that PyJWT would not sign with."""
    content = unsigned({"alg": "HS256"}, claims).removesuffix(".")
    digest = hmac.new(secret.encode(), content.encode(), hashlib.sha256).digest()
    return f"{content}.{urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def hours(number: float) -> datetime:
    return datetime.now(UTC) + timedelta(hours=number)


def assert_refused(response: httpx.Response, rows: AuditRows) -> None:
    """401 with a hint for the caller, nothing for an attacker, and a record."""
    assert response.status_code == 401, response.text
    assert response.json()["code"] == "unauthenticated"
    assert response.headers["www-authenticate"] == "Bearer"
    assert [row[:4] for row in rows(response.headers["x-request-id"])] == [("anonymous", [], "deny", "unauthenticated")]


async def test_a_token_brings_subject_roles_and_organisations(probe: Probe, org_id: UUID) -> None:
    response = await probe.client.get(things(org_id), headers=bearer(ROLE, orgs=[org_id], subject="alice"))

    assert response.json() == {"org": str(org_id), "subject": "alice", "count": 0}


@pytest.mark.parametrize(
    "make",
    [
        lambda org: token(ROLE, orgs=[org], key="not the key that the service knows at all"),
        lambda org: token(ROLE, orgs=[org], exp=hours(-1)),
        lambda org: token(ROLE, orgs=[org], exp=None),
        lambda org: token(ROLE, orgs=[org], exp="soon"),
        lambda org: token(ROLE, orgs=[org], exp=float("inf")),
        lambda org: token(ROLE, orgs=[org], nbf=hours(1)),
        lambda org: token(ROLE, orgs=[org], iat=hours(1)),
        lambda org: token(ROLE, orgs=[org], sub=None),
        lambda org: token(ROLE, orgs=[org], sub=""),
        lambda org: token(ROLE, orgs=[org], sub=7),
        lambda org: token(ROLE, orgs=[org], roles="admin"),
        lambda org: token(ROLE, orgs=[org], roles={"admin": True}),
        lambda _: token(ROLE, orgs=["everything"]),
        lambda _: token(ROLE, orgs=[None]),
        lambda org: token(ROLE, orgs=[org], algorithm="HS512"),
        lambda org: token(ROLE, orgs=[org], key=RSA_KEY, algorithm="RS256"),
        lambda _: unsigned({"alg": "none"}, {"sub": "x", "roles": ["admin"], "orgs": [], "exp": 9e9}),
        lambda _: unsigned({"alg": "None", "typ": "JWT"}, {"sub": "x", "roles": ["admin"], "exp": 9e9}),
        lambda _: unsigned({}, {"sub": "x", "roles": ["admin"], "exp": 9e9}),
        lambda _: unsigned({"alg": ["HS256"]}, {"sub": "x", "roles": ["admin"], "exp": 9e9}),
        lambda org: token(ROLE, orgs=[org])[:-2],
        lambda org: token(ROLE, orgs=[org]).rpartition(".")[0] + ".",
        lambda _: "." * 5,
        lambda _: "not-a-token",
    ],
)
@pytest.mark.filterwarnings("ignore::jwt.warnings.InsecureKeyLengthWarning")
async def test_a_token_that_does_not_hold_is_refused(
    probe: Probe, org_id: UUID, audit_rows: AuditRows, make: Callable[[UUID], str]
) -> None:
    """Never a 500, whatever is in it, and never the identity that it claims."""
    headers = {"Authorization": f"Bearer {make(org_id)}"}

    assert_refused(await probe.client.get(things(org_id), headers=headers), audit_rows)


@pytest.mark.parametrize("value", ["", "Bearer", "Bearer ", "Basic YTpi", "bearer", "Token abc", "Bearer  "])
async def test_another_scheme_is_refused(probe: Probe, org_id: UUID, audit_rows: AuditRows, value: str) -> None:
    response = await probe.client.get(things(org_id), headers={"Authorization": value})

    assert_refused(response, audit_rows)


async def test_the_scheme_is_read_in_any_case(probe: Probe, org_id: UUID) -> None:
    """RFC 9110, 11.1."""
    response = await probe.client.get(things(org_id), headers={"Authorization": f"bearer {token('admin')}"})

    assert response.status_code == 200


async def test_two_tokens_are_no_token(probe: Probe, org_id: UUID, audit_rows: AuditRows) -> None:
    """A proxy may have checked the other one."""
    headers = [("Authorization", f"Bearer {token(ROLE, orgs=[org_id])}"), ("Authorization", f"Bearer {token('admin')}")]

    assert_refused(await probe.client.get(things(org_id), headers=headers), audit_rows)


async def test_clocks_may_differ_by_half_a_minute(probe: Probe, org_id: UUID) -> None:
    headers = bearer("admin", exp=datetime.now(UTC) - timedelta(seconds=20))

    assert (await probe.client.get(things(org_id), headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("claims", "status"),
    [
        ({"iss": "https://idp", "aud": "analytics"}, 200),
        ({"iss": "https://idp", "aud": ["other", "analytics"]}, 200),
        ({"iss": "https://evil", "aud": "analytics"}, 401),
        ({"iss": "https://idp", "aud": "another-service"}, 401),
        ({"iss": "https://idp"}, 401),
        ({"aud": "analytics"}, 401),
        ({}, 401),
    ],
)
async def test_issuer_and_audience_must_be_ours(
    audit_database: WriteDatabase, org_id: UUID, claims: dict[str, Any], status: int
) -> None:
    """A token that the same identity provider made for another service is no token for this one."""
    access: dict[str, Any] = {
        "auth_jwt_secret": JWT_SECRET,
        "auth_jwt_issuer": "https://idp",
        "auth_jwt_audience": "analytics",
    }
    async with open_probe(audit_database, **access) as probe:
        response = await probe.client.get(things(org_id), headers=bearer("admin", **claims))

    assert response.status_code == status


@pytest.mark.parametrize(
    ("signed", "status"),
    [
        (lambda: token("admin", key=RSA_KEY, algorithm="RS256"), 200),
        (lambda: token("admin", key=OTHER_RSA_KEY, algorithm="RS256"), 401),
        (lambda: token("admin", key=EC_KEY, algorithm="ES256"), 401),
        # The classic confusion: the public key, known to everybody, taken as the secret of an HMAC.
        (lambda: hmac_signed({"sub": "x", "roles": ["admin"], "exp": 9_999_999_999}, RSA_PEM), 401),
    ],
)
async def test_a_public_key_verifies_only_what_its_private_key_signed(
    audit_database: WriteDatabase, org_id: UUID, signed: Callable[[], str], status: int
) -> None:
    async with open_probe(audit_database, auth_jwt_public_key=RSA_PEM) as probe:
        response = await probe.client.get(things(org_id), headers={"Authorization": f"Bearer {signed()}"})

    assert response.status_code == status


class KeySet:
    """An issuer's key set, served over HTTP."""

    def __init__(self) -> None:
        self.keys: dict[str, Any] = {}
        self.requests = 0
        self.fails = False
        key_set = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                key_set.requests += 1
                self.send_response(500 if key_set.fails else 200)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": list(key_set.keys.values())}).encode())

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 — the name is the base class's
                pass

        self._server = HTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/keys"

    def add(self, name: str, key: Any, algorithm: str) -> None:
        maker = jwt.algorithms.RSAAlgorithm if algorithm.startswith("RS") else jwt.algorithms.ECAlgorithm
        self.keys[name] = json.loads(maker.to_jwk(key.public_key())) | {"kid": name, "alg": algorithm, "use": "sig"}

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def key_set() -> Iterator[KeySet]:
    running = KeySet()
    running.add("one", RSA_KEY, "RS256")
    running.add("two", EC_KEY, "ES256")
    yield running
    running.close()


def named(kid: str, key: Any, algorithm: str) -> dict[str, str]:
    """The headers of a caller whose token names its key."""
    claims = {"sub": "alice", "roles": ["admin"], "orgs": [], "exp": hours(1)}
    return {"Authorization": f"Bearer {jwt.encode(claims, key, algorithm=algorithm, headers={'kid': kid})}"}


async def test_keys_come_from_the_issuers_key_set(audit_database: WriteDatabase, org_id: UUID, key_set: KeySet) -> None:
    """The right key and algorithm together; a token cannot choose another algorithm for a key."""
    async with open_probe(audit_database, auth_jwks_url=key_set.url) as probe:

        async def status(headers: dict[str, str]) -> int:
            return (await probe.client.get(things(org_id), headers=headers)).status_code

        assert await status(named("one", RSA_KEY, "RS256")) == 200
        assert await status(named("two", EC_KEY, "ES256")) == 200
        assert await status(named("one", EC_KEY, "ES256")) == 401
        assert await status(named("one", OTHER_RSA_KEY, "RS256")) == 401
        assert await status(named("one", RSA_KEY, "RS512")) == 401
        assert await status(named("one", RSA_KEY, "PS256")) == 401
        assert await status(bearer("admin")) == 401
        for number in range(20):
            assert await status(named(f"unknown-{number}", RSA_KEY, "RS256")) == 401
    assert key_set.requests <= 2


async def test_an_issuer_that_is_away_is_no_fault_of_the_caller(
    audit_database: WriteDatabase, org_id: UUID, key_set: KeySet
) -> None:
    """503, not 401: a client that throws its token away for an outage makes the outage worse."""
    key_set.fails = True
    async with open_probe(audit_database, auth_jwks_url=key_set.url) as probe:
        answers = [await probe.client.get(things(org_id), headers=named("one", RSA_KEY, "RS256")) for _ in range(3)]

    assert [answer.status_code for answer in answers] == [503, 503, 503]
    assert key_set.requests == 1
    assert "127.0.0.1" not in answers[0].text


def actor(
    org_id: UUID,
    *,
    subject: str = "alice",
    roles: str = ROLE,
    orgs: str | None = None,
    age_s: float = 0,
    method: str = "GET",
    target: str | None = None,
    secret: str = SIGNATURE_SECRET,
) -> dict[str, str]:
    """Headers as a gateway sets and signs them."""
    time = int(NOW.timestamp() - age_s)
    given_orgs = str(org_id) if orgs is None else orgs
    digest = actor_signature(secret, time, method, target or things(org_id), subject, roles, given_orgs)
    return {
        "X-Actor-Subject": subject,
        "X-Actor-Roles": roles,
        "X-Actor-Orgs": given_orgs,
        "X-Actor-Signature": f"t={time},v1={digest}",
    }


async def test_signed_headers_are_an_identity(
    audit_database: WriteDatabase, org_id: UUID, audit_rows: AuditRows
) -> None:
    async with open_probe(audit_database, actor_signature_secret=SIGNATURE_SECRET) as probe:
        plain = await probe.client.get(things(org_id), headers=actor(org_id, roles=f"other, {ROLE}"))
        target = f"{things(org_id)}?count=3&x=%20a"
        with_query = await probe.client.get(target, headers=actor(org_id, target=target))

    assert plain.json()["subject"] == "alice"
    assert with_query.json()["count"] == 3
    assert audit_rows(plain.headers["x-request-id"])[0][:2] == ("alice", [ROLE, "other"])


@pytest.mark.parametrize(
    "make",
    [
        lambda org: actor(org, secret="a key that the service does not know at all"),
        lambda org: actor(org, age_s=61),
        lambda org: actor(org, age_s=-61),
        lambda org: actor(org, method="POST"),
        lambda org: actor(org, target=things(UUID(int=1))),
        lambda org: actor(org, target=f"{things(org)}?count=1"),
        lambda org: actor(org) | {"X-Actor-Roles": "admin"},
        lambda org: actor(org) | {"X-Actor-Subject": "bob"},
        lambda org: actor(org) | {"X-Actor-Orgs": f"{org},{UUID(int=1)}"},
        lambda org: actor(org) | {"X-Actor-Signature": "v1=00"},
        lambda org: actor(org) | {"X-Actor-Signature": ""},
        lambda org: {name: value for name, value in actor(org).items() if name != "X-Actor-Signature"},
        lambda org: actor(org, orgs="acme"),
        lambda org: actor(org, subject="a" * 9_000),
        # Names with underscores become the same CGI variable in some servers; here they are other headers.
        lambda org: {name.replace("-", "_"): value for name, value in actor(org).items()},
        # Fields joined by another border must not sign the same text.
        lambda org: (
            actor(org, subject="alice\nadmin", roles="") | {"X-Actor-Subject": "alice", "X-Actor-Roles": "admin"}
        ),
    ],
)
async def test_headers_that_the_gateway_did_not_sign_so_are_refused(
    audit_database: WriteDatabase, org_id: UUID, audit_rows: AuditRows, make: Callable[[UUID], dict[str, str]]
) -> None:
    """Forged, changed, moved to another request, too old, or from a clock that is off."""
    async with open_probe(audit_database, actor_signature_secret=SIGNATURE_SECRET) as probe:
        assert_refused(await probe.client.get(things(org_id), headers=make(org_id)), audit_rows)


@pytest.mark.parametrize("name", ["X-Actor-Subject", "X-Actor-Roles", "X-Actor-Orgs", "X-Actor-Signature"])
async def test_a_header_given_twice_is_refused(
    audit_database: WriteDatabase, org_id: UUID, audit_rows: AuditRows, name: str
) -> None:
    """The gateway may have set one and the caller the other."""
    headers = [*actor(org_id).items(), (name, actor(org_id)[name])]
    async with open_probe(audit_database, actor_signature_secret=SIGNATURE_SECRET) as probe:
        assert_refused(await probe.client.get(things(org_id), headers=headers), audit_rows)


async def test_headers_mean_nothing_where_only_tokens_are_configured(
    probe: Probe, org_id: UUID, audit_rows: AuditRows
) -> None:
    """Whoever reaches the service past the gateway can send any header."""
    headers = {"X-Actor-Subject": "mallory", "X-Actor-Roles": "admin", "X-Actor-Orgs": str(org_id)}

    assert_refused(await probe.client.get(things(org_id), headers=headers), audit_rows)


async def test_headers_beside_a_token_add_nothing(probe: Probe, org_id: UUID) -> None:
    """The token alone says who it is."""
    headers = bearer(ROLE, orgs=[UUID(int=1)]) | {"X-Actor-Subject": "x", "X-Actor-Roles": "admin"}

    assert (await probe.client.get(things(org_id), headers=headers)).status_code == 404


async def test_unsigned_headers_are_believed_only_where_that_was_switched_on(
    audit_database: WriteDatabase, org_id: UUID, audit_rows: AuditRows
) -> None:
    """TRUST_ACTOR_HEADERS, refused in production. Two of a kind are refused even then."""
    headers = {"X-Actor-Subject": "alice", "X-Actor-Roles": ROLE, "X-Actor-Orgs": str(org_id)}
    async with open_probe(audit_database, trust_actor_headers=True) as probe:
        trusted = await probe.client.get(things(org_id), headers=headers)
        twice = await probe.client.get(things(org_id), headers=[*headers.items(), ("X-Actor-Roles", "admin")])

    assert trusted.json()["subject"] == "alice"
    assert_refused(twice, audit_rows)
