"""Money and durations: exact conversions between what people write and the integers that we store."""

import re
from datetime import timedelta
from decimal import Context, Decimal, Inexact, InvalidOperation, Overflow

MICROCENTS_PER_CENT = 1_000_000

# Raises in place of rounding: an amount that does not fit into micro-cents is refused, never changed.
_EXACT = Context(prec=28, traps=[Inexact, InvalidOperation, Overflow])


def microcents_from_cents(cents: Decimal) -> int:
    """Cents with at most six decimals as integer micro-cents.

    Raises `ValueError` when the amount is not finite or has more than six decimals.
    """
    try:
        return int(_EXACT.scaleb(cents, 6).to_integral_exact(context=_EXACT))
    except (ArithmeticError, ValueError):
        raise ValueError("expected an amount of cents with at most 6 decimals") from None


def cents_from_microcents(microcents: int) -> Decimal:
    """Integer micro-cents as cents, exactly; plain notation without trailing zeros (`Decimal('0.125')`)."""
    whole, fraction = divmod(abs(microcents), MICROCENTS_PER_CENT)
    sign = "-" if microcents < 0 else ""
    return Decimal(f"{sign}{whole}.{fraction:06d}".rstrip("0").rstrip("."))


_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000}


def parse_duration(text: str) -> timedelta:
    """A Go-style duration (`200ms`, `30s`, `1h30m`, `24h`).

    Raises `ValueError` for anything else, for a bare number too: its unit would be a guess.
    """
    parts = list(_DURATION_PART.finditer(text))
    if not parts or "".join(part.group() for part in parts) != text:
        raise ValueError("expected a duration such as 200ms, 30s, 5m, 24h or 1h30m")
    milliseconds = sum(Decimal(part.group(1)) * _UNIT_MS[part.group(2)] for part in parts)
    return timedelta(microseconds=int(milliseconds * 1000))


def format_duration(duration: timedelta) -> str:
    """The shortest Go-style spelling, the inverse of `parse_duration` down to a millisecond."""
    remaining = duration // timedelta(milliseconds=1)
    spelled = ""
    for unit, size_ms in (("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)):
        count, remaining = divmod(remaining, size_ms)
        spelled += f"{count}{unit}" if count else ""
    return spelled or "0s"
