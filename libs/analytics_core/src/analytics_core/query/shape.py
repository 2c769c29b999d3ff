"""Everything about a question that the text of its statement depends on."""

from dataclasses import dataclass
from enum import StrEnum

from analytics_core.query.plan import Cells
from analytics_core.query.question import Dimension
from analytics_core.query.tables import Source


class Buckets(StrEnum):
    """What becomes of the time: each cell a bucket, cells sorted into buckets, or one sum of everything."""

    CELLS = "cells"
    BOUNDS = "bounds"
    NONE = "none"


class Order(StrEnum):
    """By bucket and group, or the groups with most failed calls first, those without any left out."""

    KEY = "key"
    FAILED = "failed"


class Form(StrEnum):
    """How a series comes: a row for each point, one row of columns, or of each day only what its points hash to."""

    ROWS = "rows"
    COLUMNS = "columns"
    DAYS = "days"


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything that the text of a statement depends on."""

    parts: tuple[tuple[Source, Cells], ...]
    group_by: tuple[Dimension, ...]
    filtered: tuple[Dimension, ...]
    columns: tuple[str, ...]
    buckets: Buckets
    is_plain: bool
    order: Order = Order.KEY
    continued: bool = False
    limited: bool = False
    one_org: bool = True
    form: Form = Form.ROWS
