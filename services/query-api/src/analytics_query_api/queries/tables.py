"""The rollup tables as SQLAlchemy sees them: names and types for building statements, nothing is ever created."""

from collections.abc import Mapping
from types import MappingProxyType

from sqlalchemy import BigInteger, DateTime, Integer, SmallInteger, TableClause, Text, Uuid, column, table
from sqlalchemy.dialects.postgresql import ARRAY

from analytics_query_api.periods import Granularity

_TIME: DateTime = DateTime(timezone=True)


def _rollup(name: str) -> TableClause:
    return table(
        name,
        column("org_id", Uuid),
        column("bucket_start", _TIME),
        column("model_id", Text),
        column("invocations", BigInteger),
        column("error_count", BigInteger),
        column("timeout_count", BigInteger),
        column("throttled_count", BigInteger),
        column("input_tokens", BigInteger),
        column("output_tokens", BigInteger),
        column("cached_input_tokens", BigInteger),
        column("reasoning_tokens", BigInteger),
        column("cost_microcents", BigInteger),
        column("latency_bins", ARRAY(SmallInteger)),
        column("latency_counts", ARRAY(BigInteger)),
        column("revision", Integer),
        column("revised_at", _TIME),
        schema="analytics",
    )


ROLLUPS: Mapping[Granularity, TableClause] = MappingProxyType(
    {Granularity.HOUR: _rollup("usage_hourly"), Granularity.DAY: _rollup("usage_daily")}
)
