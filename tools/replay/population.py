"""Who calls what: made-up organisations with their clients, users and projects, and the models with their prices."""

import uuid
from dataclasses import dataclass
from functools import cached_property
from random import Random

import numpy as np

Floats = np.ndarray[tuple[int], np.dtype[np.float64]]
Integers = np.ndarray[tuple[int], np.dtype[np.int64]]

NAMESPACE = uuid.UUID("6f2a7c1e-6f0b-4d0e-9d55-2f6d0a6c9b01")
PROJECTS = ("checkout", "support-bot", "search", "code-assist", "summaries", "moderation", "translation", "insights")
TEAMS = ("payments", "care", "discovery", "platform", "content", "trust", "growth", "data")
REGIONS = ("eu-central-1", "us-east-1", "us-west-2", "ap-southeast-1")
ENDPOINT, OPERATION = "/v1/chat/completions", "chat"


@dataclass(frozen=True)
class Model:
    """Prices in micro-cents per token (1 USD for a million tokens = 100 micro-cents for one), speed in ms."""

    model_id: str
    input_microcents: int
    cached_microcents: int
    output_microcents: int
    first_token_ms: float
    per_token_ms: float
    reasons: bool = False


# Illustrative prices; most calls cost a fraction of a cent, which is what sums of money have to survive.
MODELS = (
    Model("gpt-4o-mini", 15, 7, 60, 260, 6),
    Model("gpt-4o", 250, 125, 1000, 420, 12),
    Model("claude-sonnet-4", 300, 30, 1500, 600, 14),
    Model("llama-3.1-70b-instruct", 59, 59, 79, 320, 9),
    Model("o3-mini", 110, 55, 440, 900, 10, reasons=True),
    Model("mistral-large", 200, 200, 600, 380, 11),
    Model("claude-haiku-3.5", 80, 8, 400, 280, 7),
    Model("gemini-2.0-flash", 10, 2, 40, 220, 5),
    Model("9b2f6c1e-3f57-4c0a-8a0e-2d6f3a1b5c77", 500, 500, 1500, 700, 18),
    Model("qwen2.5-32b", 8, 8, 24, 240, 8),
)


@dataclass(frozen=True)
class Org:
    """One organisation; `metadata` has one set of labels per project, `favourite` shifts its ranking of models."""

    org_id: str
    clients: tuple[str, ...]
    actors: tuple[str, ...]
    metadata: tuple[dict[str, str], ...]
    favourite: int


@dataclass(frozen=True)
class Population:
    """Organisations from busiest to quietest, their shares of the calls following Zipf's law."""

    orgs: tuple[Org, ...]
    org_shares: Floats
    model_shares: Floats

    @cached_property
    def client_counts(self) -> Integers:
        """Clients of each organisation."""
        return np.array([len(org.clients) for org in self.orgs])

    @cached_property
    def actor_counts(self) -> Integers:
        """Users of each organisation."""
        return np.array([len(org.actors) for org in self.orgs])

    @cached_property
    def project_counts(self) -> Integers:
        """Projects of each organisation."""
        return np.array([len(org.metadata) for org in self.orgs])

    @cached_property
    def favourites(self) -> Integers:
        """How far each organisation's ranking of models is shifted."""
        return np.array([org.favourite for org in self.orgs])


def build_population(seed: int, orgs: int, namespace: uuid.UUID = NAMESPACE) -> Population:
    """The same for the same arguments; a larger number of organisations keeps the first ones as they are.

    Another namespace changes their ids and nothing else.
    """
    if orgs < 1:
        raise ValueError("expected at least one organisation")
    return Population(
        tuple(_org(seed, number, namespace) for number in range(orgs)),
        _cumulative_zipf(orgs, 1.1),
        _cumulative_zipf(len(MODELS), 1.3),
    )


def pick(shares: Floats, uniform: Floats) -> Integers:
    """Indexes drawn by cumulative shares from numbers in [0, 1)."""
    return np.searchsorted(shares, uniform, side="right")


def _org(seed: int, number: int, namespace: uuid.UUID) -> Org:
    rng = Random(f"{seed}/org/{number}")
    name = f"{number:03d}"
    return Org(
        org_id=str(uuid.uuid5(namespace, f"{seed}/{number}")),
        clients=tuple(f"key-{name}-{client}" for client in range(rng.randint(1, 8))),
        actors=tuple(f"user-{name}-{actor:04d}" for actor in range(rng.randint(5, 400))),
        metadata=tuple(
            {
                "project": PROJECTS[project],
                "team": TEAMS[project],
                "region": rng.choice(REGIONS),
                "endpoint": ENDPOINT,
                "operation": OPERATION,
            }
            for project in rng.sample(range(len(PROJECTS)), rng.randint(1, 5))
        ),
        favourite=rng.randrange(len(MODELS)),
    )


def _cumulative_zipf(count: int, exponent: float) -> Floats:
    shares = 1.0 / np.arange(1, count + 1) ** exponent
    cumulative: Floats = np.cumsum(shares) / shares.sum()
    cumulative[-1] = 1.0
    return cumulative
