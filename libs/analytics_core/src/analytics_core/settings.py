"""Configuration from the environment: typed, frozen, checked once at start, all problems named at once."""

import os
from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from typing import Annotated, Any, Literal, TypeVar
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from pydantic import AfterValidator, BeforeValidator, Field, SecretStr, ValidationError, ValidationInfo, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from analytics_core.errors import SettingsError
from analytics_core.units import format_duration, parse_duration


def _duration(value: object) -> object:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]
"""A Go-style duration such as `30s` or `24h`."""

OptionalDuration = Annotated[timedelta | None, BeforeValidator(_duration)]
"""With None inside, as pydantic names the limits of a `Duration | None` in Python's words."""


def url(*schemes: str) -> AfterValidator:
    """Accepts a URL that has one of the schemes and names a host; one that is refused is not repeated, it is secret."""

    def check(value: SecretStr) -> SecretStr:
        try:
            parts = urlsplit(value.get_secret_value())
        except ValueError:
            parts = urlsplit("")
        # PostgreSQL's URLs may name the folder of a Unix socket in the query.
        if parts.scheme not in schemes or not (parts.hostname or "host=" in parts.query):
            raise ValueError(f"expected a URL that starts with {schemes[0]}:// and names a host")
        return value

    return AfterValidator(check)


DatabaseUrl = Annotated[SecretStr, url("postgres", "postgresql")]
RedisUrl = Annotated[SecretStr, url("redis", "rediss")]

# Compose and Helm write a variable that nobody has set as an empty one.
_CONFIG = SettingsConfigDict(frozen=True, extra="ignore", case_sensitive=False, env_ignore_empty=True)


class ServiceSettings(BaseSettings):
    """What every service is configured with. A service's own class adds its variables to these."""

    model_config = _CONFIG

    service_name: str = Field(default="analytics", description="Name in logs, traces and the database's session list.")
    environment: Literal["development", "test", "staging", "production"] = Field(
        default="production", description="production refuses settings that are for development only."
    )
    http_host: str = Field(default="0.0.0.0", description="Address that the HTTP server listens on.")
    http_port: int = Field(default=8084, ge=1, le=65535, description="Port of the API, status and metrics.")
    database_url: DatabaseUrl = Field(
        description="postgres://user:password@host:port/database, as the service's own role."
    )
    database_pool_size: int = Field(default=8, ge=1, le=100, description="Most database connections of this process.")
    rabbitmq_url: Annotated[SecretStr, url("amqp", "amqps")] = Field(
        description="amqp://user:password@host:port/vhost for the wake-up messages."
    )
    otel_exporter_otlp_endpoint: str | None = Field(default=None, description="OTLP collector; no traces without it.")
    otel_exporter_otlp_protocol: Literal["grpc", "http/protobuf"] = Field(default="grpc", description="OTLP transport.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Lowest level logged.")


class AccessSettings(BaseSettings):
    """How a service that answers users learns who they are; see docs/adr on identity."""

    model_config = _CONFIG

    enable_rbac: bool = Field(default=True, description="false lets everybody do everything: development only.")
    auth_jwt_secret: SecretStr | None = Field(default=None, description="Key of HS256 bearer tokens, 32 bytes or more.")
    auth_jwt_public_key: str | None = Field(default=None, description="PEM public key of RS256 or ES256 bearer tokens.")
    auth_jwks_url: str | None = Field(default=None, description="URL of the issuer's JSON Web Key Set.")
    auth_jwt_issuer: str | None = Field(default=None, description="Required `iss` of bearer tokens.")
    auth_jwt_audience: str | None = Field(default=None, description="Required `aud` of bearer tokens.")
    actor_signature_secret: SecretStr | None = Field(
        default=None, description="Key of the gateway's X-Actor-Signature, 32 bytes or more."
    )
    trust_actor_headers: bool = Field(
        default=False, description="Believe X-Actor-* headers without a signature: never in production."
    )

    def access_problems(self, environment: str) -> list[str]:
        """What is wrong with these settings in this environment, a line each; empty when nothing is."""
        problems = []
        if environment == "production" and not self.enable_rbac:
            problems.append("ENABLE_RBAC: false is refused in production")
        if environment == "production" and self.trust_actor_headers:
            problems.append("TRUST_ACTOR_HEADERS: true is refused in production; set ACTOR_SIGNATURE_SECRET instead")
        for name in ("auth_jwt_secret", "actor_signature_secret"):
            secret: SecretStr | None = getattr(self, name)
            if secret is not None and len(secret.get_secret_value().encode()) < 32:
                problems.append(f"{name.upper()}: shorter than 32 bytes (RFC 7518, 3.2)")
        keys = (self.auth_jwt_secret, self.auth_jwt_public_key, self.auth_jwks_url)
        if self.auth_jwt_public_key is not None and not _is_public_key(self.auth_jwt_public_key):
            problems.append("AUTH_JWT_PUBLIC_KEY: not a public key in PEM format")
        if self.auth_jwks_url is not None and not self.auth_jwks_url.startswith(("https://", "http://")):
            problems.append("AUTH_JWKS_URL: expected a URL that starts with https://")
        if sum(key is not None for key in keys) > 1:
            problems.append("AUTH_JWT_SECRET: give one of AUTH_JWT_SECRET, AUTH_JWT_PUBLIC_KEY and AUTH_JWKS_URL")
        if self.enable_rbac and not self.trust_actor_headers and not any((*keys, self.actor_signature_secret)):
            problems.append(
                "AUTH_JWT_SECRET: no caller could prove an identity; set AUTH_JWT_SECRET, AUTH_JWT_PUBLIC_KEY, "
                "AUTH_JWKS_URL or ACTOR_SIGNATURE_SECRET"
            )
        return problems


