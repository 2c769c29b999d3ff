"""CSV by RFC 4180: PostgreSQL writes it, apart from the ends of its lines."""

from typing import Protocol


class Output(Protocol):
    """Where the records go: the file itself, or what compresses them."""

    async def write(self, piece: bytes) -> None:
        """Take the next bytes."""

    async def finish(self) -> None:
        """Nothing follows."""


class CrlfRecords:
    """Passes PostgreSQL's CSV on with records that end in CRLF, as RFC 4180 wants; a line break inside a value stays.

    A quote stands in a quoted value alone, so a line feed ends a record exactly when an even number of quotes is before
    it. Pieces may be cut anywhere.
    """

    def __init__(self, output: Output) -> None:
        self._output = output
        self._quoted = False

    async def write(self, piece: bytes) -> None:
        """Take the next piece of the file."""
        if b'"' not in piece:
            await self._output.write(piece if self._quoted else piece.replace(b"\n", b"\r\n"))
            return
        texts = piece.split(b'"')
        outside = slice(1 if self._quoted else 0, None, 2)
        texts[outside] = [text.replace(b"\n", b"\r\n") for text in texts[outside]]
        self._quoted ^= len(texts) % 2 == 0
        await self._output.write(b'"'.join(texts))

    async def finish(self) -> None:
        """The last record has ended already."""
        await self._output.finish()

    async def close(self) -> None:
        """Nothing is held."""
