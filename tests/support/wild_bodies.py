"""Bodies that no careful producer sends, to be thrown at the decoder, a batch, the database and the API."""

import json
import re
from typing import Any

from hypothesis import strategies as st

from analytics_core.testing.builders import usage_event

DEEP = [
    *("[" * depth + "]" * depth for depth in (50, 5_000, 30_000)),
    *('{"a":' * depth + "1" + "}" * depth for depth in (50, 10_000)),
]
# Each is the JSON text of a value; some are no JSON at all.
NUMBERS = [
    "-1", "-0", "0.5", "01", "+1", "1e400", "-1e-400", "1e999999999", "9" * 400, "0." + "1" * 400, "NaN", "Infinity",
    "2147483647", "2147483648", "1000000", "1000000.000001", "0.0000001", '"0.000001"', '"1e5"', '"1_0"',
    '"\N{ARABIC-INDIC DIGIT THREE}"',
]  # fmt: skip
TEXTS = [
    '""', '"\\u0000"', '"a\\u0000b"', '"\\ud800"', '"\\udc00\\ud800"', '"\\ud83d\\ude00"', '"\x00"', '"\t"',
    '"\x7f\x85"', '"' + "x" * 201 + '"', '"' + "\u00e9" * 70_000 + '"',
    '"WITHIN_LIMIT"', '"00000000-0000-0000-0000-000000000000"',
    '"{6b1f0c1e-8f0a-4c53-9b9e-2d1f5a7c0001}"',
]  # fmt: skip
TIMES = [
    '"0001-01-01T00:00:00+14:00"', '"9999-12-31T23:59:59-14:00"', '"2016-12-31T23:59:60Z"', '"2026-02-30T00:00:00Z"',
    '"2026-03-10T24:00:00Z"', '"1969-12-31T23:59:59Z"', '"3026-03-10T12:00:00Z"', '"2026-03-10t12:00:00z"',
    '"2026-03-10 12:00:00Z"', "1773144000",
]  # fmt: skip
OTHERS = [
    "null", "true", "[]", "{}", '{"":""}', '{"a":{"b":1}}', '{"a":"\\u0000"}', '{"\\u0000":"a"}', '{"a":"\\ud800"}',
    '{"a":"1","a":"2"}', '{"a":1,"a":"2"}', *DEEP,
]  # fmt: skip
WILD_VALUES = [*NUMBERS, *TEXTS, *TIMES, *OTHERS]
ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32", "utf-7", "latin-1", "cp037"]


def snake_case(event: dict[str, Any]) -> dict[str, Any]:
    return {re.sub(r"(?=[A-Z])", "_", name).lower(): value for name, value in event.items()}


def usage_record(event: dict[str, Any]) -> dict[str, Any]:
    return {
        "record_id": event["eventId"], "organization_id": event["orgId"], "model": event["modelId"],
        "timestamp": event["occurredAt"], "latency_ms": event["latencyMs"], "tokens_input": event["inputTokens"],
        "tokens_output": event["outputTokens"], "cost_usd": "0.00125", "limit_state": "WITHIN_LIMIT", "trace_id": "t",
    }  # fmt: skip


def cloud_event(event: dict[str, Any]) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "1", "source": "/s", "type": "t", "data": event}


DIALECTS = [
    lambda event: event,
    snake_case,
    usage_record,
    cloud_event,
    lambda event: cloud_event(snake_case(event)),
    lambda event: cloud_event(usage_record(event)),
    lambda event: [cloud_event(event), cloud_event(usage_record(event)), 7],
]


@st.composite
def wild_bodies(draw: st.DrawFn) -> bytes:
    """Random bytes, or an event in some dialect with something done to it that may leave it right or not."""
    if draw(st.booleans()):
        return draw(
            st.binary(max_size=200) | st.sampled_from([*DEEP, "", " ", "[", "[]", "{}", "null"]).map(str.encode)
        )
    event = draw(st.sampled_from(DIALECTS))(usage_event(occurredAt="2026-03-10T12:00:00Z"))
    text = json.dumps(event)
    places = [match.span(1) for match in re.finditer(r'": ("[^"]*"|[\d.]+|\{\})', text)]
    if places:
        start, end = draw(st.sampled_from(places))
        text = text[:start] + draw(st.sampled_from(WILD_VALUES)) + text[end:]
    if draw(st.booleans()):
        text = text.replace("}", f', "{draw(st.sampled_from(["x", "metadata", "", "status"]))}": 1}}', 1)
    body = text.encode(draw(st.sampled_from(ENCODINGS)), "surrogatepass" if "\ud800" in text else "replace")
    if draw(st.booleans()):
        cut = draw(st.integers(0, len(body)))
        body = body[:cut] + draw(st.binary(max_size=3)) + body[cut + draw(st.integers(0, 3)) :]
    return body + b" " * draw(st.sampled_from([0, 0, 0, 70_000]))
