"""The variables of rollup beside those of every service."""

from datetime import timedelta

from pydantic import Field, ValidationInfo, field_validator

from analytics_core.settings import Duration, OptionalDuration, ServiceSettings, require_connections

OTHER_CONNECTIONS = 4
"""For upkeep, measuring, the sampled reconcile and the readiness check."""


class Settings(ServiceSettings):
    """Read from the environment once, at start."""

    service_name: str = Field(default="analytics-rollup", description="Name in logs, traces and audit records.")
    aggregation_workers: int = Field(
        default=2, ge=1, le=16, description="Folds under way at the same time when batches have piled up."
    )
    reconcile_interval: Duration = Field(
        default=timedelta(minutes=5),
        ge=timedelta(seconds=1),
        le=timedelta(hours=24),
        description="How often a sample of closed buckets is compared with a recount from the events.",
    )
    raw_retention: Duration = Field(
        default=timedelta(days=400),
        ge=timedelta(days=2),
        description="Events older than this are refused, as their table forgets them.",
    )
    hourly_retention: Duration = Field(
        default=timedelta(days=396),
        ge=timedelta(days=2),
        description="Hourly rollups older than this are dropped, in chunks of 7 to 30 days.",
    )
    daily_retention: Duration = Field(
        default=timedelta(days=396),
        ge=timedelta(days=2),
        description="Daily rollups older than this are dropped, in chunks of 90 to 180 days.",
    )
    audit_retention: OptionalDuration = Field(
        default=None,
        ge=timedelta(days=30),
        description="Audit records older than this are dropped, in chunks of 30 days; unset keeps them for good.",
    )

    @field_validator("aggregation_workers")
    @classmethod
    def _fits_the_pool(cls, workers: int, info: ValidationInfo) -> int:
        return require_connections(workers, 2 * workers + OTHER_CONNECTIONS, info)
