"""What counts as breaking a contract, and what does not."""

from copy import deepcopy
from typing import Any

from tools.contract_diff import breaks_of_api, breaks_of_schema


def api() -> dict[str, Any]:
    schema = {
        "type": "object",
        "required": ["id"],
        "properties": {"id": {"type": "string"}, "cost": {"type": ["number", "null"]}},
    }
    return {
        "components": {"schemas": {"Thing": schema}},
        "paths": {
            "/things": {
                "get": {
                    "parameters": [{"in": "query", "name": "kind", "schema": {"type": "string", "enum": ["a", "b"]}}],
                    "responses": {
                        "200": {
                            "content": {
                                "application/json": {
                                    "schema": {"type": "array", "items": {"$ref": "#/components/schemas/Thing"}}
                                }
                            }
                        }
                    },
                }
            }
        },
    }


def operation(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = document["paths"]["/things"]["get"]
    return found


def test_additions_break_nobody() -> None:
    new = api()
    new["paths"]["/more"] = {"get": {"responses": {}}}
    new["components"]["schemas"]["Thing"]["properties"]["size"] = {"type": "integer"}
    operation(new)["parameters"].append({"in": "query", "name": "limit", "schema": {"type": "integer"}})
    operation(new)["parameters"][0]["schema"]["enum"].append("c")

    assert list(breaks_of_api(api(), new)) == []


def test_what_is_gone_breaks() -> None:
    without_operation, without_field, without_value = api(), api(), api()
    del without_operation["paths"]["/things"]["get"]
    del without_field["components"]["schemas"]["Thing"]["properties"]["cost"]
    operation(without_value)["parameters"][0]["schema"]["enum"].remove("b")

    assert list(breaks_of_api(api(), without_operation)) == ["GET /things: gone"]
    assert list(breaks_of_api(api(), without_field)) == ["GET /things: 200[].cost: gone"]
    assert list(breaks_of_api(api(), without_value)) == ["GET /things: kind: 'b' is no longer accepted"]


def test_what_must_now_be_given_breaks() -> None:
    new = api()
    operation(new)["parameters"][0]["required"] = True

    assert list(breaks_of_api(api(), new)) == ["GET /things: parameter kind must now be given"]


def test_an_answer_may_lose_a_type_and_not_gain_one() -> None:
    narrower, wider = api(), api()
    narrower["components"]["schemas"]["Thing"]["properties"]["cost"] = {"type": "number"}
    wider["components"]["schemas"]["Thing"]["properties"]["id"] = {"type": ["string", "null"]}

    assert list(breaks_of_api(api(), narrower)) == []
    assert list(breaks_of_api(api(), wider)) == ["GET /things: 200[].id: answer type null new"]


def test_an_event_with_one_more_required_field_breaks_its_producers() -> None:
    old = {"type": "object", "required": ["a"], "properties": {"a": {"type": ["number", "string"]}}}
    new = deepcopy(old)
    new["required"] = ["a", "b"]
    new["properties"] = {"a": {"type": "string"}, "b": {"type": "string"}}

    assert sorted(breaks_of_schema(old, new)) == [
        "event.a: request type integer, number refused",
        "event.b: must now be given",
    ]
