"""The variables of export beside those of every service with users."""

import re
from datetime import timedelta
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from analytics_core.errors import SettingsError
from analytics_core.settings import AuthenticatedServiceSettings, Duration
from analytics_export.limits import SIGNED_URL_TTL_MAX

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Settings(AuthenticatedServiceSettings):
    """Read from the environment once, at start."""

    service_name: str = Field(default="analytics-export", description="Name in logs, traces and audit records.")
    s3_endpoint: str = Field(description="http(s)://host:port of the object storage.")
    s3_access_key: SecretStr = Field(description="Key id that may list, write and delete in the bucket.")
    s3_secret_key: SecretStr = Field(description="Secret of S3_ACCESS_KEY; also signs download URLs.")
    s3_bucket: str = Field(description="Bucket for exports; the service writes below analytics/exports/ alone.")
    s3_region: str = Field(default="us-east-1", min_length=1, description="Region that requests are signed for.")
    s3_public_endpoint: str | None = Field(
        default=None, description="http(s)://host:port that users reach the storage by, for signed URLs."
    )
    s3_create_bucket: bool = Field(default=False, description="Create the bucket when missing; not in production.")
    export_worker_concurrency: int = Field(
        default=2, ge=0, le=16, description="Exports written at the same time; 0 serves the API alone."
    )
    export_worker_interval: Duration = Field(
        default=timedelta(seconds=30),
        ge=timedelta(milliseconds=100),
        le=timedelta(hours=1),
        description="How often idle workers look for jobs when no message wakes them.",
    )
    export_lease: Duration = Field(
        default=timedelta(seconds=30),
        ge=timedelta(seconds=1),
        le=timedelta(minutes=10),
        description="How long a job of a dead worker stays with it before another takes over.",
    )
    export_retry_delay: Duration = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=10),
        le=timedelta(minutes=5),
        description="Pause before a failed export's second attempt; it doubles with each further one.",
    )
    export_signed_url_ttl: Duration = Field(
        default=timedelta(hours=24),
        ge=timedelta(seconds=1),
        le=SIGNED_URL_TTL_MAX,
        description="How long a download URL works.",
    )
    export_range_max: Duration = Field(
        default=timedelta(days=31),
        ge=timedelta(hours=1),
        le=timedelta(days=400),
        description="Longest range of an hourly or daily export; a monthly one may span 13 months.",
    )

    @model_validator(mode="after")
    def _check_storage(self) -> "Settings":
        problems = [
            f"{name}: expected http://host:port or https://host:port, without a path"
            for name, url in (("S3_ENDPOINT", self.s3_endpoint), ("S3_PUBLIC_ENDPOINT", self.s3_public_endpoint))
            if url is not None and not _is_endpoint(url)
        ]
        if not _BUCKET.fullmatch(self.s3_bucket):
            problems.append("S3_BUCKET: expected 3 to 63 of a-z, 0-9, dots and hyphens")
        if self.s3_create_bucket and self.environment == "production":
            problems.append("S3_CREATE_BUCKET: true is refused in production; create the bucket with its policies")
        if problems:
            raise SettingsError(problems)
        return self


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port_in_range = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and has_port_in_range
