"""Whole columns to contract types.

Arrow's kernels read what is plain; values that they do not take go through `cells`, which is the definition. What was
refused is returned by position and code, never raised, so that one pass sees every bad cell.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.data import cells, timezones

Positions = npt.NDArray[np.int64]
Raw = Any
"""A column as read: a pyarrow Array, or a list of Python values where their types are mixed."""

CATEGORY = pa.dictionary(pa.int32(), pa.string())
NAIVE = pa.timestamp("us")
ZONED = pa.timestamp("us", tz="UTC")

_STRICT = r"^[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?$"
_MICROS_PER = {"s": 1_000_000, "ms": 1000, "us": 1}


@dataclass
class Converted:
    """A typed column; refused cells are null in it and listed in `bad` (reason code → positions)."""

    values: pa.Array
    bad: dict[str, Positions] = field(default_factory=dict)

    def refused(self) -> npt.NDArray[np.bool_]:
        """True where a cell was refused."""
        mask = np.zeros(len(self.values), dtype=np.bool_)
        for at in self.bad.values():
            mask[at] = True
        return mask


def arrow_type(kind: str, zone: bool = False) -> pa.DataType:
    """The type that a contract column has in train.parquet."""
    return {
        "number": pa.float64(),
        "integer": pa.int64(),
        "boolean": pa.bool_(),
        "category": CATEGORY,
        "text": pa.string(),
        "datetime": ZONED if zone else NAIVE,
    }[kind]


def convert(
    raw: Raw,
    kind: str,
    *,
    decimal: str = ".",
    zone: ZoneInfo | None = None,
    layout: str | None = None,
    spelling: str | None = None,
) -> Converted:
    """`raw` as contract type `kind`.

    `spelling`: of a category or text column, as `cells.text` has it.

    `decimal`: the decimal point of text. `zone`, `layout`: the time zone and strptime format of a datetime column.
    """
    scalar = _scalar(kind, decimal, zone, layout, spelling)
    array = raw if isinstance(raw, pa.Array | pa.ChunkedArray) else one_type(raw, numbers=kind == "number")
    if array is None:
        return _store(raw, kind, zone, scalar)
    if spelling is not None and kind in ("category", "text") and pa.types.is_floating(array.type):
        return _by_distinct(_shortest(array), kind, zone, scalar)
    array = _plain(array)
    kernels: dict[str, Callable[[pa.Array], Converted | None]] = {
        "number": partial(_number, decimal=decimal),
        "integer": _integer,
        "boolean": _boolean,
        "category": _category,
        "text": _text,
        "datetime": partial(_datetime, zone=zone, layout=layout),
    }
    fast = kernels[kind](array)
    return _by_distinct(array, kind, zone, scalar) if fast is None else fast


def _scalar(
    kind: str, decimal: str, zone: ZoneInfo | None, layout: str | None, spelling: str | None
) -> Callable[[Any], Any]:
    if kind in ("number", "integer"):
        return partial(cells.number if kind == "number" else cells.integer, decimal=decimal)
    if kind == "datetime":
        return partial(cells.moment, zone=zone, layout=layout)
    return partial(cells.boolean, decimal=decimal) if kind == "boolean" else partial(cells.text, spelling=spelling)


def _shortest(array: pa.Array) -> pa.Array:
    """Floats of 32 and 16 bits as the float64 that is written the same; those that stand for several integers as one
    that `cells.text` refuses."""
    if pa.types.is_float64(array.type):
        return array
    encoded = (array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array).dictionary_encode()
    distinct = encoded.dictionary.to_numpy(zero_copy_only=False)
    limit = 2**24 if pa.types.is_float32(array.type) else 2**11
    floats = [float(str(v)) if abs(v) < limit or not np.isfinite(v) else float(cells.EXACT) for v in distinct]
    return pa.array(floats, pa.float64()).take(encoded.indices)


def one_type(values: Sequence[Any], *, numbers: bool = False) -> pa.Array | None:
    """Python values as an arrow array; None when their types differ, because arrow would bring them to one silently.

    `numbers`: integers and floats count as one type.
    """
    kinds = set(map(type, values)) - {type(None)}
    if len(kinds) > 1 and not (numbers and kinds == {int, float}):
        return None
    try:
        return pa.array(values, pa.float64() if len(kinds) > 1 else None, from_pandas=True)
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        return None


def is_wide(values: pa.Array | pa.ChunkedArray) -> bool:
    """Whether these are integers of which float64 rounds some."""
    if not pa.types.is_integer(values.type) or values.type.bit_width < 64:
        return False
    ends = pc.min_max(values)
    low, high = ends["min"].as_py(), ends["max"].as_py()
    return low is not None and max(-low, high) >= cells.EXACT


def of_series(series: Any) -> Any:
    """A column of a pandas frame: an arrow array, or a list where pandas holds Python objects; None for missing
    values."""
    if series.dtype != object:
        try:
            return pa.Array.from_pandas(series)
        except (pa.ArrowException, TypeError, ValueError, OverflowError):
            pass  # periods, intervals: as objects, which the contract refuses one by one
    return series.astype(object).where(series.notna(), None).tolist()


def _plain(array: Any) -> pa.Array:
    """One chunk, one kind of string, dictionaries over strings only."""
    if isinstance(array, pa.ChunkedArray):
        array = array.combine_chunks()
        if isinstance(array, pa.ChunkedArray):
            array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    if isinstance(array, pa.ExtensionArray):
        uuids = isinstance(array.type, pa.UuidType)
        array = pa.array(map(_uuid, array.storage.to_pylist()), pa.string()) if uuids else array.storage
    kind = array.type
    if pa.types.is_dictionary(kind) and kind != CATEGORY:
        array = array.dictionary_decode() if not _stringy(kind.value_type) else array.cast(CATEGORY)
        kind = array.type
    if _stringy(kind) and kind != pa.string():
        array = array.cast(pa.string())
    elif pa.types.is_float16(kind) or pa.types.is_float32(kind):
        array = array.cast(pa.float64())
    return array


def _uuid(value: bytes | None) -> str | None:
    return None if value is None else str(UUID(bytes=value))


def _stringy(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _strings(array: pa.Array) -> pa.Array | None:
    """The array as plain strings, None when it is not text."""
    if array.type == CATEGORY:
        return array.dictionary_decode()
    return array if array.type == pa.string() else None


def holds(array: pa.Array, letters: bytes) -> bool:
    """Whether any of `letters` stands in the text of a string array (a scan of its buffer)."""
    if not len(array):
        return False
    offsets = np.frombuffer(array.buffers()[1], dtype=np.int32)
    first, last = int(offsets[array.offset]), int(offsets[array.offset + len(array)])
    data = array.buffers()[2]
    if data is None or first == last:
        return False
    content = data.slice(first, last - first).to_pybytes()
    return any(content.find(letter) >= 0 for letter in (bytes([code]) for code in letters))


# ---- one function a type: the typed column, or None when values need the slow way ----------------------------------


def _number(array: pa.Array, decimal: str) -> Converted | None:
    kind = array.type
    if pa.types.is_floating(kind):
        return _finite(array)
    if pa.types.is_integer(kind):
        return Converted(array.cast(pa.float64(), safe=False))
    strings = _strings(array)
    if strings is None:
        return Converted(pa.nulls(len(array), pa.float64())) if pa.types.is_null(kind) else None
    if decimal != ".":
        if holds(strings, b"."):
            return None
        strings = pc.replace_substring(strings, decimal, ".")
    try:
        found = strings.cast(pa.float64())
    except pa.ArrowInvalid:
        return None
    return Converted(found) if pc.all(pc.is_finite(found)).as_py() is not False else None


def _finite(array: pa.Array) -> Converted:
    """NaN is missing, infinity is refused."""
    if pc.all(pc.is_finite(array)).as_py() is not False:
        return Converted(array)
    infinite = np.flatnonzero(np.isinf(array.to_numpy(zero_copy_only=False)))
    clean = pc.if_else(pc.is_finite(array), array, pa.scalar(None, pa.float64()))
    return Converted(clean, {"DAT_INFINITE": infinite} if len(infinite) else {})


def _integer(array: pa.Array) -> Converted | None:
    kind = array.type
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return Converted(array.cast(pa.int64()))
    strings = _strings(array)
    if pa.types.is_null(kind):
        return Converted(pa.nulls(len(array), pa.int64()))
    if strings is None:
        if not pa.types.is_floating(kind):
            return None
        finite = _finite(array)
        if finite.bad or pc.any(pc.greater_equal(pc.abs(finite.values), float(cells.EXACT))).as_py():
            return None
        try:
            return Converted(finite.values.cast(pa.int64()))
        except pa.ArrowInvalid:
            return None
    # Arrow reads 0x10 as sixteen, the contract does not.
    if holds(strings, b"xX"):
        return None
    try:
        return Converted(strings.cast(pa.int64()))
    except pa.ArrowInvalid:
        return None


def _boolean(array: pa.Array) -> Converted | None:
    if pa.types.is_boolean(array.type):
        return Converted(array)
    return Converted(pa.nulls(len(array), pa.bool_())) if pa.types.is_null(array.type) else None


def _category(array: pa.Array) -> Converted | None:
    if pa.types.is_null(array.type):
        return Converted(pa.DictionaryArray.from_arrays(pa.nulls(len(array), pa.int32()), pa.array([], pa.string())))
    if array.type == pa.string():
        array = array.dictionary_encode()
    if array.type != CATEGORY:
        return None
    return Converted(array) if not _has_control(array.dictionary) else None


def _text(array: pa.Array) -> Converted | None:
    if pa.types.is_null(array.type):
        return Converted(array.cast(pa.string()))
    strings = _strings(array)
    return Converted(strings) if strings is not None and not _has_control(strings) else None


def _has_control(strings: pa.Array) -> bool:
    return pc.any(pc.match_substring_regex(strings, cells.CONTROL.pattern)).as_py() is True


def _datetime(array: pa.Array, zone: ZoneInfo | None, layout: str | None) -> Converted | None:
    kind = array.type
    if pa.types.is_null(kind):
        return Converted(pa.nulls(len(array), NAIVE if zone is None else ZONED))
    if pa.types.is_date(kind):
        array, kind = array.cast(pa.timestamp("ms")), pa.timestamp("ms")
    if pa.types.is_timestamp(kind):
        return _timestamps(array, zone)
    if layout is not None:
        return None
    strings = _strings(array)
    if strings is None:
        return None
    if zone is not None:
        try:
            return _in_calendar(Converted(strings.cast(ZONED)))
        except pa.ArrowException:
            pass  # values without an offset: local to the zone, if all of them are
    try:
        return _timestamps(strings.cast(NAIVE), zone)
    except pa.ArrowException:
        return None


def _timestamps(array: pa.Array, zone: ZoneInfo | None) -> Converted | None:
    """Typed timestamps in any unit; a value with an offset in a column without a time zone is refused."""
    kind = array.type
    present = np.asarray(array.is_valid())
    if kind.tz is not None and zone is None:
        return Converted(
            pa.nulls(len(array), NAIVE), {"DAT_DATETIME": np.flatnonzero(present)} if present.any() else {}
        )
    ticks = array.cast(pa.int64()).fill_null(0).to_numpy()
    if kind.unit == "ns":
        micros = ticks // 1000
    else:
        factor = _MICROS_PER[kind.unit]
        if len(ticks) and max(abs(int(ticks.min())), abs(int(ticks.max()))) > 2**62 // factor:
            return None
        micros = ticks * factor
    bad: dict[str, Positions] = {}
    if zone is not None and kind.tz is None:
        where = np.flatnonzero(present)
        utc, refused = timezones.localise(micros[where], zone)
        micros = micros.copy()
        micros[where] = utc
        bad = {code: where[at] for code, at in refused.items()}
        for at in bad.values():
            present[at] = False
    values = pa.array(micros, mask=~present).cast(NAIVE if zone is None else ZONED)
    return _in_calendar(Converted(values, bad))


def _in_calendar(found: Converted) -> Converted | None:
    """None when a value lies outside Python's calendar (years 1 to 9999), where the slow way refuses it by itself."""
    ends = pc.min_max(found.values.cast(pa.int64()))
    low, high = ends["min"].as_py(), ends["max"].as_py()
    if low is not None and not (_CALENDAR[0] <= low and high <= _CALENDAR[1]):
        return None
    return found


