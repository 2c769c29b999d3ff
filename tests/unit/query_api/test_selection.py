"""Query parameters: what is accepted, and that a refusal names every field at fault."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from analytics_core.access import DEVELOPMENT_PRINCIPAL, Action, OrgScope, decide, scope_for_own_work
from analytics_core.errors import InvalidRequest
from analytics_core.query.question import Dimension
from analytics_core.query.statements import Position
from analytics_core.query.zones import Granularity
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID
from analytics_query_api.paging import encode_cursor
from analytics_query_api.selection import Selection, parse_errors, parse_model_ids, parse_series

Parameters = list[tuple[str, str]]
RANGE: Parameters = [("start", "2026-03-01T00:00:00Z"), ("end", "2026-03-08T00:00:00Z")]


def scope(org_id: UUID = ORG_ID) -> OrgScope:
    found = decide(DEVELOPMENT_PRINCIPAL, Action.USAGE_READ, org_id).scope
    assert found is not None
    return found


def parsed(parameters: Parameters, *, org_id: UUID = ORG_ID, report: str = "getUsage") -> Selection:
    return parse_series(parameters, scope(org_id), report)


def refused(parameters: Parameters) -> dict[str, str]:
    """What is wrong with each field."""
    with pytest.raises(InvalidRequest) as caught:
        parsed(parameters)
    return {error.field: error.detail for error in caught.value.errors}


def test_a_range_alone_means_hours_of_all_models() -> None:
    selection = parsed(RANGE)
    question = selection.question

    assert question.start == datetime(2026, 3, 1, tzinfo=UTC)
    assert (question.granularity, question.zone.key) == (Granularity.HOUR, "UTC")
    assert (question.filters, question.group_by, selection.limit, selection.after) == ((), (), 10_000, None)


@pytest.mark.parametrize(
    ("name", "value", "detail"),
    [
        ("start", "2026-03-01", "RFC 3339"),
        ("start", "2026-03-01T00:00:00", "with an offset"),
        ("start", "2026-02-30T00:00:00Z", "no such time"),
        ("start", "2026-03-01T24:00:00Z", "no such time"),
        ("start", "0001-01-01T00:00:00+23:59", "no such time"),
        ("start", "1772323200", "RFC 3339"),
        ("start", "\uff12026-03-01T00:00:00Z", "RFC 3339"),
        ("end", "yesterday", "RFC 3339"),
        ("end", "", "RFC 3339"),
        ("start", "1999-12-31T23:59:59Z", "from 2000 to 2100"),
        ("end", "2100-01-01T00:00:01Z", "from 2000 to 2100"),
        ("granularity", "week", "hour, day, month"),
        ("granularity", "HOUR", "hour, day, month"),
        ("timezone", "Europe/Berlinn", "such as UTC, Europe/Berlin"),
        ("timezone", "+05:30", "such as UTC, Europe/Berlin"),
        ("groupBy", "region", "model, client, actor, status, errorCode, project"),
        ("groupBy", "org", "model, client, actor"),
        ("groupBy", "model,model", "each at most once"),
        ("groupBy", "", "supported are"),
        ("fill", "null", "only zero"),
        ("compare", "next", "only previous"),
        ("status", "failed", "success, error, timeout, throttled"),
        ("actorId", "", "1 to 200"),
        ("limit", "0", "1 to 10000"),
        ("limit", "10001", "1 to 10000"),
        ("limit", "-1", "1 to 10000"),
        ("limit", "1e3", "1 to 10000"),
        ("limit", "٣", "1 to 10000"),
        ("limit", "9" * 5_000, "1 to 10000"),
        ("cursor", "bm90IGEgY3Vyc29y", "nextCursor"),
        ("cursor", "", "nextCursor"),
        ("cursor", "ä", "nextCursor"),
        ("cursor", "A" * 100_000, "nextCursor"),
        ("modelId", "", "1 to 200"),
        ("modelId", "x" * 201, "1 to 200"),
        ("modelId", "a\0b", "1 to 200"),
        ("modelID", "gpt-4o", "unknown parameter"),
        ("orgId", "me", "there are: start, end"),
    ],
)
def test_a_wrong_parameter_is_named_with_what_is_right(name: str, value: str, detail: str) -> None:
    """The caller's program shows the field; a person reads the rest."""
    others = [item for item in RANGE if item[0] != name]

    errors = refused([*others, (name, value)])

    assert list(errors) == [name]
    assert detail in errors[name]


@pytest.mark.parametrize("name", ["start", "end"])
def test_a_range_has_two_ends(name: str) -> None:
    assert refused([item for item in RANGE if item[0] != name]) == {name: "required"}


