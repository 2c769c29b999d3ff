"""What the caller learns about each event that it sent, in the order in which it sent them."""

from collections.abc import Sequence
from typing import Literal

import msgspec

from analytics_ingest.decode import claimed_text

EVENT_ID_CHARACTERS_MAX = 100


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`accepted`: the stream holds the event and it will be counted. `rejected`: it will not, and this is why.

    `reason` is a stable code, `field` the event's field that is at fault, if it is one, `detail` is for people.
    """

    index: int
    status: Literal["accepted", "rejected"]
    event_id: str | None = None
    reason: str | None = None
    field: str | None = None
    detail: str | None = None


class Receipts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One receipt for each event of the request, in its order."""

    receipts: Sequence[Receipt]
    accepted: int
    rejected: int


def claimed_event_id(body: bytes) -> str | None:
    """The id that a rejected event gave itself, so that its sender finds it again; None where there is none to show."""
    claimed = claimed_text(body, "eventId")
    return claimed if claimed is not None and len(claimed) <= EVENT_ID_CHARACTERS_MAX else None
