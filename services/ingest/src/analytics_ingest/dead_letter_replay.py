"""Replays dead letters: judged anew, published to the stream, and marked once the stream has confirmed them.

The letters stay locked from the judgement to the mark, in one transaction: of two replays of a letter the second finds
it replayed. A process that dies between the confirmation and the commit leaves it unmarked; replayed again, the event
is a duplicate and is counted once.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal, NamedTuple

import msgspec

from analytics_core.access import PlatformScope
from analytics_core.clock import Clock
from analytics_core.database import WriteDatabase, WriteSession
from analytics_core.errors import NotFound
from analytics_core.events import EVENT_BYTES_MAX, Reason
from analytics_ingest import dead_letter_store as store
from analytics_ingest.dead_letter_store import ID_MAX, Filter, Taken
from analytics_ingest.decode import Rejection, decode, rejection
from analytics_ingest.event_publisher import EventPublisher
from analytics_ingest.limits import DEAD_LETTER_DETAIL_MAX, REPLAY_TRANSACTION_LETTERS
from analytics_ingest.metrics import REPLAYED


class Outcome(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """`replayed`: the stream has the event. `refused`: it is still wrong, and why. `already_replayed`: nothing done."""

    dead_letter_id: int
    outcome: Literal["replayed", "refused", "already_replayed"]
    reason: str | None = None
    field: str | None = None
    detail: str | None = None


class Position(NamedTuple):
    """How far a replay of many has come, and where it ends: at the newest letter of when it began."""

    after: int
    through: int

    def encode(self) -> str:
        """As an opaque text."""
        return urlsafe_b64encode(b"".join(number.to_bytes(8, "big") for number in self)).decode()

    @classmethod
    def decode(cls, cursor: str) -> "Position":
        """From `encode`'s text. Raises `ValueError` for another one."""
        data = urlsafe_b64decode(cursor)
        position = cls(int.from_bytes(data[:8], "big"), int.from_bytes(data[8:], "big"))
        if len(data) != 16 or max(position) > ID_MAX or position.encode() != cursor:
            raise ValueError("expected the `nextCursor` of the answer before")
        return position


class Replays:
    """Replays for one service; `dry_run` judges and changes nothing."""

    def __init__(self, database: WriteDatabase, publisher: EventPublisher, now: Clock, retention: timedelta) -> None:
        self._database = database
        self._publisher = publisher
        self._now = now
        self._retention = retention

    async def one(
        self, scope: PlatformScope, by: str, dead_letter_id: int, corrected: bytes | None, *, dry_run: bool = False
    ) -> Outcome:
        """Replay one letter, with another body if one is given. Raises `NotFound` and `Unavailable`."""
        async with self._database.write() as session:
            letter = await store.take_one(session, scope, dead_letter_id)
            if letter is None:
                raise NotFound(f"there is no dead letter {dead_letter_id}")
            if letter.is_replayed:
                return Outcome(dead_letter_id=dead_letter_id, outcome="already_replayed")
            body = letter.body if corrected is None else corrected
            [outcome] = await self._replay(
                session, by, [Taken(dead_letter_id, body)], corrected=corrected, dry_run=dry_run
            )
            return outcome

    async def matching(
        self,
        scope: PlatformScope,
        by: str,
        wanted: Filter,
        *,
        limit: int,
        position: Position | None = None,
        dry_run: bool = False,
    ) -> tuple[list[Outcome], Position | None]:
        """Replay at most `limit` of the letters that match and were not replayed; where to go on, None at the end.

        Raises `Unavailable`; what was confirmed before is marked, and the rest waits for the next call.
        """
        if position is None:
            async with self._database.read() as session:
                position = Position(0, await store.newest_id(session, scope))
        outcomes: list[Outcome] = []
        while len(outcomes) < limit:
            wanted_now = min(REPLAY_TRANSACTION_LETTERS, limit - len(outcomes))
            async with self._database.write() as session:
                letters = await store.take(
                    session, scope, wanted, after=position.after, through=position.through, limit=wanted_now
                )
                outcomes += await self._replay(session, by, letters, corrected=None, dry_run=dry_run)
            if len(letters) < wanted_now:
                return outcomes, None
            position = Position(letters[-1].dead_letter_id, position.through)
        return outcomes, position

    async def _replay(
        self, session: WriteSession, by: str, letters: Sequence[Taken], *, corrected: bytes | None, dry_run: bool
    ) -> list[Outcome]:
        judged = [(letter, self._judge(letter.body)) for letter in letters]
        good = {letter.dead_letter_id: letter.body for letter, refusal in judged if refusal is None and letter.body}
        if not dry_run:
            if good:
                await self._publisher.publish(list(good.values()))
                await store.note_replayed(session, list(good), by, corrected)
            refused = [(letter.dead_letter_id, _problem(refusal)) for letter, refusal in judged if refusal is not None]
            if refused:
                await store.note_refused(session, refused)
            REPLAYED.labels("replayed").inc(len(good))
            REPLAYED.labels("refused").inc(len(refused))
        return [_outcome(letter, refusal) for letter, refusal in judged]

    def _judge(self, body: bytes | None) -> Rejection | None:
        if body is None:
            return rejection(Reason.TOO_LARGE, None, f"more than {EVENT_BYTES_MAX} bytes", b"")
        decoded = decode(body, self._now(), self._retention)
        return decoded if isinstance(decoded, Rejection) else None


def _problem(refusal: Rejection) -> str:
    place = f"{refusal.field}: " if refusal.field else ""
    return f"{refusal.reason}: {place}{refusal.detail}"[:DEAD_LETTER_DETAIL_MAX]


def _outcome(letter: Taken, refusal: Rejection | None) -> Outcome:
    if refusal is None:
        return Outcome(dead_letter_id=letter.dead_letter_id, outcome="replayed")
    return Outcome(
        dead_letter_id=letter.dead_letter_id,
        outcome="refused",
        reason=refusal.reason,
        field=refusal.field,
        detail=refusal.detail,
    )
