"""SQLAlchemy builds and compiles statements; asyncpg runs them. There is no SQLAlchemy engine."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select
from sqlalchemy.dialects.postgresql import asyncpg

from analytics_core.database import ReadSession

_DIALECT: Any = asyncpg.dialect()  # type: ignore[no-untyped-call]


@dataclass(frozen=True, slots=True)
class Statement:
    """SQL with `$1 …` and the name of the value that each of them takes."""

    sql: str
    names: tuple[str, ...]


def compiled(select: Select[Any]) -> Statement:
    """The statement for asyncpg. Takes 0.7 ms, three times the run of a small query: keep it, a shape at a time.

    The same shape is the same text, which asyncpg keeps prepared on each connection.
    """
    result: Any = select.compile(dialect=_DIALECT)
    return Statement(str(result), tuple(result.positiontup))


async def fetch(session: ReadSession, statement: Statement, values: Mapping[str, object]) -> list[Any]:
    """The rows of a compiled statement."""
    return await session.fetch(statement.sql, *(values[name] for name in statement.names))