_CALENDAR = (-62_135_596_800_000_000, 253_402_300_799_999_999)


# ---- the slow way ---------------------------------------------------------------------------------------------


def _by_distinct(array: pa.Array, kind: str, zone: ZoneInfo | None, scalar: Callable[[Any], Any]) -> Converted:
    """Each distinct value through `scalar`, numbers that are plainly written through arrow."""
    if array.type == pa.string() and kind == "number":
        plain = pc.match_substring_regex(array, _STRICT).fill_null(False)
        share = pc.mean(plain).as_py()
        if share and share > 0.5 and getattr(scalar, "keywords", {}).get("decimal", ".") == ".":
            return _mixed_numbers(array, plain, scalar)
    try:
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        return _store(_listed(array), kind, zone, scalar)
    distinct = _store(_listed(encoded.dictionary), kind, zone, scalar)
    indices = encoded.indices
    values = distinct.values.take(indices)
    bad = {}
    codes = indices.fill_null(-1).to_numpy(zero_copy_only=False)
    for code, at in distinct.bad.items():
        rows = np.flatnonzero(np.isin(codes, at))
        if len(rows):
            bad[code] = rows.astype(np.int64)
    return Converted(values, bad)


def _mixed_numbers(array: pa.Array, plain: pa.Array, scalar: Callable[[Any], Any]) -> Converted:
    found = _finite(pc.if_else(plain, array, pa.scalar(None, pa.string())).cast(pa.float64()))
    values = found.values.to_numpy(zero_copy_only=False).copy()
    others = np.flatnonzero(~np.asarray(plain) & np.asarray(array.is_valid()))
    rest = _store(array.take(pa.array(others)).to_pylist(), "number", None, scalar)
    values[others] = rest.values.to_numpy(zero_copy_only=False)
    bad = {code: others[at] for code, at in rest.bad.items()}
    for code, at in found.bad.items():
        bad[code] = np.sort(np.concatenate([at, bad[code]])) if code in bad else at
    return Converted(pa.array(values, from_pandas=True), bad)


