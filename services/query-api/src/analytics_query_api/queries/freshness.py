"""The facts that freshness is computed from."""

from datetime import datetime

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_core.sql import load_queries
from analytics_query_api.freshness import Freshness, ModelFacts, PipelineFacts, freshness

QUERIES = load_queries("analytics_query_api", "freshness")


async def pipeline_facts(session: ReadSession) -> PipelineFacts:
    """How far the rollups are; the same for every organisation."""
    row = await session.fetch_row(QUERIES["pipeline"])
    return PipelineFacts(watermark=row["watermark"], unfolded=row["unfolded"]) if row else PipelineFacts(None, True)


async def model_facts(session: ReadSession, scope: OrgScope) -> tuple[ModelFacts, ...]:
    """What is known of each model of the organisation, by model; empty for one that never had an event."""
    rows = await session.fetch(QUERIES["models"], scope.org_id)
    return tuple(ModelFacts(row["model_id"], row["last_event_at"], row["last_rollup_at"]) for row in rows)


async def read_freshness(session: ReadSession, scope: OrgScope, now: datetime) -> Freshness:
    """The organisation's freshness as of the session's snapshot."""
    return freshness(await pipeline_facts(session), await model_facts(session, scope), now)
