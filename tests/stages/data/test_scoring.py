"""Files to be scored: every row in its place, with what is wrong with it."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config.schema import ReadOptions
from stages.data.scoring import read_for_scoring
from stages.errors import DataError

SIGNATURE: dict[str, Any] = {
    "features": [
        {"name": "n", "type": "number", "nullable": False, "min": 0, "max": 10},
        {"name": "c", "type": "category", "nullable": True, "values": ["a", "b"]},
        {"name": "t", "type": "datetime", "nullable": True, "timezone": "UTC"},
    ],
    "ignored": ["y"],
}
ROWS: list[dict[str, Any]] = [
    {"n": 1.5, "c": "a", "t": "2024-01-01T00:00:00Z", "y": 1},
    {"n": 11.0, "c": "z", "t": None, "y": 1},
    {"n": None, "c": None, "t": None, "y": None},
    {"n": 2.0, "c": "b", "t": "2024-01-02", "y": None},
]


def read(path, size=None, signature=SIGNATURE, **options):
    parts = list(read_for_scoring(path, signature, ReadOptions(**options), size=size))
    table = pa.concat_tables(
        [
            p.table.cast(
                pa.schema(
                    [(n, pa.string() if n == "c" else p.table.schema.field(n).type) for n in p.table.column_names]
                )
            )
            for p in parts
        ]
    )
    return table.to_pylist(), [e for p in parts for e in p.errors], [n for p in parts for n in p.numbers.tolist()]


def write(folder, kind):
    path = folder / f"rows.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(ROWS), path, row_group_size=2)
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(r) + "\n" for r in ROWS))
    else:
        path.write_text(
            "y,t,c,n\n" + "".join(",".join("" if r[k] is None else str(r[k]) for k in "ytcn") + "\n" for r in ROWS)
        )
    return path


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("size", [None, 2])
def test_formats_give_the_same_rows_and_errors(tmp_path, kind, size):
    rows, errors, numbers = read(write(tmp_path, kind), size if kind != "csv" or size is None else 20)
    assert errors == [None, "n: DAT_MAX (11.0); c: DAT_VALUES (z)", "n: DAT_NULL", None]
    assert numbers == [1, 2, 3, 4]
    assert [r["n"] for r in rows] == [1.5, None, None, 2.0]
    assert [r["c"] for r in rows] == ["a", None, None, "b"]
    assert rows[3]["t"].isoformat() == "2024-01-02T00:00:00+00:00"


@pytest.mark.parametrize("size", [10, 1000])
def test_rows_that_cannot_be_read_keep_their_place(tmp_path, size):
    path = tmp_path / "rows.csv"
    path.write_text("n,c,t\n1\n1,a,\n2,b,,\n3,b,\n4\n")
    rows, errors, numbers = read(path, size)
    assert errors == ["DAT_ROW_SHAPE (1)", None, "DAT_ROW_SHAPE (2,b,,)", None, "DAT_ROW_SHAPE (4)"]
    assert numbers == [1, 2, 3, 4, 5]
    assert [r["n"] for r in rows] == [None, 1, None, 3, None]
    lines = tmp_path / "rows.jsonl"
    lines.write_text('nothing\n{"n": 1}\n[]\n')
    rows, errors, _ = read(lines, 2)
    assert errors == ["DAT_JSON (nothing)", None, "DAT_JSON ([])"]
    assert [r["n"] for r in rows] == [None, 1, None]


def test_a_feature_that_may_be_missing_may_be_absent(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("n\n1\n")
    assert read(path)[0] == [{"n": 1.0, "c": None, "t": None}]
    path.write_text("c\na\n")
    with pytest.raises(DataError) as error:
        read(path)
    assert error.value.code == "DAT_COLUMN_MISSING"


def test_read_options_hold(tmp_path):
    path = tmp_path / "rows.csv"
    path.write_text("n;c\n1,5;-\n", encoding="utf-16")
    assert read(path, sep=";", decimal=",", encoding="utf-16", na_values=["-"])[0] == [{"n": 1.5, "c": None, "t": None}]
