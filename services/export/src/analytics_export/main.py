"""The console script `analytics-export`."""

from analytics_core.lifecycle import run_service
from analytics_export.erase_command import ERASE
from analytics_export.memory import give_freed_memory_back
from analytics_export.settings import Settings
from analytics_export.verify_command import VERIFY
from analytics_export.wiring import serve


def main() -> int:
    """Run the service or one of its commands; see `run_service` for the exit codes."""
    give_freed_memory_back()
    return run_service("analytics-export", "Writes usage as files into object storage", Settings, serve, VERIFY, ERASE)
