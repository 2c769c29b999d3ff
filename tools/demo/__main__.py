"""`./tools/dev demo`: exit code 0 when every number matched."""

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from pathlib import Path
from typing import TypeVar

from rich.console import Console

from tools.demo import scenes, show
from tools.demo.api import Api, ApiError, Window
from tools.demo.traffic import Traffic, publish, wait_until_visible
from tools.devstack import dev_token, docker, down, envfile, processes, up
from tools.devstack.interruption import SIGNALS, raise_on_signals, uninterrupted
from tools.devstack.problems import Interrupted, StackError
from tools.devstack.stack import env_file, open_stack, saved_base
from tools.replay.arguments import positive, whole
from tools.replay.stream import StreamUnavailable
from tools.replay.trace import TraceError

T = TypeVar("T")


def main(argv: Sequence[str] | None = None) -> int:
    """1 when a number differs or something does not answer, 2 for unusable arguments, 130 when stopped."""
    options = _parser().parse_args(argv)
    console = Console(highlight=False)
    traffic = Traffic(options.trace, options.events, options.rate, options.seed)
    started = time.monotonic()
    ran_before = _runs(options.stack)
    raise_on_signals()
    try:
        show.heading(console, "The stack")
        up.up(options.stack, servers_only=False)
        failures = _run(_demo(console, traffic, options.stack))
    except Interrupted:
        return _stopped(console, options.stack, ran_before=ran_before)
    except StackError as error:
        console.print(f"[bold red]✘[/] {error.message}\n  {error.way_out}", soft_wrap=True)
        return 1
    except (ApiError, StreamUnavailable) as error:
        console.print(f"[bold red]✘[/] {error}\n  See ./tools/dev status and ./tools/dev logs", soft_wrap=True)
        return 1
    except (TraceError, OSError) as error:
        console.print(f"[bold red]✘[/] {error}", soft_wrap=True)
        return 2
    show.heading(console, f"Done in {time.monotonic() - started:.0f} s")
    for failure in failures:
        console.print(f"[bold red]✘ does not hold:[/] {failure}")
    show.note(console, "The stack runs on: ./tools/dev status shows it, ./tools/dev down stops it.")
    return 1 if failures else 0


async def _demo(console: Console, traffic: Traffic, stack: str) -> list[str]:
    """Everything between `up` and the end; the checks that did not hold."""
    env = envfile.parse(env_file(stack))
    show.heading(console, "Traffic")
    show.note(console, f"[dim]{_description(traffic)}")
    ledger = await publish(traffic, env["RABBITMQ_STREAM_URL"], env["RABBITMQ_STREAM"], console)
    if ledger.unconfirmed or ledger.first_occurred_at is None or ledger.last_occurred_at is None:
        raise StreamUnavailable(f"{ledger.unconfirmed:,} messages were not confirmed: {ledger.ended_early}")
    window = Window.around(ledger.first_occurred_at, ledger.last_occurred_at)
    token = dev_token.mint(
        stack, subject="demo", orgs=list(ledger.by_org()), roles=("org:admin",), admin=False, ttl_s=3600
    )
    async with Api.open(env["GATEWAY_URL"], token) as api:
        stage = scenes.Stage(console, api, ledger, window)
        scenes.published(stage)
        visible_after_s = await wait_until_visible(api, ledger, window, console)
        await scenes.usage(stage)
        await scenes.reliability(stage)
        await scenes.freshness(stage, visible_after_s)
        await scenes.proof(stage)
        export_id = await scenes.export(stage)
        scenes.next_steps(stage, env["GATEWAY_URL"], stack, export_id)
    return stage.failures


def _description(traffic: Traffic) -> str:
    added = "1 % of it sent twice, 2 % late, 0.1 % broken"
    if traffic.trace:
        return f"{traffic.trace.name}, moved to end now; organisations, models and outcomes made up; {added}"
    return f"A day of made-up calls of 25 organisations to 10 models that ends now; {added}"


def _run(work: Coroutine[None, None, T]) -> T:
    """`asyncio.run` in which a signal cancels the work, and `Interrupted` leaves."""

    async def cancellable() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        assert task is not None

        def cancel() -> None:
            # Again every second until it has ended: libraries on the way swallow a cancellation now and then.
            task.cancel()
            loop.call_later(1, cancel)

        for number in SIGNALS:
            loop.add_signal_handler(number, cancel)
        return await work

    try:
        return asyncio.run(cancellable())
    except asyncio.CancelledError:
        raise Interrupted(signal.SIGINT.name) from None
    finally:
        raise_on_signals()


def _runs(stack: str) -> bool:
    base = saved_base(stack)
    return docker.is_used(stack) or (base is not None and bool(processes.members(open_stack(stack, base))))


def _stopped(console: Console, stack: str, *, ran_before: bool) -> int:
    """After Ctrl-C nothing is left running that was not running before."""
    with uninterrupted():
        if not ran_before and _runs(stack):
            console.print("Stopped: taking down what the demo started …")
            down.down(stack)
    return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tools/dev demo",
        description="Start everything, replay traffic, show what the product makes of it, and check every number.",
    )
    parser.add_argument(
        "--trace", type=Path, metavar="FILE", help="replay an Azure-format trace in place of made-up calls"
    )
    parser.add_argument("--events", type=whole, metavar="N", help="how many events (default 60,000; trace: all)")
    parser.add_argument(
        "--rate", type=positive, default=Traffic.rate, metavar="N", help="messages per second (default 8,000)"
    )
    parser.add_argument(
        "--seed",
        type=int,
        metavar="N",
        help="repeat what a seed made up, for new organisations (default: another one each time)",
    )
    parser.add_argument("--stack", default="dev", help="which stack (default: dev)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
