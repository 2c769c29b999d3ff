"""The columns that a file may have, each with its meaning, its type and its SQL over a row of `source`."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Kind(StrEnum):
    """What a cell holds; contracts/exports/formats.md has the spelling of each in each format."""

    BUCKET = "bucket"
    """The start of a bucket, to the second, in the export's time zone."""
    INSTANT = "instant"
    """A moment in UTC, to the microsecond."""
    UUID = "uuid"
    TEXT = "text"
    """Whatever a producer sent; the only kind that a spreadsheet could take for a formula."""
    INTEGER = "integer"
    CENTS = "cents"
    """Exact decimal cents with six decimals, from micro-cents."""
    JSON = "json"
    """An object of strings."""


class Spelling(StrEnum):
    """How the server writes a row for an encoder."""

    CSV = "csv"
    """For people and spreadsheets: no cell runs as a formula."""
    PLAIN_CSV = "plain_csv"
    """For programs: text as it is."""
    JSON = "json"
    """One JSON object a line."""


@dataclass(frozen=True, slots=True)
class Column:
    """`value` is an SQL expression over a row of `source` and `organization`."""

    name: str
    kind: Kind
    value: str


BUCKET_START = Column("bucket_start", Kind.BUCKET, "source.bucket_start")
ORGANIZATION = Column("organization_id", Kind.UUID, "organization.id")

# Dimensions by the name that `groupBy` knows them by, in the order in which they stand in a file. An absent value is ''
# in the source. Only the raw events know the team.
DIMENSIONS = {
    "model": Column("model_id", Kind.TEXT, "source.model_id"),
    "client": Column("client_id", Kind.TEXT, "NULLIF(source.client_id, '')"),
    "actor": Column("actor_id", Kind.TEXT, "NULLIF(source.actor_id, '')"),
    "status": Column("status", Kind.TEXT, "source.status"),
    "errorCode": Column("error_code", Kind.TEXT, "NULLIF(source.error_code, '')"),
    "project": Column("project", Kind.TEXT, "NULLIF(source.project, '')"),
    "team": Column("team", Kind.TEXT, "NULLIF(source.team, '')"),
}

REQUESTS = Column("request_count", Kind.INTEGER, "source.invocations")
TOKENS_AND_COST = (
    Column("input_tokens", Kind.INTEGER, "source.input_tokens"),
    Column("output_tokens", Kind.INTEGER, "source.output_tokens"),
    Column("cached_input_tokens", Kind.INTEGER, "source.cached_input_tokens"),
    Column("reasoning_tokens", Kind.INTEGER, "source.reasoning_tokens"),
    Column("tokens_total", Kind.INTEGER, "source.input_tokens + source.output_tokens"),
    Column("cost_estimate_cents", Kind.CENTS, "source.cost_microcents"),
)
COUNTS_BY_STATUS = (
    Column(
        "success_count",
        Kind.INTEGER,
        "source.invocations - source.error_count - source.timeout_count - source.throttled_count",
    ),
    Column("error_count", Kind.INTEGER, "source.error_count"),
    Column("timeout_count", Kind.INTEGER, "source.timeout_count"),
    Column("throttled_count", Kind.INTEGER, "source.throttled_count"),
)
MEASURES = (REQUESTS, *COUNTS_BY_STATUS, *TOKENS_AND_COST)

EVENT_IDENTITY = (
    Column("occurred_at", Kind.INSTANT, "source.occurred_at"),
    Column("event_id", Kind.UUID, "source.event_id"),
    ORGANIZATION,
)
EVENT_OUTCOME = (
    Column("model_id", Kind.TEXT, "source.model_id"),
    Column("status", Kind.TEXT, "source.status"),
    Column("error_code", Kind.TEXT, "source.error_code"),
    Column("latency_ms", Kind.INTEGER, "source.latency_ms"),
)
EVENT_ORIGIN = (
    Column("client_id", Kind.TEXT, "source.client_id"),
    Column("actor_id", Kind.TEXT, "source.actor_id"),
    # As in the rollups: an empty value is none, and a project has up to 200 characters.
    Column("project", Kind.TEXT, "NULLIF(source.project, '')"),
    *(
        Column(name, Kind.TEXT, f"NULLIF(source.metadata ->> '{name}', '')")
        for name in ("team", "region", "endpoint", "operation")
    ),
)
EVENT_METADATA = Column("metadata", Kind.JSON, "source.metadata")

# First characters that make a spreadsheet run a cell: = + - @ tab CR LF, the full-width forms of the first four, and
# the apostrophe, which is doubled so that dropping one always gives the text back.
_FORMULA_STARTS = tuple(map(ord, "=+-@\t\r\n'\uff1d\uff0b\uff0d\uff20"))


def row_sql(columns: Sequence[Column], spelling: Spelling, timezone: str) -> str:
    """The SELECT list of a file. ISO text of a timestamp plus `replace` costs half of what `to_char` does."""
    cells = [f'{_cell(column, spelling, timezone)} AS "{column.name}"' for column in columns]
    return ", ".join(cells)


def _cell(column: Column, spelling: Spelling, timezone: str) -> str:
    value = column.value
    match column.kind:
        case Kind.BUCKET:
            return _bucket(value, "UTC" if spelling is Spelling.PLAIN_CSV else timezone)
        case Kind.INSTANT:
            return f"to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')"
        case Kind.CENTS:  # an integer times a numeric of six decimals is exact and has six decimals
            return f"{value} * 0.000001"
        case Kind.TEXT if spelling is Spelling.CSV:
            # ascii() is the code point, whatever it is: an integer comparison, at a third of the cost of strpos().
            return f"CASE WHEN ascii({value}) IN {_FORMULA_STARTS} THEN '''' || ({value}) ELSE {value} END"
    return value


def _bucket(value: str, timezone: str) -> str:
    if timezone == "UTC":
        return f"replace(({value} AT TIME ZONE 'UTC')::text, ' ', 'T') || 'Z'"
    # The session's time zone is the export's.
    return f"to_char({value}, 'YYYY-MM-DD\"T\"HH24:MI:SSTZH:TZM')"
