"""JSON rows → columns of checked values, or every problem with its JSON pointer.

The contract is the one that prepare checks files by (`stages/data/contract.py`; a test holds the two together), read
from `signature.json`. Answers name types, never the caller's values: what a caller sends is not for logs or error
pages.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from math import isfinite
from sys import float_info
from types import MappingProxyType
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from stages.data import cells
from stages.data.spelling import canonical
from stages.escaping import on_one_line
from stages.serving.single import SingleRows

#: How many problems of one request are listed; all are counted.
MAX_PROBLEMS = 100

_MISSING = object()
_NONE: Mapping[str, int] = MappingProxyType({})


class Problem(NamedTuple):
    """One refused value: where it stands (RFC 6901), a stable code, what the contract asks for, the type that
    came."""

    pointer: str
    code: str
    expected: str
    got: str
    hint: str | None = None

    def plain(self) -> dict[str, str]:
        """For JSON."""
        return {key: value for key, value in self._asdict().items() if value is not None}


class Bad(NamedTuple):
    """What a value check returns for a value that it refuses."""

    code: str
    expected: str


class Decoded:
    """The rows of a request as columns, in the order of the signature.

    Values are float, int, bool, str or datetime (aware and in UTC when the column has a time zone, else naive), None
    for null. `row` holds the values of a row that came alone. `problems` holds the first `MAX_PROBLEMS` in row order,
    `refused` counts all of them; with problems, `columns` is empty. `ignored` and `unknown` count values of listed
    columns that are no features and of columns that are not listed; `unseen` counts, by column, categories that
    training never saw.
    """

    row: Sequence[Any] | None = None
    problems: Sequence[Problem] = ()
    refused = ignored = unknown = 0
    unseen: Mapping[str, int] = _NONE

    def __init__(self, names: Sequence[str], rows: int, columns: dict[str, list[Any]] | None = None) -> None:
        self._names = names
        self._columns = columns
        self.rows = rows

    @property
    def columns(self) -> dict[str, list[Any]]:
        """Column → values, a list as long as there are rows."""
        if self._columns is None:
            self._columns = {name: [value] for name, value in zip(self._names, self.row or (), strict=True)}
        return self._columns


class Decoder:
    """A compiled signature.

    `levels`: column → categories known from training (canonical text), to count the others.
    """

    def __init__(self, signature: Mapping[str, Any], levels: Mapping[str, Iterable[str]] | None = None) -> None:
        self.features: list[Mapping[str, Any]] = list(signature["features"])
        self.names = [feature["name"] for feature in self.features]
        self._checks = [(f["name"], check_for(f), bool(f.get("nullable")), expectation(f)) for f in self.features]
        self._known = frozenset(self.names)
        self._listed = frozenset(signature.get("ignored") or ())
        self._levels = {name: frozenset(known) for name, known in (levels or {}).items() if name in self._known}
        self._single = SingleRows(self.features, [check for _, check, _, _ in self._checks], Bad, self._levels)

    def decode(self, rows: Sequence[Any], first: int = 0, most: int = MAX_PROBLEMS) -> Decoded:
        """Check all values of all rows; `first`: the number of the first of them in the request, `most`: how many
        problems are listed."""
        if len(rows) == 1 and type(rows[0]) is dict:
            single = self._single.values(rows[0])
            if single is not None:
                return self._alone(rows, *single)
        shapes = [i for i, row in enumerate(rows) if type(row) is not dict]
        refused = len(shapes)
        wrong: list[tuple[int, int, Bad | None]] = [(i, -1, None) for i in shapes[:most]]
        whole = rows if not shapes else [row if type(row) is dict else None for row in rows]
        columns: dict[str, list[Any]] = {}
        for place, (name, check, nullable, _) in enumerate(self._checks):
            values, bad = _column(whole, name, check, nullable)
            refused += len(bad)
            wrong += [(i, place, found) for i, found in bad[:most]]
            columns[name] = values
        ignored, unknown = self._extra(whole)
        if refused:
            wrong.sort(key=lambda item: item[:2])
            decoded = Decoded(self.names, len(rows), {})
            decoded.problems = [self._problem(rows[i], first + i, place, found) for i, place, found in wrong[:most]]
            decoded.refused = refused
        else:
            decoded = Decoded(self.names, len(rows), columns)
            decoded.unseen = self._unseen(columns)
        decoded.ignored, decoded.unknown = ignored, unknown
        return decoded

    def _alone(self, rows: Sequence[Any], values: Sequence[Any], unseen: list[str] | None) -> Decoded:
        decoded = Decoded(self.names, 1)
        decoded.row = values
        if len(rows[0]) > len(values):
            decoded.ignored, decoded.unknown = self._extra(rows)
        if unseen:
            decoded.unseen = dict.fromkeys(unseen, 1)
        return decoded

    def _problem(self, row: Any, i: int, place: int, found: Bad | None) -> Problem:
        """What is wrong with a row (`place` is -1) or with one of its columns."""
        if place < 0:
            return Problem(f"/rows/{i}", "DAT_ROW_SHAPE", "an object: column → value", json_type(row))
        name, _, _, expected = self._checks[place]
        pointer = f"/rows/{i}/{name.replace('~', '~0').replace('/', '~1')}"
        if found is not None:
            got = "null" if found.code == "DAT_NULL" else json_type(row[name])
            return Problem(pointer, found.code, found.expected, got)
        # Only a key that nearly is the column's name comes back, so that the hint cannot carry other data.
        strangers = [
            key for key in row if key not in self._known and key not in self._listed and len(key) <= 2 * len(name) + 8
        ]
        close = difflib.get_close_matches(name, strangers[:200], n=1, cutoff=0.7)
        hint = f"there is a {close[0]!r} in this row: did you mean {name!r}?" if close else None
        return Problem(pointer, "DAT_COLUMN_MISSING", expected, "nothing", hint)

    def _extra(self, rows: Sequence[Any]) -> tuple[int, int]:
        ignored = unknown = 0
        width = len(self.names)
        for row in rows:
            if row is None or (len(row) == width and row.keys() == self._known):
                continue
            for key in row.keys() - self._known:
                if key in self._listed:
                    ignored += 1
                else:
                    unknown += 1
        return ignored, unknown

    def _unseen(self, columns: Mapping[str, list[Any]]) -> dict[str, int]:
        counts = {}
        for name, known in self._levels.items():
            count = len([value for value in columns[name] if value is not None and value not in known])
            if count:
                counts[name] = count
        return counts


def _column(
    rows: Sequence[Any], name: str, check: Callable[[Any], Any], nullable: bool
) -> tuple[list[Any], list[tuple[int, Bad | None]]]:
    """Values of one column and what is wrong with it: row number and reason, None for a column that is not there."""
    values: list[Any] = []
    bad: list[tuple[int, Bad | None]] = []
    for i, row in enumerate(rows):
        if row is None:
            continue
        value = row.get(name, _MISSING)
        if value is None or value is _MISSING:
            if not nullable:
                bad.append((i, None if value is _MISSING else Bad("DAT_NULL", "a value: the column is not nullable")))
            values.append(None)
            continue
        checked = check(value)
        if type(checked) is Bad:
            bad.append((i, checked))
        values.append(checked)
    return values, bad


def json_type(value: Any) -> str:
    """Name of a JSON value's type."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "array" if isinstance(value, list) else "object"


