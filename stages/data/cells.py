"""The contract for one value: what each column type takes, in plain Python.

This is the definition. `convert` does the same for whole columns and comes here for the values that its fast kernels
cannot read; a property test holds the two together. Standard library only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from decimal import Decimal
from math import isfinite, isnan
from numbers import Integral, Real
from typing import Any
from zoneinfo import ZoneInfo

INT64 = range(-(2**63), 2**63)
#: Below, every integer has a float64 of its own; from here on a float stands for several.
EXACT = 2**53

#: What a number looks like as text. No thousands separators, no underscores, no hexadecimal.
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
WHOLE = re.compile(r"[+-]?[0-9]+")
#: Python takes any character between date and time, so that 1701123112345, an epoch number, would be of 1701.
ISO = re.compile(r"[0-9]{4}(-?[0-9]{2}-?[0-9]{2}|-?W[0-9]{2}(-?[0-9])?)([Tt ]|$)")
INFINITE = re.compile(r"[+-]?inf(inity)?", re.IGNORECASE)
#: Control characters that text does not hold; tab and line breaks are not among them.
CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

TRUE = frozenset({"true", "t", "yes", "y", "1"})
FALSE = frozenset({"false", "f", "no", "n", "0"})


class Refused(Exception):
    """A value that the contract does not take; `code` is the reason code."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def plain(value: Any) -> Any:
    """A Python value for a scalar of numpy or pandas."""
    item = getattr(value, "item", None)
    return item() if callable(item) and not isinstance(value, str | bytes) else value


def number(value: Any, decimal: str = ".") -> float | None:
    """A `number` as float; None for NaN.

    Raises: Refused: DAT_TYPE, DAT_INFINITE.
    """
    if isinstance(value, str):
        return _number_text(value, decimal)
    if isinstance(value, bool) or not isinstance(value, Real | Decimal):
        raise Refused("DAT_TYPE")
    try:
        found = float(value)
    except (OverflowError, ValueError):
        raise Refused("DAT_INFINITE") from None
    if isnan(found):
        return None
    if not isfinite(found):
        raise Refused("DAT_INFINITE")
    return found


def _number_text(text: str, decimal: str) -> float | None:
    text = text.strip()
    if text.lower() == "nan":
        return None
    if INFINITE.fullmatch(text):
        raise Refused("DAT_INFINITE")
    if decimal != ".":
        if "." in text:
            raise Refused("DAT_TYPE")
        text = text.replace(decimal, ".")
    if not NUMBER.fullmatch(text):
        raise Refused("DAT_TYPE")
    found = float(text)
    if not isfinite(found):
        raise Refused("DAT_INFINITE")
    return found


def integer(value: Any, decimal: str = ".") -> int | None:
    """An `integer`: 5 and 5.0 are taken, 5.5 is not, nor is what int64 cannot hold; None for NaN.

    Raises: Refused: DAT_TYPE, DAT_INFINITE.
    """
    if isinstance(value, str) and WHOLE.fullmatch(value.strip()):
        value = int(value) if len(value) < 4000 else 2**63
    if isinstance(value, Integral) and not isinstance(value, bool):
        if int(value) in INT64:
            return int(value)
        raise Refused("DAT_TYPE")
    if isinstance(value, Decimal) and value.is_finite() and value == value.to_integral_value() and int(value) in INT64:
        return int(value)
    found = number(value, decimal)
    if found is None:
        return None
    if not found.is_integer() or abs(found) >= EXACT:
        raise Refused("DAT_TYPE")
    if isinstance(value, str) and Decimal(value.strip().replace(decimal, ".")) != int(found):
        raise Refused("DAT_TYPE")  # a fraction that only the rounding to a float removed
    return int(found)


def boolean(value: Any, decimal: str = ".") -> bool | None:
    """A `boolean`: true/false, t/f, yes/no, y/n in any case, numbers that are 1 or 0, also as text; None for NaN.

    Raises: Refused: DAT_TYPE.
    """
    if isinstance(value, str):
        word = value.strip().lower()
        if word in TRUE:
            return True
        if word in FALSE:
            return False
        word = word.replace(decimal, ".")
        if NUMBER.fullmatch(word) and float(word) in (0, 1):
            return float(word) == 1
    elif isinstance(value, Real | Decimal):
        if value != value:
            return None
        if value in (0, 1):
            return bool(value)
    raise Refused("DAT_TYPE")


