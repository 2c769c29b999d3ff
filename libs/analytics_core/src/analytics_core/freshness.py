"""How far the visible numbers are behind: rollup measures it and query-api answers with it, by this one rule."""

from datetime import datetime, timedelta

# ingest confirms at least every 2 s that it is caught up: a watermark this young, with nothing waiting, is "now".
HEARTBEAT_TOLERANCE = timedelta(seconds=10)


def visible_lag(watermark: datetime | None, now: datetime, *, unfolded: bool) -> timedelta | None:
    """The greatest age that an accepted event can have and not be in the numbers; None when nobody can know.

    `unfolded` says whether a committed batch still waits to be folded.
    """
    if watermark is None:
        return None
    behind = max(now - watermark, timedelta(0))
    return timedelta(0) if not unfolded and behind <= HEARTBEAT_TOLERANCE else behind
