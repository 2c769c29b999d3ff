"""A wrong configuration stops the start, with the variable's name."""

import pytest

from analytics_core.errors import SettingsError
from analytics_core.settings import load_settings
from analytics_ingest import limits
from analytics_ingest.settings import Settings
from analytics_ingest.stream_client import Broker
from analytics_ingest.wiring import stream_spec

REQUIRED = {
    "DATABASE_URL": "postgres://ingest:pw@db/analytics",
    "RABBITMQ_URL": "amqp://user:pw@mq/vhost",
    "RABBITMQ_STREAM_URL": "rabbitmq-stream://user:pw@mq:5552/vhost",
    "AUTH_JWT_SECRET": "x" * 32,
}


def load(monkeypatch: pytest.MonkeyPatch, **variables: str) -> Settings:
    for name, value in (REQUIRED | variables).items():
        monkeypatch.setenv(name, value)
    return load_settings(Settings)


def test_the_required_variables_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    """Defaults are what the design promises."""
    settings = load(monkeypatch)

    assert (settings.rabbitmq_stream, settings.rabbitmq_stream_partitions) == ("analytics.usage.v1", 1)
    assert stream_spec(settings).retention == {
        "max-age": "604800s",
        "max-length-bytes": "21474836480",
        "stream-max-segment-size-bytes": "104857600",
    }


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("RABBITMQ_STREAM_URL", "amqp://user:pw@mq"),
        ("RABBITMQ_STREAM_URL", "rabbitmq-stream://"),
        ("RABBITMQ_STREAM_URL", "rabbitmq-stream://[user:pw@mq"),
        ("RABBITMQ_STREAM_PARTITIONS", "0"),
        ("RABBITMQ_STREAM_MAX_AGE", "7"),
        ("RABBITMQ_STREAM_MAX_AGE", "0s"),
        ("RAW_RETENTION", "0s"),
        ("INGESTION_WORKERS", "many"),
        ("INGESTION_LEASE", "500ms"),
        ("INGESTION_DEAD_LETTER_RATIO_MAX", "1.5"),
        ("INGESTION_WORKERS", "64"),
    ],
)
def test_a_wrong_value_names_its_variable(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    """An operator must not have to read a stack."""
    with pytest.raises(SettingsError, match=f"^{variable}: ") as refused:
        load(monkeypatch, **{variable: value})

    assert ":pw@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("rabbitmq-stream://u:secret@mq:5600/v", Broker("mq", 5600, "u", "secret", "v")),
        ("rabbitmq-stream://u:p%40x@mq", Broker("mq", 5552, "u", "p@x", "/")),
        ("rabbitmq-stream+tls://u:secret@mq/%2F", Broker("mq", 5551, "u", "secret", "/", tls=True)),
    ],
)
def test_the_stream_url_says_where_the_broker_is(url: str, broker: Broker) -> None:
    """Same rules as AMQP URLs: escapes are undone, the default vhost is /."""
    assert Broker.from_url(url) == broker
    assert broker.password not in repr(broker)


def test_the_limits_do_not_contradict_each_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A limit changed alone is found at start, not at three in the morning."""
    limits.check()
    monkeypatch.setattr(limits, "BATCH_BYTES_MAX", 1000)

    with pytest.raises(ValueError, match="a batch holds at least one event"):
        limits.check()