class RateLimitSettings(BaseSettings):
    """How many requests one caller may send to a service; see docs/adr on rate limits."""

    model_config = _CONFIG

    redis_url: RedisUrl | None = Field(
        default=None,
        description="redis://host:port/number for limits that all replicas share; without, each has its own.",
    )
    rate_limit_per_second: int = Field(
        default=200,
        ge=0,
        le=1_000_000,
        description="Requests a second that one caller may send in the long run, reads and writes apart; 0: no limit.",
    )
    rate_limit_burst: int = Field(
        default=2_000, ge=1, le=10_000_000, description="Requests that one caller may send at once."
    )


class AuthenticatedServiceSettings(ServiceSettings, AccessSettings, RateLimitSettings):
    """Settings of a service with protected routes."""

    def problems(self) -> list[str]:
        """What is wrong although each value has its type and range, a line each. A service's class adds its own."""
        return self.access_problems(self.environment)

    @model_validator(mode="after")
    def _check_problems(self) -> "AuthenticatedServiceSettings":
        problems = self.problems()
        if problems:
            raise SettingsError(problems)
        return self


def _is_public_key(text: str) -> bool:
    try:
        load_pem_public_key(text.encode())
    except (ValueError, UnsupportedAlgorithm):
        return False
    return True


def require_connections(workers: int, connections: int, info: ValidationInfo) -> int:
    """For the validator of a number of workers: refuses more than DATABASE_POOL_SIZE has connections for."""
    if info.data.get("database_pool_size", connections) < connections:
        raise ValueError(f"{workers} need a DATABASE_POOL_SIZE of {connections} or more")
    return workers


Settings = TypeVar("Settings", bound=BaseSettings)


def load_settings(settings_class: type[Settings]) -> Settings:
    """Read and check a service's settings from the environment.

    Raises `SettingsError` with a line for each wrong, missing or misspelt variable, none of which shows its value.
    Whether identities and storage are complete is looked at once every value has its type and range.
    """
    problems = _misspelt(settings_class.model_fields)
    try:
        settings = settings_class()
    except SettingsError as error:
        problems += error.problems
    except ValidationError as error:
        problems += [
            _problem_line(item["loc"], item["type"], item["msg"]) for item in error.errors(include_input=False)
        ]
    if problems:
        raise SettingsError(problems)
    return settings


def redacted(settings: BaseSettings) -> dict[str, Any]:
    """The settings by variable name, secrets masked, durations as people write them."""
    return {
        name.upper(): format_duration(value) if isinstance(value, timedelta) else _mask(value)
        for name, value in settings
    }


def _mask(value: object) -> object:
    return "**********" if isinstance(value, SecretStr) else value


def _problem_line(location: tuple[int | str, ...], kind: str, message: str) -> str:
    variable = str(location[0]).upper() if location else "environment"
    return (
        f"{variable}: required, but not set"
        if kind == "missing"
        else f"{variable}: {message.removeprefix('Value error, ')}"
    )


def _misspelt(fields: Iterable[str]) -> list[str]:
    """A variable that nearly has the name of a setting that is not given is a typo, not another program's."""
    names = {field.upper() for field in fields}
    given = {name.upper() for name in os.environ}
    problems = []
    for name in sorted(given - names):
        close = get_close_matches(name, sorted(names - given), n=1, cutoff=0.9)
        if close:
            problems.append(f"{name}: unknown variable; did you mean {close[0]}?")
    return problems
