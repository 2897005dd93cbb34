"""The input matrix of model.onnx, from decoded requests or from typed tables. numpy and the standard library alone.

`columns` in the model's metadata says for each column of the matrix (rows, columns; float64) where it comes from:

    {"feature": "distance", "kind": "number"}                            null is NaN; true is 1, false 0
    {"feature": "carrier", "kind": "category", "levels": {"AA": 0, …}, "missing": null, "unseen": -1, "refused": []}
    {"feature": "time_hour", "kind": "datetime", "part": "weekday"}

null is NaN. `refused` names what the trained pipeline raises for (`missing`, `unseen`); so do numbers under `refused`
of the metadata.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa

_NAN = float("nan")
_DAY = 86_400_000_000
_EPOCH = datetime(1970, 1, 1).toordinal()  # noqa: DTZ001  a day's number has no zone


class Inputs:
    """The compiled `columns`.

    `refuses_missing`: features of which the pipeline takes no null. `makers`: for each column of the matrix its feature
    and the function that makes the number; None where it is the value itself, NaN for null.
    """

    def __init__(self, columns: Sequence[Mapping[str, Any]], refuses_missing: Sequence[str] = ()) -> None:
        self.columns = list(columns)
        self._refuses_missing = frozenset(refuses_missing)
        self.makers = [(column["feature"], _maker(column)) for column in self.columns]
        self._checks = [_check(column) for column in self.columns if column.get("refused")]
        self._checks += [_null_check(name) for name in sorted(self._refuses_missing)]

    def matrix(self, values: Mapping[str, Sequence[Any]]) -> np.ndarray:
        """float64 (rows, columns), contiguous by row, from decoded columns: lists with None where a value is
        missing."""
        made = [values[name] if maker is None else [maker(v) for v in values[name]] for name, maker in self.makers]
        return np.ascontiguousarray(np.array(made, dtype=np.float64).T)

    @property
    def refuses(self) -> bool:
        """Whether there are rows that the trained pipeline would raise for."""
        return bool(self._checks)

    def refused(self, values: Mapping[str, Sequence[Any]]) -> list[int]:
        """Rows that the trained pipeline would raise for."""
        if not self._checks:
            return []
        return sorted({row for check in self._checks for row in check(values)})

    def from_table(self, table: pa.Table) -> np.ndarray:
        """float64 (rows, columns), from an arrow table with columns as `prepare` leaves them."""
        out = np.empty((table.num_rows, len(self.columns)))
        known: dict[str, Any] = {}
        for place, column in enumerate(self.columns):
            name = column["feature"]
            if name not in known:
                known = {name: _arrays(table.column(name), column["kind"])}
            out[:, place] = _column(known[name], column)
        return out


def _maker(column: Mapping[str, Any]) -> Callable[[Any], float] | None:
    """From a decoded value to a number; None where numpy does it by itself (None becomes NaN, True 1)."""
    if column["kind"] == "number":
        return None
    if column["kind"] == "datetime":
        part = _PARTS[column["part"]]
        return lambda value: _NAN if value is None else part(value)
    codes = _Codes({level: _number(value) for level, value in column["levels"].items()})
    codes[None] = _number(column["missing"])
    codes.unseen = _number(column["unseen"])
    return codes.__getitem__


class _Codes(dict[Any, float]):
    """The number of each level; looked up in one step, which a function with a default is not."""

    unseen = _NAN

    def __missing__(self, level: Any) -> float:
        return self.unseen


def _number(value: float | None) -> float:
    return _NAN if value is None else float(value)


def _check(column: Mapping[str, Any]) -> Callable[[Mapping[str, Sequence[Any]]], list[int]]:
    name, levels, refused = column["feature"], column["levels"], column["refused"]
    missing, unseen = "missing" in refused, "unseen" in refused

    def check(values: Mapping[str, Sequence[Any]]) -> list[int]:
        return [i for i, v in enumerate(values[name]) if (missing if v is None else unseen and v not in levels)]

    return check


def _null_check(name: str) -> Callable[[Mapping[str, Sequence[Any]]], list[int]]:
    return lambda values: [i for i, value in enumerate(values[name]) if value is None]


# The same six numbers as stages.model.datetimes; a test holds the two together.


def _days(moment: datetime) -> float:
    clock = ((moment.hour * 60 + moment.minute) * 60 + moment.second) * 1_000_000 + moment.microsecond
    return (moment.toordinal() - _EPOCH) + clock / _DAY


_PARTS: dict[str, Callable[[datetime], float]] = {
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "weekday": lambda moment: moment.weekday(),
    "hour": lambda moment: moment.hour,
    "days": _days,
}


def _arrays(column: pa.ChunkedArray, kind: str) -> Any:
    """A column as numpy: floats, (codes, levels) or datetime64[us]."""
    import pyarrow as pa

    if kind == "number":
        return np.asarray(
            (column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column).to_numpy(), np.float64
        )
    if kind == "datetime":
        return np.asarray(column.cast(pa.timestamp("us")).to_numpy(), dtype="datetime64[us]")
    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    joined = encoded.unify_dictionaries().combine_chunks()
    if isinstance(joined, pa.ChunkedArray):  # no chunks at all
        return np.empty(0, dtype=np.int64), []
    return joined.indices.fill_null(-1).to_numpy(zero_copy_only=False), joined.dictionary.to_pylist()


def _column(arrays: Any, column: Mapping[str, Any]) -> np.ndarray:
    if column["kind"] == "number":
        return np.asarray(arrays)
    if column["kind"] == "category":
        codes, levels = arrays
        unseen = _number(column["unseen"])
        table = [_number(column["levels"][level]) if level in column["levels"] else unseen for level in levels]
        numbers = np.array([*table, _number(column["missing"])])
        return np.asarray(numbers[codes])  # code -1 is null
    return _part(arrays, column["part"])


def _part(moments: np.ndarray, part: str) -> np.ndarray:
    days = moments.astype("datetime64[D]")
    months, years = moments.astype("datetime64[M]"), moments.astype("datetime64[Y]")
    number = days.astype(np.int64)
    clock = (moments - days).astype(np.int64)
    ways: dict[str, Callable[[], np.ndarray]] = {
        "year": lambda: years.astype(np.int64) + 1970.0,
        "month": lambda: (months - years).astype(np.int64) + 1.0,
        "day": lambda: (days - months.astype("datetime64[D]")).astype(np.int64) + 1.0,
        "weekday": lambda: (number + 3.0) % 7,
        "hour": lambda: (clock // 3_600_000_000).astype(np.float64),
        "days": lambda: number + clock / _DAY,
    }
    found = ways[part]()
    found[np.isnat(moments)] = np.nan
    return found
