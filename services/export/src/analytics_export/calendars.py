"""When the periods of a schedule begin: a cron expression, read on the clocks of a time zone.

A time that the clocks skip stands for the moment after the gap, one that they show twice for the first: each day has
one midnight, and two periods that follow each other neither overlap nor leave anything out.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from analytics_core.errors import AnalyticsError
from analytics_export.limits import CRON_CHARACTERS_MAX, PERIOD_MIN

PRESETS = {"daily": "0 0 * * *", "weekly": "0 0 * * 1", "monthly": "0 0 1 * *"}
# Looking back for the last start costs a step a period, so near ones are tried first; the last reaches over the eight
# years between two 29ths of February around 2100.
_LOOK_BACK = tuple(timedelta(days=days) for days in (2, 35, 400, 3_000))
# Enough to meet the two closest of a year's monthly starts, or a day's hourly ones.
_STARTS_CHECKED = 30


class CalendarError(AnalyticsError):
    """No such calendar; the text is for the person who wrote the expression."""


@dataclass(frozen=True, slots=True)
class Calendar:
    """The starts of periods. `cron` has five fields or is one of `PRESETS`."""

    cron: str
    zone: ZoneInfo

    def after(self, moment: datetime) -> datetime:
        """The first start after a moment, in UTC. Raises `CalendarError` when there is none."""
        return next(self._starts(moment))

    def at_or_before(self, moment: datetime) -> datetime:
        """The last start that is not after a moment, in UTC. Raises `CalendarError` when there is none."""
        for distance in _LOOK_BACK:
            found = None
            for start in self._starts(moment - distance):
                if start > moment:
                    break
                found = start
            if found is not None:
                return found
        raise CalendarError("never begins a period")

    def _starts(self, moment: datetime) -> Iterator[datetime]:
        try:
            for tick in CronSim(PRESETS.get(self.cron, self.cron), moment.astimezone(self.zone)):
                # Within an hour that the clocks show twice, the first of the two may lie before the moment.
                if (start := tick.astimezone(UTC)) > moment:
                    yield start
        except (CronSimError, OverflowError, AssertionError) as error:  # the last is its word for 5L/2 and the like
            raise CalendarError(f"is no cron expression: {error}".rstrip(": ")) from None
        raise CalendarError("never begins a period")


def checked_calendar(cron: str, zone: ZoneInfo, now: datetime) -> Calendar:
    """A calendar whose periods are neither too many nor none. Raises `CalendarError`."""
    if cron not in PRESETS and (len(cron) > CRON_CHARACTERS_MAX or len(cron.split()) != 5 or not cron.isascii()):
        raise CalendarError(f"expected {', '.join(PRESETS)} or five fields: minute hour day-of-month month day-of-week")
    calendar = Calendar(cron, zone)
    starts = [calendar.at_or_before(now)]
    while len(starts) < _STARTS_CHECKED:
        starts.append(calendar.after(starts[-1]))
    if min(later - earlier for earlier, later in pairwise(starts)) < PERIOD_MIN:
        raise CalendarError("begins periods of less than an hour")
    return calendar
