"""The usage event as this tool makes it, and its JSON."""

from datetime import datetime, timedelta

import msgspec

from tools.replay.calls import EPOCH, moment

MICROCENTS_PER_CENT = 1_000_000


class Event(msgspec.Struct, frozen=True, gc=False):
    """One usage event; time in microseconds since 1970, money in micro-cents, absent token parts as 0."""

    event_id: str
    org_id: str
    model_id: str
    occurred_us: int
    status: str
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int
    reasoning_tokens: int
    cost_microcents: int
    actor_id: str | None
    client_id: str | None
    error_code: str | None
    metadata: dict[str, str] | None

    @property
    def occurred_at(self) -> datetime:
        """Aware, in UTC."""
        return moment(self.occurred_us)


class _Wire(msgspec.Struct, rename="camel", omit_defaults=True, gc=False):
    event_id: str
    org_id: str
    model_id: str
    occurred_at: datetime
    status: str
    latency_ms: int
    input_tokens: int
    output_tokens: int
    cost_estimate_cents: msgspec.Raw
    cached_input_tokens: int = 0
    reasoning_tokens: int = 0
    actor_id: str | None = None
    client_id: str | None = None
    error_code: str | None = None
    metadata: dict[str, str] | None = None


_ENCODER = msgspec.json.Encoder()


def encode(event: Event) -> bytes:
    """The event as producers send it; the cost is a JSON number in half of the events and a string in the others."""
    whole, fraction = divmod(event.cost_microcents, MICROCENTS_PER_CENT)
    quote = '"' if event.event_id[-1] in "02468ace" else ""
    return _ENCODER.encode(
        _Wire(
            event.event_id,
            event.org_id,
            event.model_id,
            EPOCH + timedelta(0, 0, event.occurred_us),
            event.status,
            event.latency_ms,
            event.input_tokens,
            event.output_tokens,
            msgspec.Raw(f"{quote}{whole}.{fraction:06d}{quote}".encode()),
            event.cached_input_tokens,
            event.reasoning_tokens,
            event.actor_id,
            event.client_id,
            event.error_code,
            event.metadata,
        )
    )
