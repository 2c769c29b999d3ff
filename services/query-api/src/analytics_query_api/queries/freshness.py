"""The facts that freshness is computed from, and what else an answer needs to know beside its numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from opentelemetry import trace

from analytics_core.access import OrgScope, PlatformScope
from analytics_core.database import ReadSession
from analytics_core.query.plan import Plan, Progress
from analytics_core.sql import load_queries
from analytics_core.telemetry.traces import link_current_span
from analytics_query_api.freshness import Freshness, ModelFacts, PipelineFacts, freshness_since

QUERIES = load_queries("analytics_query_api", "freshness")
_DROPPED = msgspec.json.Decoder(dict[str, datetime])


@dataclass(frozen=True, slots=True)
class State:
    """How far the rollups are in the session's snapshot."""

    row: Any
    now: datetime

    @property
    def progress(self) -> Progress:
        return {"detail": self.row["detail"], "actor": self.row["actor"]}

    @property
    def dropped(self) -> Mapping[str, datetime]:
        """By table, the time before which retention has dropped its rows."""
        return _DROPPED.decode(self.row["dropped"]) if self.row["dropped"] else {}

    def freshness(self, *plans: Plan) -> Freshness:
        """The freshness of numbers that were read by these plans."""
        fold = "" if all(plan.follows_model_fold for plan in plans) else "dimensions_"
        pipeline = PipelineFacts(self.row[f"{fold}watermark"], self.row[f"{fold}unfolded"])
        return freshness_since(pipeline, self.row["last_event_at"], self.row["last_rollup_at"], self.now)


async def read_state(session: ReadSession, scope: OrgScope | PlatformScope, now: datetime) -> State:
    """The state for one organisation, or for all of them."""
    org_id = scope.org_id if isinstance(scope, OrgScope) else None
    return State(await session.fetch_row(QUERIES["state"], org_id), now)


async def link_to_last_fold(session: ReadSession, scope: OrgScope) -> None:
    """Link the request's span to the fold that made the numbers what they are; a query more, where it is traced."""
    if trace.get_current_span().is_recording():
        link_current_span([await session.fetch_value(QUERIES["last_fold"], scope.org_id)])


async def organisations(session: ReadSession, scope: PlatformScope) -> list[UUID]:  # noqa: ARG001 — the permission
    """Every organisation that ever had an event."""
    return [row["org_id"] for row in await session.fetch(QUERIES["organisations"])]


async def pipeline_facts(session: ReadSession) -> PipelineFacts:
    """How far the rollups are; the same for every organisation."""
    row = await session.fetch_row(QUERIES["pipeline"])
    return PipelineFacts(watermark=row["watermark"], unfolded=row["unfolded"]) if row else PipelineFacts(None, True)


async def model_facts(session: ReadSession, scope: OrgScope) -> tuple[ModelFacts, ...]:
    """What is known of each model of the organisation, by model; empty for one that never had an event."""
    rows = await session.fetch(QUERIES["models"], scope.org_id)
    return tuple(ModelFacts(row["model_id"], row["last_event_at"], row["last_rollup_at"]) for row in rows)
