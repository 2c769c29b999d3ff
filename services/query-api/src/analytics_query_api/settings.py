"""The variables of query-api beside those of every service with users."""

from datetime import timedelta

from pydantic import Field, SecretStr

from analytics_core.settings import AuthenticatedServiceSettings, DatabaseUrl, Duration, RedisUrl


class Settings(AuthenticatedServiceSettings):
    """Read from the environment once, at start."""

    service_name: str = Field(default="analytics-query-api", description="Name in logs, traces and audit records.")
    database_read_url: DatabaseUrl | None = Field(
        default=None, description="A replica to read from; DATABASE_URL then only takes the audit records."
    )
    redis_url: RedisUrl = Field(
        description="redis://host:port/number for query-api's cache and for rate limits that all replicas share. "
        "ingest and export start without; each of their replicas then has limits of its own."
    )
    freshness_cache_ttl: Duration = Field(
        default=timedelta(minutes=5),
        gt=timedelta(0),
        le=timedelta(hours=24),
        description="How long freshness facts stay in Redis unless a rollup drops them first.",
    )
    query_timeout: Duration = Field(
        default=timedelta(seconds=10),
        ge=timedelta(milliseconds=10),
        le=timedelta(minutes=5),
        description="A query that takes longer is cancelled and answered with 503.",
    )
    audit_chain_keys: SecretStr | None = Field(
        default=None,
        description="Keys of the audit trail's chain, 32 bytes or more each, with commas between: the first makes "
        "links, the others prove older ones. Without, links are plain hashes.",
    )

    @property
    def chain_keys(self) -> list[bytes]:
        """The keys of `AUDIT_CHAIN_KEYS`, in order."""
        text = self.audit_chain_keys.get_secret_value() if self.audit_chain_keys else ""
        return [key.strip().encode() for key in text.split(",") if key.strip()]

    def problems(self) -> list[str]:
        """Those of identities, and keys of the chain that are too short."""
        short = any(len(key) < 32 for key in self.chain_keys)
        return [*super().problems(), *(["AUDIT_CHAIN_KEYS: a key is shorter than 32 bytes"] if short else [])]
