"""What ingest is configured with."""

from datetime import timedelta
from typing import Annotated

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from analytics_core.settings import AuthenticatedServiceSettings, Duration, require_connections, url
from analytics_ingest.limits import CONNECTIONS_BESIDE_BATCHES, LEASE_MAX, LEASE_MIN


class Settings(AuthenticatedServiceSettings):
    """The variables of ingest beside those of every service."""

    service_name: str = Field(
        default="analytics-ingest", description="Name in logs, traces and the database's session list."
    )
    rabbitmq_stream_url: Annotated[SecretStr, url("rabbitmq-stream", "rabbitmq-stream+tls")] = Field(
        description="rabbitmq-stream://user:password@host:5552/vhost; rabbitmq-stream+tls:// for TLS."
    )
    rabbitmq_stream: str = Field(
        default="analytics.usage.v1", min_length=1, max_length=200, description="Stream of usage events."
    )
    rabbitmq_stream_partitions: int = Field(
        default=1, ge=1, le=1000, description="More than 1 makes it a super stream of so many partitions."
    )
    rabbitmq_stream_max_age: Duration = Field(
        default=timedelta(days=7),
        ge=timedelta(seconds=1),
        description="Retention of a stream that ingest declares, by age.",
    )
    rabbitmq_stream_max_length_bytes: int = Field(
        default=20 * 1024**3, ge=1024**2, description="Retention of a stream that ingest declares, by size."
    )
    rabbitmq_stream_segment_bytes: int = Field(
        default=100 * 1024**2,
        ge=100_000,
        le=3_000_000_000,
        description="Segment size of a stream that ingest declares; retention drops whole segments.",
    )
    rabbitmq_consumer: str = Field(
        default="analytics-ingest", min_length=1, max_length=100, description="Name of the connections at the broker."
    )
    raw_retention: Duration = Field(
        default=timedelta(days=400),
        ge=timedelta(days=2),
        description="Events older than this are refused, as their table forgets them.",
    )
    ingestion_workers: int = Field(default=4, ge=1, le=64, description="Batches that this process writes at once.")
    ingestion_lease: Duration = Field(
        # A replica takes over at most this long, plus the second that attaching needs, after an owner died: below 15 s.
        default=timedelta(seconds=12),
        ge=LEASE_MIN,
        le=LEASE_MAX,
        description="How long a partition stays with an owner that gives no sign of life.",
    )
    ingestion_dead_letter_ratio_max: float = Field(
        default=0.5, gt=0, le=1, description="A partition stops when more of its latest messages are dead letters."
    )
    ingestion_dead_letter_run_max: int = Field(
        default=1000, ge=1, description="A partition stops when so many messages in a row are dead letters."
    )

    @field_validator("ingestion_workers")
    @classmethod
    def _fits_the_pool(cls, workers: int, info: ValidationInfo) -> int:
        return require_connections(workers, workers + CONNECTIONS_BESIDE_BATCHES, info)
