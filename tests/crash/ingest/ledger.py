"""An account of what was published, kept apart from the system under test, and its comparison with the tables."""

import random
from collections.abc import Iterator
from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from analytics_core import clock
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID, event_body
from tests.integration.ingest.streaming import STREAM, IngestStage

EVENTS = "SELECT org_id::text || event_id::text AS id, input_tokens AS tokens FROM analytics.usage_events"
FINGERPRINT = """
SELECT count(*) AS events, md5(string_agg(row_text, E'\\n' ORDER BY row_text)) AS rows
FROM (
    SELECT concat_ws('|', org_id, event_id, occurred_at, metadata, input_tokens, cost_microcents) AS row_text
    FROM analytics.usage_events
) AS listed
"""


class Ledger:
    """Makes messages and remembers what must come of them: first of an id stays, bad ones are dead letters."""

    def __init__(self, seed: int) -> None:
        self._chance = random.Random(seed)
        self._now = clock.now()
        self._sent: list[tuple[str, int, bytes]] = []
        self.tokens: dict[str, int] = {}
        self.messages = 0
        self.duplicates = 0
        self.conflicts = 0
        self.rejected = 0

    def bodies(self, count: int) -> Iterator[bytes]:
        """The next messages: 2 % repeat an earlier one, 0.5 % change one, 0.5 % are no events."""
        for _ in range(count):
            self.messages += 1
            kind = self._chance.random()
            if kind < 0.005:
                self.rejected += 1
                yield b"{bad %d" % self.messages
            elif kind < 0.03 and self._sent:
                yield self._again(changed=kind < 0.01)
            else:
                yield self._new()

    def _new(self) -> bytes:
        org = self._chance.choice([ORG_ID, OTHER_ORG_ID])
        event_id = UUID(int=self._chance.getrandbits(128))
        tokens = self._chance.randrange(1000)
        body = self._body(org, event_id, tokens)
        self.tokens[f"{org}{event_id}"] = tokens
        self._sent.append((str(org), event_id.int, body))
        return body

    def _again(self, *, changed: bool) -> bytes:
        org, event_id, body = self._chance.choice(self._sent)
        self.duplicates += 1
        if not changed:
            return body
        self.conflicts += 1
        return self._body(UUID(org), UUID(int=event_id), 1000)

    def _body(self, org: UUID, event_id: UUID, tokens: int) -> bytes:
        age = timedelta(seconds=self._chance.randrange(3600))
        return event_body(
            orgId=str(org), eventId=str(event_id), inputTokens=tokens, occurredAt=(self._now - age).isoformat()
        )

    def check(self, stage: IngestStage) -> None:
        """Raise AssertionError unless the tables hold exactly what was published."""
        stored: dict[str, int] = {}
        doubled = []
        for row in stage.rows(EVENTS):
            if row["id"] in stored:
                doubled.append(row["id"])
            stored[row["id"]] = row["tokens"]
        lost = self.tokens.keys() - stored.keys()
        unexpected = stored.keys() - self.tokens.keys()

        counts = f"{len(lost)} lost, {len(doubled)} doubled, {len(unexpected)} unexpected"
        assert not lost, counts
        assert not doubled, counts
        assert not unexpected, counts
        assert stored == self.tokens
        expected = {
            "received": self.messages,
            "stored": len(self.tokens),
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "rejected": self.rejected,
        }
        assert (totals := stage.totals()) == expected, f"{totals} instead of {expected}"
        self._check_offsets(stage)

    def _check_offsets(self, stage: IngestStage) -> None:
        """Batches follow each other without hole or overlap, and each bad message is a dead letter once."""
        rows = stage.rows(
            "SELECT first_offset, last_offset FROM analytics.ingestion_batches WHERE stream = %s ORDER BY first_offset",
            STREAM,
        )
        assert rows[0]["first_offset"] == 0
        assert all(row["first_offset"] == before["last_offset"] + 1 for before, row in pairwise(rows))
        assert rows[-1]["last_offset"] + 1 == stage.next_offset() == self.messages
        assert stage.value("SELECT count(DISTINCT stream_offset) FROM analytics.dead_letters") == self.rejected
        assert stage.value("SELECT count(*) FROM analytics.dead_letters") == self.rejected


def fingerprint(stage: IngestStage) -> dict[str, object]:
    """The events, batch ids aside, in a few bytes."""
    (row,) = stage.rows(FINGERPRINT)
    return row
