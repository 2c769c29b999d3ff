"""The only module that opens and commits transactions.

`ReadDatabase` can only read: its sessions are PostgreSQL read-only transactions. `WriteDatabase` adds write sessions,
one transaction each, committed when the block ends and rolled back when it raises.

A session sees the rows of the scope that it was opened with, and of nobody without one: row-level security, whose
settings end with the transaction. It holds for query-api and export; ingest and rollup work on everybody's rows.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, ClassVar, Self

import asyncpg

from analytics_core.access import OrgScope, PlatformScope
from analytics_core.telemetry.logs import redact_text

# A pool must hand out a connection quickly or say no: callers behind it hold requests and memory.
ACQUIRE_TIMEOUT_SECONDS = 10.0
CONNECT_TIMEOUT_SECONDS = 5.0


class ConnectionFailed(ConnectionError):
    """The database's server could not be connected to. Its own class: of files and pipes there are OSErrors, too."""


UNREACHABLE = (
    OSError,
    TimeoutError,
    asyncpg.InterfaceError,
    # "cannot switch to state …": asyncpg's words when the server has ended a connection that was idle a moment ago.
    asyncpg.InternalClientError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
)
"""What a query raises while the server is away: worth trying again, no fault of the query."""

CONTENDED = (asyncpg.TransactionRollbackError, asyncpg.LockNotAvailableError, asyncpg.QueryCanceledError)
"""Deadlocks, lock timeouts and statements that took too long: others were in the way, trying again helps."""

READ_ONLY = (asyncpg.ReadOnlySQLTransactionError,)
"""What a write raises on a standby: for the moment of a failover, or with a wrong address for ever."""

BAD_DATA = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)
"""What a statement raises because of the values in it: trying again does not help."""

REFUSED = (asyncpg.PostgresError,)
"""Anything that the server answers with an error, the above included."""

_WRONG_ADDRESS = (
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    # A database without our tables: another product's, or one that was not migrated.
    asyncpg.UndefinedTableError,
    *READ_ONLY,
)
"""What a server answers to a wrong password, user or database name, or from a standby."""


def database_problem(error: Exception) -> str | None:
    """What an operator shall look at, in one line without the password. None: the database is not what failed."""
    match error:
        # An OSError alone says nothing: closed pipes and full disks are some.
        case OSError() if not isinstance(error, (ConnectionFailed, TimeoutError)):
            return None
        case _ if isinstance(error, UNREACHABLE):
            problem = "cannot reach the database"
        case _ if isinstance(error, CONTENDED):
            problem = "the database could not finish, try again"
        case _ if isinstance(error, _WRONG_ADDRESS):
            problem = "the database refuses"
        case _:
            return None
    # The server's errors may have more lines: details and hints.
    said = str(error).partition("\n")[0]
    return redact_text(f"DATABASE_URL: {problem}: {type(error).__name__}: {said}")


Scope = OrgScope | PlatformScope
"""Whose rows a session sees."""


_ENDINGS: ContextVar[set[asyncio.Task[None]] | None] = ContextVar("_ENDINGS", default=None)


@asynccontextmanager
async def sessions_end_behind() -> AsyncIterator[None]:
    """Read sessions end while the block goes on, with an answer for example; all have ended when this returns."""
    endings: set[asyncio.Task[None]] = set()
    token = _ENDINGS.set(endings)
    try:
        yield
    finally:
        _ENDINGS.reset(token)
        if endings:
            await asyncio.wait(endings)


@dataclass(frozen=True, slots=True)
class ReadSession:
    """One read-only transaction; every statement sees the same snapshot only if `repeatable` was asked for."""

    connection: Any

    async def fetch(self, query: str, *args: object) -> list[Any]:
        """All rows."""
        return list(await self.connection.fetch(query, *args))

    async def fetch_row(self, query: str, *args: object) -> Any | None:
        """The first row, or None."""
        return await self.connection.fetchrow(query, *args)

    async def fetch_value(self, query: str, *args: object) -> Any:
        """The first column of the first row, or None."""
        return await self.connection.fetchval(query, *args)

    def stream(self, query: str, *args: object, prefetch: int = 1000) -> AsyncIterator[Any]:
        """Rows one by one from a server-side cursor, `prefetch` at a time in memory."""
        cursor: AsyncIterator[Any] = self.connection.cursor(query, *args, prefetch=prefetch)
        return cursor

    async def copy_csv(self, query: str, *args: object, sink: Callable[[bytes], Awaitable[None]]) -> int:
        """`COPY (query) TO STDOUT` with a header line, piece by piece into `sink`; the number of rows.

        The server waits while `sink` does. Arguments reach the query as literals, quoted by the server.
        """
        tag: str = await self.connection.copy_from_query(query, *args, output=sink, format="csv", header=True)
        return int(tag.rpartition(" ")[2])

    async def copy_lines(self, query: str, *args: object, sink: Callable[[bytes], Awaitable[None]]) -> int:
        """As `copy_csv` for one column that has no control characters, such as JSON: a value a line, as it is."""
        # Delimiter and quote are what cannot occur, so nothing is ever quoted.
        tag: str = await self.connection.copy_from_query(
            query, *args, output=sink, format="csv", delimiter="\x01", quote="\x02"
        )
        return int(tag.rpartition(" ")[2])


