"""GET /orgs/{orgId}/usage/stream, as Server-Sent Events and as a WebSocket"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Annotated, Any

from litestar import Request, WebSocket, get, websocket
from litestar.di import NamedDependency
from litestar.exceptions import WebSocketDisconnect
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import HeaderParameter, QueryParameter
from litestar.response import Stream

from analytics_core.access import Action, Decision, OrgScope
from analytics_core.http.app import API_PREFIX, NOT_COMPRESSED
from analytics_core.http.money import JSON
from analytics_core.http.problems import problem_responses
from analytics_query_api.live.hub import LiveHub, Messages
from analytics_query_api.live.messages import Ended, EndReason, StreamedEvent, as_event
from analytics_query_api.live.question import live_question
from analytics_query_api.routes.parameters import (
    ACTOR_ID,
    CLIENT_ID,
    ERROR_CODE,
    GROUPS,
    MODEL_ID,
    PROJECT,
    STATUS,
    grouping,
)

PATH = f"{API_PREFIX}/orgs/{{orgId:uuid}}/usage/stream"
_OPTIONS: dict[str, Any] = {"action": Action.USAGE_READ, NOT_COMPRESSED: True}
_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_RETRY = b"retry: 2000\n\n"
_HEARTBEAT = b": heartbeat\n\n"
_CLOSE_CODES = {EndReason.EXPIRED: 1008, EndReason.STOPPING: 1001, EndReason.TOO_LARGE: 1008}


def _parameter(name: str, schema: dict[str, Any], description: str) -> QueryParameter:
    return QueryParameter(name=name, description=description, schema_extra={"one_of": None, **schema})


_START = _parameter(
    "start",
    {"type": "string", "format": "date-time"},
    "RFC 3339. Buckets that start from here on are watched: at most 7 days back by hour (default: one), 92 by day "
    "(default: 7).",
)
_GRANULARITY = _parameter(
    "granularity", {"type": "string", "enum": ["hour", "day"], "default": "hour"}, "Bucket width."
)
_TIMEZONE = _parameter("timezone", {"type": "string", "default": "UTC"}, "IANA zone whose hours and days these are.")
_GROUP_BY = grouping(
    GROUPS,
    more="Only what rollups have together: model alone, or in a zone with offsets of whole hours any of model, client, "
    "project, status, errorCode, or any of actor, model, status, errorCode; filters count as groups here.",
)
_LAST_ID = "The `id` of the last message that arrived: only what has changed since is sent, or all there is."


@get(
    PATH,
    opt=_OPTIONS,
    tags=["usage"],
    operation_id="streamUsage",
    summary="Usage as it changes",
    media_type="text/event-stream",
    security=[{"bearer": []}],
    responses={
        200: ResponseSpec(
            data_container=StreamedEvent,
            description="A stream of events, each with the points that have changed; see contracts/messages/live.md",
            media_type="text/event-stream",
            generate_examples=False,
        )
    }
    | problem_responses(401, 403, 404, 422, 429, 503),
)
async def stream_usage(
    request: Request[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    decision: NamedDependency[Decision],
    live: NamedDependency[LiveHub],
    start: Annotated[str | None, _START] = None,  # noqa: ARG001
    granularity: Annotated[str | None, _GRANULARITY] = None,  # noqa: ARG001
    timezone: Annotated[str | None, _TIMEZONE] = None,  # noqa: ARG001
    group_by: Annotated[str | None, _GROUP_BY] = None,  # noqa: ARG001
    model_id: Annotated[list[str] | None, MODEL_ID] = None,  # noqa: ARG001
    client_id: Annotated[list[str] | None, CLIENT_ID] = None,  # noqa: ARG001
    actor_id: Annotated[list[str] | None, ACTOR_ID] = None,  # noqa: ARG001
    status: Annotated[list[str] | None, STATUS] = None,  # noqa: ARG001
    error_code: Annotated[list[str] | None, ERROR_CODE] = None,  # noqa: ARG001
    project: Annotated[list[str] | None, PROJECT] = None,  # noqa: ARG001
    last_event_id: Annotated[
        str | None, HeaderParameter(name="Last-Event-ID", description=_LAST_ID, max_length=100)
    ] = None,
    last_id: Annotated[str | None, _parameter("lastEventId", {"type": "string", "maxLength": 100}, _LAST_ID)] = None,
) -> Stream:
    """Server-Sent Events: first the points of the whole window, then within 2 s each that has changed.

    Points, filters and groups are those of `GET /orgs/{orgId}/usage`; at most 10,000 points. The same over a WebSocket,
    upgraded from this path: a text message each, resumed with `lastEventId`. Ends when the token does. A comment every
    15 s shows that the connection lives.
    """
    question = live_question(list(request.query_params.multi_items()), live.clock())
    stack = AsyncExitStack()
    messages = await stack.enter_async_context(
        live.listening(org_scope, decision.principal, question, last_event_id or last_id)
    )
    return Stream(_events(messages, stack), media_type="text/event-stream", headers=_HEADERS)


async def _events(messages: Messages, stack: AsyncExitStack) -> AsyncIterator[bytes]:
    async with stack:
        yield _RETRY
        async for message in messages:
            yield _HEARTBEAT if message is None else as_event(message)


@websocket(PATH, opt=_OPTIONS)
async def watch_usage(
    socket: WebSocket[Any, Any, Any],
    org_scope: NamedDependency[OrgScope],
    decision: NamedDependency[Decision],
    live: NamedDependency[LiveHub],
) -> None:
    """The stream as text messages. What the caller sends is read, to see it go, and ignored."""
    question = live_question(list(socket.query_params.multi_items()), live.clock())
    version = socket.query_params.get("lastEventId")
    async with live.listening(org_scope, decision.principal, question, version) as messages:
        await socket.accept()
        tasks = {asyncio.create_task(_send(socket, messages)), asyncio.create_task(_until_gone(socket))}
        _, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _send(socket: WebSocket[Any, Any, Any], messages: Messages) -> None:
    async for message in messages:
        if message is not None:
            await socket.send_text(JSON.encode(message).decode())
        if isinstance(message, Ended):
            await socket.close(_CLOSE_CODES[message.reason], message.reason)


async def _until_gone(socket: WebSocket[Any, Any, Any]) -> None:
    try:
        while True:
            await socket.receive_data("text")
    except WebSocketDisconnect:
        return
