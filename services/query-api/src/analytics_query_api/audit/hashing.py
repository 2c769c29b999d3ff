"""What a link of the chain is: a hash over an audit record and the link before it."""

import hashlib
import hmac
from collections.abc import Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

import msgspec

NO_ORG = UUID(int=0)
"""The chain of records about no single organisation."""
START = b"\0" * 32
"""Stands for the link before the first one."""
NO_KEY = ""

_COLUMNS = (
    "audit_id", "service", "subject", "roles", "org_id", "action", "decision", "reason", "request_id", "method", "path",
)  # fmt: skip


class ChainKeys:
    """The keys of the chain: the first one makes links, all of them prove. Without any, links are plain SHA-256."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        self._keys = {_key_id(key): key for key in keys}
        self.current = next(iter(self._keys), NO_KEY)
        """Names the key of new links."""

    def knows(self, key_id: str) -> bool:
        """Whether links made with this key can be proved."""
        return key_id == NO_KEY or key_id in self._keys

    def link_hash(self, key_id: str, previous: bytes, record: bytes) -> bytes:
        """The hash of a link. Raises `KeyError` for a key that is not known."""
        if key_id == NO_KEY:
            return hashlib.sha256(previous + record).digest()
        return hmac.digest(self._keys[key_id], previous + record, "sha256")


def canonical(row: Mapping[str, Any]) -> bytes:
    """A record of `audit_log` as bytes: equal for equal records, different for different ones."""
    decided_at = row["decided_at"].astimezone(UTC).isoformat(timespec="microseconds")
    return msgspec.json.encode([decided_at, *(row[name] for name in _COLUMNS)])


def _key_id(key: bytes) -> str:
    """Names a key without telling it."""
    return hashlib.sha256(b"analytics audit chain key\0" + key).hexdigest()[:16]
