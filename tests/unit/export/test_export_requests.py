"""What a body may ask for."""

from typing import Any

import msgspec
import pytest

from analytics_core.errors import InvalidRequest
from analytics_export.formats.catalogue import Format
from analytics_export.jobs import JobRequest
from analytics_export.ranges import Granularity
from analytics_export.requests import CreateExport, job_request
from analytics_export.settings import Settings
from analytics_export.templates import TEMPLATES, Template

SETTINGS = Settings.model_validate(
    {
        "database_url": "postgres://a:b@localhost/c",
        "rabbitmq_url": "amqp://localhost",
        "s3_endpoint": "http://localhost:9000",
        "s3_access_key": "access",
        "s3_secret_key": "secret",
        "s3_bucket": "exports",
        "auth_jwt_secret": "x" * 32,
    }
)


def asked(start: str, end: str, **fields: Any) -> JobRequest:
    body = {"timeRange": {"start": start, "end": end}, **fields}
    return job_request(msgspec.convert(body, CreateExport), SETTINGS, "ada")


def refusal(start: str, end: str, **fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidRequest) as caught:
        asked(start, end, **fields)
    return [(error.field, error.detail) for error in caught.value.errors]


def test_a_body_with_a_range_alone_asks_for_days_of_all_models() -> None:
    """The defaults of the contract."""
    request = asked("2026-03-01T00:00:00Z", "2026-04-01T02:00:00+02:00")

    assert (request.granularity, request.format, request.filters.model_id) == (Granularity.DAILY, "csv", [])
    assert (request.start.isoformat(), request.end.isoformat(), request.requested_by) == (
        "2026-03-01T00:00:00+00:00",
        "2026-04-01T00:00:00+00:00",
        "ada",
    )


@pytest.mark.parametrize("granularity", ["hourly", "daily"])
def test_31_days_are_allowed_and_a_second_more_is_not(granularity: str) -> None:
    """The longest month fits, to the second."""
    asked("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z", granularity=granularity)

    assert refusal("2026-03-01T00:00:00Z", "2026-04-01T00:00:01Z", granularity=granularity) == [
        ("timeRange", f"spans 31 days and 1s; {granularity} rows are written for at most 31 days")
    ]


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=lambda template: str(template.name))
@pytest.mark.parametrize("granularity", Granularity)
def test_each_template_takes_its_granularities_and_names_them_otherwise(
    template: Template, granularity: Granularity
) -> None:
    """In every format; nothing that is accepted fails later for what it asks."""
    for name in Format:
        march = ("2026-03-01T00:00:00Z", "2026-04-01T00:00:00Z")
        fields = {"template": template.name, "granularity": granularity, "format": name}
        if granularity in template.granularities:
            request = asked(*march, **fields)
            assert template.columns(granularity, request.group_by)
        else:
            (error,) = refusal(*march, **fields)
            assert error[0] == "granularity"
            assert all(each in error[1] for each in template.granularities)


def test_13_months_are_allowed_by_month_and_a_14th_is_not() -> None:
    """All that the daily rollup keeps."""
    asked("2025-01-01T00:00:00Z", "2026-02-01T00:00:00Z", granularity="monthly")

    assert refusal("2025-01-01T00:00:00Z", "2026-02-02T00:00:00Z", granularity="monthly") == [
        ("timeRange", "has 14 months; a monthly export has at most 13")
    ]


@pytest.mark.parametrize("end", ["2026-03-01T00:00:00Z", "2026-02-28T23:59:59Z"])
def test_an_end_that_is_not_after_the_start_is_named(end: str) -> None:
    """A swapped pair is the most common mistake."""
    assert refusal("2026-03-01T00:00:00Z", end) == [("timeRange.end", "must be after timeRange.start")]


@pytest.mark.parametrize(("granularity", "unit"), [("hourly", "hour"), ("daily", "day"), ("monthly", "month")])
def test_a_range_without_a_bucket_is_refused(granularity: str, unit: str) -> None:
    """A header and nothing else would look like an organisation without usage."""
    assert refusal("2026-03-01T10:10:00Z", "2026-03-01T10:50:00Z", granularity=granularity) == [
        ("timeRange", f"no {unit} starts within it, so the file would be empty")
    ]


@pytest.mark.parametrize(
    ("start", "end"),
    [
        ("9999-12-31T23:30:00Z", "9999-12-31T23:59:00Z"),
        ("9999-12-31T23:30:00-05:00", "9999-12-31T23:59:00-07:00"),
        ("0001-01-01T00:00:00+05:00", "0001-01-01T01:00:00+01:00"),
    ],
)
def test_the_ends_of_the_calendar_are_refused(start: str, end: str) -> None:
    """A fuzzer sends them; the answer is the caller's mistake, not ours."""
    assert refusal(start, end, granularity="hourly") == [("timeRange", "must lie between 2000-01-01 and 2100-01-01")]


def test_every_wrong_field_is_named_at_once() -> None:
    """Nobody wants to mend a body one refusal at a time."""
    fields = [
        name
        for name, _ in refusal(
            "2026-03-02T00:00:00Z", "2026-03-01T00:00:00Z", models=["a", "b\0"], delivery={"bucket": "mine"}
        )
    ]

    assert fields == ["timeRange.end", "models[1]", "delivery.bucket"]


def test_the_own_bucket_may_be_named() -> None:
    """Clients of the source contract send it."""
    asked("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", delivery={"type": "s3", "bucket": "exports"})


def test_a_model_asked_for_twice_is_asked_for_once() -> None:
    """The job shows what is exported."""
    assert asked("2026-03-01T00:00:00Z", "2026-03-02T00:00:00Z", models=["b", "a", "b"]).filters.model_id == ["b", "a"]


def test_a_subject_that_postgresql_cannot_store_is_made_storable() -> None:
    """A token's subject is whatever its issuer put there."""
    body = msgspec.convert(
        {"timeRange": {"start": "2026-03-01T00:00:00Z", "end": "2026-03-02T00:00:00Z"}}, CreateExport
    )

    stored = job_request(body, SETTINGS, "a\0" + "x" * 1_000).requested_by

    assert stored.startswith("a\N{REPLACEMENT CHARACTER}x")
    assert len(stored) == 500
