"""Who is calling: a bearer token, or actor headers set by the gateway.

Signed actor headers (`ACTOR_SIGNATURE_SECRET`): `X-Actor-Signature: t=<unix seconds>,v1=<hex>` where `v1` is
HMAC-SHA256 over the lines `v1`, t, method, path with query, subject, roles, orgs, joined with newlines, with the header
values exactly as sent. A signature holds for `SIGNATURE_MAX_AGE_SECONDS`.
"""

import asyncio
import hashlib
import hmac
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any
from uuid import UUID

import jwt
import structlog
from litestar.connection import ASGIConnection

from analytics_core.access import DEVELOPMENT_PRINCIPAL, Principal
from analytics_core.clock import Clock
from analytics_core.errors import Unauthenticated, Unavailable
from analytics_core.http.verified_tokens import VerifiedTokens
from analytics_core.settings import AccessSettings
from analytics_core.telemetry.logs import redact_text

SIGNATURE_MAX_AGE_SECONDS = 60
CLOCK_LEEWAY = timedelta(seconds=30)
# One header may not carry more than a person could check by eye.
HEADER_BYTES_MAX = 8_192
JWKS_TIMEOUT_SECONDS = 5.0
# While the issuer is away, each request that asks it again would hold a thread for the whole timeout.
JWKS_PAUSE_SECONDS = 5.0

_ASYMMETRIC = ["RS256", "ES256", "PS256", "EdDSA"]

_SIGNATURE = re.compile(r"^t=(?P<time>\d{1,12}),v1=(?P<digest>[0-9a-f]{64})$")
Connection = ASGIConnection[Any, Any, Any, Any]
log = structlog.get_logger()


