"""Requests that no person's row went into: drawn from the ranges and levels that the contract and schema.json state."""

from __future__ import annotations

import math
import random
import re
import re._constants as tokens  # type: ignore[import-not-found]
import re._parser as parser  # type: ignore[import-not-found]
import string
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from stages.serving.decode import Decoder

if TYPE_CHECKING:
    import pyarrow as pa

Row = dict[str, Any]

#: Share of missing values in a nullable column.
_MISSING = 0.1
#: How many times `n` rows are drawn before giving up: the contract may refuse some, and real rows are left out.
_ATTEMPTS = 20
#: Most repetitions that a pattern without an upper bound is given.
_REPEATS = 8
_CLASSES = {
    tokens.CATEGORY_DIGIT: r"\d",
    tokens.CATEGORY_NOT_DIGIT: r"\D",
    tokens.CATEGORY_SPACE: r"\s",
    tokens.CATEGORY_NOT_SPACE: r"\S",
    tokens.CATEGORY_WORD: r"\w",
    tokens.CATEGORY_NOT_WORD: r"\W",
}
_ALPHABET = string.ascii_letters + string.digits


def rows(
    signature: Mapping[str, Any],
    schema: Mapping[str, Any],
    real: Callable[[], Iterable[pa.RecordBatch]],
    n: int,
    seed: int,
) -> list[Row]:
    """About `n` distinct rows as JSON that the contract takes, of which none is a real one.

    `schema`: schema.json. `real`: gives all rows of the data, with at least the columns of the features. The same
    arguments give the same rows.

    Raises:
        ValueError: no such row was found.
    """
    draw, decoder, features = random.Random(seed), Decoder(signature), signature["features"]
    seen = schema.get("columns", {})
    makers = {f["name"]: _maker(f, seen.get(f["name"], {}), draw) for f in features}
    found: list[Row] = []
    for _ in range(_ATTEMPTS):
        drawn = [{name: make() for name, make in makers.items()} for _ in range(n)]
        for feature in features:
            if feature.get("nullable"):
                for row in drawn:
                    row[feature["name"]] = None if draw.random() < _MISSING else row[feature["name"]]
        good = [row for row in drawn if not decoder.decode([row]).refused]
        found += _without_real(good, decoder, real())
        found = [row for i, row in enumerate(found) if row not in found[:i]]
        if len(found) >= n:
            break
    if not found:
        raise ValueError("every row that was drawn is refused by the contract, or stands in the data")
    return found[:n]


def _without_real(drawn: list[Row], decoder: Decoder, batches: Iterable[pa.RecordBatch]) -> list[Row]:
    import pyarrow.compute as pc

    left = [(row, {name: values[0] for name, values in decoder.decode([row]).columns.items()}) for row in drawn]
    for batch in batches:
        kept = []
        for row, values in left:
            same = batch
            for name, value in values.items():
                column = same.column(name)
                column = column.cast("string") if isinstance(value, str) else column
                same = same.filter(pc.is_null(column) if value is None else pc.equal(column, value))
                if not same.num_rows:
                    kept.append((row, values))
                    break
        left = kept
    return [row for row, _ in left]


def _maker(feature: Mapping[str, Any], seen: Mapping[str, Any], draw: random.Random) -> Callable[[], Any]:
    """A function that draws a value of one column."""
    kind = feature["type"]
    if feature.get("values") is not None:
        return lambda: draw.choice(feature["values"])
    if kind == "boolean":
        return lambda: draw.random() < 0.5
    if kind in ("number", "integer"):
        return _number(feature, seen, draw)
    if kind == "datetime":
        return _moment(feature, seen, draw)
    if kind == "category" and seen.get("levels"):
        return lambda: draw.choice(seen["levels"])
    if feature.get("pattern") is not None:
        parsed = parser.parse(feature["pattern"])
        return lambda: _matching(parsed, draw)
    longest = min(int(seen.get("longest") or 12), 40)
    return lambda: "".join(draw.choice(_ALPHABET) for _ in range(draw.randint(1, max(1, longest))))


