"""The frame is the same from a table and from decoded lists, with the documented types."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from stages.model import frames
from stages.model.datetimes import PARTS, DatetimeParts
from tests.stages.model.conftest import COLUMNS, rows, write

FEATURES = [{"name": n, **c} for n, c in COLUMNS.items()] + [{"name": "note", "type": "text"}]


def _columns(n: int = 40) -> dict[str, list[Any]]:
    table = rows(n)
    return {**table, "note": [None if i == 2 else f"é{i}" for i in range(n)]}


def test_types_are_those_of_the_contract(tmp_path: Path) -> None:
    write(tmp_path, "train", {**COLUMNS, "note": {"type": "text"}}, _columns())
    frame = frames.frame_from_parquet(tmp_path / "train.parquet", FEATURES)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == {
        "size": "float64",
        "count": "float64",
        "open": "float64",
        "kind": "object",
        "when": "datetime64[us, UTC]",
        "seen": "datetime64[us]",
        "group": "object",
        "weight": "float64",
        "note": "object",
    }
    assert all(v is np.nan or type(v) is str for v in frame["kind"])
    assert frame["kind"].isna().sum() == sum(v is None for v in _columns()["kind"])
    assert set(frame["open"].dropna()) == {0.0, 1.0}


def test_lists_give_the_same_frame_as_the_table(tmp_path: Path) -> None:
    write(tmp_path, "train", {**COLUMNS, "note": {"type": "text"}}, _columns())
    read = frames.frame_from_parquet(tmp_path / "train.parquet", FEATURES)
    pd.testing.assert_frame_equal(frames.frame_from_lists(_columns(), FEATURES), read)
    assert frames.frame_from_lists({f["name"]: [] for f in FEATURES}, FEATURES).dtypes.equals(read.dtypes)


def test_datetimes_may_come_as_text_or_with_an_offset() -> None:
    feature = [{"name": "t", "type": "datetime", "timezone": "Europe/Berlin"}]
    berlin = dt.timezone(dt.timedelta(hours=2))
    values = [
        "2024-05-01T12:00:00+02:00",
        dt.datetime(2024, 5, 1, 12, tzinfo=berlin),
        np.datetime64("2024-05-01T10:00"),
        None,
    ]
    frame = frames.frame_from_lists({"t": values}, feature)
    assert frame["t"].iloc[0] == pd.Timestamp("2024-05-01 10:00", tz="UTC")
    assert frame["t"].nunique() == 1
    assert frame["t"].isna().tolist() == [False, False, False, True]


@pytest.mark.parametrize(
    ("array", "kind", "task", "expected"),
    [
        (pa.array([True, False]), "boolean", "classification", np.array([True, False])),
        (pa.array([3, 1]), "integer", "classification", np.array([3, 1])),
        (pa.array([3, 1]), "integer", "regression", np.array([3.0, 1.0])),
        (pa.array(["ø", "a"]).dictionary_encode(), "category", "classification", np.array(["ø", "a"])),
        (pa.array(["b", "a"]), "text", "classification", np.array(["b", "a"])),
        (pa.array([1.5]), "number", "regression", np.array([1.5])),
    ],
)
def test_targets(array: pa.Array, kind: str, task: str, expected: np.ndarray) -> None:
    found = frames.target(pa.chunked_array([array]), kind, task)
    assert found.dtype == expected.dtype
    assert found.tolist() == expected.tolist()


def test_group_codes_tell_groups_apart_and_null_from_all() -> None:
    codes = frames.group_codes(pa.chunked_array([pa.array(["x", None, "y", "x"])]))
    assert codes[0] == codes[3] != codes[2]
    assert codes[1] == -1


def test_datetime_parts() -> None:
    frame = pd.DataFrame({"t": pd.to_datetime(["2024-02-29T18:30:00", None, "1969-12-31T23:00:00"])})
    parts = DatetimeParts().fit(frame)
    found = pd.DataFrame(parts.transform(frame), columns=[n.removeprefix("t_") for n in parts.get_feature_names_out()])
    assert list(found) == list(PARTS)
    assert found.iloc[0].tolist() == [2024, 2, 29, 3, 18, 19782 + 18.5 / 24]
    assert found.iloc[1].isna().all()
    assert found.iloc[2].tolist() == [1969, 12, 31, 2, 23, -1 + 23 / 24]


def test_datetime_parts_agree_with_pandas_and_use_utc() -> None:
    times = pd.Series(pd.date_range("1950-01-01", periods=500, freq="53h17min", tz="Europe/Berlin"))
    found = DatetimeParts().fit_transform(pd.DataFrame({"t": times}))
    utc = times.dt.tz_convert("UTC").dt
    expected = np.column_stack([utc.year, utc.month, utc.day, utc.day_of_week, utc.hour])
    assert np.array_equal(found[:, :5], expected)
