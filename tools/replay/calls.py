"""One call to a model as a source knows it: when it ended, and its tokens."""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import NamedTuple, TypeVar

T = TypeVar("T")

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


class Call(NamedTuple):
    """`occurred_us` counts microseconds since 1970 in UTC: integers add and sort faster than datetimes."""

    occurred_us: int
    input_tokens: int
    output_tokens: int


def microseconds(moment: datetime) -> int:
    """Microseconds since 1970, exactly."""
    return (moment - EPOCH) // MICROSECOND


def moment(occurred_us: int) -> datetime:
    """The inverse of `microseconds`."""
    return EPOCH + occurred_us * MICROSECOND


def blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Lists of `size` consecutive items; the last one may be shorter."""
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
