"""The console script `analytics-query-api`."""

from analytics_core.lifecycle import run_service
from analytics_query_api.audit.command import AUDIT
from analytics_query_api.settings import Settings
from analytics_query_api.wiring import serve


def main() -> int:
    """Run the service or its command; see `run_service` for exit codes."""
    return run_service("analytics-query-api", "Rollups to JSON over HTTP", Settings, serve, AUDIT)
