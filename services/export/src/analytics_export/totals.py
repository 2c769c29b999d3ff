"""What the rows of an export add up to: integers and exact money, whatever their size."""

import json
from dataclasses import astuple, dataclass
from decimal import Decimal

from analytics_core.units import MICROCENTS_PER_CENT, microcents_from_cents


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all rows. Cost is in micro-cents."""

    events: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_microcents: int

    @property
    def cost_estimate_cents(self) -> Decimal:
        """Exact cents, always with six decimals, as in the file."""
        whole, fraction = divmod(self.cost_microcents, MICROCENTS_PER_CENT)
        return Decimal(f"{whole}.{fraction:06d}")


NOTHING = Totals(0, 0, 0, 0, 0, 0)


def added(*each: Totals) -> Totals:
    """All of them together; of none, `NOTHING`."""
    return Totals(*map(sum, zip(astuple(NOTHING), *map(astuple, each), strict=True)))


def totals_json(totals: Totals) -> dict[str, int | str]:
    """Totals by the names of the API; the cost as text, which no reader rounds."""
    return {
        "events": totals.events,
        "inputTokens": totals.input_tokens,
        "outputTokens": totals.output_tokens,
        "cachedInputTokens": totals.cached_input_tokens,
        "reasoningTokens": totals.reasoning_tokens,
        "costEstimateCents": str(totals.cost_estimate_cents),
    }


def totals_from_json(text: str) -> Totals:
    """The inverse of `totals_json`, from its JSON."""
    given = json.loads(text)
    return Totals(
        events=given["events"],
        input_tokens=given["inputTokens"],
        output_tokens=given["outputTokens"],
        cached_input_tokens=given["cachedInputTokens"],
        reasoning_tokens=given["reasoningTokens"],
        cost_microcents=microcents_from_cents(Decimal(given["costEstimateCents"])),
    )
