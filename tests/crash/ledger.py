"""An account of what the broker has confirmed, on disk before anybody goes on, and its comparison with the tables."""

import json
import os
import random
from collections import Counter, defaultdict
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import UUID

from analytics_core import clock
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID, event_body
from tests.integration.ingest.streaming import STREAM, Tables

IDS = "SELECT org_id::text || event_id::text AS id FROM analytics.usage_events"
RAW = """
SELECT org_id::text AS org, extract(epoch FROM date_trunc('{unit}', occurred_at, 'UTC'))::bigint AS bucket,
    count(*)::bigint AS events, sum(input_tokens)::bigint AS tokens, sum(cost_microcents)::bigint AS microcents
FROM analytics.usage_events GROUP BY 1, 2
"""
ROLLED_UP = """
SELECT org_id::text AS org, extract(epoch FROM bucket_start)::bigint AS bucket,
    sum(invocations)::bigint AS events, sum(input_tokens)::bigint AS tokens, sum(cost_microcents)::bigint AS microcents
FROM analytics.{table} GROUP BY 1, 2
"""
HOUR, DAY = 3600, 86_400
Sums = dict[tuple[str, int], tuple[int, int, int]]


class Ledger:
    """Makes messages; `confirm` writes those that the broker has confirmed to a file, and syncs it.

    Of two messages with the same id the first one counts. What was made and never confirmed may be stored or not.
    """

    def __init__(self, seed: int, file: Path, *, disorder: bool = True) -> None:
        self._chance = random.Random(seed)
        self._now = clock.now()
        self._file = file
        self._file.touch()
        self._disorder = disorder
        self._sent: list[dict[str, Any]] = []
        self._unconfirmed: list[dict[str, Any]] = []

    def bodies(self, count: int) -> Iterator[bytes]:
        """The next messages: 2 % repeat an earlier one, 0.5 % change one, 0.5 % are no events."""
        for number in range(count):
            kind = self._chance.random() if self._disorder else 1
            if kind < 0.005:
                self._unconfirmed.append({"kind": "rejected"})
                yield b"{bad %d" % number
            elif kind < 0.03 and self._sent:
                entry = self._chance.choice(self._sent)
                changed = kind < 0.01
                self._unconfirmed.append(entry | {"kind": "conflict" if changed else "duplicate"})
                yield self._body(entry, tokens=1000 if changed else entry["tokens"])
            else:
                yield self._new()

    def _new(self) -> bytes:
        entry: dict[str, Any] = {
            "kind": "new",
            "org": str(self._chance.choice([ORG_ID, OTHER_ORG_ID])),
            "id": str(UUID(int=self._chance.getrandbits(128))),
            "time": (self._now - timedelta(seconds=self._chance.randrange(2 * DAY))).isoformat(),
            "tokens": self._chance.randrange(1000),
            "microcents": self._chance.randrange(10**9),
        }
        self._sent.append(entry)
        self._unconfirmed.append(entry)
        return self._body(entry, tokens=entry["tokens"])

    def _body(self, entry: dict[str, Any], tokens: int) -> bytes:
        cents, rest = divmod(entry["microcents"], 1_000_000)
        return event_body(
            orgId=entry["org"], eventId=entry["id"], occurredAt=entry["time"], inputTokens=tokens,
            costEstimateCents=f"{cents}.{rest:06}",
        )  # fmt: skip

    def confirm(self) -> None:
        """Everything that was made is confirmed: note it before anything else is published."""
        with self._file.open("a", encoding="utf-8") as out:
            out.writelines(json.dumps(entry) + "\n" for entry in self._unconfirmed)
            out.flush()
            os.fsync(out.fileno())
        self._unconfirmed = []

    @property
    def confirmed(self) -> int:
        """How many messages the file has."""
        return sum(1 for _ in self._entries())

    def _entries(self) -> Iterator[dict[str, Any]]:
        with self._file.open(encoding="utf-8") as lines:
            yield from map(json.loads, lines)

    def check(self, tables: Tables, *, resent: bool = False, times: int = 1) -> None:
        """Raise AssertionError unless events and batches are exactly what was confirmed, read `times` over.

        `resent`: the producer may have sent messages twice, so that only events can be counted exactly.
        """
        entries = list(self._entries())
        new = [entry for entry in entries if entry["kind"] == "new"]
        expected = {entry["org"] + entry["id"] for entry in new}
        stored = Counter(row["id"] for row in tables.rows(IDS))
        lost, unexpected = expected - stored.keys(), stored.keys() - expected
        doubled = [name for name, count in stored.items() if count > 1]
        counts = f"{len(lost)} lost, {len(doubled)} duplicated, {len(unexpected)} unexpected of {len(expected)}"
        assert (len(lost), len(doubled), len(unexpected)) == (0, 0, 0), counts
        assert sums(tables, RAW.format(unit="hour")) == self._sums(new, HOUR), "events differ from the ledger"
        self._check_batches(tables, entries, resent=resent, times=times)

    def _check_batches(self, tables: Tables, entries: list[dict[str, Any]], *, resent: bool, times: int) -> None:
        """Batches follow each other without hole or overlap, and the position is behind the last one."""
        kinds = Counter(entry["kind"] for entry in entries)
        totals = tables.totals()
        rows = tables.rows(
            "SELECT first_offset, last_offset FROM analytics.ingestion_batches WHERE stream = %s ORDER BY batch_id",
            STREAM,
        )
        steps = [(before["last_offset"] + 1, row["first_offset"]) for before, row in pairwise(rows)]
        assert rows[0]["first_offset"] == 0
        assert sum(expected != found for expected, found in steps) == times - 1, "batches overlap or leave a hole"
        assert tables.next_offset() == rows[-1]["last_offset"] + 1
        if resent:
            assert totals["received"] >= len(entries)
            return
        assert totals["received"] == times * len(entries) == times * tables.next_offset()
        assert totals["stored"] == kinds["new"]
        assert totals["conflicts"] == times * kinds["conflict"]
        assert totals["rejected"] == times * kinds["rejected"]

    def check_rollups(self, tables: Tables) -> None:
        """Raise AssertionError unless every family's rollups hold the same sums as the ledger, by organisation."""
        new = [entry for entry in self._entries() if entry["kind"] == "new"]
        assert sums(tables, ROLLED_UP.format(table="usage_hourly")) == self._sums(new, HOUR), "hours differ"
        for family in ("detail", "actor"):
            found = sums(tables, ROLLED_UP.format(table=f"usage_{family}_hourly"))
            assert found == self._sums(new, HOUR), f"hours of {family} differ"
        assert sums(tables, ROLLED_UP.format(table="usage_quarter_hourly")) == self._sums(new, HOUR // 4)
        assert sums(tables, ROLLED_UP.format(table="usage_daily")) == self._sums(new, DAY), "days differ"

    @staticmethod
    def _sums(entries: list[dict[str, Any]], width: int) -> Sums:
        found: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0, 0])
        for entry in entries:
            moment = clock_seconds(entry["time"])
            place = found[entry["org"], moment - moment % width]
            place[0] += 1
            place[1] += entry["tokens"]
            place[2] += entry["microcents"]
        return {key: (events, tokens, microcents) for key, (events, tokens, microcents) in found.items()}

    def events_by_org(self) -> dict[str, int]:
        """How many events each organisation has."""
        return dict(Counter(entry["org"] for entry in self._entries() if entry["kind"] == "new"))


def clock_seconds(text: str) -> int:
    """Whole seconds since 1970 of an ISO time."""
    return int(datetime.fromisoformat(text).timestamp())


def sums(tables: Tables, query: str) -> Sums:
    """Events, tokens and micro-cents by organisation and bucket."""
    return {
        (row["org"], row["bucket"]): (row["events"], row["tokens"], row["microcents"]) for row in tables.rows(query)
    }
