"""How a service starts, retries, reports its dependencies and stops."""

import argparse
import asyncio
import gc
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Generic, TypeVar

import structlog
import uvicorn
import uvloop
from uvicorn._types import ASGIApplication

from analytics_core.database import database_problem
from analytics_core.errors import ApiError, SettingsError
from analytics_core.settings import ServiceSettings, load_settings, redacted
from analytics_core.telemetry.logs import configure_logs, redact_text
from analytics_core.telemetry.traces import configure_traces

log = structlog.get_logger()

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_CONFIGURATION = 2
# As a shell has it of a program that a closed pipe has ended.
EXIT_CLOSED_PIPE = 128 + signal.SIGPIPE
# Kubernetes sends SIGKILL 30 s after SIGTERM by default: be done well before.
DRAIN_SECONDS = 20

Settings = TypeVar("Settings", bound=ServiceSettings)
Serve = Callable[[Settings, asyncio.Event], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Command(Generic[Settings]):
    """Something that a service's program does once instead of serving: `analytics-x NAME …`.

    `add_arguments` declares its options, `run` does it and returns the exit code. An `ApiError` that it raises, or what
    `database_problem` knows, is one line on standard error and `EXIT_FAILED`.
    """

    name: str
    description: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[Settings, argparse.Namespace], Awaitable[int]]


def run_service(
    name: str,
    description: str,
    settings_class: type[Settings],
    serve: Serve[Settings],
    *commands: Command[Settings],
) -> int:
    """The whole life of a service's process; returns its exit code.

    `serve` runs until the event is set (SIGTERM or SIGINT) and then ends by itself. Exit codes: 0 stopped as asked,
    1 failed, 2 wrong configuration; a command has its own.
    """
    arguments = _parser(name, description, commands).parse_args()
    command: Command[Settings] | None = getattr(arguments, "command", None)
    try:
        settings = load_settings(settings_class)
    except SettingsError as error:
        print(f"{name}: wrong configuration, not starting", *error.problems, sep="\n  ", file=sys.stderr)  # noqa: T201
        return EXIT_CONFIGURATION
    if arguments.check_config:
        print(json.dumps(redacted(settings), indent=2, default=str))  # noqa: T201
        return EXIT_OK
    # What a command has to say is on its standard output, for the next program.
    configure_logs(settings.service_name, settings.log_level, sys.stdout if command is None else sys.stderr)
    if command is not None:
        return uvloop.run(_exit_code(command.run(settings, arguments)))
    provider = configure_traces(settings)
    try:
        return uvloop.run(_run_until_signal(settings, serve))
    finally:
        if provider is not None:
            provider.shutdown()


def _parser(name: str, description: str, commands: Sequence[Command[Settings]]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=name, description=f"{description}. Configured by environment variables.")
    parser.add_argument("--check-config", action="store_true", help="check the configuration, print it and exit")
    if commands:
        subparsers = parser.add_subparsers(title="instead of serving", metavar="COMMAND")
        for command in commands:
            subparser = subparsers.add_parser(command.name, help=command.description, description=command.description)
            command.add_arguments(subparser)
            subparser.set_defaults(command=command)
    return parser


async def _exit_code(result: Awaitable[int]) -> int:
    try:
        code = await _explained(result)
        # Not at Python's exit, where nobody could deal with a pipe that is closed.
        sys.stdout.flush()
    except BrokenPipeError:
        # `| head` has what it wants. What is left has to go somewhere, or Python complains when it exits.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return EXIT_CLOSED_PIPE
    return code


async def _explained(result: Awaitable[int]) -> int:
    try:
        return await result
    except ApiError as error:
        problem = error.detail
    except Exception as error:
        found = database_problem(error)
        if found is None:
            raise
        problem = found
    sys.stderr.write(f"{problem}\n")
    return EXIT_FAILED


