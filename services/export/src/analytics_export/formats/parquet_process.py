"""The process behind `Parquet`: CSV with a header on standard input, a Parquet file on standard output.

Row groups end by the bytes that were read and nothing else, so equal rows make equal files.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any, BinaryIO

import pyarrow as pa
from pyarrow import csv, parquet

TYPES = {
    "bucket": pa.timestamp("us", tz="UTC"),
    "instant": pa.timestamp("us", tz="UTC"),
    "uuid": pa.string(),
    "text": pa.string(),
    "integer": pa.int64(),
    "cents": pa.decimal128(38, 6),
    "json": pa.string(),
}
# Text that is parsed at once; no row comes near it.
BLOCK_BYTES = 2 << 20
# Readers skip by row group and hold one in memory. A million rows of usage make 15.
GROUP_BYTES = 8 << 20


def main() -> None:
    """Convert until the input ends."""
    schema = pa.schema([(name, TYPES[kind]) for name, kind in json.loads(sys.argv[1])])
    with pa.PythonFile(sys.stdout.buffer, "w") as target:
        convert(sys.stdin.buffer, target, schema)


def convert(source: BinaryIO, target: Any, schema: pa.Schema) -> None:
    """Read all of the source; no more than one row group is in memory."""
    source.readline()  # the header
    with parquet.ParquetWriter(target, schema, compression="zstd") as writer:
        group: list[pa.Table] = []
        for block in whole_records(source):
            group.append(parsed(block, schema))
            if sum(each.nbytes for each in group) >= GROUP_BYTES:
                write_group(writer, group)
        write_group(writer, group)


def whole_records(source: BinaryIO) -> Iterator[bytes]:
    """The source in blocks that end with a record: at a line feed behind an even number of quotes."""
    rest = b""
    while data := source.read(BLOCK_BYTES):
        block = rest + data
        end = block.rfind(b"\n")
        while end >= 0 and block.count(b'"', 0, end) % 2:
            end = block.rfind(b"\n", 0, end)
        rest = block[end + 1 :]
        if end >= 0:
            yield block[: end + 1]
    if rest:
        raise EOFError("the input ends inside a record")


def parsed(block: bytes, schema: pa.Schema) -> pa.Table:
    """The records of a block. An empty cell is null, an empty one in quotes is text."""
    return csv.read_csv(
        pa.BufferReader(block),
        csv.ReadOptions(use_threads=False, column_names=schema.names),
        csv.ParseOptions(newlines_in_values=True),
        csv.ConvertOptions(
            column_types=schema, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def write_group(writer: parquet.ParquetWriter, group: list[pa.Table]) -> None:
    """Write the tables as one row group, if there are any, and forget them."""
    if group:
        table = pa.concat_tables(group).combine_chunks()
        group.clear()
        writer.write_table(table, row_group_size=len(table))


if __name__ == "__main__":
    main()
