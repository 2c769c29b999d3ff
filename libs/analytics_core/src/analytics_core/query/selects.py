"""SELECTs for the shapes of questions; `statements` compiles them and knows the values for their parameters."""

from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    DateTime,
    FromClause,
    Integer,
    LargeBinary,
    Select,
    Text,
    Uuid,
    all_,
    and_,
    any_,
    bindparam,
    case,
    cast,
    column,
    func,
    literal_column,
    null,
    or_,
    select,
    table,
    tuple_,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, array
from sqlalchemy.sql.elements import Grouping

from analytics_core.buckets import SETTLE
from analytics_core.query.plan import Cells
from analytics_core.query.question import Dimension
from analytics_core.query.shape import Buckets, Order, Shape
from analytics_core.query.tables import SUMS, Source, rollup

_TIME: DateTime = DateTime(timezone=True)
_TIMES: ARRAY[Any] = ARRAY(_TIME)
_HISTOGRAM = {"bins": "latency_bins", "counts": "latency_counts"}
_FAILED = ("error_count", "timeout_count", "throttled_count")
_LATEST = ("revised_at", "last_event_at")
# `array_send` writes 20 bytes before the elements: dimensions, flags, type, and the bounds of the one dimension.
_FIRST_ELEMENT = literal_column("21", Integer)
_DAY: ColumnElement[Any] = literal_column("INTERVAL '1 day'")
_QUARTER: ColumnElement[Any] = literal_column("INTERVAL '15 minutes'")
_SETTLE: ColumnElement[Any] = literal_column(f"INTERVAL '{SETTLE // timedelta(minutes=1)} minutes'")
_EPOCH: ColumnElement[Any] = literal_column("'epoch'::timestamptz")
_NO_BYTES = literal_column("''::bytea", type_=LargeBinary)


def plain(shape: Shape) -> Select[Any]:
    """The rows of one table as they are: its primary key's index has them in order, so that a limit ends the scan."""
    rows = _rows(shape, 0)
    key = [rows.selected_columns.bucket_start, *(rows.selected_columns[item.column] for item in shape.group_by)]
    found = rows.with_only_columns(*key, *(_as_it_is(rows, name) for name in shape.columns))
    if shape.continued:
        after = [bindparam("after_bucket", type_=_TIME), *_after(shape)]
        # The part starts at that bucket: the index finds the place, this leaves out what was there before.
        found = found.where(tuple_(*key) > tuple_(*after))
    return _limited(found.order_by(*key), shape)


def grouped(shape: Shape) -> Select[Any]:
    """The rows of all parts added up by bucket and group."""
    selects = [_rows(shape, number) for number in range(len(shape.parts))]
    rows = (union_all(*selects) if len(selects) > 1 else selects[0]).subquery("cells")
    groups: list[ColumnElement[Any]] = [rows.c[item.column] for item in shape.group_by]
    key = groups if shape.buckets is Buckets.NONE else [rows.c.bucket, *groups]
    shown = groups
    if shape.buckets is Buckets.BOUNDS:
        bounds: Any = Grouping(bindparam("bounds", type_=_TIMES))
        shown = [bounds[rows.c.bucket].label("bucket_start"), *groups]
    elif shape.buckets is Buckets.CELLS:
        shown = [rows.c.bucket.label("bucket_start"), *groups]
    found: Select[Any] = select(*shown, *(_added_up(rows, name) for name in shape.columns)).group_by(*key)
    if shape.order is Order.FAILED:
        return _limited(_by_failed(found, rows, groups, shape), shape)
    if shape.continued:
        found = found.having(_behind(shape, groups, rows))
    return _limited(found.order_by(*key), shape)


def in_columns(points: Select[Any], shape: Shape) -> Select[Any]:
    """The points as one row: for each thing that they have, an array in their order.

    A row for each point takes longer to send and to read than its numbers take to find. Times and numbers are bytes as
    `array_send` writes them, the numbers a point's after the other's; other columns are arrays of the driver's.
    """
    rows = points.subquery("points")
    numbers = array([cast(rows.c[name], BigInteger) for name in shape.columns if name not in _LATEST])
    return select(
        # Without a GROUP BY of their own, aggregates see the subquery's rows in its order.
        func.array_send(func.array_agg(rows.c.bucket_start)).label("bucket_start"),
        *(func.array_agg(rows.c[item.column]).label(item.column) for item in shape.group_by),
        func.array_send(func.array_agg(numbers)).label("numbers"),
        *(func.array_agg(rows.c[name]).label(name) for name in shape.columns if name in _LATEST),
    )


