"""What routes are given by name, one after the other.

Litestar resolves dependencies that need no other side by side, each in a task of a task group, although all of ours are
there already: 0.11 ms for three of them, 0.04 in turn. So each of these says that it needs the one before it, as does
what is provided behind them.
"""

from collections.abc import Callable, Mapping
from inspect import Parameter, Signature, signature
from typing import Any

from litestar.di import NamedDependency, Provide

_Needed = NamedDependency[Any]


def provided_in_turn(resources: Mapping[str, object], behind: Mapping[str, Callable[..., Any]]) -> dict[str, Provide]:
    """Dependencies by name: the resources as they are, and what the functions `behind` make of a request."""
    provided: dict[str, Provide] = {}
    before: str | None = None
    for name, value in resources.items():
        provided[name] = Provide(_needing(before, _giving(value)), use_cache=True, sync_to_thread=False)
        before = name
    return provided | {
        name: Provide(_needing(before, function), sync_to_thread=False) for name, function in behind.items()
    }


def _giving(value: object) -> Callable[[], object]:
    return lambda: value


def _needing(name: str | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function with one more parameter, which it never sees."""
    if name is None:
        return function

    def call(**given: Any) -> Any:
        del given[name]
        return function(**given)

    own = signature(function)
    needed = Parameter(name, Parameter.KEYWORD_ONLY, annotation=_Needed)
    call.__signature__ = Signature([*own.parameters.values(), needed])  # type: ignore[attr-defined]
    call.__annotations__ = {**function.__annotations__, name: _Needed}
    return call
