"""The process behind `contents`: a file on standard input, on standard output what its rows add up to, as JSON.

A reader of its own for each format, none of which the writers use, one row after the other. CSV and JSON Lines come as
a stream. Parquet has its table of contents at the end: its ranges are asked for, a line each on standard output.
"""

import csv
import gzip
import io
import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from functools import partial
from typing import Any, BinaryIO

import msgspec

MEASURES = ("input_tokens", "output_tokens", "cached_input_tokens", "reasoning_tokens")
COST, CALLS, MODEL = "cost_estimate_cents", "request_count", "model_id"
# No row of ours comes near it: metadata has 8 KiB, identifiers 200 characters.
LINE_BYTES_MAX = 1 << 20
BATCH_ROWS = 1 << 14
# Beyond that, models are not told apart: the process stays small whatever a producer sent.
MODELS_MAX = 10_000
# What stands between an instant and its hour: "2026-03-01T09" of "2026-03-01T09:30:00.123456Z".
HOUR_CHARACTERS, HOUR_MICROSECONDS = 13, 3_600_000_000

Row = tuple[Any, str | None, int, int, int, int, int, int]


def main() -> None:
    """Say what the rows add up to, or why they cannot be read."""
    file_format, times, names = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    source = sys.stdin.buffer
    try:
        match file_format:
            case "parquet":
                rows = parquet_rows(Ranges(source, int(sys.argv[4])), times, names)
            case "jsonl":
                rows = json_rows(source, times, names)
            case _:
                rows = csv_rows(gzip.GzipFile(fileobj=source) if file_format == "csv.gz" else source, times, names)
        answer = added_up(rows)
    except Exception as error:  # noqa: BLE001 — whatever is wrong with a file is an answer, not a crash
        answer = {"error": f"{type(error).__name__}: {error}"[:500]}
    say(answer)


def say(answer: dict[str, Any]) -> None:
    """One line."""
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def added_up(rows: Iterator[Row]) -> dict[str, Any]:
    """Sums by bucket and by model, each as six numbers in the order of `Totals`."""
    buckets: dict[Any, list[int]] = {}
    models: dict[str, list[int]] = {}
    count = 0
    for bucket, model, *numbers in rows:
        count += 1
        add(buckets, bucket, numbers)
        if model is not None and (model in models or len(models) <= MODELS_MAX):
            add(models, model, numbers)
    told_apart = 0 < len(models) <= MODELS_MAX
    return {"rows": count, "buckets": list(buckets.items()), "models": models if told_apart else None}


def add(sums: dict[Any, list[int]], key: Any, numbers: list[int]) -> None:
    """Add a row to the sums of its key."""
    known = sums.get(key)
    sums[key] = numbers if known is None else [one + other for one, other in zip(known, numbers, strict=True)]


def csv_rows(source: Any, times: str, names: list[str]) -> Iterator[Row]:
    """CSV as RFC 4180 has it; an apostrophe that disarms a formula is dropped."""
    text = io.TextIOWrapper(source, "utf-8", newline="")
    reader = csv.reader(iter(partial(text.readline, LINE_BYTES_MAX), ""), strict=True)
    header = next(reader, [])
    place = {name: header.index(name) for name in names}
    cost, calls, model, time = place[COST], place.get(CALLS), place.get(MODEL), place[times]
    measures = [place[name] for name in MEASURES]
    for row in reader:
        if len(row) != len(header):
            raise ValueError(f"line {reader.line_num} has {len(row)} cells, the header {len(header)}")
        inputs, outputs, cached, reasoning = (int(row[each]) for each in measures)
        yield (
            bucket(row[time], times),
            None if model is None else row[model].removeprefix("'"),
            1 if calls is None else int(row[calls]),
            inputs, outputs, cached, reasoning, microcents(Decimal(row[cost])),
        )  # fmt: skip


def json_rows(source: BinaryIO, times: str, names: list[str]) -> Iterator[Row]:
    """JSON Lines; the cost is read from its digits."""
    kinds = {times: str, MODEL: str, COST: Decimal}
    fields = [(name, kinds.get(name, int)) for name in names]
    decoder = msgspec.json.Decoder(msgspec.defstruct("Line", fields))
    while line := source.readline(LINE_BYTES_MAX):
        if not line.endswith(b"\n"):
            raise ValueError("a line does not end")
        row: Any = decoder.decode(line)
        yield (
            bucket(getattr(row, times), times),
            getattr(row, MODEL, None),
            getattr(row, CALLS, 1),
            *(getattr(row, name) for name in MEASURES),
            microcents(getattr(row, COST)),
        )


def parquet_rows(source: "Ranges", times: str, names: list[str]) -> Iterator[Row]:
    """Parquet, a batch of the columns that count at a time."""
    import pyarrow as pa  # noqa: PLC0415 — 60 MB, for this format alone
    from pyarrow import parquet  # noqa: PLC0415 — as above

    file = parquet.ParquetFile(pa.PythonFile(source, mode="r"))
    for batch in file.iter_batches(BATCH_ROWS, columns=names):
        columns = {name: batch.column(name) for name in names}
        instants = columns[times].cast(pa.timestamp("us", tz="UTC")).cast(pa.int64()).to_pylist()
        nothing: list[Any] = [None] * len(batch)
        models = columns[MODEL].to_pylist() if MODEL in columns else nothing
        calls = columns[CALLS].to_pylist() if CALLS in columns else [1] * len(batch)
        measures = [columns[name].to_pylist() for name in MEASURES]
        costs = columns[COST].to_pylist()
        for instant, model, count, *tokens, cost in zip(instants, models, calls, *measures, costs, strict=True):
            start = instant - instant % HOUR_MICROSECONDS if times == "occurred_at" else instant
            yield (start, model, count, *tokens, microcents(cost))


def bucket(text: str, times: str) -> str:
    """The bucket that a row counts in: an event's hour, which is written in UTC."""
    return f"{text[:HOUR_CHARACTERS]}:00:00Z" if times == "occurred_at" else text


def microcents(cents: Decimal) -> int:
    """Exact; raises `ValueError` for more than six decimals."""
    scaled = cents.scaleb(6)
    if scaled != int(scaled):
        raise ValueError(f"{cents} has more than six decimals")
    return int(scaled)


class Ranges:
    """A file whose parts are asked for on standard output, as `{"offset": …, "length": …}`, and come as their bytes."""

    closed = False

    def __init__(self, answers: BinaryIO, size_bytes: int) -> None:
        self._answers = answers
        self._size_bytes = size_bytes
        self._offset = 0

    def seek(self, offset: int, whence: int = 0) -> int:
        """As a file does."""
        self._offset = offset + (0, self._offset, self._size_bytes)[whence]
        return self._offset

    def tell(self) -> int:
        """As a file does."""
        return self._offset

    def read(self, length: int = -1) -> bytes:
        """As a file does."""
        rest = max(0, self._size_bytes - self._offset)
        wanted = rest if length < 0 else min(length, rest)
        if wanted == 0:
            return b""
        say({"offset": self._offset, "length": wanted})
        data = self._answers.read(wanted)
        if len(data) != wanted:
            raise EOFError("the rest of the file did not come")
        self._offset += wanted
        return data

    def close(self) -> None:
        """Nothing is held."""


if __name__ == "__main__":
    main()