def in_days(points: Select[Any], shape: Shape) -> Select[Any]:
    """A row for each UTC day: `day`, the number of its `points`, and the `version` that all their values hash to.

    Equal versions are equal points, but for one change in 2^64.
    """
    rows = points.subquery("points")
    # Each hash is the seed of the next, so that a point's values count in their places; the points of a day are a set.
    version: ColumnElement[Any] = literal_column("0", BigInteger)
    for name in ("bucket_start", *shape.columns):
        version = _hashed(rows.c[name], name, version)
    for item in shape.group_by:
        version = func.hashtextextended(rows.c[item.column], version)
    day: ColumnElement[Any] = func.date_bin(_DAY, rows.c.bucket_start, _EPOCH).label("day")
    return select(day, func.count().label("points"), func.bit_xor(version).label("version")).group_by(day).order_by(day)


def _hashed(value: ColumnElement[Any], name: str, seed: ColumnElement[Any]) -> ColumnElement[Any]:
    if name == "bucket_start" or name in _LATEST:
        # Microseconds of today fit a float. A hash of null would be null, and leave the whole point out.
        time = func.coalesce(func.date_part(literal_column("'epoch'"), value), literal_column("0"))
        return func.hashfloat8extended(time, seed, type_=BigInteger)
    return func.hashint8extended(cast(value, BigInteger), seed, type_=BigInteger)


def _limited(found: Select[Any], shape: Shape) -> Select[Any]:
    return found.limit(bindparam("row_limit", type_=Integer)) if shape.limited else found


def _after(shape: Shape) -> list[ColumnElement[Any]]:
    return [bindparam(f"after_{item.column}", type_=_type(item)) for item in shape.group_by]


def _behind(shape: Shape, groups: list[ColumnElement[Any]], rows: FromClause) -> ColumnElement[bool]:
    """The groups of the position's bucket that come after it, and all of the later buckets."""
    if shape.buckets is Buckets.NONE:
        return tuple_(*groups) > tuple_(*_after(shape))
    # The plan begins with the bucket of the position, which is the first bound then.
    first = literal_column("1", Integer) if shape.buckets is Buckets.BOUNDS else bindparam("after_bucket", type_=_TIME)
    return tuple_(rows.c.bucket, *groups) > tuple_(first, *_after(shape))


def _by_failed(found: Select[Any], rows: FromClause, groups: list[ColumnElement[Any]], shape: Shape) -> Select[Any]:
    first, *others = (_sum(rows.c[name]) for name in _FAILED)
    failed = sum(others, first)
    found = found.having(failed > literal_column("0", BigInteger))
    if shape.continued:
        last = bindparam("after_failed", type_=BigInteger)
        found = found.having(or_(failed < last, and_(failed == last, tuple_(*groups) > tuple_(*_after(shape)))))
    return found.order_by(failed.desc(), *groups)


def _sum(summand: ColumnElement[Any]) -> ColumnElement[Any]:
    """Of bigints as bigint, 0 of nothing; raises where it would not fit."""
    return func.analytics.bigint_sum(summand, type_=BigInteger)


def _added_up(rows: FromClause, name: str) -> ColumnElement[Any]:
    if name in _HISTOGRAM:
        # Histograms one after the other are that of all calls; both aggregates see the rows in the same order.
        return func.string_agg(_elements(rows.c[_HISTOGRAM[name]]), _NO_BYTES).label(name)
    if name in _LATEST:
        return func.max(rows.c[name]).label(name)
    if name == "first_event_at":
        return func.min(rows.c[name]).label(name)
    return _sum(rows.c[name]).label(name)


def _as_it_is(rows: Select[Any], name: str) -> ColumnElement[Any]:
    if name in _HISTOGRAM:
        return _elements(rows.selected_columns[_HISTOGRAM[name]]).label(name)
    found: ColumnElement[Any] = rows.selected_columns[name]
    return found


def _elements(array: ColumnElement[Any]) -> ColumnElement[Any]:
    """The array's elements as bytes: a driver that builds lists of numbers takes as long as the query itself."""
    return func.substr(func.array_send(array, type_=LargeBinary), _FIRST_ELEMENT)


def _rows(shape: Shape, number: int) -> Select[Any]:
    """The rows of a part, with the columns that the statement needs."""
    source, cells = shape.parts[number]
    names = dict.fromkeys(_HISTOGRAM.get(name, name) for name in shape.columns)
    names |= dict.fromkeys(_FAILED if shape.order is Order.FAILED else ())
    rows = _events(source) if source.is_events else rollup(source.table, _stored(shape))
    found = select(*_bucket(shape, rows.c.bucket_start), *_groups(shape, rows), *(rows.c[name] for name in names))
    found = found.where(*_conditions(shape, number, rows))
    if source.is_events:
        span = _spans(number)
        inside = rows.c.bucket_start >= span.c.span_start, rows.c.bucket_start < span.c.span_end
        return found.select_from(span).where(*inside)
    listed = bindparam(f"listed_{number}", type_=_TIMES)
    if cells is Cells.LISTED:
        return found.where(rows.c.bucket_start == any_(listed))
    return found.where(rows.c.bucket_start != all_(listed)) if cells is Cells.OTHERS else found


