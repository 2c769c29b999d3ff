"""Reads calls from a trace in the format of the Azure public LLM inference traces.

A CSV file with the columns TIMESTAMP, ContextTokens and GeneratedTokens. Timestamps are UTC with up to seven fractional
digits; the seventh (100 ns) is cut off. Token counts are kept exactly, and so are all distances between timestamps: a
trace moves in time by whole seconds only.
"""

import csv
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from tools.replay.calls import Call, microseconds

COLUMNS = ["TIMESTAMP", "ContextTokens", "GeneratedTokens"]
SECOND_US = 1_000_000


class TraceError(Exception):
    """The file is no trace; the message says where."""


def read_trace(file: Path) -> list[Call]:
    """The calls of the file in its order. Raises `TraceError` for anything that is not such a trace, OSError too."""
    with file.open(encoding="utf-8-sig", newline="") as lines:
        rows = csv.DictReader(lines)
        if rows.fieldnames is None or not set(COLUMNS) <= set(rows.fieldnames):
            raise TraceError(f"{file}: expected the columns {', '.join(COLUMNS)}, found {rows.fieldnames}")
        calls = [_call(row, f"{file}:{rows.line_num}") for row in rows]
    if not calls:
        raise TraceError(f"{file}: no rows")
    return calls


def _call(row: dict[str, str], place: str) -> Call:
    try:
        tokens = int(row["ContextTokens"]), int(row["GeneratedTokens"])
        whole, _, fraction = row["TIMESTAMP"].partition(".")
        occurred = datetime.fromisoformat(whole).replace(tzinfo=UTC)
        occurred_us = microseconds(occurred) + int(fraction[:6].ljust(6, "0"))
    except (TypeError, ValueError) as error:
        raise TraceError(f"{place}: {error}") from None
    if min(tokens) < 0:
        raise TraceError(f"{place}: a token count is negative")
    return Call(occurred_us, *tokens)


def starting_at(calls: Sequence[Call], start: datetime) -> list[Call]:
    """Moved by whole seconds, so that the earliest call is at `start` or less than a second after it."""
    return shifted(calls, -((min(calls).occurred_us - microseconds(start)) // SECOND_US))


def ending_at(calls: Sequence[Call], end: datetime) -> list[Call]:
    """Moved by whole seconds, so that the latest call is at `end` or less than a second before it."""
    return shifted(calls, (microseconds(end) - max(calls).occurred_us) // SECOND_US)


def shifted(calls: Sequence[Call], seconds: int) -> list[Call]:
    """Moved by whole seconds."""
    return [call._replace(occurred_us=call.occurred_us + seconds * SECOND_US) for call in calls]