async def _run_until_signal(settings: Settings, serve: Serve[Settings]) -> int:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signal_number, stop.set)
    log.info("starting", environment=settings.environment, port=settings.http_port)
    try:
        await serve(settings, stop)
    except Exception:
        log.exception("failed")
        return EXIT_FAILED
    log.info("stopped")
    return EXIT_OK


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the service decides in which order its parts stop."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_http(app: ASGIApplication, settings: ServiceSettings, stop: asyncio.Event) -> None:
    """Serve HTTP until `stop` is set, then let requests under way finish within `DRAIN_SECONDS`.

    Raises `OSError` when the port cannot be used.
    """
    config = uvicorn.Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_SECONDS,
        lifespan="on",
    )
    server = _Server(config)
    # What a service is made of stays: a collector that went through it again and again took half of query-api's time.
    gc.collect()
    gc.freeze()
    running = asyncio.create_task(_serve(server, settings.http_port))
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({running, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    server.should_exit = True
    await running


async def _serve(server: uvicorn.Server, port: int) -> None:
    try:
        await server.serve()
    except SystemExit:  # uvicorn's way of saying that it could not listen
        raise OSError(f"HTTP_PORT: cannot listen on port {port}, is it taken?") from None


async def run_until_stopped(stop: asyncio.Event, *jobs: Awaitable[None]) -> None:
    """Run jobs side by side. When one fails, `stop` is set, the others are cancelled and the failure is raised."""
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            for job in jobs:
                group.create_task(_awaited(job))
    except* Exception as failures:  # noqa: BLE001 — raised below
        stop.set()
        failure = failures.exceptions[0]
    # Not in the block: Python before 3.11.4 would put it back into a group.
    if failure is not None:
        raise failure from None


async def _awaited(job: Awaitable[None]) -> None:
    await job


async def sleep_unless_stopped(stop: asyncio.Event, seconds: float) -> None:
    """Sleep, but no longer than until `stop` is set."""
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass


class Backoff:
    """Growing pauses between tries, jittered so that replicas do not come back in step."""

    def __init__(self, first_seconds: float = 0.5, max_seconds: float = 30.0) -> None:
        self._first = first_seconds
        self._max = max_seconds
        self._next = first_seconds

    def next_seconds(self) -> float:
        """The pause before the next try; each is about twice the one before, up to the maximum."""
        pause = self._next * random.uniform(0.75, 1.25)  # noqa: S311 — jitter needs no cryptography
        self._next = min(self._next * 2, self._max)
        return pause

    def reset(self) -> None:
        """The last try worked: the next failure starts small again."""
        self._next = self._first


@dataclass(frozen=True, slots=True)
class Dependency:
    """A server that the service needs. `check` returns when it answers and raises when it does not.

    While a `required` one is away the service cannot do its work and is not ready; without another it only degrades.
    """

    check: Callable[[], Awaitable[None]]
    required: bool = True


class Dependencies:
    """The state of a service's servers, checked when somebody asks and by `watch`, which logs every change."""

    CHECK_TIMEOUT_SECONDS = 2.0
    FRESH_SECONDS = 1.0

    def __init__(self, dependencies: Mapping[str, Dependency]) -> None:
        self._dependencies = dict(dependencies)
        self._errors: dict[str, str | None] = {}
        self._checked_at = float("-inf")
        self._lock = asyncio.Lock()

    async def states(self) -> dict[str, str | None]:
        """Each dependency's problem, None where it answers. Not older than `FRESH_SECONDS`."""
        async with self._lock:
            if monotonic() - self._checked_at > self.FRESH_SECONDS:
                results = await asyncio.gather(*(self._check(item) for item in self._dependencies.values()))
                self._log_changes(dict(zip(self._dependencies, results, strict=True)))
                self._checked_at = monotonic()
            return dict(self._errors)

    def is_ready(self, states: Mapping[str, str | None]) -> bool:
        """Whether every required dependency answered."""
        return all(states[name] is None for name, item in self._dependencies.items() if item.required)

    async def watch(self, stop: asyncio.Event) -> None:
        """Check until stopped: often while something is away, so that its return is noticed quickly."""
        backoff = Backoff(max_seconds=5.0)
        while not stop.is_set():
            healthy = not any((await self.states()).values())
            if healthy:
                backoff.reset()
            await sleep_unless_stopped(stop, 5.0 if healthy else backoff.next_seconds())

    async def _check(self, dependency: Dependency) -> str | None:
        try:
            async with asyncio.timeout(self.CHECK_TIMEOUT_SECONDS):
                await dependency.check()
        except TimeoutError:
            return f"no answer within {self.CHECK_TIMEOUT_SECONDS:g} s"
        except Exception as error:  # noqa: BLE001 — any failure of a check is the answer
            return redact_text(f"{type(error).__name__}: {error}")
        return None

    def _log_changes(self, errors: dict[str, str | None]) -> None:
        for name, error in errors.items():
            if error is not None and self._errors.get(name) is None:
                log.warning("dependency_unreachable", dependency=name, error=error, retrying=True)
            elif error is None and self._errors.get(name) is not None:
                log.info("dependency_back", dependency=name)
        self._errors = errors
