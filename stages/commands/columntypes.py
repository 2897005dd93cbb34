"""The contract type of a column, found by trying: a type fits when the contract takes the column's values."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.data import cells
from stages.data.convert import Converted, convert, one_type

_UTC = ZoneInfo("UTC")
_TRUTH = [{"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"}]
#: Words for a missing value, in lower case.
_MARKERS = frozenset(
    (
        *("-", "--", "---", "–", "—", ".", "..", "?", "??", "*", "/", "\\n"),
        *("na", "na.", "n/a", "n.a", "n.a.", "n. a.", "#na", "#n/a", "<na>", "nan", "nd", "n/d", "n.d.", "s/o"),
        *("k.a", "k.a.", "k. a.", "k/a", "keine angabe", "unbekannt", "inconnu", "desconocido", "onbekend"),
        *("null", "(null)", "nil", "none", "missing", "(missing)", "unknown", "(unknown)", "undefined"),
        *("empty", "blank", "(blank)", "not available", "not applicable", "not known", "no data", "tbd", "tba"),
        *("#value!", "#ref!", "#div/0!", "#num!", "#name?", "#null!"),
    )
)
_DATES = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y"),
)
_TIMES = ("", " %H:%M:%S", " %H:%M", "T%H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M")
_ISO = re.compile(r"\d{4}-\d{2}-\d{2}")
_OFFSET = re.compile(r"(?:Z|[+-]\d{2}:?\d{2})$")
_NUMBER_WITH_MORE = re.compile(r"[-+(]?\s?[€$£¥]?\s?\d[\d.,'’\s]*(?:%|[€$£¥]|[A-Za-z]{2,3})?\)?")

#: Share of a column's values that may be words for a missing value: known ones, others.
_KNOWN, _OTHERS = 0.5, 0.05
#: Share of a column's values that the contract may refuse, so that the rest still has a type.
_REFUSED = 0.01
#: How many distinct values a layout of dates is tried on before it is tried on all.
_FEW = 20


@dataclass(frozen=True)
class Found:
    """A column's type and values.

    `values`: typed, as the contract makes them; refused ones are null. `markers`: texts that stand for a missing value.
    `note`: what a person should know.
    """

    type: str
    values: pa.Array
    timezone: str | None = None
    format: str | None = None
    markers: tuple[str, ...] = ()
    note: str = ""


def find(raw: Any, decimal: str, markers: bool) -> Found | None:
    """The type of a column as a reader gives it; None when no type takes its values (lists, objects, durations).

    `markers`: whether words for a missing value may be declared (they can for text files alone).
    """
    array = raw if isinstance(raw, pa.Array) else one_type(raw, numbers=True)
    if array is not None and pa.types.is_dictionary(array.type):
        array = array.dictionary_decode()
    if array is not None and pa.types.is_nested(array.type):
        return None
    texts = _texts(raw if array is None else array)
    if texts is None:
        return None if array is None else _typed(array)
    if texts.null_count == len(texts):
        return Found("text", texts)
    return _of_text(texts, decimal, markers)


def _texts(raw: Any) -> pa.Array | None:
    """The column as text if it holds text, alone or among numbers; else None."""
    if isinstance(raw, list):
        found = convert(raw, "text")
        return None if found.bad else found.values
    kind = raw.type
    stringy = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind)
    return raw.cast(pa.string()) if stringy or pa.types.is_null(kind) else None


# ---- columns with a type of their own -------------------------------------------------------------------------------


def _typed(array: pa.Array) -> Found | None:
    kind = array.type
    zone = None
    if pa.types.is_boolean(kind):
        names = ["boolean"]
    elif pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0):
        names = ["integer", "category"]
    elif pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        # pandas keeps integers with gaps as floats.
        names = ["integer", "number"] if _missing(array) else ["number"]
    elif pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        names, zone = ["datetime"], None if pa.types.is_date(kind) or kind.tz is None else "UTC"
    else:
        names = ["category"]
    tried = [(name, convert(array, name, zone=_UTC if zone else None)) for name in names]
    for name, found in tried:
        if not found.bad:
            return Found(name, found.values, zone)
    name, found = tried[-1]
    refused = int(found.refused().sum())
    if refused > _REFUSED * len(array):
        return None
    return Found(name, found.values, zone, note=f"{refused:,} values are refused")


def _missing(array: pa.Array) -> bool:
    return bool(array.null_count) or (pa.types.is_floating(array.type) and bool(pc.any(pc.is_nan(array)).as_py()))


# ---- columns of text ----------------------------------------------------------------------------------------------


class _Texts:
    """The distinct values of a text column, with how often each stands in it."""

    def __init__(self, texts: pa.Array) -> None:
        counted = texts.drop_null().value_counts()
        self.values: pa.Array = counted.field("values")
        self.listed: list[str] = self.values.to_pylist()
        self.counts = np.asarray(counted.field("counts"))
        self.total = int(self.counts.sum())

    def share(self, at: Any) -> float:
        """Share of the column's values that the distinct values `at` (positions or a mask) are."""
        return float(self.counts[at].sum() / self.total)


@dataclass(frozen=True)
class _Fit:
    """How well a type fits. `refused`: mask over the distinct values, words for a missing value left out."""

    markers: tuple[str, ...]
    refused: np.ndarray
    share: float


