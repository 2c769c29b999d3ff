"""The product as a customer sees it: HTTP through the gateway, nothing else."""

import asyncio
import hashlib
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Self

import httpx
import msgspec

EXPORT_PATIENCE_S = 60.0
EXPORT_POLL_S = 0.2
PAGE_POINTS = 10_000


class ApiError(Exception):
    """The API refused, or did not answer as documented."""


@dataclass(frozen=True)
class Window:
    """Whole UTC hours that hold all events; `end` is exclusive."""

    start: datetime
    end: datetime

    @classmethod
    def around(cls, first: datetime, last: datetime) -> Self:
        """The hours from that of `first` to that of `last`."""
        return cls(_hour(first), _hour(last) + timedelta(hours=1))

    @property
    def whole_days(self) -> "Window":
        """The UTC days that these hours are in: days are counted when they begin in a window."""
        return Window(self.start.replace(hour=0), (self.end + timedelta(hours=23)).replace(hour=0))

    @property
    def query(self) -> dict[str, str]:
        """As query parameters."""
        return {"start": rfc3339(self.start), "end": rfc3339(self.end)}


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def rfc3339(moment: datetime) -> str:
    """With Z, to the second."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@dataclass(frozen=True)
class Download:
    """An export that was fetched: what the API said of it, and the file."""

    export: dict[str, Any]
    content: bytes
    waited_s: float

    @property
    def is_intact(self) -> bool:
        """Whether the file has the checksum that the API states."""
        return hashlib.sha256(self.content).hexdigest() == str(self.export["checksum"])


class Api:
    """Requests with one token; every method raises `ApiError`."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    @classmethod
    @asynccontextmanager
    async def open(cls, gateway_url: str, token: str) -> AsyncIterator[Self]:
        """A client for the length of the block."""
        async with httpx.AsyncClient(
            base_url=f"{gateway_url}/analytics/v1",
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
            trust_env=False,
        ) as client:
            yield cls(client)

    async def report(self, org_id: str, name: str, window: Window, **query: str | int) -> dict[str, Any]:
        """`usage` or `reliability`, all pages of it in one."""
        parameters: dict[str, str | int] = {"granularity": "hour", "limit": PAGE_POINTS, **window.query, **query}
        answer = first = await self._get(f"/orgs/{org_id}/{name}", parameters)
        while answer["nextCursor"] is not None:
            answer = await self._get(f"/orgs/{org_id}/{name}", parameters | {"cursor": answer["nextCursor"]})
            first["series"] += answer["series"]
        return first

    async def totals(self, org_id: str, window: Window) -> dict[str, Any]:
        """Usage of the whole window."""
        answer = await self._get(f"/orgs/{org_id}/usage", {"granularity": "hour", "limit": 1, **window.query})
        totals: dict[str, Any] = answer["totals"]
        return totals

    async def freshness(self, org_id: str) -> dict[str, Any]:
        """How current the numbers are."""
        return await self._get(f"/orgs/{org_id}/freshness", {})

    async def export(self, org_id: str, window: Window) -> Download:
        """Ask for an hourly CSV, wait for it and download it through its signed URL."""
        started = time.monotonic()
        body = {"timeRange": window.query, "granularity": "hourly"}
        export = _json(await _sent(self._client.post(f"/orgs/{org_id}/exports", json=body)), 202)
        path = f"/orgs/{org_id}/exports/{export['jobId']}"
        while export["status"] in {"pending", "running"}:
            if time.monotonic() - started > EXPORT_PATIENCE_S:
                raise ApiError(f"the export is still {export['status']} after {EXPORT_PATIENCE_S:.0f} s")
            await asyncio.sleep(EXPORT_POLL_S)
            export = await self._get(path, {})
        if export["status"] != "succeeded":
            raise ApiError(f"the export is {export['status']}: {export['error']}")
        content = await self._fetch(f"{path}/download")
        return Download(export, content, time.monotonic() - started)

    async def _fetch(self, path: str) -> bytes:
        """Follow the redirect as a browser does: the token is for us, the signed URL needs none."""
        redirect = await _sent(self._client.get(path))
        if redirect.status_code != 302:
            raise ApiError(_refusal(redirect))
        async with httpx.AsyncClient(timeout=60, trust_env=False) as anonymous:
            file = await _sent(anonymous.get(redirect.headers["Location"]))
        if file.status_code != 200:
            raise ApiError(f"the object store answered {file.status_code} to the signed URL")
        return file.content

    async def _get(self, path: str, parameters: dict[str, str | int]) -> dict[str, Any]:
        return _json(await _sent(self._client.get(path, params=parameters)), 200)


async def _sent(request: Coroutine[None, None, httpx.Response]) -> httpx.Response:
    try:
        return await request
    except httpx.HTTPError as error:
        raise ApiError(f"{error.request.url.host}:{error.request.url.port}: {error or type(error).__name__}") from error


def _json(response: httpx.Response, expected: int) -> dict[str, Any]:
    if response.status_code != expected:
        raise ApiError(_refusal(response))
    answer: dict[str, Any] = _DECODER.decode(response.content)
    return answer


# Money must not pass through a float on its way to the comparison.
_DECODER = msgspec.json.Decoder(float_hook=Decimal)


def _refusal(response: httpx.Response) -> str:
    return f"{response.request.method} {response.request.url} answered {response.status_code}: {response.text[:500]}"
