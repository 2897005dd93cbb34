"""The same content as CSV, JSON lines and Parquet, in chunks of any size, gives the same rows, hashes and sides."""

import datetime as dt
import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.config.schema import Data
from stages.data import csvfile, jsonl, parquetfile
from stages.data.intake import Intake
from stages.data.reading import Reader
from stages.errors import DataError

COLUMNS = {
    "k": {"type": "integer", "min": 0},
    "n": {"type": "number", "nullable": True, "max": 1e6},
    "b": {"type": "boolean", "nullable": True},
    "c": {"type": "category"},
    "t": {"type": "datetime", "timezone": "Europe/Berlin"},
    "y": {"type": "category"},
}
TYPES = {
    "k": pa.int64(),
    "n": pa.float64(),
    "b": pa.bool_(),
    "c": pa.string(),
    "t": pa.timestamp("ms"),
    "y": pa.string(),
}

ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "k": st.integers(-1, 12),
            "n": st.none() | st.floats(-1e7, 1e7),
            "b": st.none() | st.booleans(),
            "c": st.sampled_from(["a", 'b,"', "é\n", " d ", "1"]),
            "t": st.datetimes(dt.datetime(2024, 10, 26, 22), dt.datetime(2024, 10, 27, 5)).map(  # noqa: DTZ001
                lambda m: m.replace(microsecond=m.microsecond // 1000 * 1000)
            ),
            "y": st.sampled_from(["no", "yes"]),
        }
    ),
    min_size=8,
    max_size=25,
)


def data(by):
    split = {"by": by, "test": 0.3} | ({"column": "t"} if by == "time" else {"column": "c"} if by == "group" else {})
    return Data.model_validate(
        {"source": "x", "target": "y", "key": ["k"], "columns": COLUMNS, "max_bad_fraction": 1.0, "split": split}
    )


def write(rows, folder, kind):
    path = folder / f"data.{kind}"
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(TYPES.items())))
    if kind == "csv":
        pacsv.write_csv(table, path)
    elif kind == "parquet":
        pq.write_table(table, path, row_group_size=5)
    else:
        path.write_text("".join(json.dumps(r | {"t": r["t"].isoformat()}) + "\n" for r in rows))
    return path


