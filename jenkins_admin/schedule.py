"""Jenkins' schedules. A job with a wrong one is taken and saved by Jenkins, and then simply never runs."""

from __future__ import annotations

import re

#: Fields of a line and what each may hold; 7 is Sunday once more.
_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day of the month", 1, 31), ("month", 1, 12), ("day of the week", 0, 7))
_ALIASES = frozenset({"@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"})
_TERM = re.compile(
    r"(?P<one>\d+)|(?:\*|(?P<hash>H)(?:\((?P<low>\d+)-(?P<high>\d+)\))?|(?P<first>\d+)-(?P<last>\d+))(?:/(?P<step>\d+))?"
)


def wrong_schedule(text: str) -> str | None:
    """What is wrong with a schedule in the syntax of Jenkins' help (H, ranges, steps, lists, aliases, TZ=), or None."""
    for index, line in enumerate(text.strip().splitlines()):
        line = line.strip()
        if not line or line.startswith("#") or (index == 0 and re.fullmatch(r"TZ=\S+", line)):
            continue
        wrong = _wrong_line(line)
        if wrong is not None:
            return wrong
    return None


def _wrong_line(line: str) -> str | None:
    if line.startswith("@"):
        return None if line in _ALIASES else f"{line!r} is none of Jenkins' names for a schedule"
    fields = line.split()
    if len(fields) != len(_FIELDS):
        return f"{line!r} is no schedule: it has {len(fields)} of 5 fields"
    for field, (name, lowest, highest) in zip(fields, _FIELDS, strict=True):
        for term in field.split(","):
            match = _TERM.fullmatch(term)
            if match is None:
                return f"{line!r} is no schedule: {term!r} is no {name}"
            if not _fits(match, lowest, highest):
                return f"{line!r} is no schedule: {term!r} is no {name} ({lowest} to {highest})"
    return None


def _fits(match: re.Match[str], lowest: int, highest: int) -> bool:
    number = {name: int(text) for name, text in match.groupdict().items() if text is not None and name != "hash"}
    low = number.get("low", number.get("first", number.get("one", lowest)))
    high = number.get("high", number.get("last", number.get("one", highest)))
    step = number.get("step", 1)
    # Jenkins spreads H over its range, so its step may not be longer than that; with * it may.
    return lowest <= low <= high <= highest and step >= 1 and (not match["hash"] or step <= high - low + 1)
