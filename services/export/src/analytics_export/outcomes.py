"""What an attempt has made: a file, what is in it, and which revision of its question's answer it is."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from analytics_export.totals import Totals


class Confidence(StrEnum):
    """finalized: everything accepted up to 15 minutes after the end of the period is in. estimated: more may come."""

    ESTIMATED = "estimated"
    FINALIZED = "finalized"


@dataclass(slots=True)
class Progress:
    """How far a file is. `rows` counts line feeds, so line breaks inside of values as well."""

    rows: int = 0
    size_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Revision:
    """The number of a file among those with the same parameters, equal for equal bytes; and the one before it."""

    number: int
    superseded_job_id: UUID | None
    superseded_sha256: str | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The file that an attempt has written."""

    object_key: str
    row_count: int
    size_bytes: int
    checksum_sha256: str
    totals: Totals
    watermark: datetime | None
    confidence: Confidence
    revision: Revision
