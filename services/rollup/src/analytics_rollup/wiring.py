"""The one place that builds what the service is made of, and takes it down again."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from litestar import Litestar

from analytics_core import clock
from analytics_core.database import WriteDatabase
from analytics_core.http.app import build_app, with_edge
from analytics_core.lifecycle import Dependencies, Dependency, run_until_stopped, serve_http
from analytics_rollup.drift import watch_drift
from analytics_rollup.freshness import observe
from analytics_rollup.settings import Settings
from analytics_rollup.upkeep import keep_up
from analytics_rollup.wakeups import WakeUps
from analytics_rollup.worker import Folder

TITLE = "Analytics Rollup"
DESCRIPTION = "Folds committed batches of usage events into hourly and daily rollups. Serves its status alone."


@dataclass(frozen=True, slots=True)
class Resources:
    """What runs while the service does."""

    app: Litestar
    dependencies: Dependencies
    database: WriteDatabase
    wake_ups: WakeUps
    folder: Folder


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Everything that the service holds open. Connects to nothing yet."""
    async with WriteDatabase.open(
        settings.database_url.get_secret_value(),
        application_name=settings.service_name,
        pool_size=settings.database_pool_size,
    ) as database:
        wake_ups = WakeUps(settings.rabbitmq_url.get_secret_value())
        dependencies = Dependencies(
            {
                "database": Dependency(database.ping),
                "rabbitmq": Dependency(wake_ups.check, required=False),
            }
        )
        yield Resources(
            build_http_app(dependencies), dependencies, database, wake_ups, Folder(database, wake_ups, clock.now)
        )


def build_http_app(dependencies: Dependencies) -> Litestar:
    """The HTTP application; needs no server to be built."""
    return build_app(
        title=TITLE, description=DESCRIPTION, routes=[], guard=None, dependencies=dependencies, resources={}
    )


async def serve(settings: Settings, stop: asyncio.Event) -> None:
    """Run the service until `stop` is set. A fold under way is finished."""
    async with open_resources(settings) as resources:
        await run_until_stopped(
            stop,
            serve_http(with_edge(resources.app), settings, stop),
            resources.dependencies.watch(stop),
            resources.wake_ups.run(stop),
            resources.folder.work(stop),
            *(resources.folder.help(stop) for _ in range(settings.aggregation_workers - 1)),
            resources.folder.fold_dimensions(stop),
            *(resources.folder.help_dimensions(stop) for _ in range(settings.aggregation_workers - 1)),
            observe(resources.database, clock.now, stop),
            keep_up(resources.database, settings, stop),
            watch_drift(resources.database, settings.reconcile_interval, stop),
        )
