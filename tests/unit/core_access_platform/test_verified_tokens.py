"""A token that was verified a moment ago: believed while it holds, and not a moment longer."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from litestar.connection import ASGIConnection

from analytics_core.access import Principal
from analytics_core.errors import Unauthenticated
from analytics_core.http.identity import CLOCK_LEEWAY, Authenticator
from analytics_core.http.verified_tokens import HELD_MAX, TOKENS_MAX, VerifiedTokens
from analytics_core.settings import AccessSettings
from tests.support.callers import JWT_SECRET, token

START = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass
class Time:
    """Stands still until a test moves it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def tokens(time: Time) -> VerifiedTokens:
    return VerifiedTokens(time)


def alice(seconds: float = 3_600) -> Principal:
    """Her token ends so long after the start."""
    return Principal("alice", expires_at=START + seconds * SECOND)


def test_a_token_is_believed_for_some_seconds(time: Time, tokens: VerifiedTokens) -> None:
    """Not for longer: a key that its issuer withdraws must stop to count soon."""
    tokens.hold("hers", alice())

    time.now = START + HELD_MAX - SECOND
    assert tokens.find("hers") == alice()
    time.now = START + HELD_MAX
    assert tokens.find("hers") is None
    assert not tokens


def test_use_does_not_make_it_last(time: Time, tokens: VerifiedTokens) -> None:
    """A dashboard that asks every second would otherwise never be verified again."""
    tokens.hold("hers", alice())

    for second in range(int(HELD_MAX / SECOND)):
        time.now = START + second * SECOND
        assert tokens.find("hers")
    time.now = START + HELD_MAX
    assert tokens.find("hers") is None


def test_a_token_that_ends_meanwhile_is_not_believed(time: Time, tokens: VerifiedTokens) -> None:
    """Its own end comes first."""
    tokens.hold("hers", alice(seconds=3))

    time.now = START + 2 * SECOND
    assert tokens.find("hers")
    time.now = START + 3 * SECOND
    assert tokens.find("hers") is None


@pytest.mark.parametrize("principal", [alice(seconds=0), alice(seconds=-1), Principal("alice")])
def test_what_has_no_time_left_is_not_held(tokens: VerifiedTokens, principal: Principal) -> None:
    """Past its end a token lives off the leeway between clocks, which only its verification knows."""
    tokens.hold("hers", principal)

    assert tokens.find("hers") is None


def test_a_clock_that_was_set_back_ends_it(time: Time, tokens: VerifiedTokens) -> None:
    """The token may not have begun then."""
    tokens.hold("hers", alice())

    time.now = START - SECOND
    assert tokens.find("hers") is None


def test_only_the_very_same_token_is_found(tokens: VerifiedTokens) -> None:
    """Not one with its beginning, or with another signature."""
    tokens.hold("head.claims.signature", alice())

    assert tokens.find("head.claims.signature")
    for other in ("head.claims.signatur", "head.claims.", "head.claims.signature ", "HEAD.claims.signature", ""):
        assert tokens.find(other) is None


def test_those_used_last_stay(tokens: VerifiedTokens) -> None:
    """Whatever the number of callers, memory is bounded."""
    for number in range(TOKENS_MAX):
        tokens.hold(str(number), alice())
    assert tokens.find("0")
    tokens.hold("one more", alice())

    assert len(tokens) == TOKENS_MAX
    assert tokens.find("0")
    assert tokens.find("1") is None


@pytest.fixture
def authenticator(time: Time, monkeypatch: pytest.MonkeyPatch) -> Authenticator:
    """One whose library reads the same clock."""

    class Moved(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:  # noqa: ARG003 — the clock says which
            return time.now

    monkeypatch.setattr("jwt.api_jwt.datetime", Moved)
    return Authenticator(AccessSettings(auth_jwt_secret=JWT_SECRET), time)


async def ask(authenticator: Authenticator, bearer: str) -> Principal | None:
    headers = [(b"authorization", f"Bearer {bearer}".encode())]
    return await authenticator.principal(ASGIConnection({"type": "http", "headers": headers, "path": "/"}))  # type: ignore[arg-type]


def ending(second: float, **claims: Any) -> str:
    return token("admin", exp=int((START + second * SECOND).timestamp()), **claims)


async def test_a_token_is_verified_once_in_a_while(
    authenticator: Authenticator, time: Time, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it is for."""
    hers = ending(3_600)
    first = await ask(authenticator, hers)
    with monkeypatch.context() as patched:
        patched.setattr("jwt.decode", None)
        assert await ask(authenticator, hers) is first

    time.now = START + HELD_MAX
    again = await ask(authenticator, hers)
    assert again == first
    assert again is not first


async def test_a_token_is_refused_from_the_end_of_its_leeway(authenticator: Authenticator, time: Time) -> None:
    """Even if it was accepted a second before."""
    hers = ending(0)
    time.now = START + CLOCK_LEEWAY - SECOND
    assert await ask(authenticator, hers)

    time.now = START + CLOCK_LEEWAY
    with pytest.raises(Unauthenticated):
        await ask(authenticator, hers)


async def test_the_claims_of_a_known_token_under_another_signature_are_refused(authenticator: Authenticator) -> None:
    """Right before and right after; and a refusal does not end the true one."""
    hers = ending(3_600)
    forged = ending(3_600, key="not the key that the service knows at all")
    for _ in range(2):
        with pytest.raises(Unauthenticated):
            await ask(authenticator, forged)
        assert await ask(authenticator, hers)


async def test_a_token_that_was_refused_may_hold_later(authenticator: Authenticator, time: Time) -> None:
    """A refusal is never remembered."""
    hers = ending(3_600, nbf=int((START + CLOCK_LEEWAY + SECOND).timestamp()))
    with pytest.raises(Unauthenticated):
        await ask(authenticator, hers)

    time.now = START + SECOND
    assert await ask(authenticator, hers)
