"""The one place that builds what the service is made of, and takes it down again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from litestar import Litestar

from analytics_core import clock
from analytics_core.audit import AuditLog
from analytics_core.clock import Clock
from analytics_core.database import ReadDatabase, WriteDatabase
from analytics_core.http.app import build_app, with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator
from analytics_core.http.rate_limits.limits import open_rate_limits
from analytics_core.lifecycle import Dependencies, Dependency, run_until_stopped, serve_http
from analytics_query_api.audit.chain import Chainer
from analytics_query_api.audit.hashing import ChainKeys
from analytics_query_api.cache import FreshnessCache, redis_client
from analytics_query_api.days import HeldDays
from analytics_query_api.limits import AUDIT_POOL_SIZE, HELD_DAYS_BYTES_MAX, HELD_DAYS_SECONDS_MAX
from analytics_query_api.live.hub import LiveHub
from analytics_query_api.reader import Reader
from analytics_query_api.routes import ROUTES
from analytics_query_api.settings import Settings
from analytics_query_api.wakeups import FoldListener

TITLE = "Analytics Query API"
DESCRIPTION = """\
Usage, cost, reliability and freshness of an organisation, from rollups that every accepted event reaches exactly once.

Buckets are hours, days or months of a time zone. A series has the whole buckets that start in [start, end); those
without calls are not listed unless asked for. Costs are exact decimals of cents. Errors are problem+json (RFC 9457).
Answers carry an ETag for If-None-Match; series are CSV with `Accept: text/csv`.
"""


@dataclass(frozen=True, slots=True)
class Resources:
    """What runs while the service does."""

    app: Litestar
    dependencies: Dependencies
    audit: AuditLog
    folds: FoldListener
    live: LiveHub
    chainer: Chainer


@asynccontextmanager
async def open_resources(settings: Settings, now: Clock = clock.now) -> AsyncIterator[Resources]:
    """Everything that the service holds open. Connects to nothing yet."""
    read_url = settings.database_read_url or settings.database_url
    async with (
        ReadDatabase.open(
            read_url.get_secret_value(),
            application_name=settings.service_name,
            pool_size=settings.database_pool_size,
            statement_timeout=settings.query_timeout,
        ) as database,
        WriteDatabase.open(
            settings.database_url.get_secret_value(),
            application_name=f"{settings.service_name}-audit",
            pool_size=AUDIT_POOL_SIZE,
            statement_timeout=settings.query_timeout,
        ) as audit_database,
        redis_client(settings.redis_url.get_secret_value()) as redis,
        open_rate_limits(settings) as rate_limits,
    ):
        cache = FreshnessCache(
            redis,
            settings.freshness_cache_ttl // timedelta(milliseconds=1),
            reads_replica=settings.database_read_url is not None,
        )
        reader = Reader(database, settings.database_pool_size, now)
        live = LiveHub(reader, lambda: cache.hears_of_folds)
        folds = FoldListener(settings.rabbitmq_url.get_secret_value(), cache, live)
        audit = AuditLog(audit_database, settings.service_name)
        needed = {
            # Not the pool of the queries: a check that waits behind slow ones would take a busy service for a dead one.
            "database": Dependency(audit_database.ping),
            "redis": Dependency(cache.ping, required=False),
            "rabbitmq": Dependency(folds.check, required=False),
        }
        if settings.database_read_url is not None:
            needed["database-read"] = Dependency(database.ping)
        dependencies = Dependencies(needed)
        app = build_http_app(
            AccessGuard(Authenticator(settings, now), audit, now, rate_limits),
            dependencies,
            reader,
            cache,
            live,
            HeldDays(HELD_DAYS_BYTES_MAX, HELD_DAYS_SECONDS_MAX),
        )
        yield Resources(app, dependencies, audit, folds, live, Chainer(audit_database, ChainKeys(settings.chain_keys)))


def build_http_app(
    guard: AccessGuard | None,
    dependencies: Dependencies,
    reader: Reader | None,
    cache: FreshnessCache | None,
    live: LiveHub | None,
    held_days: HeldDays | None,
) -> Litestar:
    """The HTTP application; without any of them it can only describe itself."""
    return build_app(
        title=TITLE,
        description=DESCRIPTION,
        routes=ROUTES,
        guard=guard,
        dependencies=dependencies,
        resources={"reader": reader, "freshness_cache": cache, "live": live, "held_days": held_days},
    )


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the service until `stop` is set."""
    async with open_resources(settings) as resources:
        audit = asyncio.create_task(resources.audit.run())
        try:
            await run_until_stopped(
                stop,
                serve_http(with_edge(resources.app), settings, stop),
                resources.dependencies.watch(stop),
                resources.folds.run(stop),
                resources.chainer.run(stop),
                resources.live.run(stop),
            )
        finally:
            # The last requests have their answers now, so nobody records any more.
            audit.cancel()
            await asyncio.gather(audit, return_exceptions=True)
