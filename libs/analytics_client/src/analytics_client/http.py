"""Publishes usage events over HTTP: `POST /analytics/v1/events`. Needs the extra `analytics-client[http]`."""

import asyncio
import gzip
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType
from typing import Literal, Self

import httpx
import msgspec

from analytics_client.errors import NotConfirmed, Refused
from analytics_client.event import UsageEvent, encode_event
from analytics_client.pause import Pauses

PATH = "/analytics/v1/events"
REQUEST_EVENTS_MAX = 1_000
REQUEST_BYTES_MAX = 4_000_000
COMPRESS_BYTES_MIN = 1_024
# 502 and 504 come from a gateway whose service is restarting.
WORTH_REPEATING = {429, 502, 503, 504}


class Receipt(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What the service says about one event: it is accepted for good, or rejected for a reason."""

    index: int
    status: Literal["accepted", "rejected"]
    event_id: str | None = None
    reason: str | None = None
    field: str | None = None
    detail: str | None = None


class _Answer(msgspec.Struct, frozen=True):
    receipts: list[Receipt]


class HttpUsagePublisher:
    """An open HTTP publisher between `async with`.

    A request is repeated after 429, 502, 503, 504 and network failures, as long as `give_up_seconds` allow and no
    sooner than `Retry-After` asks. Repeating is safe: the service counts an event once, by its event id.
    """

    def __init__(
        self,
        base_url: str,
        token: str | Callable[[], str],
        *,
        timeout_seconds: float = 30.0,
        give_up_seconds: float = 120.0,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """`token`: the bearer token, or what returns the current one before each request."""
        self._token = token if callable(token) else lambda: token
        self._give_up_seconds = give_up_seconds
        self._client = httpx.AsyncClient(base_url=base_url, timeout=timeout_seconds, transport=transport)

    async def __aenter__(self) -> Self:
        await self._client.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._client.__aexit__(kind, error, trace)

    async def publish(self, event: UsageEvent | bytes) -> Receipt:
        """Send one event. Raises as `publish_many` does."""
        return (await self.publish_many([event]))[0]

    async def publish_many(self, events: Iterable[UsageEvent | bytes]) -> list[Receipt]:
        """Send events, in as many requests as they need; one receipt for each, in their order.

        Raises `NotConfirmed` with everything from the first request that got no answer on, and `Refused` when the
        service refuses a request as a whole.
        """
        bodies = [encode_event(event) for event in events]
        receipts: list[Receipt] = []
        for request in _requests(bodies):
            done = len(receipts)
            try:
                answered = await self._post(request)
            except _Unanswered as unanswered:
                raise NotConfirmed(bodies[done:], str(unanswered)) from unanswered
            receipts += [msgspec.structs.replace(receipt, index=done + receipt.index) for receipt in answered]
        return receipts

    async def _post(self, bodies: list[bytes]) -> list[Receipt]:
        content = b"\n".join(bodies)
        headers = {"Content-Type": "application/x-ndjson"}
        if len(content) >= COMPRESS_BYTES_MIN:
            content = gzip.compress(content, compresslevel=5)
            headers["Content-Encoding"] = "gzip"
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._give_up_seconds
        pauses = Pauses()
        while True:
            pause = pauses.next_seconds()
            try:
                response = await self._client.post(
                    PATH, content=content, headers={**headers, "Authorization": f"Bearer {self._token()}"}
                )
            except httpx.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
            else:
                if response.status_code not in WORTH_REPEATING:
                    return _receipts(response, len(bodies))
                problem = f"HTTP {response.status_code}"
                pause = max(pause, retry_after_seconds(response.headers.get("Retry-After"), _date(response)))
            if loop.time() + pause > deadline:
                raise _Unanswered(problem)
            await asyncio.sleep(pause)


class _Unanswered(Exception):
    """No answer in time; the message is the last problem."""


def _requests(bodies: list[bytes]) -> Iterator[list[bytes]]:
    """Consecutive bodies that fit one request."""
    request: list[bytes] = []
    size = 0
    for body in bodies:
        size += len(body) + 1
        if request and (len(request) == REQUEST_EVENTS_MAX or size > REQUEST_BYTES_MAX):
            yield request
            request, size = [], len(body) + 1
        request.append(body)
    if request:
        yield request


def _receipts(response: httpx.Response, expected: int) -> list[Receipt]:
    if response.status_code != httpx.codes.ACCEPTED:
        raise Refused(response.status_code, response.text[:1_000])
    receipts = msgspec.json.decode(response.content, type=_Answer).receipts
    if len(receipts) != expected:
        raise Refused(response.status_code, f"{len(receipts)} receipts for {expected} events")
    return receipts


def _date(response: httpx.Response) -> str | None:
    value: str | None = response.headers.get("Date")
    return value


def retry_after_seconds(value: str | None, date: str | None) -> float:
    """What `Retry-After` asks for: seconds, or a time that is compared with the answer's own `Date`; 0 if unusable."""
    if value is None:
        return 0.0
    if value.isdigit():
        return float(value)
    try:
        wait = _time(value) - _time(date or "")
    except ValueError:
        return 0.0
    return max(wait.total_seconds(), 0.0)


def _time(text: str) -> datetime:
    """An HTTP date; raises `ValueError`. One without a zone is in UTC."""
    time = parsedate_to_datetime(text)
    return time if time.tzinfo else time.replace(tzinfo=UTC)