def expectation(feature: Mapping[str, Any]) -> str:
    """What a column takes, in words."""
    words = {
        "number": "a number",
        "integer": "a whole number",
        "boolean": "true or false",
        "category": "text (or a number or boolean, taken as text)",
        "text": "text",
        "datetime": "a date and time as ISO 8601 text",
    }[feature["type"]]
    if feature.get("spelling") == "exact":
        words = "text (not a number: 7 may be 7, 007 or 7.0 here)"
    if feature.get("format"):
        words = f"a date and time as text of the form {feature['format']}"
    low, high = feature.get("min"), feature.get("max")
    if low is not None and high is not None:
        words += f" from {low:g} to {high:g}"
    elif low is not None:
        words += f" of at least {low:g}"
    elif high is not None:
        words += f" of at most {high:g}"
    if feature.get("values") is not None:
        shown = [cells.canonical(value) for value in feature["values"]]
        words += f", one of: {', '.join(shown[:20])}" + (f" … ({len(shown)} in all)" if shown[20:] else "")
    if feature.get("pattern") is not None:
        words += f", all of it matching {feature['pattern']}"
    return on_one_line(words) + (", or null" if feature.get("nullable") else "")


def check_for(feature: Mapping[str, Any]) -> Callable[[Any], Any]:
    """A function from a JSON value (not null) to the column's value, or `Bad`."""
    kind, expected = feature["type"], expectation(feature)
    if kind == "boolean":
        bad = Bad("DAT_TYPE", expected)
        return lambda value: value if value is True or value is False else bad
    if kind in ("number", "integer"):
        return _number(feature, expected)
    if kind == "datetime":
        return _datetime(feature, expected)
    return _text(feature, expected)


