"""Callers of the HTTP API: bearer tokens as an identity provider would issue them."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt

JWT_SECRET = "a key for tests of at least 32 bytes"


def token(
    *roles: str,
    orgs: Iterable[object] = (),
    subject: str = "tester",
    key: Any = JWT_SECRET,
    algorithm: str = "HS256",
    **claims: Any,
) -> str:
    """A token that holds for an hour; further claims, and None to leave one out, as keyword arguments."""
    content: dict[str, Any] = {
        "sub": subject,
        "roles": list(roles),
        "orgs": [str(org) for org in orgs],
        "exp": datetime.now(UTC) + timedelta(hours=1),
    } | claims
    return jwt.encode({name: value for name, value in content.items() if value is not None}, key, algorithm=algorithm)


def bearer(*roles: str, orgs: Iterable[object] = (), **claims: Any) -> dict[str, str]:
    """The headers of such a caller."""
    return {"Authorization": f"Bearer {token(*roles, orgs=orgs, **claims)}"}
