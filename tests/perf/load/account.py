"""Processor time and memory of the processes on this machine, by what they are part of."""

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.stack import Database
from tools.devstack import processes
from tools.devstack.stack import Stack

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")

Seconds = dict[str, float]


def cpu_seconds(pid: int, *, with_ended_children: bool = False) -> float:
    """What the process has spent so far; 0 when there is no such process (any more)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return sum(map(int, fields[11 : 15 if with_ended_children else 13])) / TICKS_PER_S


def rss_mb(pid: int) -> float:
    """Resident memory of the process."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * PAGE_BYTES / 1e6


@dataclass(frozen=True)
class Account:
    """Who spends processor time: processes by name, RabbitMQ, and PostgreSQL by the role that it works for."""

    stack: Stack
    database: Database
    pids: Callable[[], Mapping[str, int]]

    def read(self) -> Seconds:
        """Seconds so far by name. `postgres` is its own work: checkpoints, vacuum, the log."""
        members = processes.members(self.stack)
        spent = {name: cpu_seconds(pid) for name, pid in self.pids().items()}
        spent["rabbitmq"] = sum(map(cpu_seconds, members.get("rabbitmq", ())))
        main = processes.running(self.stack, "postgres")
        ended = cpu_seconds(main.pid, with_ended_children=True) - cpu_seconds(main.pid) if main else 0.0
        spent["postgres"] = sum(map(cpu_seconds, members.get("postgres", ()))) + ended
        for role, pids in self._backends().items():
            spent[f"postgres for {role}"] = seconds = sum(map(cpu_seconds, pids))
            spent["postgres"] -= seconds
        return spent

    def _backends(self) -> dict[str, list[int]]:
        with psycopg.connect(self.database.superuser_dsn) as connection:
            rows = connection.execute(
                "SELECT substr(usename, 11), array_agg(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND usename IN ('analytics_ingest', 'analytics_rollup') GROUP BY 1"
            ).fetchall()
        return dict(rows)


@dataclass(frozen=True)
class Span:
    """What a stretch of time cost."""

    seconds: float
    spent: Seconds

    def per_event_us(self, events: int) -> Seconds:
        return {name: seconds / max(1, events) * 1e6 for name, seconds in self.spent.items()}


class Stretch:
    """From its making until `end`."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._begin = account.read()
        self._started = time.monotonic()

    def end(self) -> Span:
        seconds, now = time.monotonic() - self._started, self._account.read()
        return Span(seconds, {name: now[name] - self._begin.get(name, 0.0) for name in now})


def total(spent: Seconds, names: Iterable[str] | None = None) -> float:
    return sum(seconds for name, seconds in spent.items() if names is None or name in names)
