"""A page of a series as CSV (RFC 4180): the points with the names that they have in JSON."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import attrgetter
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
    columns = [column for field in fields for column in _columns(field, map(attrgetter(field.name), points))]
    out = io.StringIO()
    lines = csv.writer(out, lineterminator="\r\n")
    lines.writerow([name for name, _ in columns])
    lines.writerows(zip(*(cells for _, cells in columns), strict=True))
    return out.getvalue().encode()


def _columns(field: Any, values: Iterable[Any]) -> Iterator[tuple[str, Iterable[object]]]:
    """Names and cells of the columns that a field has: one, or one for each percentile."""
    if field.type is LatencyPercentiles:
        rows = list(values)
        for name in LatencyPercentiles.__struct_fields__:
            yield f"{field.encode_name}.{name}", map(attrgetter(name), rows)
    else:
        # Most columns are whole numbers, which are their own cells.
        is_number = getattr(field.type, "__origin__", field.type) is int
        yield field.encode_name, values if is_number else map(_cell, values)


def _cell(value: Any) -> object:
    if isinstance(value, msgspec.Raw):
        # An exact number, or a time in its quotes.
        return bytes(value).decode().strip('"')
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULAS) else value
    # UTC is Z, as in JSON.
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
