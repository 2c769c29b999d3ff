"""Several processes share a super stream: evenly, also when one goes, and whatever partition an event is in."""

import asyncio
from collections import Counter
from time import monotonic

from tests.integration.ingest.streaming import STREAM, IngestStage, metric, publish, wait_for
from tests.integration.ingest.test_ingest_service import bodies
from tests.support.processes import ServiceProcess
from tests.support.streams import Stream

PARTITIONS = 4
OWNERS = """
SELECT owner, count(*) AS owned FROM analytics.stream_offsets
WHERE lease_until > clock_timestamp() AND owner IS NOT NULL GROUP BY owner
"""


def shares(stage: IngestStage) -> list[int]:
    """How many partitions each owner has, most first."""
    return sorted((row["owned"] for row in stage.rows(OWNERS)), reverse=True)


def epochs(stage: IngestStage) -> int:
    """How often partitions have changed hands."""
    return int(stage.value("SELECT sum(epoch) FROM analytics.stream_offsets"))


async def until_shared(stage: IngestStage, *expected: int) -> None:
    await asyncio.to_thread(wait_for, lambda: shares(stage) == list(expected), f"shares {expected}")


async def start(stage: IngestStage, lease: str = "12s") -> ServiceProcess:
    return await asyncio.to_thread(stage.start, RABBITMQ_STREAM_PARTITIONS=str(PARTITIONS), INGESTION_LEASE=lease)


async def publish_everywhere(stage: IngestStage, first: int) -> None:
    """40 events, ten into each partition, and each of them into the next partition, too."""
    for partition in range(PARTITIONS):
        share = bodies(10, first + 10 * partition)
        await publish(stage.rabbitmq, share, f"{STREAM}-{partition}")
        await publish(stage.rabbitmq, share, f"{STREAM}-{(partition + 1) % PARTITIONS}")


async def test_partitions_follow_the_processes_that_come_and_go(stage: IngestStage) -> None:
    """Joining takes a fair share and no more; leaving gives it back at once; a kill costs its lease's length."""
    # Made before: several partitions that declare it at once get in each other's way, and trouble delays balancing.
    await Stream(stage.rabbitmq, STREAM, tuple(f"{STREAM}-{number}" for number in range(PARTITIONS))).create()
    one = await start(stage)
    await until_shared(stage, 4)
    two = await start(stage)
    await until_shared(stage, 2, 2)
    three = await start(stage)
    await until_shared(stage, 2, 1, 1)
    moved = epochs(stage)
    await publish_everywhere(stage, 0)
    await asyncio.to_thread(stage.wait_until_received, 80)

    assert await asyncio.to_thread(two.stop) == 0
    left_at = monotonic()
    await until_shared(stage, 2, 2)
    taken_over_in = monotonic() - left_at
    one.kill()
    await publish_everywhere(stage, 40)
    await asyncio.to_thread(stage.wait_until_received, 160)

    # One to begin with for each partition, two given to the second process, one to the third.
    assert moved == PARTITIONS + 2 + 1
    assert taken_over_in < 10, "only the end of its lease of 12 s set the partition free"
    assert shares(stage) == [4]
    assert [metric(three, "analytics_ingestion_lease_owner", partition=str(number)) for number in range(4)] == [1] * 4
    assert stage.totals() == {"received": 160, "stored": 80, "duplicates": 80, "conflicts": 0, "rejected": 0}
    assert stage.value("SELECT count(DISTINCT event_id) FROM analytics.usage_events") == 80


async def test_one_event_in_two_partitions_is_stored_once(stage: IngestStage) -> None:
    """Client libraries hash an organisation to different partitions, so that nothing may depend on where it lands."""
    both = bodies(500)
    for partition in (0, 1):
        await publish(stage.rabbitmq, both, f"{STREAM}-{partition}")
    running = [await asyncio.to_thread(stage.start, wait=False, RABBITMQ_STREAM_PARTITIONS="2") for _ in range(2)]
    totals = await asyncio.to_thread(stage.wait_until_received, 1000)

    assert (totals["stored"], totals["duplicates"], totals["conflicts"]) == (500, 500, 0)
    stored = Counter(row["event_id"] for row in stage.rows("SELECT event_id FROM analytics.usage_events"))
    assert set(stored.values()) == {1}
    assert all(process.exit_code is None for process in running)
