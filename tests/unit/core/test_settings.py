"""Configuration: wrong values stop the start and are named; secrets are never shown."""

from collections.abc import Mapping
from datetime import timedelta
from types import MappingProxyType

import pytest
from pydantic import Field

from analytics_core.errors import SettingsError
from analytics_core.settings import AuthenticatedServiceSettings, Duration, ServiceSettings, load_settings, redacted

SECRET = "a-password-that-must-not-be-shown"
GOOD = {"DATABASE_URL": f"postgres://u:{SECRET}@h/d", "RABBITMQ_URL": f"amqp://u:{SECRET}@h/v"}
KEY = "k" * 32
NOTHING: Mapping[str, str] = MappingProxyType({})


class Example(ServiceSettings):
    """A service's class with fields of its own."""

    interval: Duration = Field(default=timedelta(seconds=30), ge=timedelta(seconds=1))
    workers: int = Field(default=4, ge=1, le=64)


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a test sets: the variables of the machine may be anything."""
    for name in ("DATABASE_URL", "RABBITMQ_URL", "HTTP_PORT", "ENVIRONMENT", "ENABLE_RBAC", "AUTH_JWT_SECRET"):
        monkeypatch.delenv(name, raising=False)


def load(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str] = NOTHING, settings: type[ServiceSettings] = Example
) -> ServiceSettings:
    for name, value in {**GOOD, **variables}.items():
        monkeypatch.setenv(name, value)
    return load_settings(settings)


def problems(
    monkeypatch: pytest.MonkeyPatch, variables: Mapping[str, str] = NOTHING, settings: type[ServiceSettings] = Example
) -> list[str]:
    with pytest.raises(SettingsError) as error:
        load(monkeypatch, variables, settings)
    return error.value.problems


def test_values_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Durations as people write them, the rest by default."""
    settings = load(monkeypatch, {"INTERVAL": "1m30s", "HTTP_PORT": "9000"})

    assert isinstance(settings, Example)
    assert (settings.interval, settings.http_port, settings.workers) == (timedelta(seconds=90), 9000, 4)
    assert settings.environment == "production"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTP_PORT", "0"),
        ("HTTP_PORT", "http"),
        ("INTERVAL", "30"),
        ("INTERVAL", "1ms"),
        ("WORKERS", "65"),
        ("ENVIRONMENT", "prod"),
        ("DATABASE_URL", "mysql://u:p@h/d"),
        ("DATABASE_URL", "postgres://"),
        ("DATABASE_URL", "postgres://u:p@h]/d"),
        ("RABBITMQ_URL", "http://h"),
        ("RABBITMQ_URL", "amqp:///v"),
        ("LOG_LEVEL", "chatty"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    """The operator reads which variable to mend, and never the value: it may be a secret."""
    (problem,) = problems(monkeypatch, {name: value})

    assert problem.startswith(f"{name}: ")
    assert "u:p@h" not in problem


@pytest.mark.parametrize("url", ["postgresql://u:p@h:5432/d", "postgres:///d?host=/run/postgresql"])
def test_a_database_is_on_a_host_or_behind_a_socket(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    """Every URL that can work is accepted."""
    assert load(monkeypatch, {"DATABASE_URL": url}).database_url.get_secret_value() == url


def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compose and Helm write it so; an issuer or audience that is empty would refuse every token."""
    names = ("AUTH_JWT_ISSUER", "AUTH_JWT_AUDIENCE", "REDIS_URL", "OTEL_EXPORTER_OTLP_ENDPOINT", "LOG_LEVEL")
    empty = load(monkeypatch, {"AUTH_JWT_SECRET": KEY} | dict.fromkeys(names, ""), AuthenticatedServiceSettings)
    for name in names:
        monkeypatch.delenv(name)

    assert empty == load(monkeypatch, settings=AuthenticatedServiceSettings)

    assert problems(monkeypatch, {"DATABASE_URL": ""}) == ["DATABASE_URL: required, but not set"]


def test_all_problems_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not one for each start."""
    monkeypatch.setenv("WORKERS", "0")
    monkeypatch.setenv("INTERVAL", "soon")
    with pytest.raises(SettingsError) as error:
        load_settings(Example)

    assert {problem.split(":")[0] for problem in error.value.problems} >= {
        "DATABASE_URL", "RABBITMQ_URL", "WORKERS", "INTERVAL",
    }  # fmt: skip
    assert "DATABASE_URL: required, but not set" in error.value.problems


def test_a_misspelt_variable_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """It would silently leave the default in force."""
    assert problems(monkeypatch, {"INTERVALL": "5s"}) == ["INTERVALL: unknown variable; did you mean INTERVAL?"]


def test_secrets_are_masked_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """In --check-config, in reprs, in errors."""
    settings = load(monkeypatch, {"INTERVAL": "90s"})
    shown = redacted(settings)

    assert SECRET not in f"{settings!r} {settings} {shown} {problems(monkeypatch, {'DATABASE_URL': SECRET})}"
    assert shown["DATABASE_URL"] == "**********"
    assert shown["INTERVAL"] == "1m30s"


def test_settings_are_frozen(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was checked at start stays so."""
    settings = load(monkeypatch)
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, "http_port", 1)  # noqa: B010 — mypy knows that it is frozen


@pytest.mark.parametrize(
    ("variables", "problem"),
    [
        ({"ENABLE_RBAC": "false"}, "ENABLE_RBAC: false is refused in production"),
        ({"TRUST_ACTOR_HEADERS": "true"}, "TRUST_ACTOR_HEADERS: true is refused in production"),
        ({"AUTH_JWT_SECRET": "short"}, "AUTH_JWT_SECRET: shorter than 32 bytes"),
        ({"AUTH_JWT_SECRET": KEY, "AUTH_JWKS_URL": "https://i/keys"}, "AUTH_JWT_SECRET: give one of"),
        ({}, "AUTH_JWT_SECRET: no caller could prove an identity"),
    ],
)
def test_production_refuses_open_doors(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], problem: str
) -> None:
    """A service that everybody may use does not start by mistake."""
    found = problems(monkeypatch, variables, AuthenticatedServiceSettings)

    assert any(line.startswith(problem) for line in found)


def test_development_may_open_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where somebody tries it out."""
    settings = load(monkeypatch, {"ENVIRONMENT": "development", "ENABLE_RBAC": "false"}, AuthenticatedServiceSettings)

    assert isinstance(settings, AuthenticatedServiceSettings)
    assert not settings.enable_rbac