def _stored(shape: Shape) -> frozenset[Dimension]:
    return frozenset((*shape.group_by, *shape.filtered)) - {Dimension.ORG}


def _bucket(shape: Shape, time: ColumnElement[Any]) -> list[ColumnElement[Any]]:
    if shape.is_plain:
        return [time]
    if shape.buckets is Buckets.BOUNDS:
        return [func.width_bucket(time, bindparam("bounds", type_=_TIMES), type_=Integer).label("bucket")]
    return [time.label("bucket")]


def _groups(shape: Shape, rows: FromClause) -> list[ColumnElement[Any]]:
    return [rows.c[item.column] for item in shape.group_by]


def _conditions(shape: Shape, number: int, rows: FromClause) -> list[ColumnElement[bool]]:
    """The organisations, the span and the filters. Without the outer bounds chunks are not excluded when planning."""
    found = [
        rows.c.org_id == bindparam("org_id", type_=Uuid)
        if shape.one_org
        else rows.c.org_id == any_(bindparam("org_ids", type_=ARRAY(Uuid))),
        rows.c.bucket_start >= bindparam(f"start_{number}", type_=_TIME),
        rows.c.bucket_start < bindparam(f"end_{number}", type_=_TIME),
    ]
    filters = (
        rows.c[item.column] == any_(bindparam(f"only_{item.column}", type_=ARRAY(_type(item))))
        for item in shape.filtered
    )
    return [*found, *filters]


def _spans(number: int) -> FromClause:
    starts, ends = bindparam(f"listed_{number}", type_=_TIMES), bindparam(f"listed_ends_{number}", type_=_TIMES)
    return func.unnest(starts, ends).table_valued("span_start", "span_end").render_derived(f"span_{number}")


def _events(source: Source) -> FromClause:
    """The events as a rollup of their own, as far as the rollups of the other families are.

    As in a rollup by quarters of an hour, an event that the broker accepted after its quarter was final revises it.
    """
    events = table(
        source.table,
        *(
            column(name)
            for name in ("org_id", "occurred_at", "batch_id", "model_id", "client_id", "actor_id", "status")
        ),
        *(column(name) for name in ("error_code", "project", "latency_ms")),
        *(column(name, BigInteger) for name in SUMS[4:]),
        schema="analytics",
    )
    names = ("batch_id", "dimensions_folded_at", "first_chunk_at")
    batches = table("ingestion_batches", *map(column, names), schema="analytics")
    event, batch, own = events.c, batches.c, batches.alias("own")
    unfolded = select(batch.batch_id).where(batch.dimensions_folded_at.is_(None))
    quarter = func.date_bin(_QUARTER, event.occurred_at, _EPOCH)
    is_late = own.c.first_chunk_at >= quarter + _QUARTER + _SETTLE
    one, empty = literal_column("1::bigint", BigInteger), literal_column("''", Text)
    outcomes = (("error_count", "error"), ("timeout_count", "timeout"), ("throttled_count", "throttled"))
    return (
        select(
            event.org_id,
            event.occurred_at.label("bucket_start"),
            event.model_id,
            *(func.coalesce(event[name], empty).label(name) for name in ("client_id", "actor_id", "error_code")),
            event.status,
            event.project,
            one.label("invocations"),
            *(
                cast(cast(event.status == literal_column(f"'{status}'"), Integer), BigInteger).label(name)
                for name, status in outcomes
            ),
            *(cast(event[name], BigInteger).label(name) for name in SUMS[4:]),
            array([func.analytics.latency_bin(event.latency_ms)]).label("latency_bins"),
            literal_column("ARRAY[1::bigint]").label("latency_counts"),
            event.occurred_at.label("first_event_at"),
            event.occurred_at.label("last_event_at"),
            func.coalesce(cast(is_late, Integer), literal_column("0", Integer)).label("revision"),
            case((is_late, own.c.dimensions_folded_at), else_=cast(null(), _TIME)).label("revised_at"),
        )
        .select_from(events.outerjoin(own, own.c.batch_id == event.batch_id))
        .where(event.batch_id.not_in(unfolded))
        .subquery("events")
    )


def _type(dimension: Dimension) -> Any:
    return Uuid if dimension is Dimension.ORG else Text
