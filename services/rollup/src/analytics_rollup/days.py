"""Closes days: a day of the families detail and actor is summed up from its hours once, when it is over.

Every day before `rollup_progress.daily_through` is in the daily table, and late events are added to it there by the
dimension fold; no later day is. One transaction a day and family, which that fold waits for.
"""

from datetime import timedelta

from analytics_core.buckets import DAY
from analytics_core.database import WriteDatabase
from analytics_core.families import FAMILIES, MODEL, Family
from analytics_core.sql import load_queries
from analytics_rollup.limits import CLOSE_AFTER
from analytics_rollup.merge import worded

QUERIES = load_queries("analytics_rollup", "days")


async def close_day(database: WriteDatabase, after: timedelta = CLOSE_AFTER) -> bool:
    """Close one day of one family; False when none is over for so long, or somebody else is closing it."""
    async with database.write() as session:
        await session.execute("SET LOCAL statement_timeout = '1h'")
        row = await session.fetch_row(QUERIES["open_day"], after)
        if row is None:
            return False
        family = FAMILIES[row["family"]]
        start = row["daily_through"]
        end = start + DAY
        await session.execute(_worded_for(family, QUERIES["sum_day"]), start, end)
        await session.execute(QUERIES["close_day"], family.name, end)
    return True


def _worded_for(family: Family, statement: str) -> str:
    if family.daily is None or MODEL.daily is None:
        raise ValueError(f"{family.name} has no days")
    columns = ", ".join(family.columns)
    return (
        worded(statement, family, family.fine)
        .replace(MODEL.daily.table, family.daily.table)
        .replace("org_id, $1, model_id,", f"org_id, $1, {columns},")
        .replace("org_id, model_id", f"org_id, {columns}")
    )
