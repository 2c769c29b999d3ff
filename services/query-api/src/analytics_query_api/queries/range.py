"""The part that all range queries share: which rows of which rollup, added up how, in which order."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    Integer,
    Select,
    TableClause,
    Text,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal_column,
    select,
    tuple_,
)
from sqlalchemy.dialects.postgresql import ARRAY

from analytics_core.access import OrgScope
from analytics_query_api.periods import Granularity
from analytics_query_api.queries.tables import ROLLUPS
from analytics_query_api.selection import Selection

_TIME: DateTime = DateTime(timezone=True)
# Part of the text: what is a parameter has a name that `values_of` knows.
_ZERO = literal_column("0", BigInteger)


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything about a query that its text depends on; the rest are values. Few shapes exist, each compiled once."""

    granularity: Granularity
    by_model: bool
    filtered: bool
    continued: bool

    @property
    def rollup(self) -> TableClause:
        return ROLLUPS[self.granularity]


def shape_of(selection: Selection, *, page: bool) -> Shape:
    """The shape of a page of the selection, or of its whole range."""
    return Shape(
        granularity=selection.granularity,
        by_model=selection.by_model,
        filtered=bool(selection.model_ids),
        continued=page and selection.after is not None,
    )


def values_of(scope: OrgScope, selection: Selection) -> dict[str, object]:
    """The values for the names in `conditions`; the organisation is the scope's, whatever was asked for."""
    return {
        "org_id": scope.org_id,
        "range_start": selection.start,
        "range_end": selection.end,
        "model_ids": list(selection.model_ids),
        "after_bucket": selection.after.bucket_start if selection.after else None,
        "after_model": selection.after.model_id if selection.after else None,
    }


def key_of(shape: Shape) -> tuple[ColumnElement[Any], ...]:
    """What makes a point of the series unique, in the order of the series and of the rollups' primary key."""
    columns = shape.rollup.c
    return (columns.bucket_start, columns.model_id) if shape.by_model else (columns.bucket_start,)


def conditions(shape: Shape) -> list[ColumnElement[bool]]:
    """One organisation, the buckets that start in the range, the models asked for, behind the last page."""
    columns = shape.rollup.c
    found = [
        columns.org_id == bindparam("org_id", type_=Uuid),
        columns.bucket_start >= bindparam("range_start", type_=_TIME),
        columns.bucket_start < bindparam("range_end", type_=_TIME),
    ]
    if shape.filtered:
        found.append(columns.model_id == any_(bindparam("model_ids", type_=ARRAY(Text))))
    if shape.continued:
        after = [bindparam("after_bucket", type_=_TIME), bindparam("after_model", type_=Text)]
        key = key_of(shape)
        found.append(tuple_(*key) > tuple_(*after[: len(key)]))
    return found


def page(shape: Shape, measures: Sequence[ColumnElement[Any]]) -> Select[Any]:
    """The points of a page in order. By model a point is a row of the primary key's index: the limit ends the scan."""
    key = key_of(shape)
    statement: Select[Any] = select(*key, *measures).where(*conditions(shape))
    if not shape.by_model:
        statement = statement.group_by(*key)
    return statement.order_by(*key).limit(bindparam("row_limit", type_=Integer))


def point_sums(shape: Shape, names: Sequence[str]) -> list[ColumnElement[Any]]:
    """The measures of a point, added up over its models where it has several."""
    return [shape.rollup.c[name] for name in names] if shape.by_model else sums(shape, names)


def sums(shape: Shape, names: Sequence[str]) -> list[ColumnElement[Any]]:
    """Totals, 0 of nothing. PostgreSQL sums bigint to numeric; the cast back raises where it would not fit."""
    return [cast(func.coalesce(func.sum(shape.rollup.c[name]), _ZERO), BigInteger).label(name) for name in names]
