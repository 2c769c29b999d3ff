"""The request bodies of ingest in the OpenAPI document; the handlers read them themselves."""

from dataclasses import dataclass

from litestar import Litestar
from litestar.openapi.spec import (
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIType,
    Operation,
    Reference,
    RequestBody,
    Schema,
)

from analytics_core.events import COST_CENTS_MAX, INT_MAX, REQUIRED_FIELDS
from analytics_core.http.links import add_link
from analytics_ingest.event_bodies import CLOUD_EVENT, CLOUD_EVENTS, JSON, LINES
from analytics_ingest.limits import HTTP_EVENTS_MAX


def _text(description: str, length_max: int = 200) -> Schema:
    return Schema(type=OpenAPIType.STRING, min_length=1, max_length=length_max, description=description)


def _uuid(description: str) -> Schema:
    return Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.UUID, description=description)


def _count(description: str) -> Schema:
    return Schema(type=OpenAPIType.INTEGER, minimum=0, maximum=INT_MAX, description=description)


EVENT = Schema(
    type=OpenAPIType.OBJECT,
    title="UsageEvent",
    description=(
        "One call to a model. The whole contract is contracts/events/usage_event.v1.schema.json; unknown fields are"
        " ignored. At most 65,536 bytes. Each event may as well come in snake_case, as a router's UsageRecord, or in a"
        " CloudEvent: see contracts/README.md, Dialects."
    ),
    required=sorted(REQUIRED_FIELDS),
    properties={
        "eventId": _uuid("Made once for each call; a retry sends the same one."),
        "orgId": _uuid("The organisation that made the call."),
        "modelId": _text("A UUID or a model name such as gpt-4o."),
        "occurredAt": Schema(
            type=OpenAPIType.STRING,
            format=OpenAPIFormat.DATE_TIME,
            description="When the call ended, with an offset; at most an hour ahead, not older than the retention.",
        ),
        "status": Schema(type=OpenAPIType.STRING, enum=["success", "error", "timeout", "throttled"]),
        "latencyMs": _count("Milliseconds from the request to the last byte of the answer."),
        "inputTokens": _count("Prompt tokens, cached ones included."),
        "outputTokens": _count("Generated tokens, reasoning ones included."),
        "costEstimateCents": Schema(
            one_of=[
                Schema(type=OpenAPIType.NUMBER, minimum=0, maximum=COST_CENTS_MAX),
                Schema(type=OpenAPIType.STRING, pattern=r"^[0-9]{1,7}(\.[0-9]{1,6})?$"),
            ],
            description="US cents with at most 6 decimals; as a string it survives JSON libraries that round.",
        ),
        "cachedInputTokens": _count("The part of inputTokens that came from a prompt cache."),
        "reasoningTokens": _count("The part of outputTokens that was spent on reasoning."),
        "actorId": _text("The end user."),
        "clientId": _text("The API key or application."),
        "errorCode": _text("Why the call failed; only with another status than success.", 100),
        "metadata": Schema(
            type=OpenAPIType.OBJECT,
            additional_properties=Schema(type=OpenAPIType.STRING),
            description="Labels, at most 50 and 8,192 bytes; known: project, team, region, endpoint, operation.",
        ),
    },
)
REFERENCE = Reference(ref="#/components/schemas/UsageEvent")
EVENTS = Schema(type=OpenAPIType.ARRAY, items=REFERENCE, min_items=1, max_items=HTTP_EVENTS_MAX)
CLOUD_EVENT_SCHEMA = Schema(
    type=OpenAPIType.OBJECT,
    description="A CloudEvent 1.0 with a usage event, in any dialect, in `data` or `data_base64`.",
    required=["specversion"],
    properties={"specversion": Schema(type=OpenAPIType.STRING, enum=["1.0"]), "data": Schema(type=OpenAPIType.OBJECT)},
)
LINES_OF_EVENTS = Schema(type=OpenAPIType.STRING, description="One event on each line; blank lines are skipped.")


@dataclass
class EventsOperation(Operation):
    """An operation that takes events."""

    def __post_init__(self) -> None:
        self.request_body = RequestBody(
            required=True,
            description="`Content-Encoding: gzip` is understood.",
            content={
                JSON: OpenAPIMediaType(schema=Schema(one_of=[REFERENCE, EVENTS])),
                LINES: OpenAPIMediaType(schema=LINES_OF_EVENTS),
                CLOUD_EVENT: OpenAPIMediaType(schema=CLOUD_EVENT_SCHEMA),
                CLOUD_EVENTS: OpenAPIMediaType(
                    schema=Schema(
                        type=OpenAPIType.ARRAY, items=CLOUD_EVENT_SCHEMA, min_items=1, max_items=HTTP_EVENTS_MAX
                    )
                ),
            },
        )


def document_events(app: Litestar) -> None:
    """Add the event, which the operations above refer to, and what leads where to the application's document."""
    app.openapi_schema.components.schemas["UsageEvent"] = EVENT
    for closed in ("ReplayRequest", "Filter"):
        app.openapi_schema.components.schemas[closed].additional_properties = False
    add_link(app.openapi_schema, "validateEvents", "publishEvents", {}, "$request.body")
    letter = "$response.body#/items/0/deadLetterId"
    add_link(app.openapi_schema, "listDeadLetters", "getDeadLetter", {"path.deadLetterId": letter})
    add_link(app.openapi_schema, "listDeadLetters", "replayDeadLetters", {}, {"deadLetterId": letter, "dryRun": True})
