"""The producer library's HTTP variant against the running service."""

from uuid import UUID, uuid4

import pytest

from analytics_client import Refused, UsageEvent
from analytics_client.http import HttpUsagePublisher
from tests.integration.http_ingest.conftest import WRITE, Ingest
from tests.support.callers import token
from tests.support.polling import eventually


def event(org_id: UUID) -> UsageEvent:
    return UsageEvent(
        org_id=org_id,
        model_id="gpt-4o",
        status="error",
        error_code="upstream_overloaded",
        latency_ms=420,
        input_tokens=100,
        output_tokens=50,
        cost_estimate_cents="0.000001",
        metadata={"project": "search", "name": "Zoë"},
    )


async def test_what_the_library_publishes_is_stored(ingest: Ingest, org_id: UUID) -> None:
    """More events than a request may hold, one of them foreign: each has its receipt."""
    sent = [event(org_id) for _ in range(1_500)]
    sent[1_200] = event(uuid4())
    async with HttpUsagePublisher(ingest.url, token(WRITE, orgs=[org_id])) as publisher:
        receipts = await publisher.publish_many(sent)

    assert [receipt.index for receipt in receipts] == list(range(1_500))
    assert [receipt.event_id for receipt in receipts] == [str(each.event_id) for each in sent]
    assert [receipt.index for receipt in receipts if receipt.status == "rejected"] == [1_200]
    assert receipts[1_200].reason == "foreign_org"
    eventually(lambda: len(ingest.stored(org_id)) == 1_499)


async def test_a_wrong_token_is_refused_at_once(ingest: Ingest, org_id: UUID) -> None:
    """No repetition mends it."""
    async with HttpUsagePublisher(ingest.url, token(orgs=[org_id])) as publisher:
        with pytest.raises(Refused, match="HTTP 403"):
            await publisher.publish(event(org_id))
