"""Retention: drops whole chunks that are older than their table's age, never rows, and never waits in ingest's way."""

from collections.abc import Mapping
from datetime import timedelta

import asyncpg
import structlog

from analytics_core.buckets import DAY
from analytics_core.database import CONTENDED, WriteDatabase
from analytics_core.families import FAMILIES
from analytics_core.sql import load_queries
from analytics_rollup.limits import LATE_MARGIN
from analytics_rollup.metrics import CHUNKS_DROPPED, RETENTION_LAST_SUCCESS, RETENTION_POSTPONED
from analytics_rollup.settings import Settings

QUERIES = load_queries("analytics_rollup", "upkeep")

log = structlog.get_logger()


def ages(settings: Settings) -> dict[str, timedelta]:
    """How old each table's rows may become.

    Events are kept a little longer than ingest accepts them: one that was accepted just in time is still to be folded.
    """
    by_table = {"usage_events": settings.raw_retention + LATE_MARGIN}
    for family in FAMILIES.values():
        for rollup in family.rollups:
            is_daily = rollup.width == DAY
            by_table[rollup.table] = settings.daily_retention if is_daily else settings.hourly_retention
    if settings.audit_retention is not None:
        by_table["audit_log"] = settings.audit_retention
    return by_table


async def drop_old_chunks(database: WriteDatabase, by_table: Mapping[str, timedelta]) -> int:
    """Drop every chunk that is too old; the number of chunks. What is in use is left for the next time.

    Raises what the driver raises when the server is away.
    """
    dropped, postponed = 0, 0
    for table, age in by_table.items():
        try:
            while chunk := await _drop_oldest(database, table, age):
                dropped += 1
                CHUNKS_DROPPED.labels(table).inc()
                log.info("chunk_dropped", table=table, chunk=chunk, age_days=age.days)
        except (*CONTENDED, asyncpg.ObjectInUseError) as error:
            postponed += 1
            log.info("chunk_kept", table=table, error=f"{type(error).__name__}: {error}", retrying=True)
    RETENTION_POSTPONED.set(postponed)
    if not postponed:
        RETENTION_LAST_SUCCESS.set_to_current_time()
    return dropped


async def _drop_oldest(database: WriteDatabase, table: str, age: timedelta) -> str | None:
    async with database.write() as session:
        if not await session.fetch_value(QUERIES["alone"]):
            return None
        name: str | None = await session.fetch_value(QUERIES["drop_oldest_chunk"], table, age)
        return name
