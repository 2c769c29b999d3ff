"""Entry point of the ingest service."""

from analytics_core.lifecycle import run_service
from analytics_ingest.settings import Settings
from analytics_ingest.wiring import serve


def main() -> int:
    """Run until told to stop; returns the exit code."""
    return run_service("analytics-ingest", "Stores the usage events of the stream, exactly once", Settings, serve)
