"""Ingest and rollup are killed at every point of their transactions; afterwards every number is the ledger's."""

import random
from itertools import cycle, islice

import pytest

from analytics_core.testing.builders import ORG_ID
from tests.crash.ledger import ROLLED_UP, Ledger, sums
from tests.crash.stage import CrashStage
from tests.support.processes import ServiceProcesses

INGEST = ("before_cas", "after_cas", "mid_copy", "before_commit", "after_commit")
ROLLUP = ("after_claim", "before_mark", "before_dimensions_mark", "before_commit", "after_commit")
PIECE = 1_000

pytestmark = pytest.mark.timeout(3600)


async def test_killed_at_every_point_it_ends_with_every_event_once(
    stage: CrashStage, ledger: Ledger, seed: int, rounds: int
) -> None:
    """Each process dies only at its point, so that a run in which one was not hit cannot pass."""
    chance = random.Random(seed)
    points = [(each, other) for each, other in zip(INGEST * rounds, islice(cycle(ROLLUP), 5 * rounds), strict=True)]
    chance.shuffle(points)
    async with stage.publishing(ledger, PIECE, ahead=6 * PIECE):
        for ingest_point, rollup_point in points:
            # At least one batch commits before the blow, and so there is something to fold.
            ingest = stage.launch("ingest", ingest_point, after=chance.randint(2, 4))
            rollup = stage.launch("rollup", rollup_point)
            await stage.died(ingest, ingest_point)
            await stage.died(rollup, rollup_point)
        stage.launch("ingest")
        stage.launch("rollup")
        await stage.until(lambda: stage.position() >= ledger.confirmed - 6 * PIECE, "work after the last blow")
    await stage.caught_up(ledger)
    await stage.folded()

    ledger.check(stage)
    ledger.check_rollups(stage)
    await check_replay(stage, ledger)


async def check_replay(stage: CrashStage, ledger: Ledger) -> None:
    """The whole stream once more, from its beginning: not a row and not a sum may change."""
    before = sums(stage, ROLLED_UP.format(table="usage_hourly"))
    stage.command("partitions", "reset", "--partition", "0", "--to", "0")
    await stage.caught_up(ledger, times=2)
    await stage.folded()

    ledger.check(stage, times=2)
    assert sums(stage, ROLLED_UP.format(table="usage_hourly")) == before
    assert sum(events for (org, _), (events, _, _) in before.items() if org == str(ORG_ID)) > 0


def test_a_service_has_no_point_to_be_killed_at(stage: CrashStage, service_processes: ServiceProcesses) -> None:
    """The variables mean nothing to the installed program, and what understands them does not run in production."""
    armed = {"CRASH_POINT": "before_commit", "CRASH_AFTER": "1", "CRASH_ACTION": "kill"}
    service = service_processes.start("analytics-ingest", stage.env(**armed))
    refused = service_processes.start(
        "analytics-ingest", stage.env(ENVIRONMENT="production", **armed), wait=False, launcher="tests.crash.launcher"
    )

    assert refused.wait(60) == 2
    assert "does not run in production" in refused.log()
    assert service.exit_code is None
    assert "crash_point" not in service.log()
