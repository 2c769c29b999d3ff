"""Models that an organisation has used: a misspelt filter must not end as an empty file that looks right."""

from collections.abc import Sequence

from analytics_core.access import OrgScope
from analytics_core.database import ReadSession
from analytics_core.errors import FieldError, InvalidRequest
from analytics_core.sql import load_queries
from analytics_export.limits import NAMES_SUGGESTED_MAX

_QUERIES = load_queries("analytics_export", "known_models")


async def require_known_models(session: ReadSession, scope: OrgScope, models: Sequence[str]) -> None:
    """Return when the organisation has had calls of each. Raises `InvalidRequest` that names those that it has had."""
    if not models:
        return
    found = await session.fetch_value(_QUERIES["known_models"], scope.org_id, list(models))
    unknown = [(index, model) for index, model in enumerate(models) if model not in found]
    if not unknown:
        return
    recent = await session.fetch_value(_QUERIES["recent_models"], scope.org_id, NAMES_SUGGESTED_MAX)
    there_are = f"it has used: {', '.join(recent)}" if recent else "it has used none"
    errors = tuple(
        FieldError(f"models[{index}]", f"this organisation has had no call of {model!r}; {there_are}")
        for index, model in unknown
    )
    raise InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=errors)
