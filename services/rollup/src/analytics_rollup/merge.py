"""Adds a delta to a rollup: one statement, worded for each table by what `analytics_core.families` says about it."""

from datetime import UTC, datetime
from functools import cache

from analytics_core.buckets import SETTLE
from analytics_core.database import WriteSession
from analytics_core.families import MODEL, Family, Rollup
from analytics_core.sql import load_queries

QUERIES = load_queries("analytics_rollup", "merge")

_MERGE = QUERIES["merge_buckets"]
_ALWAYS = datetime.max.replace(tzinfo=UTC)


async def plan_with_values(session: WriteSession) -> None:
    """Let this transaction's statements be planned for the batches at hand."""
    await session.execute(QUERIES["plan_with_values"])


async def take_turn(session: WriteSession, stage: str) -> None:
    """Wait until no other fold of the stage writes, in whatever process."""
    await session.fetch_value(QUERIES["take_turn"], f"analytics.{stage}")


async def merge(
    session: WriteSession,
    family: Family,
    rollup: Rollup,
    delta: str,
    accepted_at: datetime,
    *,
    before: datetime = _ALWAYS,
) -> None:
    """Add what the temporary table `delta` has before some time to a rollup of its family.

    `accepted_at` is when the broker took the oldest event of the delta: it decides what is a revision.
    """
    await session.execute(_worded_for(family, rollup, delta), rollup.width, SETTLE, accepted_at, before)


@cache
def _worded_for(family: Family, rollup: Rollup, delta: str) -> str:
    """With several dimensions, rows are found by their hash alone: it says the same in 16 bytes."""
    key = family.columns[0]
    values = "".join(f", min({name})" for name in family.columns[1:])
    statement = (
        _MERGE.replace("BY org_id, bucket, model_id", f"BY org_id, bucket, {key}")
        .replace("    org_id, bucket, model_id,", f"    org_id, bucket, {key}{values},")
        .replace("fold_delta", delta)
    )
    return worded(statement, family, rollup)


def worded(statement: str, family: Family, rollup: Rollup) -> str:
    """A statement that is written for the hours of models, for another rollup."""
    return (
        statement.replace(MODEL.fine.table, rollup.table)
        .replace("(org_id, bucket_start, model_id) DO", f"({', '.join(family.key)}) DO")
        .replace("org_id, bucket_start, model_id", f"org_id, bucket_start, {', '.join(family.columns)}")
    )
