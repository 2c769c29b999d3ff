"""The AsyncAPI document is sound, and what the services send is what it describes."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import msgspec
import pytest
import yaml
from faststream.specification.asyncapi.v3_0_0.schema import ApplicationSchema
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from analytics_core import messages
from analytics_ingest.settings import Settings

CONTRACTS = Path(__file__).parents[2] / "contracts"
BASE_URI = "https://analytics.example/contracts"
DOCUMENT: dict[str, Any] = yaml.safe_load((CONTRACTS / "messages/asyncapi.yaml").read_text())
MESSAGES: dict[str, dict[str, Any]] = DOCUMENT["components"]["messages"]
INVALID = sorted((CONTRACTS / "messages/invalid").glob("*.json"))

ORG = UUID("5f0c1b1e-8c1d-4a52-9c55-0d6f4b7a9e10")
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
SENT: dict[str, list[msgspec.Struct]] = {
    "usageBatchCommitted": [
        messages.UsageBatchCommitted(batch_id=1, stream="analytics.usage.v1", partition=0, stored=0, committed_at=NOON)
    ],
    "rollupCompleted": [
        messages.RollupCompleted(org_ids=[ORG], folded_batches=1, completed_at=NOON.replace(microsecond=5)),
        messages.RollupCompleted(org_ids=None, folded_batches=40, completed_at=NOON),
    ],
    "exportRequested": [messages.ExportRequested(job_id=ORG)],
    "exportCompleted": [messages.ExportCompleted(job_id=ORG, org_id=ORG, status="succeeded")],
}


def registry() -> Registry[Any]:
    event = json.loads((CONTRACTS / "events/usage_event.v1.schema.json").read_text())
    return Registry().with_resources(
        [
            (f"{BASE_URI}/messages/asyncapi.yaml", DRAFT202012.create_resource(DOCUMENT)),
            (event["$id"], DRAFT202012.create_resource(event)),
        ]
    )


def validator(message: str) -> Draft202012Validator:
    pointer = f"{BASE_URI}/messages/asyncapi.yaml#/components/messages/{message}/payload/schema"
    return Draft202012Validator({"$ref": pointer}, registry=registry())


def references(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        if isinstance(node.get("$ref"), str):
            yield node["$ref"]
        for child in node.values():
            yield from references(child)
    elif isinstance(node, list):
        for child in node:
            yield from references(child)


def at_pointer(pointer: str) -> Any:
    node: Any = DOCUMENT
    for part in pointer.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_the_document_is_asyncapi_3() -> None:
    """A document that tools cannot read documents nothing."""
    assert ApplicationSchema.model_validate(DOCUMENT).asyncapi == "3.0.0"


def test_every_reference_resolves() -> None:
    """A dangling $ref makes generators and readers stop."""
    for reference in references(DOCUMENT):
        if reference.startswith("#/"):
            assert at_pointer(reference) is not None
        else:
            assert (CONTRACTS / "messages" / reference).is_file(), reference


def test_every_channel_names_its_producers_and_consumers() -> None:
    """Who sends and who receives is the first question in an outage."""
    for channel in DOCUMENT["channels"].values():
        assert "Producer" in channel["description"], channel
        assert "Consumer" in channel["description"], channel


def test_a_stream_that_ingest_declares_has_the_retention_of_the_contract() -> None:
    """Whoever starts first declares the stream; two opinions on its retention would be a race."""
    arguments = DOCUMENT["channels"]["usageEvents"]["x-stream-arguments"]
    defaults = {name: field.default for name, field in Settings.model_fields.items()}

    assert defaults["rabbitmq_stream"] == DOCUMENT["channels"]["usageEvents"]["address"]
    assert f"{defaults['rabbitmq_stream_max_age'].days}D" == arguments["x-max-age"]
    assert defaults["rabbitmq_stream_max_length_bytes"] == arguments["x-max-length-bytes"]
    assert defaults["rabbitmq_stream_segment_bytes"] == arguments["x-stream-max-segment-size-bytes"]


def test_addresses_are_the_ones_the_code_uses() -> None:
    """The routing keys and the exchange stand in the code once, and equal the contract."""
    addresses = {channel["address"] for channel in DOCUMENT["channels"].values()}
    exchanges = {
        channel["bindings"]["amqp"]["exchange"]["name"]
        for channel in DOCUMENT["channels"].values()
        if "bindings" in channel
    }

    assert addresses == {
        "analytics.usage.v1",
        messages.USAGE_BATCH_COMMITTED,
        messages.ROLLUP_COMPLETED,
        messages.EXPORT_REQUESTED,
        messages.EXPORT_COMPLETED,
    }
    assert exchanges == {messages.EXCHANGE}


@pytest.mark.parametrize("message", MESSAGES)
def test_examples_of_a_message_are_valid(message: str) -> None:
    """Readers copy examples."""
    Draft202012Validator.check_schema(MESSAGES[message]["payload"]["schema"])
    examples = MESSAGES[message]["examples"]

    assert examples
    for example in examples:
        validator(message).validate(example["payload"])


@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_payloads_that_break_the_contract_are_refused(path: Path) -> None:
    """A schema that accepts everything describes nothing."""
    case = json.loads(path.read_text())

    assert case["why"]
    assert not validator(case["message"]).is_valid(case["payload"])


def test_every_message_has_an_invalid_example() -> None:
    """Otherwise the test above may pass by having nothing to do."""
    assert {json.loads(path.read_text())["message"] for path in INVALID} == set(MESSAGES)


@pytest.mark.parametrize("message", SENT)
def test_what_services_send_validates(message: str) -> None:
    """The structs and the contract are two descriptions of one thing."""
    for struct in SENT[message]:
        validator(message).validate(json.loads(msgspec.json.encode(struct)))


def test_every_message_of_the_code_is_in_the_contract() -> None:
    """A new message without a contract fails here, and one without a sample in this file, too."""
    structs = {type(struct).__name__ for sent in SENT.values() for struct in sent}
    declared = {
        name
        for name, value in vars(messages).items()
        if isinstance(value, type) and issubclass(value, msgspec.Struct) and not name.startswith("_")
    }

    assert structs == declared
    assert set(SENT) | {"usageEvent"} == set(MESSAGES)


@pytest.mark.parametrize("message", SENT)
def test_the_documented_examples_decode(message: str) -> None:
    """A receiver built on our structs reads what the document shows, unknown fields included."""
    for example in MESSAGES[message]["examples"]:
        body = json.dumps({**example["payload"], "addedLater": True})

        assert msgspec.json.decode(body, type=type(SENT[message][0]))