@dataclass(frozen=True, slots=True)
class WriteSession(ReadSession):
    """One read-write transaction."""

    async def execute(self, query: str, *args: object) -> int:
        """Run a statement; the number of rows that it inserted, changed or deleted (0 for anything else)."""
        tag: str = await self.connection.execute(query, *args)
        count = tag.rpartition(" ")[2]
        return int(count) if count.isdigit() else 0

    async def copy_records(self, table: str, columns: Sequence[str], records: Iterable[Sequence[object]]) -> None:
        """Binary `COPY` into a table that the search path finds (a temporary one, or one in `analytics`)."""
        await self.connection.copy_records_to_table(table, columns=columns, records=records)

    async def copy_binary(self, table: str, columns: Sequence[str], data: bytes) -> None:
        """The same for rows that are in PostgreSQL's binary COPY format already, header and trailer included."""

        async def source() -> AsyncIterator[bytes]:
            yield data

        await self.connection.copy_to_table(table, source=source(), columns=columns, format="binary")


class ReadDatabase:
    """A pool whose sessions can only read. Opens connections when they are first needed, never on construction."""

    # Beside the read-only transactions: what runs outside of one cannot write either.
    _ACCESS: ClassVar[dict[str, str]] = {"default_transaction_read_only": "on"}

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        dsn: str,
        *,
        application_name: str,
        pool_size: int,
        statement_timeout: timedelta = timedelta(seconds=60),
    ) -> AsyncIterator[Self]:
        """A pool for the length of the block. An unreachable server raises at the first session, not here."""
        pool = asyncpg.create_pool(
            dsn,
            min_size=0,
            max_size=pool_size,
            timeout=CONNECT_TIMEOUT_SECONDS,
            connect=_connect,
            # Connections carry prepared statements and temporary tables that are worth keeping.
            max_inactive_connection_lifetime=0,
            # Nothing to undo: what a session sets ends with its transaction. The driver's own way is a round trip more.
            reset=_leave_as_it_is,
            server_settings=cls._server_settings(application_name, statement_timeout) | cls._ACCESS,
        )
        async with pool:
            yield cls(pool)

    @staticmethod
    def _server_settings(application_name: str, statement_timeout: timedelta) -> dict[str, str]:
        return {
            "application_name": application_name,
            "search_path": "analytics, public",
            "timezone": "UTC",
            "statement_timeout": str(statement_timeout // timedelta(milliseconds=1)),
            "idle_in_transaction_session_timeout": "60000",
        }

    @asynccontextmanager
    async def read(self, scope: Scope | None = None, *, repeatable: bool = False) -> AsyncIterator[ReadSession]:
        """A read-only transaction over the scope's rows; `repeatable` gives all its statements one snapshot.

        Within `sessions_end_behind` the block does not wait for its end: what was read stays true, come what may.
        """
        isolation = "REPEATABLE READ" if repeatable else "READ COMMITTED"
        connection = await self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS)
        try:
            await connection.execute(f"BEGIN ISOLATION LEVEL {isolation} READ ONLY; {_limit_to(scope)}")
            yield ReadSession(connection)
        finally:
            ending = asyncio.create_task(self._end(connection))
            endings = _ENDINGS.get()
            if endings is None:
                await asyncio.shield(ending)
            else:
                endings.add(ending)
                ending.add_done_callback(endings.discard)

    async def _end(self, connection: Any) -> None:
        try:
            await connection.execute("COMMIT")
        except (*UNREACHABLE, *REFUSED):
            # Nothing is lost with it but the connection, which nobody shall get in this state.
            connection.terminate()
        finally:
            await self._pool.release(connection)

    async def ping(self) -> None:
        """Return when the server answers; raises one of `UNREACHABLE` when it does not."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            await connection.fetchval("SELECT 1")


class WriteDatabase(ReadDatabase):
    """A pool whose sessions may also write what the service's role is granted."""

    _ACCESS: ClassVar[dict[str, str]] = {}

    @asynccontextmanager
    async def write(
        self, scope: Scope | None = None, *, synchronous_commit: bool = True
    ) -> AsyncIterator[WriteSession]:
        """A read-write transaction in READ COMMITTED over the scope's rows, committed at the end of the block.

        `synchronous_commit=False` lets a server crash undo the last moments of commits, whole and in order: only for
        transactions whose input position rolls back with them.
        """
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection, connection.transaction():
            settings = ("" if synchronous_commit else "SET LOCAL synchronous_commit = off;") + _limit_to(scope)
            if settings:
                await connection.execute(settings)
            yield WriteSession(connection)

    async def execute(self, query: str, *args: object) -> None:
        """One statement as a transaction of its own, committed when this returns: a round trip in place of three."""
        async with self._pool.acquire(timeout=ACQUIRE_TIMEOUT_SECONDS) as connection:
            await connection.execute(query, *args)


def _limit_to(scope: Scope | None) -> str:
    """SET LOCAL: a pooler may give the connection to somebody else after this transaction."""
    match scope:
        case OrgScope():
            return f"SET LOCAL app.org_id = '{scope.org_id}'"
        case PlatformScope():
            return "SET LOCAL app.scope = 'platform'"
    return ""


async def _connect(*args: Any, **kwargs: Any) -> Any:
    try:
        return await asyncpg.connect(*args, **kwargs)
    except TimeoutError:
        raise
    except OSError as error:
        raise ConnectionFailed(str(error)) from error


async def _leave_as_it_is(connection: Any) -> None:
    pass
