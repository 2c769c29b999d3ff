"""Hands usage events to the Analytics Service: over RabbitMQ's stream protocol, or over HTTP.

Every event is confirmed, or reported as not confirmed. See the README for a start in ten lines.
"""

from analytics_client.blocking import BlockingUsagePublisher
from analytics_client.errors import InvalidEvent, NotConfirmed, PublisherClosed, PublishError, Refused
from analytics_client.event import Status, UsageEvent, encode_event
from analytics_client.publisher import UsagePublisher

__all__ = [
    "BlockingUsagePublisher",
    "InvalidEvent",
    "NotConfirmed",
    "PublishError",
    "PublisherClosed",
    "Refused",
    "Status",
    "UsageEvent",
    "UsagePublisher",
    "encode_event",
]
