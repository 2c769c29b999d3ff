"""`/analytics/v1/orgs/{orgId}/export-webhook-secret`: what webhooks are verified with."""

import msgspec
from litestar import Response, get
from litestar.di import NamedDependency

from analytics_core.access import Action, OrgScope
from analytics_core.errors import NotFound
from analytics_core.http.app import API_PREFIX
from analytics_core.http.problems import problem_responses
from analytics_export.routes.exports import BEARER, NOT_STORED
from analytics_export.settings import Settings
from analytics_export.webhooks import secret_for


class WebhookSecret(msgspec.Struct, frozen=True, kw_only=True):
    """`whsec_` and the key in base64, as libraries of Standard Webhooks take it."""

    secret: str


@get(
    f"{API_PREFIX}/orgs/{{orgId:uuid}}/export-webhook-secret",
    opt={"action": Action.EXPORTS_CREATE},
    operation_id="getExportWebhookSecret",
    summary="Show the secret that webhooks are signed with",
    response_description="The organisation's secret",
    tags=["exports"],
    security=BEARER,
    responses=problem_responses(401, 403, 404, 503),
)
async def get_export_webhook_secret(
    org_scope: NamedDependency[OrgScope], settings: NamedDependency[Settings]
) -> Response[WebhookSecret]:
    """Each organisation has its own; it changes when the operator changes EXPORT_WEBHOOK_SECRET."""
    if settings.export_webhook_secret is None:
        raise NotFound("webhooks are not set up here")
    return Response(WebhookSecret(secret=secret_for(settings, org_scope.org_id)), headers=NOT_STORED)
