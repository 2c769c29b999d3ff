"""The call to webhooks as OpenAPI has it: what a receiver gets, and what it is to answer."""

import inspect

from litestar.openapi.spec import (
    Components,
    OpenAPI,
    OpenAPIFormat,
    OpenAPIMediaType,
    OpenAPIResponse,
    OpenAPIType,
    Operation,
    Parameter,
    PathItem,
    Reference,
    RequestBody,
    Schema,
)

from analytics_export.jobs import JobStatus
from analytics_export.limits import WEBHOOK_ATTEMPTS_MAX, WEBHOOK_TIMEOUT_SECONDS
from analytics_export.webhook_calls import WebhookMessage

_HEADERS = {
    "webhook-id": "The same for every call about one end of one export: whoever has seen it ignores the second.",
    "webhook-timestamp": "When the call was made, in seconds since 1970.",
    "webhook-signature": "`v1,` and the base64 of HMAC-SHA256 over `{webhook-id}.{webhook-timestamp}.{body}`, with the"
    " key of `GET /orgs/{orgId}/export-webhook-secret`; contracts/exports/webhooks.md has code.",
}
_ENDED = [JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELED, JobStatus.EXPIRED]


def describe_webhook(document: OpenAPI) -> None:
    """Add the webhook, its body as a component."""
    components: Components = document.components
    components.schemas["WebhookMessage"] = Schema(
        title="WebhookMessage",
        description=inspect.getdoc(WebhookMessage),
        type=OpenAPIType.OBJECT,
        required=["data", "timestamp", "type"],
        properties={
            "type": Schema(type=OpenAPIType.STRING, enum=[f"export.{status}" for status in _ENDED]),
            "timestamp": Schema(type=OpenAPIType.STRING, format=OpenAPIFormat.DATE_TIME),
            "data": Reference(ref="#/components/schemas/Export"),
        },
        additional_properties=False,
    )
    message = OpenAPIMediaType(schema=Reference(ref="#/components/schemas/WebhookMessage"))
    document.webhooks = {
        "exportEnded": PathItem(
            post=Operation(
                operation_id="exportEnded",
                summary="An export has ended",
                description=(
                    "Sent to the `webhook.url` of an export or its schedule, at least once. Anything but a 2xx within"
                    f" {WEBHOOK_TIMEOUT_SECONDS:.0f} s has it sent again, {WEBHOOK_ATTEMPTS_MAX} times in all."
                ),
                tags=["webhooks"],
                parameters=[
                    Parameter(
                        name=name, param_in="header", required=True, description=text,
                        schema=Schema(type=OpenAPIType.STRING),
                    )
                    for name, text in _HEADERS.items()
                ],
                request_body=RequestBody(required=True, content={"application/json": message}),
                responses={"2XX": OpenAPIResponse(description="The call was taken; the body is not read.")},
            )
        )
    }  # fmt: skip
