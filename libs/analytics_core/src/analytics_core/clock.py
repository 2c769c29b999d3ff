"""The one place that reads the wall clock, so that tests can hold it still."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the current time as an aware UTC datetime."""


def now() -> datetime:
    """The current time, aware, in UTC."""
    return datetime.now(UTC)
