"""Where the rows of an answer come from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_core.errors import InvalidRequest
from analytics_core.query.plan import Plan, plan_series, plan_total
from analytics_core.query.question import Question
from analytics_core.query.shape import Form, Order
from analytics_core.query.statements import Position, series_statement, total_statement
from analytics_query_api.queries.freshness import State
from analytics_query_api.queries.page import Page

_INSTANT = timedelta(microseconds=1)
_NOTHING: dict[str, object] = {"bins": None, "counts": None, "revised_at": None}


@dataclass(frozen=True, slots=True)
class Source:
    """A snapshot, the organisations that may be seen in it, and what its tables have.

    Whatever is asked for, `check` is called first.
    """

    session: ReadSession
    scope: OrgScope | Sequence[UUID]
    state: State

    def check(self, plan: Plan, name: str = "start") -> None:
        """Raise `InvalidRequest` naming the parameter where retention has dropped some of what the plan counts.

        What is left would pass for the whole.
        """
        kept_since = plan.kept_since(self.state.dropped)
        if kept_since is not None:
            raise InvalidRequest.field(
                name,
                f"retention has dropped some of what is asked for; it is kept from {kept_since:%Y-%m-%dT%H:%M:%SZ} on, "
                "and in whole days of UTC often for longer",
            )

    async def page(
        self, question: Question, columns: tuple[str, ...], after: Position | None, limit: int | None
    ) -> tuple[Plan, Page]:
        """The first points behind a position; all of them without a limit."""
        groups = len(question.group_by)
        since = after.bucket if after else None
        if since is not None and not question.group_by:
            since += _INSTANT
        plan = plan_series(question, self.state.progress, since)
        self.check(plan)
        if not plan.parts:
            return plan, Page.of_rows([], groups, columns)
        # All histograms of a page as one value might be more than PostgreSQL has room for in one.
        form = Form.ROWS if "bins" in columns else Form.COLUMNS
        statement = series_statement(self.scope, question, plan, columns, after=after, limit=limit, form=form)
        if form is Form.COLUMNS:
            row = await self.session.fetch_row(statement.sql, *statement.values)
            return plan, Page.of_columns(row, groups, columns)
        return plan, Page.of_rows(await self.session.fetch(statement.sql, *statement.values), groups, columns)

    async def days(self, question: Question, columns: tuple[str, ...]) -> list[Any]:
        """Of each UTC day of a plain question in days: how many points it has, and what they hash to."""
        statement = series_statement(
            self.scope, question, plan_series(question, self.state.progress), columns, form=Form.DAYS
        )
        return await self.session.fetch(statement.sql, *statement.values)

    async def total(self, question: Question, columns: tuple[str, ...], name: str = "start") -> tuple[Plan, Any]:
        """One row over the whole range; zeros where there is nothing. `name` is the parameter that asks for it."""
        plan = plan_total(question, self.state.progress)
        self.check(plan, name)
        if not plan.parts:
            return plan, {name: _NOTHING.get(name, 0) for name in columns}
        statement = total_statement(self.scope, question, plan, columns)
        return plan, await self.session.fetch_row(statement.sql, *statement.values)

    async def groups(
        self,
        question: Question,
        columns: tuple[str, ...],
        limit: int,
        *,
        order: Order = Order.KEY,
        after: Position | None = None,
    ) -> tuple[Plan, list[Any]]:
        """One row for each group over the whole range, the first ones behind a position."""
        plan = plan_total(question, self.state.progress)
        self.check(plan)
        if not plan.parts:
            return plan, []
        statement = total_statement(self.scope, question, plan, columns, order=order, after=after, limit=limit)
        return plan, await self.session.fetch(statement.sql, *statement.values)
