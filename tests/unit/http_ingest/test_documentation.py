"""The OpenAPI document's event is the contract's."""

import json
from pathlib import Path
from typing import Any

from analytics_core.lifecycle import Dependencies
from analytics_ingest.wiring import build_http_app

CONTRACT = Path(__file__).parents[3] / "contracts" / "events" / "usage_event.v1.schema.json"


def test_the_documented_event_has_the_contracts_fields() -> None:
    """A field that only one of the two knows would be a trap for generated clients."""
    contract = json.loads(CONTRACT.read_text())
    documented: dict[str, Any] = build_http_app(Dependencies({})).openapi_schema.to_schema()["components"]["schemas"]

    assert documented["UsageEvent"]["properties"].keys() == contract["properties"].keys()
    assert sorted(documented["UsageEvent"]["required"]) == sorted(contract["required"])
    assert documented["UsageEvent"]["properties"]["status"]["enum"] == contract["properties"]["status"]["enum"]
    for name, limit in (("modelId", 200), ("errorCode", 100)):
        assert documented["UsageEvent"]["properties"][name]["maxLength"] == limit
