"""The HTTP API of ingest: events in, a receipt for each; dead letters out and in again."""

from typing import Any

from analytics_ingest.routes.dead_letters import get_dead_letter, list_dead_letters, replay_dead_letters
from analytics_ingest.routes.events import publish_events
from analytics_ingest.routes.validation import validate_events

ROUTES: list[Any] = [publish_events, validate_events, list_dead_letters, get_dead_letter, replay_dead_letters]
