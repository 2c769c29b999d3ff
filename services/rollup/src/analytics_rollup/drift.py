"""Compares a few closed buckets with their events every now and then, so that drift is an alert and no surprise."""

import asyncio
import random
from datetime import datetime, timedelta

import structlog

from analytics_core.buckets import HOUR, SETTLE
from analytics_core.database import REFUSED, UNREACHABLE, ReadDatabase
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_rollup.limits import SAMPLE_DAY_CALLS_MAX, SAMPLE_HOURS_BACK, SAMPLE_ORGANISATIONS
from analytics_rollup.metrics import RECONCILE_DRIFT, RECONCILE_LAST_SUCCESS
from analytics_rollup.reconcile import QUERIES, Difference, Range, differences

log = structlog.get_logger()


async def watch_drift(database: ReadDatabase, interval: timedelta, stop: asyncio.Event) -> None:
    """Compare a sample every `interval` until stopped."""
    while not stop.is_set():
        await sleep_unless_stopped(stop, interval.total_seconds() * random.uniform(0.8, 1.2))  # noqa: S311 — jitter
        if not stop.is_set():
            await _compare(database)


async def _compare(database: ReadDatabase) -> None:
    try:
        found = await sample(database)
    except (*UNREACHABLE, *REFUSED) as error:
        log.warning("reconcile_failed", error=f"{type(error).__name__}: {error}", retrying=True)
        return
    if found is None:
        return
    RECONCILE_DRIFT.set(len(found))
    RECONCILE_LAST_SUCCESS.set_to_current_time()
    for difference in found:
        log.error(
            "rollup_drift",
            table=difference.table,
            org_id=str(difference.org_id),
            dimensions=difference.dimensions,
            bucket_start=difference.bucket_start.isoformat(),
            remedy="analytics-rollup reconcile --repair",
        )


async def sample(database: ReadDatabase) -> list[Difference] | None:
    """What differs in a random closed hour of some organisations; None while it is unknown which hours are closed."""
    async with database.read(repeatable=True) as session:
        watermark: datetime | None = await session.fetch_value(QUERIES["watermark"])
        if watermark is None:
            return None
        hour = _random_closed_hour(watermark)
        organisations = await session.fetch(
            QUERIES["sample_organisations"],
            hour,
            hour.replace(hour=0),
            SAMPLE_DAY_CALLS_MAX,
            SAMPLE_ORGANISATIONS,
        )
        found: list[Difference] = []
        for organisation in organisations:
            found += await differences(session, Range(hour, hour + HOUR, organisation["org_id"]))
        return found


def _random_closed_hour(watermark: datetime) -> datetime:
    closed_until = (watermark - SETTLE).replace(minute=0, second=0, microsecond=0)
    return closed_until - HOUR * random.randint(1, SAMPLE_HOURS_BACK)  # noqa: S311 — a sample is no secret