@pytest.mark.parametrize("name", ["start", "end", "granularity", "timezone", "groupBy", "limit", "cursor"])
def test_a_parameter_given_twice_is_refused(name: str) -> None:
    """Two programs on the way may each believe another one of the two."""
    valid = {"granularity": "day", "timezone": "UTC", "groupBy": "model", "limit": "5", "cursor": "x", **dict(RANGE)}
    others = [item for item in RANGE if item[0] != name]

    assert refused([*others, (name, valid[name]), (name, valid[name])]) == {name: "given more than once"}


def test_all_problems_come_at_once() -> None:
    """One round trip to learn everything, not one each."""
    errors = refused(
        [("end", "x"), ("granularity", "week"), ("limit", "0"), ("timezone", "Mars"), ("groupby", "model")]
    )

    assert set(errors) == {"start", "end", "granularity", "limit", "timezone", "groupby"}
    assert set(refused([("start", RANGE[1][1]), ("end", RANGE[0][1]), ("granularity", "week")])) == {
        "end",
        "granularity",
    }


def test_a_refusal_stays_small() -> None:
    """Whatever was sent: 60,000 characters of parameters must not come back as a megabyte."""
    errors = refused([*RANGE, *((f"{number:05}{'x' * 1_000}", "1") for number in range(1_000))])

    assert (len(errors), max(map(len, errors))) == (10, 100)


@pytest.mark.parametrize(
    ("granularity", "end", "detail"),
    [
        ("hour", "2026-03-01T00:00:00Z", "after start"),
        ("hour", "2026-02-28T23:59:59Z", "after start"),
        ("hour", "2026-06-01T00:00:00.000001Z", "at most 92 days"),
        ("day", "2027-04-05T00:00:00.000001Z", "at most 400 days"),
    ],
)
def test_the_range_is_bounded(granularity: str, end: str, detail: str) -> None:
    errors = refused([RANGE[0], ("end", end), ("granularity", granularity)])

    assert detail in errors["end"]


@pytest.mark.parametrize(
    ("granularity", "zone", "start", "end"),
    [
        ("hour", "UTC", "2026-03-01T10:00:00.000001Z", "2026-03-01T11:00:00Z"),
        ("hour", "Asia/Kolkata", "2026-03-01T10:31:00Z", "2026-03-01T11:29:00Z"),
        ("day", "Europe/Berlin", "2026-03-01T00:00:00Z", "2026-03-01T23:00:00Z"),
        ("month", "UTC", "2026-03-01T00:00:01Z", "2026-04-01T00:00:00Z"),
    ],
)
def test_a_range_in_which_no_bucket_starts_is_refused(granularity: str, zone: str, start: str, end: str) -> None:
    """The last ten minutes had no errors, an answer of zeros would say."""
    given = [("start", start), ("granularity", granularity), ("timezone", zone)]

    assert f"no {granularity} of {zone} starts in the range" in refused([*given, ("end", end)])["end"]
    assert parsed([*given, ("end", "2026-04-01T01:00:00Z")]).question.start < datetime(2026, 4, 1, tzinfo=UTC)


def test_a_summary_of_less_than_an_hour_is_refused() -> None:
    parameters = [("start", "2026-03-01T10:01:00Z"), ("end", "2026-03-01T10:31:00Z")]

    with pytest.raises(InvalidRequest) as caught:
        parse_errors(parameters, scope(), "getErrors")

    assert [error.field for error in caught.value.errors] == ["end"]


@pytest.mark.parametrize(("granularity", "end"), [("hour", "2026-06-01T00:00:00Z"), ("day", "2027-04-05T00:00:00Z")])
def test_the_longest_range_is_allowed(granularity: str, end: str) -> None:
    assert parsed([RANGE[0], ("end", end), ("granularity", granularity)])


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T01:00:00+01:00", "2026-03-01T01:00:00 01:00", "2026-02-28t19:00:00.000-05:00", "2026-03-01T00:00:00z"],
)
def test_offsets_are_read_also_where_the_plus_was_not_escaped(text: str) -> None:
    """A `+` in a URL is a space; people paste times as they are."""
    assert parsed([("start", text), RANGE[1]]).question.start == datetime(2026, 3, 1, tzinfo=UTC)


def test_models_are_a_set() -> None:
    """The same question, written in another order, is the same question and has the same cursors."""
    one = parsed([*RANGE, ("modelId", "b"), ("modelId", "a"), ("modelId", "b")])
    other = parsed([*RANGE, ("modelId", "a"), ("modelId", "b")])

    assert one == other
    assert one.question.filters == ((Dimension.MODEL, ("a", "b")),)


def test_too_many_models_are_refused() -> None:
    assert "at most 100" in refused([*RANGE, *(("modelId", f"m{n}") for n in range(101))])["modelId"]