def _of_text(texts: pa.Array, decimal: str, markers: bool) -> Found | None:
    distinct = _Texts(texts)
    words = {value.strip().lower() for value in distinct.listed}
    if any(words <= truth for truth in _TRUTH):
        return Found("boolean", convert(texts, "boolean").values)
    gaps = texts.null_count > 0
    for candidate in (*_numbers(distinct, decimal, gaps), *_moments(distinct)):
        zone = _UTC if candidate.timezone else None
        tried = convert(distinct.values, candidate.type, decimal=decimal, zone=zone, layout=candidate.format)
        fit = _fit(distinct, tried, markers)
        if fit is None:
            continue
        whole = convert(texts, candidate.type, decimal=decimal, zone=zone, layout=candidate.format)
        note = candidate.note
        if fit.refused.any():
            example = distinct.listed[int(np.flatnonzero(fit.refused)[0])]
            note = f"{fit.share:.2%} of the values are refused, for example {example!r}"
        return replace(candidate, values=whole.values, markers=fit.markers, note=note)
    category = convert(texts, "category")
    refused = int(category.refused().sum())
    if refused > _REFUSED * distinct.total:
        return None
    note = f"{refused:,} values hold control characters and are refused" if refused else _unread(distinct)
    return Found("category", category.values.dictionary_decode(), note=note)


def _fit(distinct: _Texts, tried: Converted, markers: bool) -> _Fit | None:
    """Whether a type fits: what it refuses are few words for a missing value, or next to nothing."""
    refused = tried.refused()
    if not refused.any():
        return _Fit((), refused, 0.0)
    if refused.all():
        return None
    words = [value if bad else "" for value, bad in zip(distinct.listed, refused, strict=True)]
    known = np.array([word.strip().lower() in _MARKERS for word in words])
    others = refused & ~known
    wordy = np.array([_is_word(word) for word in words]) & others
    missing = np.zeros(len(words), dtype=np.bool_)
    if markers and distinct.share(known) <= _KNOWN:
        missing |= known
        if wordy.sum() <= 3 and distinct.share(wordy) <= _OTHERS:
            missing |= wordy
    rest = refused & ~missing
    # a type that refuses as many distinct values as it takes is none, however rare they are
    if distinct.share(rest) > _REFUSED or (~refused).sum() <= rest.sum():
        return None
    return _Fit(tuple(words[i] for i in np.flatnonzero(missing)), rest, distinct.share(rest))


def _is_word(text: str) -> bool:
    return bool(text) and not any(c.isdigit() for c in text) and cells.INFINITE.fullmatch(text.strip()) is None


def _numbers(distinct: _Texts, decimal: str, gaps: bool) -> Iterator[Found]:
    """Integer or number, if the values may be either. With `gaps`, 5.0 is an integer: pandas writes it so."""
    if any(re.fullmatch(r"0\d+", value) for value in distinct.listed):
        return  # codes: 007 is no 7
    as_number = convert(distinct.values, "number", decimal=decimal)
    as_integer = convert(distinct.values, "integer", decimal=decimal)
    good, whole = ~as_number.refused(), ~as_integer.refused()
    plain = np.array([cells.WHOLE.fullmatch(value.strip()) is not None for value in distinct.listed])
    if (good & plain & ~whole).any():
        return  # more digits than an integer has: numbers of accounts, which a float would change
    integers = bool((good == whole).all())
    name = "integer" if integers and (gaps or bool(plain[good].all())) else "number"
    yield Found(name, distinct.values)


def _moments(distinct: _Texts) -> Iterator[Found]:
    """Datetimes: ISO 8601, or a layout that the values show."""
    sample = [v.strip() for v in distinct.listed if v.strip().lower() not in _MARKERS][:_FEW]
    iso = [value for value in sample if _ISO.match(value)]
    if sample and len(iso) > 0.8 * len(sample):
        zoned = [_OFFSET.search(value[10:]) is not None for value in distinct.listed if _ISO.match(value)]
        if all(zoned) or not any(zoned):
            yield Found("datetime", distinct.values, "UTC" if zoned[0] else None)
        return
    layouts = [date + time for date in _DATES for time in _TIMES]
    fitting = [layout for layout in layouts if sample and _reads(sample, layout) > 0.8 * len(sample)]
    if not fitting:
        return
    whole = {layout: convert(distinct.values, "datetime", layout=layout).refused() for layout in fitting}
    fewest = min(int(refused.sum()) for refused in whole.values())
    best = [layout for layout, refused in whole.items() if int(refused.sum()) == fewest]
    other = f"; {best[1]!r} fits as well" if best[1:] else ""
    yield Found("datetime", distinct.values, format=best[0], note=f"read as {best[0]!r}{other}" if other else "")


def _reads(sample: list[str], layout: str) -> int:
    return len(sample) - int(convert(pa.array(sample), "datetime", layout=layout).refused().sum())


def _unread(distinct: _Texts) -> str:
    """What to say of text that reads like numbers and is none for the contract."""
    if any(re.fullmatch(r"0\d+", value) for value in distinct.listed):
        return ""
    like = np.array([_NUMBER_WITH_MORE.fullmatch(value.strip()) is not None for value in distinct.listed])
    if distinct.share(like) < 0.9:
        return ""
    longest = max((v for v, at in zip(distinct.listed, like, strict=True) if at), key=len)
    if longest.isdecimal():
        return ""
    return (
        f"reads like numbers, for example {longest!r}, but numbers have no thousands separators, units or second "
        "decimal point: repair it in data.transform"
    )
