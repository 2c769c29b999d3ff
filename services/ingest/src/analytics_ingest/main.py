"""Entry point of the ingest service."""

from analytics_core.lifecycle import run_service
from analytics_ingest.dead_letters_command import DEAD_LETTERS
from analytics_ingest.partitions_command import PARTITIONS
from analytics_ingest.settings import Settings
from analytics_ingest.wiring import serve


def main() -> int:
    """Run the service or one of its commands; see `run_service` for the exit codes."""
    description = "Stores the usage events of the stream, exactly once"
    return run_service("analytics-ingest", description, Settings, serve, DEAD_LETTERS, PARTITIONS)
