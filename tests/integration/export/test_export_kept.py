"""An export of what retention has dropped some of is refused: the rest would be a file that looks right."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest

from tests.integration.export.finance import Finance
from tests.support.batches import StoredEvent

RANGE = {"start": "2025-10-01T00:00:00+02:00", "end": "2025-10-20T00:00:00+02:00"}


@pytest.fixture
def lossy(finance: Finance) -> Finance:
    """An organisation with an October of events, of which retention has dropped some."""
    first = datetime(2025, 9, 28, tzinfo=UTC)
    org_id = finance.api.org_id
    finance.add([StoredEvent(first + timedelta(hours=hour), org_id=org_id) for hour in range(24 * 36)])
    dropped = datetime(2025, 10, 9, tzinfo=UTC)
    with psycopg.connect(finance.database.owner_dsn) as connection:
        for table in ("usage_events", "usage_hourly", "usage_quarter_hourly"):
            connection.execute(
                "INSERT INTO analytics.retained VALUES (%s, %s) ON CONFLICT DO NOTHING", [table, dropped]
            )
    return finance


@pytest.mark.parametrize(
    "question",
    [
        {"granularity": "monthly", "timezone": "Europe/Berlin"},
        {"granularity": "events"},
        {"granularity": "hourly"},
    ],
)
def test_it_is_refused_when_it_is_asked_for(lossy: Finance, question: dict[str, str]) -> None:
    body = question | {"timeRange": RANGE}

    refused = lossy.api.request("POST", "", json=body)

    assert refused.status_code == 422
    assert refused.json()["errors"][0]["field"] == "timeRange.start"
    assert "kept from 2025-10-09T00:00:00Z" in refused.json()["detail"]


def test_what_is_there_is_exported(lossy: Finance) -> None:
    """Days of UTC are kept for longer than hours."""
    days = {"start": "2025-10-01T00:00:00Z", "end": "2025-11-01T00:00:00Z"}

    assert lossy.api.finished(granularity="monthly", timeRange=days)["totals"]["events"] == 24 * 31
