"""The ends of lines: PostgreSQL writes LF, RFC 4180 wants CRLF, and values keep what they have."""

import csv
import io

from hypothesis import given
from hypothesis import strategies as st

from analytics_export.formats.as_is import AsIs
from analytics_export.formats.csv import CrlfRecords

VALUES = st.lists(st.text(alphabet="ab,\"\r\n='é "), min_size=2, max_size=3)


def postgres_csv(rows: list[list[str]]) -> bytes:
    """What COPY … (FORMAT csv) sends: LF after each record, quotes where they are needed."""
    return "".join(",".join(map(quoted, row)) + "\n" for row in rows).encode()


def quoted(value: str) -> str:
    doubled = value.replace('"', '""')
    return f'"{doubled}"' if not value or set(value) & set(',"\r\n') else value


async def converted(pieces: list[bytes]) -> bytes:
    received: list[bytes] = []

    async def sink(data: bytes) -> None:
        received.append(data)

    records = CrlfRecords(AsIs(sink))
    for piece in pieces:
        await records.write(piece)
    return b"".join(received)


async def test_every_record_ends_in_crlf() -> None:
    """RFC 4180, 2.1."""
    assert await converted([b"a,b\n1,2\n"]) == b"a,b\r\n1,2\r\n"


async def test_a_line_break_inside_a_value_stays_as_it_is() -> None:
    """A model's name is data: an export that changed it would not match the API."""
    assert await converted([b'"x\ny",1\n"a""\n""b",2\n']) == b'"x\ny",1\r\n"a""\n""b",2\r\n'


@given(rows=st.lists(VALUES, max_size=5), data=st.data())
async def test_a_reader_gets_the_same_values_wherever_the_pieces_were_cut(
    rows: list[list[str]], data: st.DataObject
) -> None:
    """The network cuts anywhere, also between the two quotes of an escaped one."""
    original = postgres_csv(rows)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(original)), max_size=6)))
    pieces = [original[start:end] for start, end in zip([0, *cuts], [*cuts, len(original)], strict=True)]

    result = await converted(pieces)

    assert list(csv.reader(io.StringIO(result.decode(), newline=""), strict=True)) == rows
    assert result.count(b"\r\n") >= len(rows)