def _number(feature: Mapping[str, Any], expected: str) -> Callable[[Any], Any]:
    wrong, infinite = Bad("DAT_TYPE", expected), Bad("DAT_INFINITE", expected)
    too_small, too_large = Bad("DAT_MIN", expected), Bad("DAT_MAX", expected)
    outside = Bad("DAT_VALUES", expected)
    convert = _whole if feature["type"] == "integer" else _real
    low, high = feature.get("min"), feature.get("max")
    allowed = None if feature.get("values") is None else frozenset(cells.canonical(v) for v in feature["values"])

    # What nearly every value is: of the expected type and between the bounds. An infinity is beyond the largest float.
    usual, most = (int, 2**63 - 1) if convert is _whole else (float, float_info.max)
    least = -most if low is None else max(low, -most)
    most = most if high is None else min(high, most)

    def check(value: Any) -> Any:
        if type(value) is usual and least <= value <= most and allowed is None:
            return value
        number = convert(value, wrong, infinite)
        if type(number) is Bad:
            return number
        if low is not None and number < low:
            return too_small
        if high is not None and number > high:
            return too_large
        if allowed is not None and cells.canonical(number) not in allowed:
            return outside
        return number

    return check


def _real(value: Any, wrong: Bad, infinite: Bad) -> float | Bad:
    if type(value) is float:
        return value if isfinite(value) else infinite
    if type(value) is not int:
        return wrong
    try:
        return float(value)
    except OverflowError:
        return infinite


def _whole(value: Any, wrong: Bad, infinite: Bad) -> int | Bad:
    if type(value) is float:
        if not isfinite(value):
            return infinite
        # From 2^53 on a float stands for several integers.
        return int(value) if value.is_integer() and abs(value) < cells.EXACT else wrong
    return value if type(value) is int and value in cells.INT64 else wrong


def _text(feature: Mapping[str, Any], expected: str) -> Callable[[Any], Any]:
    wrong, infinite, control = Bad("DAT_TYPE", expected), Bad("DAT_INFINITE", expected), Bad("DAT_TEXT", expected)
    outside, unlike = Bad("DAT_VALUES", expected), Bad("DAT_PATTERN", expected)
    spelling = feature.get("spelling")
    allowed = allowed_texts(feature)
    pattern = None if feature.get("pattern") is None else re.compile(feature["pattern"])

    def check(value: Any) -> Any:
        if type(value) is not str:
            if type(value) is float and not isfinite(value):
                return infinite
            if not isinstance(value, int | float) or spelling == "exact":
                return wrong
            # A float from 2^53 on stands for several integers.
            if spelling is not None and type(value) is float and abs(value) >= cells.EXACT:
                return wrong
            value = cells.canonical(value)
        elif not value.isprintable() and cells.CONTROL.search(value):
            return control
        text = canonical(value) if spelling == "canonical" else value
        if allowed is not None and text not in allowed:
            return outside
        if pattern is not None and pattern.fullmatch(value) is None:
            return unlike
        return text

    return check


def allowed_texts(feature: Mapping[str, Any]) -> frozenset[str] | None:
    """The `values` of a category or text column, as its values are once they are checked."""
    if feature.get("values") is None:
        return None
    texts = (cells.canonical(value) for value in feature["values"])
    return frozenset(map(canonical, texts) if feature.get("spelling") == "canonical" else texts)


def _datetime(feature: Mapping[str, Any], expected: str) -> Callable[[Any], Any]:
    layout, zone_name = feature.get("format"), feature.get("timezone")
    zone = None if zone_name is None else ZoneInfo(zone_name)
    unreadable = Bad("DAT_DATETIME", expected)
    bad = {
        "DAT_TIME_GAP": Bad("DAT_TIME_GAP", f"a local time that {zone_name} has: clocks are put forward over this one"),
        "DAT_TIME_AMBIGUOUS": Bad(
            "DAT_TIME_AMBIGUOUS", f"an offset from UTC: clocks in {zone_name} show this time twice"
        ),
    }

    def check(value: Any) -> Any:
        if type(value) is not str:
            return unreadable
        try:
            return cells.moment(value, zone, layout)
        except cells.Refused as refused:
            return bad.get(refused.code, unreadable)

    return check
