"""Puts events into their table, each once, inside the transaction of a batch."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from operator import attrgetter
from typing import Any

import msgspec

from analytics_core.database import WriteSession
from analytics_core.events import UsageEvent
from analytics_core.sql import load_queries
from analytics_ingest.limits import DEDUPE_WINDOW

QUERIES = load_queries("analytics_ingest", "events")
EVENT_COLUMNS = (
    "org_id", "event_id", "occurred_at", "body_hash", "cost_microcents", "latency_ms", "input_tokens",
    "output_tokens", "cached_input_tokens", "reasoning_tokens", "status", "model_id", "actor_id", "client_id",
    "error_code", "metadata",
)  # fmt: skip
DAY = timedelta(days=1)

_occurred_at = attrgetter("occurred_at")
Window = tuple[datetime, datetime, datetime, datetime]


@dataclass(frozen=True, slots=True)
class Stored:
    """How many events were new, how many of the others were conflicts, and the bounds of the new ones' times."""

    events: int
    conflicts: int
    oldest: datetime | None
    newest: datetime | None


async def store_events(
    session: WriteSession, batch_id: int, events: Sequence[UsageEvent], repeats: Sequence[UsageEvent] = ()
) -> Stored:
    """Store the events that are new. `repeats` came again in the same batch: they are only looked at for conflicts."""
    if not events:
        return Stored(0, 0, None, None)
    await session.execute(QUERIES["make_incoming"])
    await session.execute(QUERIES["plan_for_values"])
    await session.copy_records("incoming_events", EVENT_COLUMNS, map(event_row, events))
    windows = list(map(window, _days(events)))
    known, conflicts = await _remove_known(session, batch_id, windows)
    stored = await session.execute(QUERIES["store_unknown"], batch_id) if known < len(events) else 0
    if known + stored < len(events):
        _, lost_races = await _remove_known(session, batch_id, windows)
        conflicts += lost_races
    if repeats:
        conflicts += await _count_conflicts(session, repeats)
    oldest, newest = await _stored_bounds(session, batch_id, stored, events)
    return Stored(stored, conflicts, oldest, newest)


async def _remove_known(session: WriteSession, batch_id: int, windows: Iterable[Window]) -> tuple[int, int]:
    """Drop the events that other batches have stored; how many they were, and how many of them are conflicts."""
    rows = [await session.fetch_row(QUERIES["remove_known"], batch_id, *bounds) for bounds in windows]
    return sum(row["events"] for row in rows if row), sum(row["conflicts"] for row in rows if row)


async def _count_conflicts(session: WriteSession, repeats: Sequence[UsageEvent]) -> int:
    columns = zip(
        *((event.org_id, event.event_id, event.occurred_at, event.body_hash) for event in repeats), strict=True
    )
    first, last = _bounds(repeats)
    count: int = await session.fetch_value(
        QUERIES["count_conflicts"], *map(list, columns), first - DEDUPE_WINDOW, last + DEDUPE_WINDOW
    )
    return count


async def _stored_bounds(
    session: WriteSession, batch_id: int, stored: int, events: Sequence[UsageEvent]
) -> tuple[datetime | None, datetime | None]:
    if stored == len(events):
        return _bounds(events)
    if stored == 0:
        return None, None
    return await session.fetch_row(QUERIES["stored_bounds"], batch_id) or (None, None)


def event_row(event: UsageEvent) -> tuple[Any, ...]:
    """The event as COPY takes it, in the order of `EVENT_COLUMNS`."""
    metadata = event.metadata
    return (
        event.org_id, event.event_id, event.occurred_at, event.body_hash, event.cost_microcents, event.latency_ms,
        event.input_tokens, event.output_tokens, event.cached_input_tokens, event.reasoning_tokens, event.status,
        event.model_id, event.actor_id, event.client_id, event.error_code,
        None if metadata is None else msgspec.json.encode(metadata).decode(),
    )  # fmt: skip


def window(day: datetime) -> Window:
    """The day's bounds, and the bounds of where its events' namesakes are looked for."""
    return day, day + DAY, day - DEDUPE_WINDOW, day + DAY + DEDUPE_WINDOW


def _days(events: Sequence[UsageEvent]) -> list[datetime]:
    """The UTC days that the events lie in; nearly always one, and then without looking at each event."""
    first, last = map(_day, _bounds(events))
    if last - first <= DAY:
        return sorted({first, last})
    return sorted({_day(event.occurred_at) for event in events})


def _day(time: datetime) -> datetime:
    return datetime(time.year, time.month, time.day, tzinfo=UTC)


def _bounds(events: Sequence[UsageEvent]) -> tuple[datetime, datetime]:
    return min(map(_occurred_at, events)), max(map(_occurred_at, events))