def test_a_cursor_continues_its_own_query_with_another_limit_too() -> None:
    position = Position(("gpt-4o",), datetime(2026, 3, 2, 5, tzinfo=UTC))
    cursor = encode_cursor(position, parsed([*RANGE, ("groupBy", "model")]).fingerprint)

    assert parsed([*RANGE, ("groupBy", "model"), ("limit", "7"), ("cursor", cursor)]).after == position


@pytest.mark.parametrize(
    "changed",
    [
        {"parameters": [RANGE[0], ("end", "2026-03-08T00:00:01Z"), ("groupBy", "model")]},
        {"parameters": [*RANGE]},
        {"parameters": [*RANGE, ("groupBy", "model"), ("modelId", "a")]},
        {"parameters": [*RANGE, ("groupBy", "model"), ("granularity", "day")]},
        {"org_id": OTHER_ORG_ID},
        {"report": "getReliability"},
    ],
)
def test_a_cursor_of_another_query_is_refused(changed: dict[str, object]) -> None:
    """It would answer with a series that begins somewhere in the middle, and nobody would notice."""
    parameters = [*RANGE, ("groupBy", "model")]
    cursor = encode_cursor(Position(("a",), datetime(2026, 3, 2, tzinfo=UTC)), parsed(parameters).fingerprint)
    arguments: dict[str, object] = {"parameters": parameters} | changed
    arguments["parameters"] = [*arguments["parameters"], ("cursor", cursor)]  # type: ignore[misc]

    with pytest.raises(InvalidRequest, match="nextCursor"):
        parsed(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "position",
    [
        Position(("a",)),
        Position((), datetime(2026, 3, 2, tzinfo=UTC)),
        Position(("a", "b"), datetime(2026, 3, 2, tzinfo=UTC)),
        Position(("a\0",), datetime(2026, 3, 2, tzinfo=UTC)),
        Position(("a",), datetime(1970, 1, 1, tzinfo=UTC)),
        Position(("a",), datetime(2026, 3, 2, tzinfo=UTC), failed=2**63),
        Position(("a",), datetime(2026, 3, 2, tzinfo=UTC), failed=-1),
    ],
)
def test_a_forged_cursor_is_refused_before_the_database_sees_it(position: Position) -> None:
    """The digest is no secret: whoever reads the code can write any position."""
    cursor = encode_cursor(position, parsed([*RANGE, ("groupBy", "model")]).fingerprint)

    assert "nextCursor" in refused([*RANGE, ("groupBy", "model"), ("cursor", cursor)])["cursor"]


def test_groups_come_in_one_order_however_they_are_written() -> None:
    assert parsed([*RANGE, ("groupBy", "project,model")]) == parsed([*RANGE, ("groupBy", "model,project")])


def test_what_no_rollup_has_is_counted_over_a_week_and_refused_beyond() -> None:
    both = ("groupBy", "actor,client")

    assert parsed([*RANGE, both]).question.dimensions() == {Dimension.ACTOR, Dimension.CLIENT}
    errors = refused([RANGE[0], ("end", "2026-03-09T00:00:00Z"), both])
    assert "actor, client together" in errors["groupBy"]
    assert "at most 7 days" in errors["groupBy"]


def test_errors_are_of_failed_calls_only() -> None:
    failed = parse_errors([*RANGE], scope(), "getErrors").question
    success = parse_errors([*RANGE, ("status", "success"), ("status", "timeout")], scope(), "getErrors").question

    assert failed.filters == ((Dimension.STATUS, ("error", "throttled", "timeout")),)
    assert success.filters == ((Dimension.STATUS, ("timeout",)),)


def test_freshness_takes_models_and_nothing_else() -> None:
    with pytest.raises(InvalidRequest, match="start: unknown parameter; there are: modelId"):
        parse_model_ids([*RANGE])

    assert parse_model_ids([("modelId", "b"), ("modelId", "a")]) == ("a", "b")


@pytest.mark.parametrize("group", ["x", "", "urn:uuid:00000000-0000-4000-8000-000000000001"])
def test_an_organisation_in_a_forged_cursor_is_one(group: str) -> None:
    """The database would take it for a UUID."""
    asked, everybody = [*RANGE, ("groupBy", "org")], scope_for_own_work()
    fingerprint = parse_series(asked, everybody, "getPlatformUsage").fingerprint
    cursor = encode_cursor(Position((group,), datetime(2026, 3, 2, tzinfo=UTC)), fingerprint)

    with pytest.raises(InvalidRequest, match="nextCursor"):
        parse_series([*asked, ("cursor", cursor)], everybody, "getPlatformUsage")
