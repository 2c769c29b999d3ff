"""Publishing over HTTP, against scripted answers: what is repeated, what is not, and what is reported."""

import asyncio
import gzip
from collections.abc import Callable
from time import monotonic

import httpx
import msgspec
import pytest

from analytics_client import NotConfirmed, Refused
from analytics_client.http import HttpUsagePublisher, retry_after_seconds

Answer = httpx.Response | Exception


class Script(httpx.AsyncBaseTransport):
    """Answers requests in turn, the last answer for ever; keeps what it was sent."""

    def __init__(self, *answers: Answer | Callable[[list[bytes]], Answer]) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.batches: list[list[bytes]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        content = await request.aread()
        if request.headers.get("Content-Encoding") == "gzip":
            content = gzip.decompress(content)
        self.requests.append(request)
        self.batches.append(content.split(b"\n"))
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if callable(answer):
            answer = answer(self.batches[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer


def _accepted(bodies: list[bytes]) -> httpx.Response:
    receipts = [{"index": index, "eventId": body.decode(), "status": "accepted"} for index, body in enumerate(bodies)]
    return httpx.Response(202, content=msgspec.json.encode({"receipts": receipts, "accepted": len(bodies)}))


def _publisher(script: Script, give_up_seconds: float = 30) -> HttpUsagePublisher:
    return HttpUsagePublisher("http://service", "token", give_up_seconds=give_up_seconds, transport=script)


async def test_receipts_come_in_the_order_of_the_events() -> None:
    """More events than a request holds: the receipts number the caller's events, not the request's."""
    script = Script(_accepted)
    bodies = [str(number).encode() for number in range(2_500)]

    async with _publisher(script) as publisher:
        receipts = await publisher.publish_many(bodies)

    assert [len(batch) for batch in script.batches] == [1_000, 1_000, 500]
    assert [(receipt.index, receipt.event_id) for receipt in receipts] == [
        (number, str(number)) for number in range(2_500)
    ]


async def test_a_request_stays_below_the_services_limit_of_bytes() -> None:
    """Large events fill a request before their number does."""
    script = Script(_accepted)

    async with _publisher(script) as publisher:
        await publisher.publish_many([b"x" * 60_000] * 100)

    assert [len(batch) for batch in script.batches] == [66, 34]


@pytest.mark.parametrize(
    "problem", [httpx.Response(429), httpx.Response(503), httpx.Response(502), httpx.ReadError("")]
)
async def test_passing_trouble_is_repeated_with_the_same_bytes(problem: Answer) -> None:
    """The same event ids make the repetition safe."""
    script = Script(problem, _accepted)

    async with _publisher(script) as publisher:
        receipt = await publisher.publish(b"1")

    assert receipt.status == "accepted"
    assert script.batches == [[b"1"], [b"1"]]


async def test_retry_after_is_honoured() -> None:
    """A service that is overloaded says when to come back."""
    script = Script(httpx.Response(429, headers={"Retry-After": "1"}), _accepted)
    started = monotonic()

    async with _publisher(script) as publisher:
        await publisher.publish(b"1")

    assert monotonic() - started >= 1


async def test_giving_up_reports_everything_without_a_receipt() -> None:
    """The first request was answered; what is reported can be published again."""
    script = Script(_accepted, httpx.Response(503, headers={"Retry-After": "60"}))
    bodies = [str(number).encode() for number in range(1_200)]

    async with _publisher(script, give_up_seconds=1) as publisher:
        with pytest.raises(NotConfirmed, match="HTTP 503") as error:
            await publisher.publish_many(bodies)

    assert error.value.bodies == bodies[1_000:]


@pytest.mark.parametrize("status", [400, 401, 403, 413, 415, 422, 500])
async def test_a_refusal_is_not_repeated(status: int) -> None:
    """It would be refused again."""
    script = Script(httpx.Response(status, text="why"))

    async with _publisher(script) as publisher:
        with pytest.raises(Refused, match=f"HTTP {status}: why"):
            await publisher.publish(b"1")

    assert len(script.requests) == 1


async def test_an_answer_that_does_not_fit_is_no_receipt() -> None:
    """A proxy's own 202 must not pass for a confirmation."""
    async with _publisher(Script(lambda _: _accepted([]))) as publisher:
        with pytest.raises(Refused, match="0 receipts for 1 events"):
            await publisher.publish(b"1")


async def test_each_try_asks_for_the_current_token() -> None:
    """Tokens expire while a service is away."""
    tokens = iter(["old", "new"])
    script = Script(httpx.Response(503), _accepted)

    async with HttpUsagePublisher("http://service", lambda: next(tokens), transport=script) as publisher:
        await publisher.publish(b"1")

    assert [request.headers["Authorization"] for request in script.requests] == ["Bearer old", "Bearer new"]


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7),
        ("Mon, 02 Mar 2026 00:00:10 GMT", 10),
        ("Mon, 02 Mar 2026 00:00:10 -0000", 10),
        ("Sun, 01 Mar 2026 00:00:00 GMT", 0),
        ("soon", 0),
        (None, 0),
    ],
)
def test_retry_after_is_seconds_or_a_time(value: str | None, seconds: float) -> None:
    """A time is compared with the service's own clock: ours may be wrong."""
    assert retry_after_seconds(value, "Mon, 02 Mar 2026 00:00:00 GMT") == seconds


async def test_cancelling_stops_the_repetitions() -> None:
    """A caller with a deadline of its own sets it with asyncio.timeout."""
    async with _publisher(Script(httpx.Response(503, headers={"Retry-After": "20"}))) as publisher:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await publisher.publish(b"1")
