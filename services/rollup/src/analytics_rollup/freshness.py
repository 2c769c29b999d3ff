"""Measures how far the rollups are behind what the broker has accepted."""

import asyncio
from math import nan

from analytics_core.clock import Clock
from analytics_core.database import REFUSED, UNREACHABLE, ReadDatabase
from analytics_core.freshness import visible_lag
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_core.sql import load_queries
from analytics_rollup.limits import OBSERVE_SECONDS
from analytics_rollup.metrics import DIMENSIONS_LAG, FRESHNESS_LAG, OLDEST_UNFOLDED_AGE, UNFOLDED_BATCHES

QUERIES = load_queries("analytics_rollup", "freshness")


async def observe(database: ReadDatabase, now: Clock, stop: asyncio.Event) -> None:
    """Keep the gauges of lag and backlog current until stopped; NaN while nobody can know."""
    while not stop.is_set():
        try:
            await measure(database, now)
        except (*UNREACHABLE, *REFUSED):
            # The dependency check logs the outage. What was last measured would look like a service that is fine.
            for gauge in (FRESHNESS_LAG, DIMENSIONS_LAG, UNFOLDED_BATCHES, OLDEST_UNFOLDED_AGE):
                gauge.set(nan)
        await sleep_unless_stopped(stop, OBSERVE_SECONDS)


async def measure(database: ReadDatabase, now: Clock) -> None:
    """Set the gauges once."""
    async with database.read() as session:
        (backlog,) = await session.fetch(QUERIES["backlog"])
    for gauge, watermark, waiting in (
        (FRESHNESS_LAG, backlog["watermark"], backlog["batches"]),
        (DIMENSIONS_LAG, backlog["dimensions_watermark"], backlog["without_dimensions"]),
    ):
        lag = visible_lag(watermark, now(), unfolded=waiting > 0)
        gauge.set(nan if lag is None else lag.total_seconds())
    UNFOLDED_BATCHES.set(backlog["batches"])
    OLDEST_UNFOLDED_AGE.set(backlog["oldest_age_seconds"] or 0.0)
