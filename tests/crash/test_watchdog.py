"""A process that is stuck for good ends itself, and the one that is started in its place goes on exactly once."""

import pytest

from analytics_ingest.watchdog import EXIT_STUCK
from tests.crash.ledger import Ledger
from tests.crash.stage import CrashStage
from tests.support.fault_proxy import FaultProxy
from tests.support.processes import ServiceProcess

pytestmark = pytest.mark.timeout(300)
EVENTS = 2_000
SHORT = "WATCHDOG_PATIENCE=6"


async def test_a_blocked_event_loop_ends_the_process(stage: CrashStage, ledger: Ledger) -> None:
    """In the middle of a batch; nothing in the loop could notice."""
    await stage.publish(ledger, EVENTS)
    stuck = stage.launch("ingest", "after_cas", action="block", CRASH_LIMITS=SHORT)
    await ends_and_is_replaced(stage, ledger, stuck)


async def test_a_database_connection_that_hangs_within_a_batch_ends_the_process(
    stage: CrashStage, ledger: Ledger
) -> None:
    """Half open: the driver waits for its answer for ever, and so does everything behind it."""
    url, port = stage.database.dsn("analytics_ingest"), stage.database.stack.ports.postgres
    await stage.publish(ledger, EVENTS)
    async with FaultProxy.open("127.0.0.1", port) as proxy:
        through = url.replace(f":{port}/", f":{proxy.port}/")
        stuck = stage.launch("ingest", "after_cas", action="freeze", CRASH_LIMITS=SHORT, DATABASE_URL=through)
        await stage.frozen(stuck, "after_cas")
        proxy.freeze()
        stuck.thaw()
        await ends_and_is_replaced(stage, ledger, stuck)


async def ends_and_is_replaced(stage: CrashStage, ledger: Ledger, stuck: ServiceProcess) -> None:
    await stage.until(lambda: stuck.exit_code is not None, "the watchdog ends the process")
    assert stuck.exit_code == EXIT_STUCK
    assert '"message": "stuck"' in stuck.log()
    assert "most recent call first" in stuck.log()
    assert stage.position() == 0

    stage.launch("ingest")
    await stage.publish(ledger, EVENTS)
    await stage.caught_up(ledger)
    ledger.check(stage)
