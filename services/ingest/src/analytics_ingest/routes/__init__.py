"""The HTTP API of ingest: events in, a receipt for each."""

from typing import Any

from analytics_ingest.routes.events import publish_events
from analytics_ingest.routes.validation import validate_events

ROUTES: list[Any] = [publish_events, validate_events]
