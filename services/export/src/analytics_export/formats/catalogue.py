"""The formats by name: how a file is called, what the server has to write for it, and who encodes that."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from analytics_export.columns import Column, Spelling
from analytics_export.formats.as_is import AsIs
from analytics_export.formats.csv import CrlfRecords
from analytics_export.formats.gzip import Gzip
from analytics_export.formats.parquet import Parquet

Sink = Callable[[bytes], Awaitable[None]]


class Format(StrEnum):
    """The kind of file that an export writes."""

    CSV = "csv"
    CSV_GZ = "csv.gz"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Encoder(Protocol):
    """Turns the server's rows into the file. Equal rows give equal bytes, however they are cut into pieces."""

    async def write(self, piece: bytes) -> None:
        """Take the next whole rows."""

    async def finish(self) -> None:
        """Write what is left; nothing follows."""

    async def close(self) -> None:
        """Give everything back, finished or not."""


@dataclass(frozen=True, slots=True)
class FileFormat:
    """`encoder` gets the sink for the file's bytes and the columns."""

    name: Format
    media_type: str
    spelling: Spelling
    encoder: Callable[[Sink, Sequence[Column]], Encoder]

    @property
    def extension(self) -> str:
        """Without a dot in front."""
        return self.name.value


FORMATS = {
    each.name: each
    for each in (
        FileFormat(
            Format.CSV,
            "text/csv; charset=utf-8; header=present",
            Spelling.CSV,
            lambda sink, _: CrlfRecords(AsIs(sink)),
        ),
        FileFormat(Format.CSV_GZ, "application/gzip", Spelling.CSV, lambda sink, _: CrlfRecords(Gzip(sink))),
        FileFormat(Format.JSONL, "application/x-ndjson", Spelling.JSON, lambda sink, _: AsIs(sink)),
        FileFormat(Format.PARQUET, "application/vnd.apache.parquet", Spelling.PLAIN_CSV, Parquet),
    )
}
