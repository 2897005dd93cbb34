"""The frame that a pipeline is given: built here in training and in serving, so that the two cannot differ.

| contract type | column of the frame | missing |
|---|---|---|
| number, integer | float64 | NaN |
| boolean | float64, 0 or 1 | NaN |
| category, text | object, `str` | NaN |
| datetime | datetime64[us], UTC-aware when the contract gives a time zone | NaT |

pyarrow is imported by the functions that read tables: a service builds frames from lists and need not have it.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

Feature = Mapping[str, Any]
"""One entry of `features` in signature.json: at least `name` and `type`, `timezone` when the contract has one."""


def frame(table: pa.Table, features: Sequence[Feature]) -> pd.DataFrame:
    """The features of an arrow table (columns as `prepare` leaves them), in the order of `features`."""
    return _assemble({f["name"]: _column(table.column(f["name"]), f) for f in features}, table.num_rows)


def frame_from_parquet(path: Path, features: Sequence[Feature]) -> pd.DataFrame:
    """Like `frame`, reading one column at a time, so that the file's table never stands in memory whole."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        columns = {f["name"]: _column(_read(file, f["name"]), f) for f in features}
        rows = file.metadata.num_rows
    pa.default_memory_pool().release_unused()
    return _assemble(columns, rows)


def frame_from_lists(columns: Mapping[str, Sequence[Any]], features: Sequence[Feature]) -> pd.DataFrame:
    """Like `frame`, from decoded requests: a list per feature, None where a value is missing.

    Datetimes may be `datetime` objects, `numpy.datetime64` or ISO 8601 text; those with an offset are moved to UTC.
    """
    rows = len(columns[features[0]["name"]]) if features else 0
    return _assemble({f["name"]: _list(columns[f["name"]], f) for f in features}, rows)


def column_from_parquet(path: Path, name: str) -> pa.ChunkedArray:
    """One column of a parquet file."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        return _read(file, name)


def target(column: pa.ChunkedArray, kind: str, task: str) -> np.ndarray:
    """The target as the estimator sees it: float64 for regression; bool, int64 or fixed-width text for classes.

    `kind` is the contract type. The column has no nulls: `prepare` quarantines rows without a target.
    """
    if task == "regression":
        return _floats(column)
    if kind == "boolean":
        return np.asarray(column.to_numpy(), dtype=bool)
    if kind in ("integer", "number"):
        return np.asarray(column.to_numpy(), dtype=np.int64)
    codes, levels = _codes(column)
    return np.array(levels, dtype=str)[codes] if levels else np.empty(0, dtype="U1")


def numbers(column: pa.ChunkedArray) -> np.ndarray:
    """A number, integer or boolean column as float64, nulls as NaN."""
    return _floats(column)


def moments(column: pa.ChunkedArray) -> np.ndarray:
    """A datetime column as datetime64[us] in UTC or as written, nulls as NaT, which sort last."""
    import pyarrow as pa

    return np.asarray(column.cast(pa.timestamp("us")).to_numpy()).astype("datetime64[us]", copy=False)


def group_codes(column: pa.ChunkedArray) -> np.ndarray:
    """Any column as int64 codes, one per distinct value, -1 for null: for splitting by group."""
    import pyarrow as pa

    encoded = column.combine_chunks()
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    return np.asarray(encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _read(file: pq.ParquetFile, name: str) -> pa.ChunkedArray:
    return file.read(columns=[name], use_threads=False).column(0)


def _assemble(columns: dict[str, pd.Series], rows: int) -> pd.DataFrame:
    return pd.DataFrame(columns, index=pd.RangeIndex(rows), copy=False)


def _column(column: pa.ChunkedArray, feature: Feature) -> pd.Series:
    kind = feature["type"]
    if kind in ("number", "integer", "boolean"):
        return pd.Series(_floats(column), copy=False)
    if kind == "datetime":
        return _datetimes(moments(column), feature)
    codes, levels = _codes(column)
    texts = np.empty(len(levels) + 1, dtype=object)
    texts[:-1] = levels
    texts[-1] = np.nan  # index -1 is null
    return pd.Series(texts[codes], dtype=object, copy=False)


def _floats(column: pa.ChunkedArray) -> np.ndarray:
    import pyarrow as pa

    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _codes(column: pa.ChunkedArray) -> tuple[np.ndarray, list[str]]:
    """Index of each row's text in the list of texts, -1 for null."""
    import pyarrow as pa

    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    array = column.unify_dictionaries().combine_chunks()
    if isinstance(array, pa.ChunkedArray):  # no chunks at all
        return np.empty(0, dtype=np.int64), []
    codes = array.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    return codes, array.dictionary.to_pylist()


def _list(values: Sequence[Any], feature: Feature) -> pd.Series:
    kind = feature["type"]
    if kind in ("number", "integer", "boolean"):
        return pd.Series(np.array(values, dtype=np.float64), copy=False)  # None becomes NaN
    if kind == "datetime":
        return _datetimes(np.array([_moment(v) for v in values], dtype="datetime64[us]"), feature)
    texts = np.empty(len(values), dtype=object)
    texts[:] = [np.nan if v is None else v for v in values]
    return pd.Series(texts, dtype=object, copy=False)


def _datetimes(naive: np.ndarray, feature: Feature) -> pd.Series:
    series = pd.Series(naive, copy=False)
    return series.dt.tz_localize("UTC") if feature.get("timezone") else series


def _moment(value: Any) -> Any:
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value)
    if isinstance(value, dt.datetime) and value.tzinfo is not None:
        return value.astimezone(dt.UTC).replace(tzinfo=None)
    return "NaT" if value is None else value
