"""Adds to each call what a trace does not know: organisation, model, client, user, outcome, latency and price.

The rule, so that anybody can repeat it: events are decorated in blocks of 4,096 consecutive calls by NumPy's PCG64
seeded with (seed, number of the block), and event ids come from PCG64 seeded with (seed, number of the block, second of
the first call). So the same seed, source and times give the same bytes again, which makes the second replay a replay of
duplicates; the same seed at another time gives new events of the same organisations. Tokens and times stay as they are.

Errors come in bursts: each model has a bad ten minutes once in 64, decided by a hash of (seed, model, ten minutes).
"""

import hashlib
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from tools.replay.calls import Call, blocks
from tools.replay.event import Event
from tools.replay.population import MODELS, NAMESPACE, Population, build_population, pick

Array = np.ndarray[tuple[int], np.dtype[Any]]

BLOCK = 4096
BURST_US = 600 * 1_000_000
BURST_ONE_IN = 64
TIMEOUT_MS = 60_000
STATUSES = ("error", "timeout", "throttled", "success")
# Upper bounds of error, timeout and throttled among all calls, in this order.
CALM = (0.006, 0.008, 0.012)
BURST = (0.35, 0.45, 0.46)
ERROR_CODES = {
    False: ("internal_error", "deadline_exceeded", "rate_limited", None),
    True: ("upstream_overloaded", "deadline_exceeded", "rate_limited", None),
}


def decorate(calls: Iterable[Call], *, seed: int, orgs: int, namespace: uuid.UUID = NAMESPACE) -> Iterator[Event]:
    """One event for each call, in the same order."""
    population = build_population(seed, orgs, namespace)
    second = 0
    for number, block in enumerate(blocks(calls, BLOCK)):
        second = second or block[0].occurred_us // 1_000_000
        ids = _event_ids(np.random.default_rng([seed, number, second]))
        for call, event_id, columns in zip(block, ids, _columns(block, population, seed, number), strict=False):
            yield _event(call, event_id, population, *columns)


def _columns(block: Sequence[Call], population: Population, seed: int, number: int) -> Iterator[tuple[Any, ...]]:
    """Org, model, client, actor, project, status, burst, latency, cached and reasoning tokens, cost of each call.

    Chance is drawn for a whole block always, so that the first events do not depend on how many follow.
    """
    rng = np.random.default_rng([seed, number])
    draws = rng.random((7, BLOCK))[:, : len(block)]
    slowness = rng.lognormal(0.0, 0.35, BLOCK)[: len(block)]
    occurred_us, inputs, outputs = np.array(block, dtype=np.int64).T
    org = pick(population.org_shares, draws[0])
    model = (pick(population.model_shares, draws[1]) + population.favourites[org]) % len(MODELS)
    bursts = _bursts(seed, model, occurred_us // BURST_US)
    status = (draws[2] >= np.where(bursts, *np.array([BURST, CALM])[:, :, None])).sum(axis=0)
    cached = (inputs * np.clip((draws[3] - 0.7) * 3, 0, 1)).astype(np.int64)
    columns = (
        org,
        model,
        (draws[4] * population.client_counts[org]).astype(np.int64),
        # Few users make most of the calls, and one call in twenty is made by a machine, without a user.
        np.where(draws[5] < 0.05, -1, (draws[5] ** 2 * population.actor_counts[org]).astype(np.int64)),
        (draws[6] * population.project_counts[org]).astype(np.int64),
        status,
        bursts,
        _latency_ms(status, model, outputs, slowness),
        cached,
        np.where(_REASONS[model], outputs * draws[6], 0).astype(np.int64),
        np.where(
            status % 2 == 1, _cost_microcents(model, inputs, cached, outputs), 0
        ),  # success and timeout are billed
    )
    return zip(*(column.tolist() for column in columns), strict=True)


_PRICES = np.array([(m.input_microcents, m.cached_microcents, m.output_microcents) for m in MODELS], dtype=np.int64)
_SPEEDS = np.array([(m.first_token_ms, m.per_token_ms) for m in MODELS])
_REASONS = np.array([m.reasons for m in MODELS])


def _cost_microcents(model: Array, inputs: Array, cached: Array, outputs: Array) -> Array:
    """Exact: integers all the way; cached tokens are a part of the input at a price of their own."""
    input_price, cached_price, output_price = _PRICES[model].T
    cost: Array = (inputs - cached) * input_price + cached * cached_price + outputs * output_price
    return cost


def _latency_ms(status: Array, model: Array, outputs: Array, slowness: Array) -> Array:
    first_token_ms, per_token_ms = _SPEEDS[model].T
    choices = [first_token_ms * slowness, 3 * slowness, (first_token_ms + per_token_ms * outputs) * slowness]
    is_status = [status == STATUSES.index(name) for name in ("error", "throttled", "success")]
    latency: Array = np.ceil(np.select(is_status, choices, TIMEOUT_MS)).astype(np.int64)
    return latency


def _bursts(seed: int, model: Array, ten_minutes: Array) -> Array:
    pairs, places = np.unique(np.stack([model, ten_minutes]), axis=1, return_inverse=True)
    found = [is_burst(seed, *pair) for pair in pairs.T.tolist()]
    return np.array(found)[places.ravel()]


@lru_cache(maxsize=65_536)
def is_burst(seed: int, model_number: int, ten_minutes: int) -> bool:
    """Whether a model has one of its bursts of errors in these ten minutes (counted since 1970)."""
    digest = hashlib.blake2b(f"{seed}/{model_number}/{ten_minutes}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") % BURST_ONE_IN == 0


def _event_ids(rng: np.random.Generator) -> list[str]:
    """UUIDs of version 4, as most producers make them."""
    digits = rng.bytes(16 * BLOCK).hex()
    return [
        f"{digits[i : i + 8]}-{digits[i + 8 : i + 12]}-4{digits[i + 13 : i + 16]}-"
        f"a{digits[i + 17 : i + 20]}-{digits[i + 20 : i + 32]}"
        for i in range(0, len(digits), 32)
    ]


def _event(
    call: Call,
    event_id: str,
    population: Population,
    org_number: int,
    model: int,
    client: int,
    actor: int,
    project: int,
    status: int,
    burst: bool,
    latency_ms: int,
    cached: int,
    reasoning: int,
    cost_microcents: int,
) -> Event:
    org = population.orgs[org_number]
    return Event(
        event_id,
        org.org_id,
        MODELS[model].model_id,
        call.occurred_us,
        STATUSES[status],
        latency_ms,
        call.input_tokens,
        call.output_tokens,
        cached,
        reasoning,
        cost_microcents,
        org.actors[actor] if actor >= 0 else None,
        org.clients[client],
        ERROR_CODES[burst][status],
        org.metadata[project],
    )