#: No contract type takes it.
_UNHELD = object()


def _listed(array: pa.Array) -> list[Any]:
    """Python values; `_UNHELD` for what Python cannot hold (times out of the calendar)."""
    try:
        return array.to_pylist()  # type: ignore[no-any-return]
    except (ValueError, OverflowError):
        return [_one(item) for item in array]


def _one(item: Any) -> Any:
    try:
        return item.as_py()
    except (ValueError, OverflowError):
        return _UNHELD


def _store(values: list[Any], kind: str, zone: ZoneInfo | None, scalar: Callable[[Any], Any]) -> Converted:
    found: list[Any] = []
    bad: dict[str, list[int]] = {}
    for i, value in enumerate(values):
        if value is None:
            found.append(None)
            continue
        try:
            found.append(scalar(cells.plain(value)))
        except cells.Refused as refused:
            found.append(None)
            bad.setdefault(refused.code, []).append(i)
    where = {code: np.array(at, dtype=np.int64) for code, at in bad.items()}
    if kind == "datetime":
        return Converted(pa.array(found, NAIVE).cast(NAIVE if zone is None else ZONED), where)
    if kind == "category":
        return Converted(pa.array(found, pa.string()).dictionary_encode(), where)
    return Converted(pa.array(found, arrow_type(kind)), where)
