"""The ledger of what was published against what the product says: equal to the last token and micro-cent, or not."""

import csv
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from analytics_core.units import microcents_from_cents
from tools.replay.ledger import Sums


@dataclass(frozen=True)
class Difference:
    """One sum, as published and as found."""

    name: str
    published: int
    found: int

    @property
    def is_equal(self) -> bool:
        """Exactly; nothing is rounded anywhere."""
        return self.published == self.found


# Ledger, API, CSV file.
NAMES = {
    "events": ("invocations", "request_count"),
    "success": ("successCount", "success_count"),
    "error": ("errorCount", "error_count"),
    "timeout": ("timeoutCount", "timeout_count"),
    "throttled": ("throttledCount", "throttled_count"),
    "input_tokens": ("inputTokens", "input_tokens"),
    "output_tokens": ("outputTokens", "output_tokens"),
    "cached_input_tokens": ("cachedInputTokens", "cached_input_tokens"),
    "reasoning_tokens": ("reasoningTokens", "reasoning_tokens"),
}


def sums_of_point(point: Mapping[str, Any]) -> Sums:
    """One point of a usage series, or its totals."""
    counts = {name: int(point[in_api]) for name, (in_api, _) in NAMES.items()}
    return Sums(**counts, cost_microcents=microcents_from_cents(Decimal(str(point["costEstimateCents"]))))


def sums_by_model(series: Iterable[Mapping[str, Any]]) -> dict[str, Sums]:
    """A usage series that is grouped by model, added up over time."""
    models: dict[str, Sums] = defaultdict(Sums)
    for point in series:
        models[point["modelId"]] += sums_of_point(point)
    return dict(models)


def sums_of_file(content: bytes) -> Sums:
    """An export as CSV, added up."""
    total = Sums()
    for row in csv.DictReader(io.StringIO(content.decode(), newline="")):
        counts = {name: int(row[in_file]) for name, (_, in_file) in NAMES.items()}
        total += Sums(**counts, cost_microcents=microcents_from_cents(Decimal(row["cost_estimate_cents"])))
    return total


def differences(published: Sums, found: Sums) -> list[Difference]:
    """Every sum of the two, equal or not."""
    names = [*NAMES, "cost_microcents"]
    return [Difference(name, getattr(published, name), getattr(found, name)) for name in names]
