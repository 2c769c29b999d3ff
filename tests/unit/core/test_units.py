"""Money and durations: what people write and what is stored are the same amount."""

from datetime import timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytics_core.units import cents_from_microcents, format_duration, microcents_from_cents, parse_duration


@given(microcents=st.integers(-(2**63), 2**63 - 1))
def test_money_survives_both_ways(microcents: int) -> None:
    """Every amount that a column can hold."""
    assert microcents_from_cents(cents_from_microcents(microcents)) == microcents


@given(microcents=st.integers(0, 10**15))
def test_cents_are_written_plainly(microcents: int) -> None:
    """No exponent, no trailing zeros, at most six decimals: a JSON number that every reader takes."""
    text = str(cents_from_microcents(microcents))

    assert set(text) <= set("0123456789.")
    assert len(text.partition(".")[2]) <= 6
    assert not ("." in text and text.endswith("0"))


@pytest.mark.parametrize(
    ("cents", "microcents"),
    [("0", 0), ("1", 1_000_000), ("0.000001", 1), ("12.5", 12_500_000), ("1e3", 10**9), ("-0.5", -500_000)],
)
def test_known_amounts(cents: str, microcents: int) -> None:
    """The unit itself: 1 cent = 1,000,000 micro-cents."""
    assert microcents_from_cents(Decimal(cents)) == microcents


@pytest.mark.parametrize("cents", ["0.0000001", "1.0000005", "NaN", "Infinity", "-Infinity", "sNaN"])
def test_an_amount_that_does_not_fit_is_refused(cents: str) -> None:
    """Rounding would change what somebody is charged."""
    with pytest.raises(ValueError, match="at most 6 decimals"):
        microcents_from_cents(Decimal(cents))


@given(milliseconds=st.integers(0, 10**12))
def test_durations_survive_both_ways(milliseconds: int) -> None:
    """Down to a millisecond."""
    duration = timedelta(milliseconds=milliseconds)

    assert parse_duration(format_duration(duration)) == duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("24h", 86_400), ("1h30m", 5_400), ("200ms", 0.2), ("1.5s", 1.5), ("0s", 0), ("90m", 5_400)],
)
def test_go_durations(text: str, seconds: float) -> None:
    """The spelling that operators know from the source's configuration."""
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "30", "1d", "-5s", "5 s", "s", "1h 30m", "1e3s", "٣s", "30S"])
def test_anything_else_is_no_duration(text: str) -> None:
    """A bare number above all: its unit would be a guess."""
    with pytest.raises(ValueError, match="expected a duration"):
        parse_duration(text)
