"""What every route owes its callers: a parameter that is not understood is refused, not ignored."""

from collections import Counter
from typing import Any

from litestar import Request

from analytics_core.errors import FieldError, InvalidRequest

# A refusal names the unknown parameters, not a whole URL full of them.
NAMED_MAX = 10
CHARACTERS_MAX = 100


def refuse_unknown(request: Request[Any, Any, Any], *known: str) -> None:
    """Raise `InvalidRequest` when the query string has other parameters than these, or one of them twice."""
    there_are = f"there are: {', '.join(known)}" if known else "there are none"
    counts = Counter(name for name, _ in request.query_params.multi_items())
    errors = [
        FieldError(name[:CHARACTERS_MAX], f"unknown parameter; {there_are}")
        for name in sorted(set(counts) - set(known))[:NAMED_MAX]
    ]
    errors += [FieldError(name, "given more than once") for name in known if counts[name] > 1]
    if errors:
        raise InvalidRequest("; ".join(f"{error.field}: {error.detail}" for error in errors), errors=tuple(errors))
