"""How fast the API answers over HTTP, from 13 months of rollups of 250 organisations.

Data: an organisation of rank r uses 40/sqrt(r) models; its m-th model has 4,000/(r*m) calls an hour with log-normal
latencies, so 250 organisations have 1,220 active pairs of organisation and model, 11 million rows by the hour and 6 GB
(--full: all 10,000 pairs, 95 million rows). Rows lie in the order of time, as the fold writes them.

Load: an open model. Requests start at a fixed rate whether or not earlier ones are answered, and count from when they
should have started; organisations are drawn by Zipf's law too, so that a sixth of the requests is for the largest one.
The service holds nothing between requests but days by the hour (usage_7d_hourly, of a week that is asked for again and
again, as dashboards do); usage_7d_hourly_first is the same where no day is held. Latency is that of the client, without
compression. Beside it stands the processor time of an answer, of the service and of all of PostgreSQL: it says more on
a busy machine.
"""

import argparse
import asyncio
import json
import random
import socket
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from urllib.parse import urlencode
from uuid import UUID
from zoneinfo import ZoneInfo, available_timezones

import psycopg

from analytics_core.access import scope_for_accepted_job
from analytics_core.query.zones import has_whole_hours
from analytics_query_api.cache import FreshnessCache, redis_client
from analytics_query_api.freshness import ModelFacts, PipelineFacts
from tests.perf.load.account import Account, Stretch
from tests.perf.load.servers import bench_servers
from tests.support import stack_places
from tests.support.callers import JWT_SECRET, token
from tests.support.open_load import Load, Sample, percentile
from tests.support.processes import ServiceProcess
from tests.support.stack import Database, Servers

SQL = Path(__file__).with_name("query.sql").read_text(encoding="utf-8")
ORGS = 250


@dataclass(frozen=True)
class Kind:
    """A question as dashboards ask it, how often a second, and the target for its P95 in ms."""

    name: str
    path: str
    days: int
    rate: float
    target_ms: float | None
    parameters: dict[str, str]
    zones: Iterator[str] | None = None
    """A question each: the service holds no days of it from a question before."""
    before: int = 10
    """How many questions come before those that count."""


NOW = datetime.now(UTC)
# With the hours of UTC, so that a question costs the same in all of them.
ZONES = sorted(zone for zone in available_timezones() if "/" in zone and has_whole_hours(ZoneInfo(zone), NOW, NOW))
KINDS = (
    Kind("usage_7d_hourly", "usage", 7, 5, 25, {"granularity": "hour", "groupBy": "model"}, before=100),
    Kind("usage_7d_hourly_first", "usage", 7, 5, None, {"granularity": "hour", "groupBy": "model"}, cycle(ZONES)),
    Kind("usage_7d_daily", "usage", 7, 20, 10, {"granularity": "day", "groupBy": "model"}),
    Kind("reliability_7d", "reliability", 7, 10, 40, {"granularity": "day"}),
    Kind("reliability_7d_hourly", "reliability", 7, 2, None, {"granularity": "hour"}),
    Kind("usage_13mo_daily", "usage", 395, 10, 60, {"granularity": "day"}),
    Kind("usage_7d_daily_berlin", "usage", 7, 5, None, {"granularity": "day", "timezone": "Europe/Berlin"}),
    Kind("freshness", "freshness", 0, 50, None, {}),
)


def write(line: str) -> None:
    sys.stdout.write(f"{line}\n")


def org(rank: int) -> UUID:
    return UUID(int=rank, version=4)


