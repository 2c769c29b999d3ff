"""The variables of export beside those of every service with users."""

import re
from datetime import timedelta
from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr

from analytics_core.settings import AuthenticatedServiceSettings, Duration
from analytics_export.limits import SIGNED_URL_TTL_MAX

DEFAULT_PREFIX = "analytics/exports"
_PREFIX = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_HOST = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")


class Settings(AuthenticatedServiceSettings):
    """Read from the environment once, at start."""

    service_name: str = Field(default="analytics-export", description="Name in logs, traces and audit records.")
    s3_endpoint: str = Field(description="http(s)://host:port of the object storage.")
    s3_access_key: SecretStr = Field(description="Key id that may list, write and delete in the bucket.")
    s3_secret_key: SecretStr = Field(description="Secret of S3_ACCESS_KEY; also signs download URLs.")
    s3_bucket: str = Field(description="Bucket for exports; the service writes below EXPORT_PREFIXES alone.")
    s3_region: str = Field(default="us-east-1", min_length=1, description="Region that requests are signed for.")
    s3_public_endpoint: str | None = Field(
        default=None, description="http(s)://host:port that users reach the storage by, for signed URLs."
    )
    s3_sse: Literal["AES256", "aws:kms"] | None = Field(
        default=None, description="Encryption that the storage is asked for; unset leaves it to the bucket."
    )
    s3_sse_kms_key_id: str | None = Field(default=None, description="Key for S3_SSE=aws:kms; unset is the default key.")
    s3_object_tags: bool = Field(
        default=True, description="Tag objects with org, job and generated-at; false for stores that refuse tags."
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

    export_prefixes: str = Field(
        default=DEFAULT_PREFIX,
        description="Prefixes of keys that exports may get, with commas; the first is the default.",
    )
    export_org_concurrency: int = Field(
        default=2, ge=1, le=100, description="Exports of one organisation that run at the same time, in all replicas."
    )
    export_bytes_max: int = Field(
        default=50 * 10**9, ge=1, description="Largest file in bytes; an export that passes it fails."
    )
    export_org_bytes_max: int = Field(
        default=10**12, ge=1, description="Bytes kept for one organisation; at that point new exports get 429."
    )
    export_retention: Duration = Field(
        default=timedelta(days=90),
        ge=timedelta(seconds=1),
        le=timedelta(days=3650),
        description="How long a file is kept; then it is removed and its export says expired.",
    )
    export_schedule_deadline: Duration = Field(
        default=timedelta(hours=24),
        ge=timedelta(0),
        le=timedelta(days=30),
        description="How long a schedule waits for its period to be finalized; then the file says estimated.",
    )
    export_webhook_hosts: str = Field(
        default="", description="Hosts that webhooks may call, with commas; *.example.com is all below. Empty: none."
    )
    export_webhook_secret: SecretStr | None = Field(
        default=None, description="32 bytes or more that each organisation's signing secret is derived from."
    )
    export_webhook_private: bool = Field(
        default=False, description="Let webhooks use http:// and private addresses; EXPORT_WEBHOOK_HOSTS still applies."
    )

    @property
    def prefixes(self) -> tuple[str, ...]:
        """`EXPORT_PREFIXES`, the default first."""
        return _listed(self.export_prefixes)

    @property
    def webhook_hosts(self) -> tuple[str, ...]:
        """`EXPORT_WEBHOOK_HOSTS`."""
        return _listed(self.export_webhook_hosts)

    def problems(self) -> list[str]:
        """Those of identities, and what is wrong with storage and webhooks."""
        return [*super().problems(), *self._storage_problems(), *self._webhook_problems()]

    def _storage_problems(self) -> list[str]:
        problems = [
            f"{name}: expected http://host:port or https://host:port, without a path"
            for name, url in (("S3_ENDPOINT", self.s3_endpoint), ("S3_PUBLIC_ENDPOINT", self.s3_public_endpoint))
            if url is not None and not _is_endpoint(url)
        ]
        if not _BUCKET.fullmatch(self.s3_bucket):
            problems.append("S3_BUCKET: expected 3 to 63 of a-z, 0-9, dots and hyphens")
        if not self.prefixes or not all(_PREFIX.fullmatch(prefix) for prefix in self.prefixes):
            problems.append("EXPORT_PREFIXES: expected names of letters, digits and ._- between slashes")
        if self.s3_sse_kms_key_id is not None and self.s3_sse != "aws:kms":
            problems.append("S3_SSE_KMS_KEY_ID: only with S3_SSE=aws:kms")
        if self.s3_create_bucket and self.environment == "production":
            problems.append("S3_CREATE_BUCKET: true is refused in production; create the bucket with its policies")
        return problems

    def _webhook_problems(self) -> list[str]:
        problems = []
        if not all(_HOST.fullmatch(host) for host in self.webhook_hosts):
            problems.append("EXPORT_WEBHOOK_HOSTS: expected host names in lower case, without ports")
        secret = self.export_webhook_secret
        if secret is None and self.webhook_hosts:
            problems.append("EXPORT_WEBHOOK_SECRET: required with EXPORT_WEBHOOK_HOSTS")
        if secret is not None and len(secret.get_secret_value().encode()) < 32:
            problems.append("EXPORT_WEBHOOK_SECRET: shorter than 32 bytes")
        return problems


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip().strip("/") for part in text.split(",") if part.strip().strip("/"))


def _is_endpoint(url: str) -> bool:
    try:
        parts = urlsplit(url)
        has_port_in_range = parts.port is None or parts.port > 0
    except ValueError:
        return False
    plain = parts.path in {"", "/"} and not (parts.query or parts.fragment or "@" in parts.netloc)
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and plain and has_port_in_range
