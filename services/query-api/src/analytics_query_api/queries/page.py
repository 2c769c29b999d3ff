"""The points of a page by column: what all of them have of a thing lies together, so that most work is a loop in C."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import numpy.typing as npt

from analytics_core.query.statements import Position
from analytics_query_api.latencies import BIGINT

_EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""What PostgreSQL counts microseconds from."""
# What `array_send` writes before the elements: dimensions, flags and type, then size and lower bound of each dimension.
_HEADER_BYTES = {1: 20, 2: 28}


@dataclass(frozen=True, slots=True)
class Page:
    """Buckets, groups in the order of the question, and numbers by their names; all equally long."""

    buckets: Sequence[datetime]
    groups: tuple[Sequence[Any], ...]
    columns: Mapping[str, Sequence[Any]]

    @classmethod
    def of_rows(cls, rows: Sequence[Any], groups: int, names: Sequence[str]) -> "Page":
        """Rows of `series_statement` as they are."""
        found = list(zip(*rows, strict=True)) or [()] * (1 + groups + len(names))
        return cls(found[0], tuple(found[1 : 1 + groups]), dict(zip(names, found[1 + groups :], strict=True)))

    @classmethod
    def of_columns(cls, row: Any, groups: int, names: Sequence[str]) -> "Page":
        """The one row of `series_statement(form=Form.COLUMNS)`."""
        if row is None or row["numbers"] is None:
            return cls.of_rows([], groups, names)
        others = [name for name in names if name in row.keys()]  # noqa: SIM118 — of a record, `in` looks at values
        numbers = [name for name in names if name not in others]
        values = _elements(row["numbers"], 2).reshape(-1, len(numbers)).T.tolist()
        columns = dict(zip(numbers, values, strict=True)) | {name: row[name] for name in others}
        times = _elements(row["bucket_start"], 1).tolist()
        known = {time: _EPOCH + timedelta(microseconds=time) for time in dict.fromkeys(times)}
        return cls([known[time] for time in times], tuple(row[1 : 1 + groups]), columns)

    def __len__(self) -> int:
        return len(self.buckets)

    def first(self, count: int) -> "Page":
        """The first points, all where there are no more."""
        if count >= len(self):
            return self
        columns = {name: values[:count] for name, values in self.columns.items()}
        return Page(self.buckets[:count], tuple(values[:count] for values in self.groups), columns)

    def keys(self) -> Iterable[tuple[Any, ...]]:
        """Bucket and groups of each point."""
        return zip(self.buckets, *self.groups, strict=True)

    def position(self, number: int) -> Position:
        """Behind a point."""
        return Position(tuple(str(values[number]) for values in self.groups), bucket=self.buckets[number])


def _elements(array: bytes, dimensions: int) -> npt.NDArray[np.int64]:
    return np.frombuffer(array, BIGINT, offset=_HEADER_BYTES[dimensions])["value"].astype(np.int64)
