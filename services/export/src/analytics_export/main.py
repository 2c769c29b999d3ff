"""The console script `analytics-export`."""

from analytics_core.lifecycle import run_service
from analytics_export.settings import Settings
from analytics_export.verify_command import VERIFY
from analytics_export.wiring import serve


def main() -> int:
    """Run the service or its command; see `run_service` for the exit codes."""
    return run_service("analytics-export", "Writes usage as files into object storage", Settings, serve, VERIFY)