def fill(place: Database, months: int, full: bool, until: datetime) -> None:
    """The rollups, a month at a time on two connections, as far as the machine's two processors go."""
    define, month, finish = SQL.split("-- next --\n")
    since = until - timedelta(days=round(months * 30.4))
    with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
        psycopg.ClientCursor(connection).execute(define.encode(), {"orgs": ORGS, "full": full, "now": until})
    starts = [since + timedelta(days=10) * number for number in range(-((since - until) // timedelta(days=10)))]

    def insert(start: datetime) -> None:
        end = min(start + timedelta(days=10), until)
        with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
            psycopg.ClientCursor(connection).execute(month.encode(), {"start": start, "end": end})

    with ThreadPoolExecutor(2) as pool:
        for number, _ in enumerate(pool.map(insert, starts), 1):
            sys.stderr.write(f"\rrollups: {number} of {len(starts)} times ten days")
    with psycopg.connect(place.superuser_dsn, autocommit=True) as connection:
        for statement in finish.split(";"):
            connection.execute(statement.encode())
        row = connection.execute(
            "SELECT approximate_row_count('analytics.usage_hourly'),"
            " pg_size_pretty(pg_database_size(current_database()))"
        ).fetchone()
    sys.stderr.write(f"\r{row[0]:,} rows by the hour, {row[1]} in all\n" if row else "\n")


def requests(kind: Kind, count: int, until: datetime, rng: random.Random) -> list[str]:
    """Paths of so many questions; every one of its own, so that nobody can have its answer ready."""
    weights = [1 / rank for rank in range(1, ORGS + 1)]
    paths = []
    for rank in rng.choices(range(1, ORGS + 1), weights, k=count):
        parameters = dict(kind.parameters)
        if kind.zones:
            parameters["timezone"] = next(kind.zones)
        if kind.days:
            end = until - timedelta(minutes=rng.randrange(60))
            parameters |= {"start": _text(end - timedelta(days=kind.days)), "end": _text(end)}
        paths.append(f"/analytics/v1/orgs/{org(rank)}/{kind.path}?{urlencode(parameters)}")
    return paths


def _text(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")


async def measure(service: ServiceProcess, account: Account, seconds: float, until: datetime) -> dict[str, float]:
    headers = {"Authorization": f"Bearer {token('admin')}", "Accept-Encoding": "identity"}
    rng, found = random.Random(1), {}
    latencies = "".join(f"{name:>9}" for name in ("p50", "p95", "p99", "max"))
    write(f"{'question':<26}{'asked/s':>8}{latencies} ms{'cpu':>11} ms{'answer':>11}   target p95")
    async with Load.open(service.url, headers) as load:
        for kind in KINDS:
            await load.run(requests(kind, kind.before, until, rng), 5)
            stretch = Stretch(account)
            samples = await load.run(requests(kind, int(kind.rate * seconds), until, rng), kind.rate)
            spent = stretch.end().spent
            cpu_ms = [spent[name] * 1_000 / len(samples) for name in ("query-api", "postgres")]
            found[f"{kind.name}_p95_ms"] = _show(kind, samples, cpu_ms)
            found[f"{kind.name}_cpu_ms"] = round(sum(cpu_ms), 2)
    return found


def _show(kind: Kind, samples: Sequence[Sample], cpu_ms: Sequence[float]) -> float:
    failed = [sample for sample in samples if sample.status != 200]
    times = sorted(sample.seconds * 1_000 for sample in samples)
    shown = "".join(f"{percentile(times, q):9.1f}" for q in (50, 95, 99, 100))
    size = sum(sample.size for sample in samples) / len(samples) / 1_000
    target = f"< {kind.target_ms:g} ms" if kind.target_ms else "-"
    cpu = " + ".join(f"{part:.1f}" for part in cpu_ms)
    failures = f"   {len(failed)} FAILED" * bool(failed)
    write(f"{kind.name:<26}{kind.rate:>8g}{shown}{cpu:>17}{size:>11,.0f} kB   {target}{failures}")
    return round(percentile(times, 95), 2)


async def measure_cache(redis_url: str) -> float:
    """P99 of the cache call alone, one after the other, for an organisation of 40 models."""
    scope = scope_for_accepted_job(org(1))
    now = datetime.now(UTC)
    models = tuple(ModelFacts(f"provider/model-{number}", now, now) for number in range(40))
    async with redis_client(redis_url) as client:
        cache = FreshnessCache(client, ttl_ms=600_000)
        cache.hears_of_folds = True
        await cache.drop([scope.org_id])
        known = await cache.look_up(scope)
        assert known.generation is not None
        await cache.store(scope, known.generation, PipelineFacts(now, False), models)
        times = []
        for _ in range(5_000):
            started = time.perf_counter()
            assert (await cache.look_up(scope)).models is not None
            times.append((time.perf_counter() - started) * 1_000)
    times.sort()
    write(
        f"{'freshness cache call':<34}"
        + "".join(f"{percentile(times, q):9.3f}" for q in (50, 95, 99, 100))
        + " ms   < 1 ms (p99)"
    )
    return round(percentile(times, 99), 3)


def bench(servers: Servers, place: Database, options: argparse.Namespace) -> dict[str, float]:
    until = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    started = time.perf_counter()
    fill(place, options.months, options.full, until)
    sys.stderr.write(f"generated in {time.perf_counter() - started:.0f} s\n")
    with (
        tempfile.TemporaryDirectory() as folder,
        stack_places.virtual_host(servers) as rabbitmq,
        stack_places.redis_database(servers) as redis_url,
        socket.create_server(("127.0.0.1", 0)) as probe,
    ):
        port = probe.getsockname()[1]
        probe.close()
        env = {
            "ENVIRONMENT": "production",
            "HTTP_PORT": str(port),
            "DATABASE_URL": place.dsn("analytics_query_api"),
            "REDIS_URL": redis_url,
            "RABBITMQ_URL": rabbitmq.amqp_url,
            "AUTH_JWT_SECRET": JWT_SECRET,
            "LOG_LEVEL": "warning",
            # One caller asks for everybody; counting its requests is part of what they cost.
            "RATE_LIMIT_PER_SECOND": "100000",
        }
        service = ServiceProcess("analytics-query-api", env, Path(folder) / "log").wait_until_ready()
        try:
            account = Account(servers.stack, place, lambda: {"query-api": service.pid})
            found = asyncio.run(measure(service, account, options.seconds, until))
        finally:
            service.stop()
        return found | {"freshness_cache_p99_ms": asyncio.run(measure_cache(redis_url))}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--months", type=int, default=13, help="months of rollups (default: 13)")
    parser.add_argument("--full", action="store_true", help="all 10,000 pairs of organisation and model: 60 GB")
    parser.add_argument("--seconds", type=float, default=20, help="how long each question is asked (default: 20)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON on the last line")
    options = parser.parse_args(arguments)
    servers = bench_servers()
    with stack_places.database(servers) as place:
        found = bench(servers, place, options)
    if options.json:
        write(json.dumps(found))


if __name__ == "__main__":
    main()
