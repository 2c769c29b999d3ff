"""Reads a query string parameter by parameter and reports everything that is wrong with it at once."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from analytics_core.errors import FieldError, InvalidRequest
from analytics_query_api.limits import UNKNOWN_CHARACTERS_MAX, UNKNOWN_NAMED_MAX

Value = TypeVar("Value")
Parameters = Sequence[tuple[str, str]]


class ParameterReader:
    """Remembers what is wrong; `check` raises it."""

    def __init__(self, parameters: Parameters, known: Sequence[str]) -> None:
        self._parameters = parameters
        self._errors: list[FieldError] = []
        # A misspelt filter that is ignored gives numbers of something else.
        for name in sorted({name for name, _ in parameters} - set(known))[:UNKNOWN_NAMED_MAX]:
            self.refuse(name[:UNKNOWN_CHARACTERS_MAX], f"unknown parameter; there are: {', '.join(known)}")

    def refuse(self, name: str, detail: str) -> None:
        self._errors.append(FieldError(name, detail))

    def check(self) -> None:
        """Raise `InvalidRequest` that names every parameter refused so far."""
        if self._errors:
            detail = "; ".join(f"{error.field}: {error.detail}" for error in self._errors)
            raise InvalidRequest(detail, errors=tuple(self._errors))

    def all(self, name: str) -> list[str]:
        return [value for given, value in self._parameters if given == name]

    def one(self, name: str, parse: Callable[[str], Value], default: Value | None = None) -> Value | None:
        """The parsed value, the default where it is absent; None, and an error, where it is required or wrong."""
        values = self.all(name)
        if len(values) > 1:
            self.refuse(name, "given more than once")
        elif not values and default is None:
            self.refuse(name, "required")
        elif values:
            try:
                return parse(values[0])
            except ValueError as error:
                self.refuse(name, str(error))
        else:
            return default
        return None


def whole_number(most: int) -> Callable[[str], int]:
    """Reads a whole number from 1 to `most`."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise ValueError(f"expected a whole number from 1 to {most}")
        return int(text)

    return parse


def exactly(word: str) -> Callable[[str], bool]:
    """Reads a word that switches something on."""

    def parse(text: str) -> bool:
        if text != word:
            raise ValueError(f"only {word} is supported")
        return True

    return parse
