"""Configuration: wrong values stop the start, by the name of the variable; secrets are not shown."""

import json
import os
from collections.abc import Callable

import pytest

from analytics_query_api.main import main

SECRET = "not-to-be-shown-0123456789abcdefgh"
VALID = {
    "DATABASE_URL": f"postgres://reader:{SECRET}@db.internal/analytics",
    "REDIS_URL": f"redis://:{SECRET}@cache.internal:6379/0",
    "RABBITMQ_URL": f"amqp://user:{SECRET}@broker.internal/",
    "AUTH_JWT_SECRET": SECRET,
}
CheckConfig = Callable[..., tuple[int, str, str]]


@pytest.fixture
def check_config(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> CheckConfig:
    """Runs `analytics-query-api --check-config`: exit code, output, errors."""

    def run(**changes: str | None) -> tuple[int, str, str]:
        for name in list(os.environ):
            monkeypatch.delenv(name)
        for name, value in (VALID | changes).items():
            if value is not None:
                monkeypatch.setenv(name, value)
        monkeypatch.setattr("sys.argv", ["analytics-query-api", "--check-config"])
        code = main()
        shown = capsys.readouterr()
        assert SECRET not in shown.out + shown.err
        return code, shown.out, shown.err

    return run


def test_a_valid_configuration_is_shown_without_its_secrets(check_config: CheckConfig) -> None:
    code, shown, _ = check_config(
        FRESHNESS_CACHE_TTL="90s", DATABASE_READ_URL=f"postgresql://reader:{SECRET}@replica/analytics"
    )

    settings = json.loads(shown)
    assert code == 0
    assert (settings["FRESHNESS_CACHE_TTL"], settings["QUERY_TIMEOUT"]) == ("1m30s", "10s")
    assert settings["DATABASE_READ_URL"] == "**********"


def test_everything_that_is_wrong_is_named_at_once(check_config: CheckConfig) -> None:
    code, _, errors = check_config(
        FRESHNESS_CACHE_TTL="5", QUERY_TIMEOUT="1h", HTTP_PORT="http", REDIS_URL=None, LOG_LEVEL="loud"
    )

    assert code == 2
    for variable in ("FRESHNESS_CACHE_TTL", "QUERY_TIMEOUT", "HTTP_PORT", "REDIS_URL", "LOG_LEVEL"):
        assert f"  {variable}: " in errors


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("DATABASE_URL", f"mysql://u:{SECRET}@h/d"),
        ("DATABASE_READ_URL", f"http://{SECRET}"),
        ("REDIS_URL", f"amqp://:{SECRET}@h"),
        ("RABBITMQ_URL", f"redis://:{SECRET}@h"),
        ("FRESHNESS_CACHE_TTL", "0s"),
        ("FRESHNESS_CACHE_TTL", "25h"),
        ("QUERY_TIMEOUT", "5ms"),
        ("DATABASE_POOL_SIZE", "0"),
        ("ENABLE_RBAC", "false"),
        ("TRUST_ACTOR_HEADERS", "true"),
        ("AUTH_JWT_SECRET", "short"),
        ("AUTH_JWT_SECRET", None),
        ("ACTOR_SIGNATURE_SECRET", "short"),
    ],
)
def test_a_wrong_value_names_its_variable(check_config: CheckConfig, variable: str, value: str | None) -> None:
    """Production is the default, and refuses what is for development only."""
    code, _, errors = check_config(**{variable: value})

    assert code == 2
    assert f"  {variable}: " in errors


@pytest.mark.parametrize(
    ("variable", "value"),
    [("AUTH_JWT_PUBLIC_KEY", "-----BEGIN PUBLIC KEY-----\nnonsense"), ("AUTH_JWKS_URL", "idp.internal/keys")],
)
def test_a_key_that_could_never_verify_a_token_is_refused(check_config: CheckConfig, variable: str, value: str) -> None:
    code, _, errors = check_config(**{"AUTH_JWT_SECRET": None, variable: value})

    assert code == 2
    assert f"  {variable}: " in errors


def test_a_misspelt_variable_is_named_with_the_right_one(check_config: CheckConfig) -> None:
    code, _, errors = check_config(FRESHNES_CACHE_TTL="1m")

    assert code == 2
    assert "FRESHNES_CACHE_TTL: unknown variable; did you mean FRESHNESS_CACHE_TTL?" in errors
