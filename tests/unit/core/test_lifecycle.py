"""How a service starts, checks its servers, retries and stops."""

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from itertools import pairwise

import asyncpg
import pytest
import structlog
from structlog.testing import capture_logs

from analytics_core.database import ConnectionFailed
from analytics_core.errors import NotFound
from analytics_core.lifecycle import (
    Backoff,
    Command,
    Dependencies,
    Dependency,
    run_service,
    run_until_stopped,
    sleep_unless_stopped,
)
from analytics_core.settings import ServiceSettings


async def never() -> None:
    await asyncio.Event().wait()


def test_pauses_grow_up_to_a_limit_and_start_again_after_success() -> None:
    """Jittered by a quarter at most, so that replicas do not come back in step."""
    backoff = Backoff(first_seconds=1.0, max_seconds=8.0)
    pauses = [backoff.next_seconds() for _ in range(20)]
    backoff.reset()

    assert 0.75 <= pauses[0] <= 1.25
    assert all(later > earlier for earlier, later in pairwise(pauses[:4]))
    assert all(6.0 <= pause <= 10.0 for pause in pauses[3:])
    assert len({*pauses[3:]}) > 1
    assert backoff.next_seconds() <= 1.25


async def test_a_sleep_ends_when_the_service_stops() -> None:
    """A minute's pause must not delay a stop by a minute."""
    stop = asyncio.Event()
    async with asyncio.timeout(5):
        sleeping = asyncio.create_task(sleep_unless_stopped(stop, 3600))
        await asyncio.sleep(0)
        stop.set()
        await sleeping
        await sleep_unless_stopped(asyncio.Event(), 0.001)


async def test_a_failing_job_stops_the_others() -> None:
    """Half a service is worse than none: the failure comes out, and everybody else is told to stop."""
    stop = asyncio.Event()

    async def fail() -> None:
        raise RuntimeError("no way on")

    with pytest.raises(RuntimeError, match="no way on"):
        await run_until_stopped(stop, never(), fail())

    assert stop.is_set()


async def test_jobs_run_until_all_have_ended() -> None:
    """A stop lets each of them finish what it is doing."""
    stop = asyncio.Event()
    done = []

    async def finish_later() -> None:
        await stop.wait()
        await asyncio.sleep(0.01)
        done.append("work under way")

    async def stop_soon() -> None:
        stop.set()

    await run_until_stopped(stop, finish_later(), stop_soon())

    assert done == ["work under way"]


async def fine() -> None:
    """A server that answers."""


async def broken() -> None:
    raise ConnectionError("postgres://u:secret@h/d refused")


async def test_only_required_servers_decide_over_readiness() -> None:
    """A cache that is away makes a service slower, not unready."""
    dependencies = Dependencies({"database": Dependency(fine), "cache": Dependency(broken, required=False)})
    states = await dependencies.states()

    assert dependencies.is_ready(states)
    assert states == {"database": None, "cache": "ConnectionError: postgres://u:[redacted]@h/d refused"}
    assert not dependencies.is_ready({"database": "away", "cache": None})


async def test_a_server_that_does_not_answer_is_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """A check that hangs must not hang the readiness probe."""
    monkeypatch.setattr(Dependencies, "CHECK_TIMEOUT_SECONDS", 0.01)
    states = await Dependencies({"database": Dependency(never)}).states()

    assert states == {"database": "no answer within 0.01 s"}


async def test_servers_are_asked_once_for_many_questions() -> None:
    """Probes of several load balancers must not become load."""
    asked = 0

    async def count() -> None:
        nonlocal asked
        asked += 1

    dependencies = Dependencies({"database": Dependency(count)})
    await asyncio.gather(*(dependencies.states() for _ in range(10)))

    assert asked == 1


async def test_an_outage_is_logged_when_it_begins_and_when_it_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once each, with the server's name, however often it is looked at."""
    monkeypatch.setattr(Dependencies, "FRESH_SECONDS", 0.0)
    check: Callable[[], Awaitable[None]] = broken

    async def current() -> None:
        await check()

    structlog.reset_defaults()
    dependencies = Dependencies({"database": Dependency(current)})
    with capture_logs() as lines:
        await dependencies.states()
        await dependencies.states()
        check = fine
        await dependencies.states()
        await dependencies.states()

    assert [(line["event"], line["dependency"]) for line in lines] == [
        ("dependency_unreachable", "database"),
        ("dependency_back", "database"),
    ]


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """A valid configuration, and no handler of ours left on the loggers."""
    monkeypatch.setenv("DATABASE_URL", "postgres://u:secret@h/d")
    monkeypatch.setenv("RABBITMQ_URL", "amqp://u:secret@h/v")
    monkeypatch.setattr("analytics_core.lifecycle.configure_logs", lambda *_: None)
    return monkeypatch