class Authenticator:
    """Turns a request into a `Principal`; the settings say which proofs it accepts."""

    def __init__(self, settings: AccessSettings, clock: Clock) -> None:
        self._settings = settings
        self._clock = clock
        # Failures are in none: what does not hold is verified, and refused, each time.
        self._verified = VerifiedTokens(clock)
        self._jwks = (
            jwt.PyJWKClient(settings.auth_jwks_url, timeout=JWKS_TIMEOUT_SECONDS) if settings.auth_jwks_url else None
        )
        self._jwks_paused_until = float("-inf")

    async def principal(self, connection: Connection) -> Principal | None:
        """The caller, or None when the request carries no identity. Raises `Unauthenticated` when a proof is wrong."""
        if not self._settings.enable_rbac:
            return DEVELOPMENT_PRINCIPAL
        if connection.headers.get("authorization") is not None:
            return await self._from_token(_single(connection, "authorization"))
        if connection.headers.get("x-actor-subject") is not None:
            return self._from_headers(connection)
        return None

    async def _from_token(self, authorization: str) -> Principal:
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() != "bearer" or not token:
            raise Unauthenticated("Authorization: expected `Bearer <token>`")
        principal = self._verified.find(token)
        if principal is None:
            principal = await self._verify(token)
            self._verified.hold(token, principal)
        return principal

    async def _verify(self, token: str) -> Principal:
        try:
            key, algorithms = await self._key(token)
            claims = jwt.decode(
                token,
                key,
                algorithms=algorithms,
                issuer=self._settings.auth_jwt_issuer,
                audience=self._settings.auth_jwt_audience,
                leeway=CLOCK_LEEWAY,
                options={
                    "require": ["exp", "sub"],
                    "verify_aud": self._settings.auth_jwt_audience is not None,
                },
            )
        # A token may hold anything; what PyJWT does not expect in one makes the token wrong, not the service.
        except (jwt.PyJWTError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise Unauthenticated(f"the bearer token does not hold: {error}") from None
        principal = _principal(claims["sub"], claims.get("roles", []), claims.get("orgs", []))
        return replace(principal, expires_at=_time(claims["exp"]))

    async def _key(self, token: str) -> tuple[Any, list[str]]:
        if self._jwks is not None:
            return await self._key_of_issuer(self._jwks, token), _ASYMMETRIC
        if self._settings.auth_jwt_public_key is not None:
            return self._settings.auth_jwt_public_key, _ASYMMETRIC
        if self._settings.auth_jwt_secret is not None:
            return self._settings.auth_jwt_secret.get_secret_value(), ["HS256"]
        raise Unauthenticated("bearer tokens are not accepted here")

    async def _key_of_issuer(self, jwks: jwt.PyJWKClient, token: str) -> jwt.PyJWK:
        """The key that the token names. Raises `Unavailable` while the issuer cannot be asked, and then for a while."""
        if monotonic() < self._jwks_paused_until:
            raise _issuer_away()
        try:
            # It fetches with blocking I/O when its cache has no such key, at most every 30 s.
            return await asyncio.to_thread(jwks.get_signing_key_from_jwt, token)
        except jwt.PyJWKClientConnectionError as error:
            self._jwks_paused_until = monotonic() + JWKS_PAUSE_SECONDS
            log.warning("jwks_unreachable", error=redact_text(str(error)), pause_s=JWKS_PAUSE_SECONDS)
            raise _issuer_away() from None

    def _from_headers(self, connection: Connection) -> Principal:
        headers = {name: _single(connection, f"x-actor-{name}") for name in ("subject", "roles", "orgs", "signature")}
        if not self._settings.trust_actor_headers:
            self._check_signature(connection, headers)
        return _principal(headers["subject"], _listed(headers["roles"]), _listed(headers["orgs"]))

    def _check_signature(self, connection: Connection, headers: Mapping[str, str]) -> None:
        secret = self._settings.actor_signature_secret
        if secret is None:
            raise Unauthenticated("actor headers are not accepted here")
        match = _SIGNATURE.match(headers["signature"])
        if match is None:
            raise Unauthenticated("X-Actor-Signature: expected `t=<unix seconds>,v1=<hex digest>`")
        age_seconds = self._clock().timestamp() - int(match["time"])
        if abs(age_seconds) > SIGNATURE_MAX_AGE_SECONDS:
            raise Unauthenticated(
                f"X-Actor-Signature: older or newer than {SIGNATURE_MAX_AGE_SECONDS} s, check the clocks"
            )
        expected = actor_signature(
            secret.get_secret_value(),
            int(match["time"]),
            str(connection.scope.get("method", "GET")),
            _target(connection),
            headers["subject"],
            headers["roles"],
            headers["orgs"],
        )
        if not hmac.compare_digest(expected, match["digest"]):
            raise Unauthenticated("X-Actor-Signature: does not match the request")


def _issuer_away() -> Unavailable:
    return Unavailable("the keys of the token's issuer cannot be fetched", retry_after_seconds=int(JWKS_PAUSE_SECONDS))


def actor_signature(secret: str, time: int, method: str, target: str, subject: str, roles: str, orgs: str) -> str:
    """The hex digest that a gateway puts into `X-Actor-Signature`; `target` is the path with its query."""
    text = "\n".join(("v1", str(time), method, target, subject, roles, orgs))
    return hmac.new(secret.encode(), text.encode(), hashlib.sha256).hexdigest()


def _target(connection: Connection) -> str:
    raw_path: bytes = connection.scope["raw_path"]
    query: bytes = connection.scope["query_string"]
    return (raw_path + (b"?" + query if query else b"")).decode("latin-1")


def _single(connection: Connection, name: str) -> str:
    """A header given twice could be read differently by two programs; then neither reading counts."""
    values = connection.headers.getall(name, [])
    if len(values) > 1 or any(len(value) > HEADER_BYTES_MAX for value in values):
        raise Unauthenticated(f"{name}: given more than once, or too long")
    return values[0] if values else ""


def _time(seconds: float) -> datetime:
    """As late as there is a date for."""
    return datetime.fromtimestamp(min(seconds, 32_503_680_000), UTC)


def _listed(value: str) -> list[str]:
    return [item.strip() for item in value.split(",") if item.strip()]


def _principal(subject: object, roles: object, orgs: object) -> Principal:
    if not isinstance(subject, str) or not subject:
        raise Unauthenticated("the identity has no subject")
    if not isinstance(roles, list) or not isinstance(orgs, list):
        raise Unauthenticated("roles and orgs must be lists")
    try:
        return Principal(subject, frozenset(str(role) for role in roles), frozenset(UUID(str(org)) for org in orgs))
    except ValueError:
        raise Unauthenticated("orgs must be UUIDs") from None
