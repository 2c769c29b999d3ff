"""CSV by RFC 4180: PostgreSQL writes it, apart from the ends of its lines."""

from analytics_export.jobs import Job
from analytics_export.rows import Sink

EXTENSION = "csv"
MEDIA_TYPE = "text/csv; charset=utf-8; header=present"


def filename(job: Job) -> str:
    """What a browser saves the file as; made of our own characters alone."""
    request = job.request
    return f"usage-{request.granularity}-{request.start:%Y%m%d}-{request.end:%Y%m%d}-{job.job_id.hex[:8]}.{EXTENSION}"


class CrlfRecords:
    """Passes PostgreSQL's CSV on with records that end in CRLF, as RFC 4180 wants; a line break inside a value stays.

    A quote stands in a quoted value alone, so a line feed ends a record exactly when an even number of quotes is before
    it. Pieces may be cut anywhere.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._quoted = False

    async def write(self, piece: bytes) -> None:
        """Take the next piece of the file."""
        if b'"' not in piece:
            await self._sink(piece if self._quoted else piece.replace(b"\n", b"\r\n"))
            return
        texts = piece.split(b'"')
        outside = slice(1 if self._quoted else 0, None, 2)
        texts[outside] = [text.replace(b"\n", b"\r\n") for text in texts[outside]]
        self._quoted ^= len(texts) % 2 == 0
        await self._sink(b'"'.join(texts))