async def serve_until_signalled(_: ServiceSettings, stop: asyncio.Event) -> None:
    signal.raise_signal(signal.SIGTERM)
    await stop.wait()


async def serve_badly(_: ServiceSettings, stop: asyncio.Event) -> None:
    raise OSError("HTTP_PORT: cannot listen")


def run(
    environment: pytest.MonkeyPatch,
    *argv: str,
    serve: Callable[..., Awaitable[None]] = serve_until_signalled,
    failure: Exception | None = None,
) -> int:
    async def greet(settings: ServiceSettings, arguments: argparse.Namespace) -> int:
        if failure is not None:
            raise failure
        sys.stdout.write(f"{arguments.name} on {settings.http_port}\n")
        return 7

    def add_arguments(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--name")

    command = Command("greet", "Say a name", add_arguments, greet)
    environment.setattr(sys, "argv", ["analytics-test", *argv])
    return run_service("analytics-test", "A test", ServiceSettings, serve, command)


def test_a_signal_ends_the_service_in_order(environment: pytest.MonkeyPatch) -> None:
    """Exit code 0: it was asked to."""
    assert run(environment) == 0


def test_a_failure_is_an_exit_code(environment: pytest.MonkeyPatch) -> None:
    """The supervisor starts it again."""
    with capture_logs() as lines:
        assert run(environment, serve=serve_badly) == 1

    assert lines[-1]["event"] == "failed"


def test_a_wrong_configuration_does_not_start(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, and the variable's name for whoever reads."""
    environment.setenv("HTTP_PORT", "eighty")

    assert run(environment) == 2
    assert "HTTP_PORT: " in capsys.readouterr().err


def test_the_configuration_can_be_checked_without_starting(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """JSON, secrets masked."""
    assert run(environment, "--check-config") == 0
    shown = json.loads(capsys.readouterr().out)

    assert shown["HTTP_PORT"] == 8084
    assert shown["DATABASE_URL"] == "**********"


def test_a_command_runs_in_place_of_the_service(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the same settings, its own options and its own exit code."""
    assert run(environment, "greet", "--name", "Ada", serve=serve_badly) == 7
    assert capsys.readouterr().out == "Ada on 8084\n"


@pytest.mark.parametrize(
    ("failure", "line"),
    [
        (NotFound("there is no dead letter 7"), "there is no dead letter 7"),
        (
            ConnectionFailed("postgres://u:secret@h/d refused"),
            "DATABASE_URL: cannot reach the database: ConnectionFailed: postgres://u:[redacted]@h/d refused",
        ),
        (
            asyncpg.InvalidPasswordError('password authentication failed for user "u"\nHINT: ask'),
            'DATABASE_URL: the database refuses: InvalidPasswordError: password authentication failed for user "u"',
        ),
        (
            asyncpg.InvalidCatalogNameError('database "d" does not exist'),
            'DATABASE_URL: the database refuses: InvalidCatalogNameError: database "d" does not exist',
        ),
        (
            asyncpg.QueryCanceledError("statement timeout"),
            "DATABASE_URL: the database could not finish, try again: QueryCanceledError: statement timeout",
        ),
    ],
)
def test_a_command_says_in_a_line_what_an_operator_can_mend(
    environment: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], failure: Exception, line: str
) -> None:
    """No stack trace, no password."""
    assert run(environment, "greet", failure=failure) == 1
    assert capsys.readouterr().err == f"{line}\n"


@pytest.mark.parametrize("failure", [FileNotFoundError("/nofile"), asyncpg.PostgresSyntaxError("at or near")])
def test_a_defect_of_a_command_is_not_the_databases(environment: pytest.MonkeyPatch, failure: Exception) -> None:
    """A file that is missing, or a wrong statement: the stack says more than a guess."""
    with pytest.raises(type(failure)):
        run(environment, "greet", failure=failure)


@pytest.mark.parametrize("lines", [1, 100_000])
@pytest.mark.usefixtures("environment")
def test_a_command_ends_silently_when_nobody_reads_any_more(lines: int) -> None:
    """As behind `| head`: while it writes, and at its exit."""
    program = f"""
import sys
from analytics_core.lifecycle import Command, run_service
from analytics_core.settings import ServiceSettings

async def talk(settings, arguments):
    sys.stdout.writelines("a line\\n" for _ in range({lines}))
    return 0

sys.argv[1:] = ["talk"]
sys.exit(run_service("test", "A test", ServiceSettings, None, Command("talk", "", lambda _: None, talk)))
"""
    nobody, pipe = os.pipe()
    os.close(nobody)
    done = subprocess.run([sys.executable, "-c", program], stdout=pipe, stderr=subprocess.PIPE, check=False)
    os.close(pipe)

    assert (done.returncode, done.stderr) == (141, b"")