def outcome(path, kind, by, size):
    """Everything that prepare leaves, or the code of the error."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        reader = Reader({"data": path}, kind, data(by).read, size)
        try:
            profile = Intake(data(by), "classification", out).run(reader, None, {})
        except DataError as error:
            return error.code
        tables = {
            side: [{**row, "n": repr(row["n"])} for row in pq.read_table(out / f"{side}.parquet").to_pylist()]
            for side in ("train", "test")
        }
        hashes = {side: np.load(out / f"{side}.rows.npy").tolist() for side in ("train", "test")}
        refused = [tuple(r.values())[:3] for r in pq.read_table(out / "quarantine.parquet").to_pylist()]
        return tables, hashes, refused, {k: v for k, v in profile.items() if k != "source"}


@settings(max_examples=12, deadline=None)
@given(ROWS, st.sampled_from(["key", "time", "group", "random"]))
def test_formats_and_chunk_sizes_do_not_matter(rows, by):
    with tempfile.TemporaryDirectory() as folder:
        expected = None
        for kind, own, tiny in (("csv", csvfile.SIZE, 40), ("jsonl", jsonl.ROWS, 3), ("parquet", parquetfile.ROWS, 3)):
            path = write(rows, Path(folder), kind)
            for size in (own, tiny):
                found = outcome(path, kind, by, size)
                expected = found if expected is None else expected
                assert found == expected, (kind, size)


def test_json_lines_as_they_come(repository):
    lines = [
        b'\xef\xbb\xbf{"x": 1, "y": 1}',
        b'{"x": 2.0, "y": "2"}',
        b"",
        b'{"y": 3, "x": null}',
        b'{"y": 3}',
        b'{"x": "five", "y": 5}',
        b'{"x": NaN, "y": 6}',
        b'{"x": -Infinity, "y": 7}',
        b'{"x": true, "y": 8}',
        b'{"x": {"a": 1}, "y": 9}',
        b"[1, 2]",
        b"{broken",
        b'{"x": "\xff", "y": 1}',
        b'{"x": 123456789012345678901234567890, "y": 10, "more": [1]}',
        b'{"x": 1, "y": 11, "more": "\\ud800"}',
    ]
    repository.write("data.jsonl", b"\r\n".join(lines))
    columns = {"x": {"type": "integer", "nullable": True}, "y": {"type": "integer"}}
    done = repository.prepare(columns, source="data.jsonl", max_bad_fraction=0.9)
    assert done.rows() == [(1, 1), (2, 2), (None, 3), (None, 6)]
    assert [r[:3] for r in done.refused] == [
        (5, "x", "DAT_TYPE"),
        (7, "x", "DAT_INFINITE"),
        (8, "x", "DAT_TYPE"),
        (9, "x", "DAT_TYPE"),
        (10, "", "DAT_JSON"),
        (11, "", "DAT_JSON"),
        (12, "", "DAT_TEXT"),
        (13, "x", "DAT_TYPE"),
        (14, "", "DAT_TEXT"),
    ]
    assert done.profile["rows"]["duplicates"] == 1
    assert done.profile["dropped_columns"]["names"] == ["more"]


def test_parquet_types_are_taken_as_they_are(repository):
    table = pa.table(
        {
            "c": pa.array([1, 2, None, 4, 5], pa.int8()),
            "x": pa.array([1.0, float("nan"), 3.5, 4.0, 5.0], pa.float32()),
            "t": pa.array([dt.datetime(2024, 1, i, tzinfo=dt.UTC) for i in range(1, 6)], pa.timestamp("ns", tz="UTC")),
            "d": pa.array(["a", "b", "a", "c", "a"]).dictionary_encode(),
            "y": pa.array([True, False, True, False, True]),
            "nested": pa.array([{"a": 1}] * 5),
        }
    )
    pq.write_table(table, repository.root / "data.parquet")
    columns = {
        "c": {"type": "category", "nullable": True},
        "x": {"type": "number", "nullable": True},
        "t": {"type": "datetime", "timezone": "Europe/Berlin"},
        "d": {"type": "category"},
        "y": {"type": "boolean"},
    }
    done = repository.prepare(columns, source="data.parquet", task="classification")
    assert done.rows("c", "x", "d", "y")[0] == ("1", 1.0, "a", True)
    assert not done.refused
    assert done.profile["dropped_columns"]["names"] == ["nested"]


@pytest.mark.parametrize("index", ["counts", "steps", "text", "two", "unnamed"])
@pytest.mark.parametrize("transform", [False, True])
def test_a_named_index_of_pandas_is_a_column(repository, index, transform, monkeypatch):
    monkeypatch.setattr(parquetfile, "ROWS", 3)
    frame = pd.DataFrame({"id": range(3, 13), "g": list("abcdefghij"), "x": 0.5, "y": range(10)})
    if index == "steps":
        frame["id"] = range(0, 30, 3)
    if index == "text":
        frame["id"] = [f"k{i}" for i in range(10)]
    stored = frame if index == "unnamed" else frame.set_index(["id", "g"] if index == "two" else "id")
    stored.to_parquet(repository.root / "data.parquet")
    repository.write("features.py", "def change(frame):\n    return frame\n")
    columns = {
        "id": {"type": "category" if index == "text" else "integer", "feature": False},
        "g": {"type": "category"},
        "y": {"type": "integer"},
    }
    more = {"transform": "features:change"} if transform else {}
    done = repository.prepare(columns, source="data.parquet", key=["id"], **more)
    assert done.rows("id", "g", "y") == sorted(
        frame[["id", "g", "y"]].itertuples(index=False, name=None), key=lambda row: str(row[0])
    )
    assert done.profile["dropped_columns"]["names"] == ["x"]


def test_an_index_that_no_longer_fits_its_file_is_none(repository):
    pd.DataFrame({"x": [1.0, 2.0, 3.0], "y": [1, 2, 3]}, index=pd.RangeIndex(3, name="id")).to_parquet("whole.parquet")
    pq.write_table(pq.read_table("whole.parquet").slice(1), "data.parquet")
    columns = {"id": {"type": "integer"}, "x": {"type": "number"}, "y": {"type": "integer"}}
    with pytest.raises(DataError) as error:
        repository.prepare(columns, source="data.parquet")
    assert error.value.code == "DAT_COLUMN_MISSING"


def test_several_files_are_one_source(repository):
    for name, content in {"b": "y,x\n3,3\n?,4\n", "a": "x,y\n1,1\n2\n2,2\n", "c": "x,y\n5,?\n6,6\n"}.items():
        repository.write(f"parts/{name}.csv", content)
    columns = {"x": {"type": "number"}, "y": {"type": "number"}}
    done = repository.prepare(columns, source="parts/*.csv", max_bad_fraction=0.9)
    assert done.rows() == [(1, 1), (2, 2), (3, 3), (6, 6)]
    assert [r[:3] for r in done.refused] == [(2, "", "DAT_ROW_SHAPE"), (5, "y", "DAT_TYPE"), (6, "y", "DAT_TYPE")]
    assert list(done.result.inputs) == ["parts/a.csv", "parts/b.csv", "parts/c.csv"]


def test_files_of_a_glob_need_the_same_columns(repository):
    repository.write("a.csv", "x,y\n1,1\n")
    repository.write("b.csv", "x,z\n1,1\n")
    with pytest.raises(DataError) as error:
        repository.prepare({"x": {"type": "number"}, "y": {"type": "number"}}, source="*.csv")
    assert (error.value.code, "'y', 'z'" in error.value.what) == ("DAT_HEADER", True)


def test_odd_column_names(repository):
    names = ["a.b", "a b", "1", "ü", "x,y", 'q"']
    table = pa.table({n: pa.array([float(i) for i in range(10)]) for n in names})
    columns = {n: {"type": "number"} for n in names}
    pq.write_table(table, repository.root / "data.parquet")
    pacsv.write_csv(table, repository.root / "data.csv")
    repository.write("data.jsonl", "".join(json.dumps(r) + "\n" for r in table.to_pylist()))
    repository.write("features.py", "def change(frame):\n    return frame\n")
    found = [
        repository.prepare(columns, source=f"data.{kind}", target="ü", **more).rows()
        for kind in ("csv", "jsonl", "parquet")
        for more in ({}, {"transform": "features:change"})
    ]
    assert all(rows == found[0] for rows in found)
    assert len(found[0]) == 10


def test_text_of_parquet_is_checked(repository):
    broken = pa.array([b"\xff\xfe"] * 5).view(pa.string())
    pq.write_table(pa.table({"c": broken, "y": pa.array(range(5))}), repository.root / "data.parquet")
    with pytest.raises(DataError) as error:
        repository.prepare({"c": {"type": "category"}, "y": {"type": "integer"}}, source="data.parquet")
    assert (error.value.code, "'c'" in error.value.what) == ("DAT_ENCODING", True)
