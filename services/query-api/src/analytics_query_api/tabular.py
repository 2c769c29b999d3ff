"""A page of a series as CSV (RFC 4180): the points with the names that they have in JSON."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from analytics_core.query.question import Dimension
from analytics_query_api.latencies import LatencyPercentiles
from analytics_query_api.responses import GROUP_FIELDS, ReliabilityPoint, UsagePoint

CSV = "text/csv"
# A spreadsheet runs a cell that begins with one of these as a formula; a leading apostrophe makes it text. One of the
# value's own is doubled, so that dropping one always gives the value back.
_FORMULAS = tuple("=+-@\t\r\n'＝＋－＠")  # noqa: RUF001 — spreadsheets take the wide ones for formulas, too


def to_csv(
    points: Sequence[UsagePoint | ReliabilityPoint],
    kind: type[UsagePoint | ReliabilityPoint],
    group_by: Sequence[Dimension],
) -> bytes:
    """A header and a line for each point. Groups that were not asked for have no column; null is empty."""
    start, *others = msgspec.structs.fields(kind)
    groups = [field for field in others if GROUP_FIELDS.get(field.name) in group_by]
    fields = [start, *groups, *(field for field in others if field.name not in GROUP_FIELDS)]
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\r\n")
    lines.writerow([name for field in fields for name in _names(field)])
    for point in points:
        lines.writerow([cell for field in fields for cell in _cells(getattr(point, field.name))])
    return out.getvalue().encode()


def _names(field: Any) -> list[str]:
    if field.type is LatencyPercentiles:
        return [f"{field.encode_name}.{name}" for name in LatencyPercentiles.__struct_fields__]
    return [field.encode_name]


def _cells(value: Any) -> Iterator[object]:
    if isinstance(value, LatencyPercentiles):
        yield from msgspec.structs.astuple(value)
    elif isinstance(value, msgspec.Raw):
        # An exact number, or a time in its quotes.
        yield bytes(value).decode().strip('"')
    elif isinstance(value, str):
        yield f"'{value}" if value.startswith(_FORMULAS) else value
    else:
        yield value.isoformat() if hasattr(value, "isoformat") else value
