"""What the links of the audit trail look like from outside while they cannot be made."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import REGISTRY

from analytics_core.database import WriteDatabase
from analytics_core.lifecycle import Backoff
from analytics_query_api.audit.chain import Chainer
from analytics_query_api.audit.hashing import ChainKeys
from analytics_query_api.metrics import AUDIT_UNLINKED_AGE


async def test_records_without_a_link_get_older_while_the_database_is_away(
    free_port: Callable[[], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody can count them then, and the alert must not take the last figure for the present."""
    monkeypatch.setattr(Backoff, "next_seconds", lambda _: 0.01)
    stop = asyncio.Event()
    away = f"postgres://nobody@127.0.0.1:{free_port()}/nothing"
    AUDIT_UNLINKED_AGE.set(0)
    async with WriteDatabase.open(away, application_name="test", pool_size=1) as database:
        running = asyncio.create_task(Chainer(database, ChainKeys([b"k" * 32])).run(stop))
        async with asyncio.timeout(30):
            while not REGISTRY.get_sample_value("analytics_audit_unlinked_age_seconds"):  # noqa: ASYNC110 — a gauge
                await asyncio.sleep(0.01)
        stop.set()
        await running
