"""A wrong variable stops the start and is named; its value is not shown."""

import pytest

from analytics_core.errors import SettingsError
from analytics_core.settings import load_settings, redacted
from analytics_export.settings import Settings

VALID = {
    "DATABASE_URL": "postgres://a:b@localhost/c",
    "RABBITMQ_URL": "amqp://localhost",
    "S3_ENDPOINT": "http://localhost:9000",
    "S3_ACCESS_KEY": "the-access-key",
    "S3_SECRET_KEY": "the-secret-key",
    "S3_BUCKET": "analytics-exports",
    "AUTH_JWT_SECRET": "x" * 32,
}


def loaded(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in {**VALID, **variables}.items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def test_the_defaults_are_the_documented_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """What an operator reads in the README is what runs."""
    shown = redacted(loaded(monkeypatch))

    names = ("CONCURRENCY", "INTERVAL")
    assert [shown[f"EXPORT_WORKER_{name}"] for name in names] == [2, "30s"]
    assert (shown["EXPORT_SIGNED_URL_TTL"], shown["EXPORT_RANGE_MAX"]) == ("24h", "744h")


def test_no_key_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """`--check-config` ends up in tickets."""
    settings = loaded(monkeypatch)

    assert "the-access-key" not in f"{settings!r}{redacted(settings)}"
    assert "the-secret-key" not in f"{settings!r}{redacted(settings)}"


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("S3_ENDPOINT", "localhost:9000"),
        ("S3_ENDPOINT", "ftp://localhost"),
        ("S3_ENDPOINT", "http://key:secret@localhost:9000"),
        ("S3_ENDPOINT", "http://localhost:9000/bucket"),
        ("S3_ENDPOINT", "http://localhost:99999"),
        ("S3_PUBLIC_ENDPOINT", "https://"),
        ("S3_BUCKET", "Not A Bucket"),
        ("EXPORT_SIGNED_URL_TTL", "169h"),
        ("EXPORT_SIGNED_URL_TTL", "3600"),
        ("EXPORT_WORKER_CONCURRENCY", "17"),
        ("EXPORT_LEASE", "100ms"),
        ("S3_CREATE_BUCKET", "true"),
    ],
)
def test_a_wrong_value_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """Found at the start, not at the first export."""
    with pytest.raises(SettingsError) as caught:
        loaded(monkeypatch, **{variable: value})

    assert [problem.partition(":")[0] for problem in caught.value.problems] == [variable]
