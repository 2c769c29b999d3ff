"""Takes one guard of exactly-once away, to see the suite turn red without it.

`no-epoch`, `no-position`: that half of the compare-and-set. `no-cas`: both. `no-lease-guard`: owners do not watch their
lease. `offset-first`: the position is committed before the events. `double-fold`: batches are folded and not marked.
"""

from collections.abc import Mapping
from typing import Any

_CUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "no-epoch": (("AND epoch = $3", "AND $3::bigint IS NOT NULL"),),
    "no-position": (("AND next_offset = $4", "AND $4::bigint IS NOT NULL"),),
}
_CUTS["no-cas"] = (*_CUTS["no-epoch"], *_CUTS["no-position"])
DOUBLE_FOLDS = 3

_changed: dict[str, str] = {}


def statements(queries: Mapping[str, str]) -> dict[str, str]:
    """The statements as they are run now, by name."""
    return {name: _changed.get(text, text) for name, text in queries.items()}


def commit(names: str, script: str) -> None:
    """Commit the sabotage of these names, separated by commas, as far as it concerns the service."""
    for name in filter(None, names.split(",")):
        if name == "double-fold":
            if script == "analytics-rollup":
                _fold_twice()
        elif script == "analytics-ingest":
            if name in _CUTS:
                _cut_statement(name)
            else:
                {"no-lease-guard": _ignore_lease, "offset-first": _commit_offset_first}[name]()


def _cut_statement(name: str) -> None:
    from analytics_ingest import persist

    text = changed = persist.QUERIES["advance_offset"]
    for guard, nothing in _CUTS[name]:
        assert guard in changed, f"advance_offset has no {guard!r} any more"
        changed = changed.replace(guard, nothing)
    _changed[text] = changed
    persist.QUERIES = {**persist.QUERIES, "advance_offset": changed}


def _ignore_lease() -> None:
    import asyncio

    from analytics_ingest.leases import Lease, Leases

    async def keep(leases: Leases, lease: Lease) -> None:
        """Neither stops at the lease's end nor when somebody else has taken it; commits renew it."""
        await asyncio.Event().wait()

    Lease.require = lambda _: None  # type: ignore[method-assign,assignment]
    Leases.keep = keep  # type: ignore[method-assign,assignment]


def _commit_offset_first() -> None:
    from analytics_core.database import WriteDatabase, WriteSession
    from analytics_ingest import persist

    plain = persist._write

    async def write(session: WriteSession, *arguments: Any) -> Any:
        fetch_row = WriteSession.fetch_row

        async def in_own_transaction(self: WriteSession, query: str, *values: object) -> Any:
            if query != persist.QUERIES["advance_offset"]:
                return await fetch_row(self, query, *values)
            async with WriteDatabase(self.connection._holder._pool).write() as first:
                return await fetch_row(first, query, *values)

        WriteSession.fetch_row = in_own_transaction  # type: ignore[method-assign,assignment]
        try:
            return await plain(session, *arguments)
        finally:
            WriteSession.fetch_row = fetch_row  # type: ignore[method-assign]

    persist._write = write  # type: ignore[assignment]


def _fold_twice() -> None:
    from analytics_core.database import WriteSession
    from analytics_rollup import fold

    plain = WriteSession.execute
    left = DOUBLE_FOLDS

    async def execute(session: WriteSession, query: str, *values: object) -> int:
        nonlocal left
        if query == fold.QUERIES["mark_folded"] and left:
            left -= 1
            return 0
        return await plain(session, query, *values)

    WriteSession.execute = execute  # type: ignore[method-assign,assignment]
