"""What retention has dropped is refused: what is left of a range would pass for the whole of it."""

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
import pytest_asyncio

from analytics_core.buckets import SETTLE
from analytics_core.database import WriteDatabase
from analytics_core.families import FAMILIES
from analytics_rollup.dimensions import fold_dimensions
from analytics_rollup.fold import Claim, fold
from analytics_rollup.retention import drop_old_chunks
from tests.integration.query_api.conftest import Api, OpenApi
from tests.integration.query_api.numbers import NOW
from tests.support.batches import Batch, StoredEvent, in_batches, store
from tests.support.stack import Database

FIRST = datetime(2025, 9, 28, tzinfo=UTC)
NOVEMBER = "2025-11-01T00:00:00+01:00"
LATER = "2025-10-13T00:00:00+02:00"
BERLIN: dict[str, Any] = {"granularity": "day", "timezone": "Europe/Berlin"}
OCTOBER: dict[str, Any] = {"start": "2025-10-01T00:00:00+02:00", "end": "2025-10-12T00:00:00+02:00"}
EXACT_DAYS: dict[str, Any] = {"granularity": "day", "start": "2025-10-01T00:00:00Z", "end": "2025-10-12T00:00:00Z"}


@pytest_asyncio.fixture
async def place(make_database: Callable[..., Database]) -> AsyncIterator[Database]:
    """A database whose stream is read until now, with all days closed."""
    place = make_database()
    with psycopg.connect(place.superuser_dsn) as connection:
        connection.execute(
            "INSERT INTO analytics.stream_offsets (stream, partition, accepted_through) VALUES ('t', 0, %s)", [NOW]
        )
    yield place


async def fold_all(database: WriteDatabase) -> None:
    while await fold(database, Claim()) or await fold_dimensions(database, Claim()):
        pass


def rollup_database(place: Database) -> Any:
    return WriteDatabase.open(place.dsn("analytics_rollup"), application_name="test", pool_size=2)


async def test_a_range_that_has_lost_rows_is_refused(place: Database, open_api: OpenApi) -> None:
    """Days of a zone and hours lose theirs before days of UTC do; totals are those of the whole range or none."""
    org_id = uuid4()
    events = [StoredEvent(FIRST + timedelta(hours=hour, minutes=5), org_id=org_id) for hour in range(24 * 20)]
    store(place.dsn("analytics_ingest"), in_batches(events, 500))
    async with (
        rollup_database(place) as database,
        open_api(database_url=place.dsn("analytics_query_api")) as api,
    ):
        await fold_all(database)
        asked: list[dict[str, Any]] = [
            BERLIN | OCTOBER,
            BERLIN | OCTOBER | {"limit": 1},
            {"granularity": "hour"} | OCTOBER,
            {"granularity": "hour", "groupBy": "model"} | OCTOBER,
            {"granularity": "month", "timezone": "Europe/Berlin", "start": OCTOBER["start"], "end": NOVEMBER},
        ]
        before = [(await api.get(f"/orgs/{org_id}/usage", **each)).json()["totals"]["invocations"] for each in asked]
        ages = {"usage_events": timedelta(days=402)}
        ages |= {rollup.table: timedelta(days=396) for family in FAMILIES.values() for rollup in family.rollups}
        assert await drop_old_chunks(database, ages)
        answers = [await api.get(f"/orgs/{org_id}/usage", **each) for each in asked]
        days = await api.get(f"/orgs/{org_id}/usage", **EXACT_DAYS)
        compared = await api.get(
            f"/orgs/{org_id}/usage", **BERLIN, start=LATER, end="2025-10-20T00:00:00+02:00", compare="previous"
        )

    assert before == [264, 264, 264, 264, 410]
    assert [answer.status_code for answer in answers] == [422] * 5
    assert [answer.json()["errors"][0]["field"] for answer in answers] == ["start"] * 5
    assert "kept from 2025-10-" in answers[0].json()["detail"]
    assert days.json()["totals"]["invocations"] == 264
    assert (compared.status_code, compared.json()["errors"][0]["field"]) == (422, "compare")


@pytest.mark.parametrize("group_by", ["actor", "client,actor"])
async def test_a_late_event_revises_what_is_counted_from_rollups_and_from_events(
    place: Database, open_api: OpenApi, group_by: str
) -> None:
    """A finalized bucket never changes without a word, whichever way it is counted."""
    org_id, midnight = uuid4(), datetime(2026, 3, 8, tzinfo=UTC)
    event: dict[str, Any] = {"org_id": org_id, "actor_id": "ada", "client_id": "key"}
    day: dict[str, Any] = {"start": "2026-03-08T00:00:00Z", "end": "2026-03-09T00:00:00Z", "granularity": "day"}
    found = []
    async with (
        rollup_database(place) as database,
        open_api(database_url=place.dsn("analytics_query_api")) as api,
    ):
        for accepted in (midnight + timedelta(hours=5, minutes=1), midnight + timedelta(days=1) + SETTLE):
            stored = StoredEvent(midnight + timedelta(hours=5), **event)
            store(place.dsn("analytics_ingest"), [Batch([stored], accepted)])
            await fold_all(database)
            (point,) = (await api.get(f"/orgs/{org_id}/usage", **day, groupBy=group_by)).json()["series"]
            found.append((point["invocations"], point["confidence"], point["revision"], bool(point["revisedAt"])))

    assert found == [(1, "finalized", 0, False), (2, "finalized", 1, True)]


async def test_the_week_in_which_clocks_go_back_can_be_compared(api: Api, org_id: UUID) -> None:
    """It has an hour more than the week that is asked for."""
    week: dict[str, Any] = BERLIN | {
        "start": "2025-10-27T00:00:00+01:00",
        "end": "2025-11-03T00:00:00+01:00",
        "groupBy": "client,actor",
    }

    answers = [
        await api.get(f"/orgs/{org_id}/{report}", **week, compare="previous") for report in ("usage", "reliability")
    ]

    assert [answer.status_code for answer in answers] == [200, 200]
