"""Query parameters: what is accepted, and that a refusal names every field at fault."""

from datetime import UTC, datetime
from uuid import UUID

import pytest

from analytics_core.access import DEVELOPMENT_PRINCIPAL, Action, OrgScope, decide
from analytics_core.errors import InvalidRequest
from analytics_core.testing.builders import ORG_ID, OTHER_ORG_ID
from analytics_query_api.paging import Position, encode_cursor
from analytics_query_api.periods import Granularity
from analytics_query_api.selection import Selection, parse_model_ids, parse_selection

Parameters = list[tuple[str, str]]
RANGE: Parameters = [("start", "2026-03-01T00:00:00Z"), ("end", "2026-03-08T00:00:00Z")]


def scope(org_id: UUID = ORG_ID) -> OrgScope:
    found = decide(DEVELOPMENT_PRINCIPAL, Action.USAGE_READ, org_id).scope
    assert found is not None
    return found


def parsed(parameters: Parameters, *, org_id: UUID = ORG_ID, report: str = "getUsage") -> Selection:
    return parse_selection(parameters, scope(org_id), report)


def refused(parameters: Parameters) -> dict[str, str]:
    """What is wrong with each field."""
    with pytest.raises(InvalidRequest) as caught:
        parsed(parameters)
    return {error.field: error.detail for error in caught.value.errors}


def test_a_range_alone_means_hours_of_all_models() -> None:
    selection = parsed(RANGE)

    assert selection.start == datetime(2026, 3, 1, tzinfo=UTC)
    assert selection.granularity is Granularity.HOUR
    assert (selection.model_ids, selection.by_model, selection.limit, selection.after) == ((), False, 1000, None)


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
        ("granularity", "month", "hour and day"),
        ("granularity", "HOUR", "hour and day"),
        ("timezone", "Europe/Berlin", "only UTC"),
        ("groupBy", "client", "only model"),
        ("groupBy", "model,model", "only model"),
        ("groupBy", "", "only model"),
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
        ("clientId", "me", "there are: start, end"),
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
        [("end", "x"), ("granularity", "month"), ("limit", "0"), ("timezone", "CET"), ("groupby", "model")]
    )

    assert set(errors) == {"start", "end", "granularity", "limit", "timezone", "groupby"}


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


@pytest.mark.parametrize(("granularity", "end"), [("hour", "2026-06-01T00:00:00Z"), ("day", "2027-04-05T00:00:00Z")])
def test_the_longest_range_is_allowed(granularity: str, end: str) -> None:
    assert parsed([RANGE[0], ("end", end), ("granularity", granularity)])


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T01:00:00+01:00", "2026-03-01T01:00:00 01:00", "2026-02-28t19:00:00.000-05:00", "2026-03-01T00:00:00z"],
)
def test_offsets_are_read_also_where_the_plus_was_not_escaped(text: str) -> None:
    """A `+` in a URL is a space; people paste times as they are."""
    assert parsed([("start", text), RANGE[1]]).start == datetime(2026, 3, 1, tzinfo=UTC)


def test_models_are_a_set() -> None:
    """The same question, written in another order, is the same question and has the same cursors."""
    one = parsed([*RANGE, ("modelId", "b"), ("modelId", "a"), ("modelId", "b")])
    other = parsed([*RANGE, ("modelId", "a"), ("modelId", "b")])

    assert one == other
    assert one.model_ids == ("a", "b")


def test_too_many_models_are_refused() -> None:
    assert "at most 100" in refused([*RANGE, *(("modelId", f"m{n}") for n in range(101))])["modelId"]


def test_a_cursor_continues_its_own_query_with_another_limit_too() -> None:
    position = Position(datetime(2026, 3, 2, 5, tzinfo=UTC), "gpt-4o")
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
    cursor = encode_cursor(Position(datetime(2026, 3, 2, tzinfo=UTC), "a"), parsed(parameters).fingerprint)
    arguments: dict[str, object] = {"parameters": parameters} | changed
    arguments["parameters"] = [*arguments["parameters"], ("cursor", cursor)]  # type: ignore[misc]

    with pytest.raises(InvalidRequest, match="nextCursor"):
        parsed(**arguments)  # type: ignore[arg-type]


def test_freshness_takes_models_and_nothing_else() -> None:
    with pytest.raises(InvalidRequest, match="start: unknown parameter; there are: modelId"):
        parse_model_ids([*RANGE])

    assert parse_model_ids([("modelId", "b"), ("modelId", "a")]) == ("a", "b")
