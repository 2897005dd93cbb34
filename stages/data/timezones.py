"""Local times of a zone as UTC, for whole columns.

The zone data is Python's (`zoneinfo`), the same that a scoring request is read with; arrow would need a copy in the
operating system, which small images lack.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt

from stages.data import cells

Micros = npt.NDArray[np.int64]

DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  naive on purpose: local and UTC times are both counted from here
#: First and last day (from 1970-01-01) for which a day before and a day after are in Python's calendar.
_FIRST = (datetime(1, 1, 3) - _EPOCH).days  # noqa: DTZ001
_LAST = (datetime(9999, 12, 29) - _EPOCH).days  # noqa: DTZ001


class Localised(NamedTuple):
    """`utc`: microseconds since 1970 in UTC, 0 where a value was refused; `bad`: reason code → positions."""

    utc: Micros
    bad: dict[str, npt.NDArray[np.int64]]


def localise(local: Micros, zone: ZoneInfo) -> Localised:
    """Local microseconds since 1970 to UTC.

    Most days have one offset from the day before to the day after; that is looked up once a day. Values of the other
    days, in which clocks may change, are converted one by one.
    """
    if zone.key == "UTC" or not len(local):
        return Localised(local, {})
    days, of_day = np.unique(local // DAY, return_inverse=True)
    offsets = np.array([_offset_around(int(day), zone) for day in days], dtype=np.int64)
    offset = offsets[of_day]
    utc = local - offset
    bad: dict[str, list[int]] = {}
    for i in np.flatnonzero(offset == _CHANGES).tolist():
        try:
            utc[i] = (cells.localise(_EPOCH + timedelta(microseconds=int(local[i])), zone) - _EPOCH) // timedelta(
                microseconds=1
            )
        except cells.Refused as refused:
            utc[i] = 0
            bad.setdefault(refused.code, []).append(i)
        except OverflowError:
            utc[i] = 0
            bad.setdefault("DAT_DATETIME", []).append(i)
    return Localised(utc, {code: np.array(at, dtype=np.int64) for code, at in bad.items()})


_CHANGES = np.iinfo(np.int64).min


def _offset_around(day: int, zone: ZoneInfo) -> int:
    """The zone's offset in microseconds if it is one from the day before `day` to the day after, else `_CHANGES`."""
    if not _FIRST <= day <= _LAST:
        return _CHANGES
    start = (_EPOCH + timedelta(days=day)).replace(tzinfo=UTC)
    # Two changes within three days would go unseen at their ends: hence a look at every twelve hours.
    seen = {(start + timedelta(hours=h)).astimezone(zone).utcoffset() for h in range(-24, 61, 12)}
    if len(seen) > 1:
        return _CHANGES
    offset = seen.pop()
    return _CHANGES if offset is None else offset // timedelta(microseconds=1)
