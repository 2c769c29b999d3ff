"""What is done now and then beside the folds: days are closed, old chunks are dropped."""

import asyncio

import structlog

from analytics_core.database import REFUSED, UNREACHABLE, WriteDatabase
from analytics_core.lifecycle import sleep_unless_stopped
from analytics_rollup.days import close_day
from analytics_rollup.limits import UPKEEP_SECONDS
from analytics_rollup.metrics import DAYS_CLOSED
from analytics_rollup.retention import ages, drop_old_chunks
from analytics_rollup.settings import Settings

log = structlog.get_logger()


async def keep_up(database: WriteDatabase, settings: Settings, stop: asyncio.Event) -> None:
    """Close days and drop old chunks until stopped, once a minute. Both are safe to do in every replica."""
    by_table = ages(settings)
    while not stop.is_set():
        try:
            while not stop.is_set() and await close_day(database):
                DAYS_CLOSED.inc()
            await drop_old_chunks(database, by_table)
        except UNREACHABLE:
            log.debug("upkeep_failed", reason="unreachable")
        except REFUSED as error:
            log.warning("upkeep_failed", error=f"{type(error).__name__}: {error}", retrying=True)
        await sleep_unless_stopped(stop, UPKEEP_SECONDS)