def _number(feature: Mapping[str, Any], seen: Mapping[str, Any], draw: random.Random) -> Callable[[], Any]:
    """Within what the data hold where the contract sets no bound: a model may have no answer far away."""
    low, high = (seen.get(end) if seen.get(end) is not None else feature.get(end) for end in ("min", "max"))
    low = float(high if low is None and high is not None else low or 0.0)
    high = max(low, float(low + 1.0 if high is None else high))
    if feature["type"] == "integer":
        return lambda: draw.randint(math.ceil(low), max(math.ceil(low), math.floor(high)))
    return lambda: low + (high / 2 - low / 2) * 2 * draw.random() if high - low == math.inf else draw.uniform(low, high)


def _moment(feature: Mapping[str, Any], seen: Mapping[str, Any], draw: random.Random) -> Callable[[], str]:
    zone = ZoneInfo(feature["timezone"]) if feature.get("timezone") else None
    start, end = (datetime.fromisoformat(seen[name]) if seen.get(name) else None for name in ("min", "max"))
    start = start or datetime(2024, 1, 1, tzinfo=UTC if zone else None)
    span = int(((end or start + timedelta(days=365)) - start).total_seconds())

    def make() -> str:
        moment = start + timedelta(seconds=draw.randint(0, max(0, span)))
        moment = moment.astimezone(zone) if zone else moment
        layout = feature.get("format")
        return moment.strftime(layout) if layout else moment.isoformat()

    return make


def _matching(parsed: Any, draw: random.Random) -> str:
    """A text that a parsed regular expression matches, but for what looks around or back: the contract checks it."""
    return "".join(_part(token, argument, draw) for token, argument in parsed)


def _part(token: Any, argument: Any, draw: random.Random) -> str:
    if token is tokens.LITERAL:
        return chr(argument)
    if token in (tokens.MAX_REPEAT, tokens.MIN_REPEAT, tokens.POSSESSIVE_REPEAT):
        least, most, inner = argument
        most = least + _REPEATS if most is tokens.MAXREPEAT else most
        return "".join(_matching(inner, draw) for _ in range(draw.randint(least, min(most, least + _REPEATS))))
    if token is tokens.SUBPATTERN:
        return _matching(argument[-1], draw)
    if token is tokens.ATOMIC_GROUP:
        return _matching(argument, draw)
    if token is tokens.BRANCH:
        return _matching(draw.choice(argument[1]), draw)
    if token in (tokens.IN, tokens.NOT_LITERAL, tokens.ANY):
        return draw.choice(_characters(token, argument))
    return ""


def _characters(token: Any, argument: Any) -> Sequence[str]:
    """Characters that one place of a pattern takes: those of ASCII, and its own."""
    printed = [c for c in string.printable if c not in "\t\n\r\x0b\x0c"]
    if token is tokens.ANY:
        return printed
    if token is tokens.NOT_LITERAL:
        return [c for c in printed if c != chr(argument)]
    own = [chr(code) for kind, code in argument if kind is tokens.LITERAL]
    own += [chr(code) for kind, ends in argument if kind is tokens.RANGE for code in (ends[0], ends[1])]
    return [c for c in [*printed, *own] if _takes(argument, c)] or own or printed


def _takes(items: Any, character: str) -> bool:
    """Whether a set of a pattern (`[a-z_]`) takes a character."""
    negated, code, found = False, ord(character), False
    for kind, value in items:
        if kind is tokens.NEGATE:
            negated = True
        elif kind is tokens.LITERAL:
            found |= code == value
        elif kind is tokens.RANGE:
            found |= value[0] <= code <= value[1]
        elif kind is tokens.CATEGORY:
            found |= re.match(_CLASSES[value], character) is not None
    return found is not negated
