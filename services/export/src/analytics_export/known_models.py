"""Models that an organisation has used: a misspelt filter must not end as an empty file that looks right."""

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_core.errors import FieldError, InvalidRequest
from analytics_core.sql import load_queries
from analytics_export.limits import NAMES_SUGGESTED_MAX
from analytics_export.requests import ExportQuestion

_QUERIES = load_queries("analytics_export", "known_models")


async def require_known_models(
    session: ReadSession, scope: OrgScope, question: ExportQuestion, prefix: str = ""
) -> None:
    """Return when the organisation has had calls of each model that is asked for.

    Raises `InvalidRequest` that names those that it has had. The fields at fault are called as in the caller's body, in
    which the question is what `prefix` leads to.
    """
    name, models = ("models", question.models) if question.models else ("filters.modelId", question.filters.model_id)
    if not models:
        return
    found = await session.fetch_value(_QUERIES["known_models"], scope.org_id, models)
    unknown = [(index, model) for index, model in enumerate(models) if model not in found]
    if not unknown:
        return
    recent = await session.fetch_value(_QUERIES["recent_models"], scope.org_id, NAMES_SUGGESTED_MAX)
    there_are = f"it has used: {', '.join(recent)}" if recent else "it has used none"
    errors = tuple(
        FieldError(f"{prefix}{name}[{index}]", f"this organisation has had no call of {model!r}; {there_are}")
        for index, model in unknown
    )
    raise InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=errors)