def text(value: Any, spelling: str | None = None) -> str | None:
    """A `category` or `text` as its canonical text: 1 and 1.0 are one; None for NaN.

    `spelling`: of the column (see `stages.data.spelling`), "open" while it is not known yet. With one, floats that
    stand for several integers are refused; where it is "exact", so are all numbers.

    Raises: Refused: DAT_TYPE, DAT_TEXT (not decodable, or a control character), DAT_INFINITE.
    """
    if isinstance(value, bytes):
        try:
            value = value.decode()
        except UnicodeDecodeError:
            raise Refused("DAT_TEXT") from None
    if isinstance(value, str):
        if CONTROL.search(value) or any("\ud800" <= c <= "\udfff" for c in value):
            raise Refused("DAT_TEXT")
        return value
    if isinstance(value, datetime):
        return moment_text(value.astimezone(UTC) if value.tzinfo else value)
    if isinstance(value, date | time):
        return value.isoformat()
    if not isinstance(value, Real | Decimal):
        raise Refused("DAT_TYPE")
    if isinstance(value, float | Decimal) and isnan(value):
        return None
    if isinstance(value, float | Decimal) and not isfinite(value):
        raise Refused("DAT_INFINITE")
    if spelling == "exact" or (spelling is not None and isinstance(value, float) and abs(value) >= EXACT):
        raise Refused("DAT_TYPE")
    return canonical(value)


def moment(value: Any, zone: ZoneInfo | None = None, layout: str | None = None) -> datetime | None:
    """A `datetime`: ISO 8601 text (or `layout`, as strptime has it), or a date or time of a typed source.

    With `zone` the answer is naive and in UTC: values without an offset are local to the zone, others are converted.
    Without it an offset is refused, because nobody said what the column is to be compared in.

    Raises: Refused: DAT_DATETIME, DAT_TIME_GAP, DAT_TIME_AMBIGUOUS.
    """
    if isinstance(value, str):
        value = value.strip()
        if layout is None and not ISO.match(value):
            raise Refused("DAT_DATETIME")
        with _unreadable():
            value = datetime.strptime(value, layout) if layout else datetime.fromisoformat(value)  # noqa: DTZ007
    elif isinstance(value, datetime):
        if value != value:  # NaT of pandas
            return None
    elif isinstance(value, date):
        value = datetime(value.year, value.month, value.day)  # noqa: DTZ001
    else:
        raise Refused("DAT_DATETIME")
    if zone is None:
        if value.tzinfo is not None:
            raise Refused("DAT_DATETIME")
        return value  # type: ignore[no-any-return]
    with _unreadable():
        if value.tzinfo is not None:
            return value.astimezone(UTC).replace(tzinfo=None)  # type: ignore[no-any-return]
        return localise(value, zone)


@contextmanager
def _unreadable() -> Iterator[None]:
    try:
        yield
    except (ValueError, OverflowError):
        raise Refused("DAT_DATETIME") from None


def localise(value: datetime, zone: ZoneInfo) -> datetime:
    """A local time of `zone` as naive UTC.

    PEP 495: the two folds of a local time have the offsets before and after a change of the clocks. Forward leaves a
    gap (the offset grows), backward shows an hour twice (it shrinks).

    Raises: Refused: DAT_TIME_GAP, DAT_TIME_AMBIGUOUS; OverflowError at the ends of the calendar.
    """
    before = value.replace(tzinfo=zone, fold=0).utcoffset()
    after = value.replace(tzinfo=zone, fold=1).utcoffset()
    if before is None or after is None:
        raise Refused("DAT_DATETIME")
    if after > before:
        raise Refused("DAT_TIME_GAP")
    if after < before:
        raise Refused("DAT_TIME_AMBIGUOUS")
    return value.replace(tzinfo=None, fold=0) - before


def canonical(value: Any) -> str:
    """Canonical text of a typed value, which hashes and comparisons are made of.

    Integral numbers up to 2^53 without a point, other floats as Python's shortest repr, integers and decimals exactly,
    booleans as true and false, text as it is.
    """
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, datetime):
        return moment_text(value)
    found = float(value)
    if isinstance(value, Decimal) and (abs(found) >= EXACT or Decimal(repr(found)) != value):
        exact = f"{value:f}"
        return exact.rstrip("0").removesuffix(".") if "." in exact else exact
    return str(int(found)) if found.is_integer() and abs(found) < EXACT else repr(found)


def moment_text(value: datetime) -> str:
    """ISO 8601 with microseconds and Z. A naive value has the same text as the UTC one, so that declaring UTC
    changes no hash."""
    return value.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"
