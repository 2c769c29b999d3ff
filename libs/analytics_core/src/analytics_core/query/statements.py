"""The SQL of a plan and the values for it.

Statements are built once for each shape of a question (0.7 ms and more each) and then only filled with values; few
shapes exist. They are text with `$1 …` for the driver: there is no SQLAlchemy engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from typing import Any
from uuid import UUID

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql import asyncpg

from analytics_core.access import OrgScope
from analytics_core.query.plan import Plan
from analytics_core.query.question import Question
from analytics_core.query.selects import grouped, in_columns, in_days, plain
from analytics_core.query.shape import Buckets, Form, Order, Shape

_DIALECT: Any = asyncpg.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Position:
    """Behind which row to go on: its groups' values in the order of the question, its bucket or its failed calls."""

    groups: tuple[str, ...]
    bucket: datetime | None = None
    failed: int | None = None


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL, the values for it in order, and the shape that it has (for those who test all of them)."""

    sql: str
    values: tuple[object, ...]
    shape: Shape


def series_statement(
    scope: OrgScope | Sequence[UUID],
    question: Question,
    plan: Plan,
    columns: tuple[str, ...],
    *,
    after: Position | None = None,
    limit: int | None = None,
    form: Form = Form.ROWS,
) -> Statement:
    """One row for each bucket and group with calls: `bucket_start`, the groups' columns, then `columns`; in that order.

    `columns` are names of `tables.SUMS`, `revision`, `revised_at`, `first_event_at`, `last_event_at`, `bins` and
    `counts` (see `selects`). With `after`, the plan has to be that since the bucket of that position.
    `Form.COLUMNS` gives the same as one row, see `selects.in_columns`, and `Form.DAYS` a row a day that tells whether
    its points have changed, see `selects.in_days`; both not for `first_event_at` and histograms.
    """
    buckets = Buckets.CELLS if plan.bounds is None else Buckets.BOUNDS
    is_plain = plan.is_plain(question.group_by) and isinstance(scope, OrgScope)
    return _statement(scope, question, plan, columns, buckets, is_plain=is_plain, after=after, limit=limit, form=form)


def total_statement(
    scope: OrgScope | Sequence[UUID],
    question: Question,
    plan: Plan,
    columns: tuple[str, ...],
    *,
    order: Order = Order.KEY,
    after: Position | None = None,
    limit: int | None = None,
) -> Statement:
    """One row for each group over the whole range in this order; without groups one row, of zeros if need be."""
    return _statement(
        scope, question, plan, columns, Buckets.NONE, is_plain=False, order=order, after=after, limit=limit
    )


def _statement(
    scope: OrgScope | Sequence[UUID],
    question: Question,
    plan: Plan,
    columns: tuple[str, ...],
    buckets: Buckets,
    *,
    is_plain: bool,
    order: Order = Order.KEY,
    after: Position | None,
    limit: int | None,
    form: Form = Form.ROWS,
) -> Statement:
    if not plan.parts:
        raise ValueError("a question without buckets needs no statement")
    shape = Shape(
        parts=tuple((part.source, part.cells) for part in plan.parts),
        group_by=question.group_by,
        filtered=tuple(dimension for dimension, _ in question.filters),
        columns=columns,
        buckets=buckets,
        is_plain=is_plain,
        order=order,
        # Without groups the position's bucket is behind us as a whole: the plan begins with the next one.
        continued=after is not None and bool(question.group_by),
        limited=limit is not None,
        one_org=isinstance(scope, OrgScope),
        form=form,
    )
    sql, names = _compiled(shape)
    values = {**_values(scope, question, plan, after), "row_limit": limit}
    return Statement(sql, tuple(values[name] for name in names), shape)


@cache
def _compiled(shape: Shape) -> tuple[str, tuple[str, ...]]:
    select: Select[Any] = plain(shape) if shape.is_plain else grouped(shape)
    if shape.form is Form.COLUMNS:
        select = in_columns(select, shape)
    elif shape.form is Form.DAYS:
        select = in_days(select, shape)
    result: Any = select.compile(dialect=_DIALECT)
    return str(result), tuple(result.positiontup)


def _values(
    scope: OrgScope | Sequence[UUID], question: Question, plan: Plan, after: Position | None
) -> dict[str, object]:
    """By the names that `selects` gives them; the organisation is the scope's, whatever was asked for."""
    values: dict[str, object] = {
        "org_id": scope.org_id if isinstance(scope, OrgScope) else None,
        "org_ids": None if isinstance(scope, OrgScope) else list(scope),
        "bounds": list(plan.bounds[:-1]) if plan.bounds else None,
    }
    for dimension, wanted in question.filters:
        values[f"only_{dimension.column}"] = list(wanted)
    for number, part in enumerate(plan.parts):
        values[f"start_{number}"], values[f"end_{number}"] = part.start, part.end
        values[f"listed_{number}"], values[f"listed_ends_{number}"] = list(part.listed), list(part.listed_ends)
    if after is not None:
        values |= {"after_bucket": after.bucket, "after_failed": after.failed}
        pairs = zip(question.group_by, after.groups, strict=True)
        values |= {f"after_{dimension.column}": value for dimension, value in pairs}
    return values
