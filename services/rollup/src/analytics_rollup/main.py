"""The console script `analytics-rollup`."""

from analytics_core.lifecycle import run_service
from analytics_rollup.erase_command import ERASE
from analytics_rollup.reconcile_command import REBUILD, RECONCILE
from analytics_rollup.settings import Settings
from analytics_rollup.wiring import serve


def main() -> int:
    """Run the service or one of its commands; see `run_service` for the exit codes."""
    return run_service(
        "analytics-rollup", "Folds committed batches into rollups, once", Settings, serve, RECONCILE, REBUILD, ERASE
    )
