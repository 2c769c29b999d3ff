"""Opens what the service works with, and runs its parts until it is told to stop."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass

import structlog
from litestar import Litestar

from analytics_core import clock
from analytics_core.audit import AuditLog
from analytics_core.database import ReadDatabase, WriteDatabase
from analytics_core.http.app import build_app, with_edge
from analytics_core.http.guards import AccessGuard
from analytics_core.http.identity import Authenticator
from analytics_core.http.rate_limits.limits import open_rate_limits
from analytics_core.lifecycle import (
    Backoff,
    Dependencies,
    Dependency,
    run_until_stopped,
    serve_http,
    sleep_unless_stopped,
)
from analytics_export.attempts import Attempts
from analytics_export.documentation import complete
from analytics_export.housekeeping import Housekeeping
from analytics_export.limits import API_CONNECTIONS_MIN, ATTEMPT_MAX
from analytics_export.routes.exports import EXPORT_ROUTES
from analytics_export.routes.following import Followers, follow_export
from analytics_export.routes.proof import PROOF_ROUTES
from analytics_export.routes.schedules import SCHEDULE_ROUTES
from analytics_export.routes.templates import TEMPLATE_ROUTES
from analytics_export.routes.webhook_secret import get_export_webhook_secret
from analytics_export.scheduling import Scheduler
from analytics_export.settings import Settings
from analytics_export.storage import ObjectStore, StorageError
from analytics_export.wakeups import WakeUps
from analytics_export.webhook_calls import WebhookCalls
from analytics_export.worker import Worker

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Resources:
    """Everything that is opened once. `rows` reads for exports alone, so that they never starve the API."""

    settings: Settings
    database: WriteDatabase
    rows: ReadDatabase
    store: ObjectStore
    wakeups: WakeUps
    audit: AuditLog
    dependencies: Dependencies


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """All resources for the length of the block. No server has to be there yet."""
    dsn = settings.database_url.get_secret_value()
    concurrency = max(1, settings.export_worker_concurrency)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(
            WriteDatabase.open(
                dsn,
                application_name=settings.service_name,
                # Each job needs one for its lease now and then.
                pool_size=max(settings.database_pool_size, concurrency + API_CONNECTIONS_MIN),
            )
        )
        rows = await stack.enter_async_context(
            ReadDatabase.open(
                dsn,
                application_name=f"{settings.service_name} rows",
                pool_size=concurrency,
                statement_timeout=ATTEMPT_MAX,
            )
        )
        store = ObjectStore(settings)
        wakeups = WakeUps(settings.rabbitmq_url.get_secret_value())
        # Without storage or broker jobs are still accepted, and written when it is back.
        dependencies = Dependencies(
            {
                "database": Dependency(database.ping),
                "s3": Dependency(store.check, required=False),
                "rabbitmq": Dependency(wakeups.check, required=False),
            }
        )
        audit = AuditLog(database, settings.service_name)
        yield Resources(settings, database, rows, store, wakeups, audit, dependencies)


def build_http(guard: AccessGuard | None, dependencies: Dependencies, resources: Mapping[str, object]) -> Litestar:
    """The HTTP application; with no guard and no resources it can only describe itself."""
    app = build_app(
        title="Analytics export",
        description="Writes an organisation's usage as files into object storage.",
        routes=[
            *EXPORT_ROUTES,
            *PROOF_ROUTES,
            *TEMPLATE_ROUTES,
            *SCHEDULE_ROUTES,
            follow_export,
            get_export_webhook_secret,
        ],
        guard=guard,
        dependencies=dependencies,
        resources=resources,
    )
    complete(app.openapi_schema)
    return app


def build_documented_app() -> Litestar:
    """The application for its OpenAPI document: needs no settings and no server."""
    names = ("settings", "database", "store", "wakeups", "followers")
    return build_http(None, Dependencies({}), dict.fromkeys(names))


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run API and worker until `stop` is set; the audit log is written until the last request is answered."""
    async with (
        open_resources(settings) as resources,
        _running_audit(resources.audit),
        open_rate_limits(settings) as rate_limits,
    ):
        app = build_http(
            AccessGuard(Authenticator(settings, clock.now), resources.audit, clock.now, rate_limits),
            resources.dependencies,
            {
                "settings": settings,
                "database": resources.database,
                "store": resources.store,
                "wakeups": resources.wakeups,
                "followers": Followers(stop),
            },
        )
        attempts = Attempts(
            settings,
            jobs=resources.database,
            rows=resources.rows,
            store=resources.store,
            wakeups=resources.wakeups,
        )
        housekeeping = Housekeeping(settings, resources.database, resources.store, resources.wakeups.sweep_due)
        worker = Worker(settings, jobs=resources.database, attempts=attempts, requested=resources.wakeups.requested)
        await run_until_stopped(
            stop,
            serve_http(with_edge(app), settings, stop),
            worker.run(stop),
            housekeeping.run(stop),
            Scheduler(settings, resources.database, resources.wakeups).run(stop),
            WebhookCalls(settings, resources.database, resources.wakeups.webhooks_due).run(stop),
            worker.watch_queue(stop),
            resources.wakeups.run(stop),
            resources.dependencies.watch(stop),
            *([_create_bucket(resources.store, stop)] if settings.s3_create_bucket else []),
        )


@asynccontextmanager
async def _running_audit(audit: AuditLog) -> AsyncIterator[None]:
    task = asyncio.create_task(audit.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _create_bucket(store: ObjectStore, stop: asyncio.Event) -> None:
    backoff = Backoff()
    while not stop.is_set():
        try:
            await store.create_bucket()
        except StorageError as error:
            log.warning("bucket_not_created", code=error.code, retrying=True)
            await sleep_unless_stopped(stop, backoff.next_seconds())
        else:
            return
