"""mlci prepare on real files: what is accepted, what is refused and why, and what stands in the folder afterwards."""

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.data import csvfile, hashing
from stages.errors import DataError

NUMBER = {"type": "number"}
CODES = {
    "n": {"type": "number", "min": 0, "max": 10},
    "i": {"type": "integer", "min": -5, "nullable": True},
    "b": {"type": "boolean"},
    "c": {"type": "category", "values": ["x", "y", 1]},
    "p": {"type": "text", "pattern": "[a-z]+[0-9]", "feature": False},
    "t": {"type": "datetime", "timezone": "Europe/Berlin"},
    "u": {"type": "integer", "unique": True, "nullable": True},
    "y": {"type": "number"},
}
GOOD = ["1", "1", "true", "x", "a1", "2024-07-01T12:00", "", "1"]


def csv(header, rows):
    return "\n".join([",".join(header), *(",".join(row) for row in rows)]) + "\n"


def many(change, n=40):
    """`n` good rows, distinct by n, then the changed ones: column → value."""
    rows = [[f"{i / 10}", *GOOD[1:]] for i in range(n)]
    names = list(CODES)
    for place, (column, value) in enumerate(change):
        row = [f"{5 + place / 100}", *GOOD[1:]]
        row[names.index(column)] = value
        rows.append(row)
    return csv(names, rows)


CHANGES = [
    ("n", "abc", "DAT_TYPE"),
    ("n", "", "DAT_NULL"),
    ("n", "-1", "DAT_MIN"),
    ("n", "10.5", "DAT_MAX"),
    ("n", "inf", "DAT_INFINITE"),
    ("i", "5.5", "DAT_TYPE"),
    ("i", "9223372036854775808", "DAT_TYPE"),
    ("i", "-6", "DAT_MIN"),
    ("b", "maybe", "DAT_TYPE"),
    ("c", "z", "DAT_VALUES"),
    ("c", "x\x01", "DAT_TEXT"),
    ("p", "a1 ", "DAT_PATTERN"),
    ("t", "yesterday", "DAT_DATETIME"),
    ("t", "2024-03-31T02:30", "DAT_TIME_GAP"),
    ("t", "2024-10-27T02:30", "DAT_TIME_AMBIGUOUS"),
    ("y", "NA", "DAT_NULL"),
]


@pytest.mark.parametrize("size", [100, 1 << 22])
def test_every_bad_cell_is_found_with_its_row_code_and_text(repository, monkeypatch, size):
    monkeypatch.setattr(csvfile, "SIZE", size)
    repository.write("data.csv", many([(c, v) for c, v, _ in CHANGES]) + "only,two\n")
    done = repository.prepare(CODES, max_bad_fraction=0.5)
    expected = [(41 + i, c, code, None if code == "DAT_NULL" else v) for i, (c, v, code) in enumerate(CHANGES)]
    assert done.refused == [*expected, (57, "", "DAT_ROW_SHAPE", "only,two")]
    assert done.profile["rows"] == {
        "read": 57, "accepted": 40, "refused": 17, "duplicates": 0, "dropped_by_transform": 0,
        "train": done.table("train").num_rows, "test": done.table("test").num_rows,
    }  # fmt: skip
    assert done.profile["refused"]["by_column"][""] == {"DAT_ROW_SHAPE": 1}
    assert done.result.summary["refused"]["DAT_TYPE"] == 4
    assert {i for (i,) in done.rows("i")} == {1}


def test_one_row_may_have_several_bad_cells(repository):
    row = ["x", "", "?", "x", "a1", "2024-07-01", "", ""]
    repository.write("data.csv", csv(CODES, [[f"{i / 10}", *GOOD[1:]] for i in range(20)] + [row]))
    done = repository.prepare(CODES, max_bad_fraction=0.1)
    assert [r[:3] for r in done.refused] == [(21, "n", "DAT_TYPE"), (21, "b", "DAT_TYPE"), (21, "y", "DAT_NULL")]
    assert done.profile["rows"]["refused"] == 1


def test_columns_have_contract_types_and_nulls_are_nulls(repository):
    columns = CODES | {"b": {"type": "boolean", "nullable": True}, "c": {"type": "category", "nullable": True}}
    rows = [
        [f"{i}", "" if i % 3 else "2", "Yes" if i % 2 else "", "" if i % 4 else "1", "b2", "2024-01-01T00:30", "", "0"]
        for i in range(10)
    ]
    repository.write("data.csv", csv(columns, rows))
    done = repository.prepare(columns)
    table = done.table("train")
    assert table.schema.remove_metadata() == pa.schema(
        [
            ("n", pa.float64()),
            ("i", pa.int64()),
            ("b", pa.bool_()),
            ("c", pa.dictionary(pa.int32(), pa.string())),
            ("p", pa.string()),
            ("t", pa.timestamp("us", tz="UTC")),
            ("u", pa.int64()),
            ("y", pa.float64()),
        ]
    )
    assert table["u"].null_count == table.num_rows
    assert {v.isoformat() for (v,) in done.rows("t")} == {"2023-12-31T23:30:00+00:00"}
    assert {v for (v,) in done.rows("c")} == {None, "1"}


def test_unlisted_columns_are_dropped_and_counted(repository):
    repository.write("data.csv", "z,x,y,q\n" + "".join(f"9,{i},{i},9\n" for i in range(10)))
    done = repository.prepare({"x": NUMBER, "y": NUMBER})
    assert done.profile["dropped_columns"] == {"count": 2, "names": ["z", "q"]}
    assert done.table("train").column_names == ["x", "y"]


def test_identical_rows_are_kept_once_and_conflicting_keys_not_at_all(repository):
    rows = [
        ["1", "5", "0"],
        ["2", "5", "0"],
        ["1", "5.0", "0"],
        ["3", "1", "0"],
        ["3", "2", "0"],
        ["4", "7", "1"],
        ["3", "1", "0"],
    ]
    repository.write("data.csv", csv(["k", "x", "y"], rows))
    columns = {"k": {"type": "integer"}, "x": NUMBER, "y": NUMBER}
    done = repository.prepare(columns, key=["k"], max_bad_fraction=0.5, split={"test": 0.5})
    assert done.rows() == [(1, 5.0, 0.0), (2, 5.0, 0.0), (4, 7.0, 1.0)]
    assert done.refused == [(n, "k", "DAT_KEY_CONFLICT", "3") for n in (4, 5, 7)]
    assert done.profile["rows"]["duplicates"] == 1
    reversed_rows = csv(["k", "x", "y"], rows[::-1])
    repository.write("data.csv", reversed_rows)
    again = repository.prepare(columns, key=["k"], max_bad_fraction=0.5, split={"test": 0.5})
    assert again.rows() == done.rows()
    assert {r[0] for r in again.refused} == {1, 3, 4}


def test_repeated_values_of_a_unique_column_are_all_refused(repository):
    rows = [["1", "0"], ["2", "0"], ["2", "1"], ["", "0"], ["", "1"], ["3", "0"], ["3", "0"]]
    repository.write("data.csv", csv(["u", "y"], rows))
    columns = {"u": {"type": "integer", "unique": True, "nullable": True}, "y": NUMBER}
    done = repository.prepare(columns, max_bad_fraction=0.5)
    assert done.refused == [(2, "u", "DAT_UNIQUE", "2"), (3, "u", "DAT_UNIQUE", "2")]
    assert done.rows("u") == [(1,), (3,), (None,), (None,)]


def test_row_hashes_follow_the_rows_and_the_key(repository):
    repository.write("data.csv", csv(["k", "x", "y"], [[str(i), "1", "2"] for i in range(30)]))
    columns = {"k": {"type": "integer", "feature": False}, "x": NUMBER, "y": NUMBER}
    keyed = repository.prepare(columns, key=["k"])
    for side in ("train", "test"):
        hashes = np.load(keyed.folder / f"{side}.rows.npy")
        assert hashes.dtype == np.uint64
        assert hashes.tolist() == hashing.row_hashes(keyed.table(side), ["k"]).tolist()
    whole = repository.prepare(columns)
    assert (
        np.load(whole.folder / "test.rows.npy").tolist()
        == hashing.row_hashes(whole.table("test"), ["y", "k", "x"]).tolist()
    )


def test_leakage_figures(repository):
    rows = [[str(i), str(i % 3), "0"] for i in range(60)]
    repository.write("data.csv", csv(["k", "x", "y"], rows))
    columns = {"k": {"type": "integer", "feature": False}, "x": NUMBER, "y": NUMBER}
    done = repository.prepare(columns, key=["k"], split={"by": "random"})
    assert done.profile["leakage"] == {
        "duplicate_feature_rows": 12,
        "duplicate_feature_rows_share": 1.0,
        "overlapping_keys": 0,
        "overlapping_groups": None,
    }
    grouped = repository.prepare(columns, split={"by": "group", "column": "x", "test": 0.4})
    assert grouped.profile["leakage"]["overlapping_groups"] == 0
    assert grouped.profile["leakage"]["duplicate_feature_rows_share"] == 0.0


def test_schema_describes_the_training_side(repository):
    rows = [[str(i), "abc"[i % 3], "" if i % 5 == 0 else "1", ["no", "yes"][i % 2]] for i in range(30)]
    repository.write("data.csv", csv(["x", "c", "m", "y"], rows))
    columns = {
        "x": {"type": "integer", "max": 99},
        "c": {"type": "category"},
        "m": {"type": "number", "nullable": True},
        "y": {"type": "category"},
    }
    done = repository.prepare(columns, task="classification")
    train = done.table("train")
    schema = done.schema
    assert schema["classes"] == ["no", "yes"]
    assert schema["target"] == "y"
    assert schema["columns"]["x"]["contract"] == {"max": 99.0}
    assert schema["columns"]["x"]["max"] == max(train["x"].to_pylist())
    assert schema["columns"]["c"]["levels"] == ["a", "b", "c"]
    assert schema["columns"]["m"]["nulls"] == train["m"].null_count
    assert schema["columns"]["m"]["nullable"] is True
    assert done.profile["classes"]["no"]["train"] + done.profile["classes"]["no"]["test"] == 15


X_AND_Y = {"x": NUMBER, "y": NUMBER}
CATEGORY = {"columns": {"x": {"type": "category"}, "y": NUMBER}}
CLASSES = {"task": "classification", "columns": {"x": NUMBER, "y": {"type": "category"}}}


@pytest.mark.parametrize(
    ("content", "options", "code", "said"),
    [
        ("x,y\n" + "1,1\n2,a\n" * 5, {}, "DAT_TOO_MANY_BAD", "5 of 10 rows (50.0 %)"),
        ("x,y\n" + "1,1\n" * 99 + "1,a\n", {"bad_rows": "fail"}, "DAT_BAD_ROWS", "y DAT_TYPE 1 (row 100: 'a')"),
        ("x,y\n", {}, "DAT_EMPTY", "no row"),
        ("", {}, "DAT_EMPTY", "empty"),
        ("x,x,y\n1,1,1\n", {}, "DAT_HEADER", "'x'"),
        ("x1,y\n1,1\n", {}, "DAT_COLUMN_MISSING", "'x'"),
        ("x;y\n1;1\n", {}, "DAT_COLUMN_MISSING", "'x', 'y'"),
        ("x,y\n1,1\n", {}, "DAT_SPLIT", "test side is empty"),
        ("x,y\n" + "1,1\n2,1\n3,1\n", {"split": {"by": "time", "column": "y"}}, "DAT_SPLIT", "split by time of y"),
        (b"x,y\n" + b"\xff\xe9,1\n" * 5, CATEGORY, "DAT_ENCODING", "utf-8"),
        ("x,y\n" + "1,1\n2,1\n3,2\n", CLASSES | {"split": {"by": "time", "column": "x"}}, "DAT_SPLIT", "class"),
        ("x,y\n" + "1,1\n2,1\n3,1\n", CLASSES, "DAT_SPLIT", "one class only: '1'"),
        ("x,y\n" + "1,1\n2,0\n3,1\n4,0\n", CLASSES | {"positive": "yes"}, "DAT_TARGET", "it has 0, 1"),
    ],
)  # fmt: skip
def test_refused_sources(repository, content, options, code, said):
    repository.write("data.csv", content)
    with pytest.raises(DataError) as error:
        repository.prepare(**({"columns": X_AND_Y} | options))
    assert error.value.code == code
    assert said in error.value.what
    assert error.value.exit_code == 3
    assert "\n" not in error.value.what + error.value.todo


def test_bytes_of_a_typed_source_have_no_encoding_to_set(repository):
    table = pa.table({"x": [b"\xff\x00", b"ab\x00"] * 5, "y": [float(i) for i in range(10)]})
    pq.write_table(table, repository.root / "d.parquet")
    with pytest.raises(DataError) as error:
        repository.prepare(CATEGORY["columns"], source="d.parquet")
    assert error.value.code == "DAT_TOO_MANY_BAD"
    assert "bytes that are no UTF-8 text: x DAT_TEXT 10" in error.value.what
    assert "encoding" not in error.value.todo


def test_a_tolerated_share_counts_for_its_column_alone(repository):
    content = "x,y\n" + "".join(f"{i},{i}\n" for i in range(98)) + "a,1\nb,1\n"
    repository.write("data.csv", content)
    with pytest.raises(DataError) as error:
        repository.prepare({"x": NUMBER | {"tolerate": 0.01}, "y": NUMBER}, max_bad_fraction=0.5)
    assert error.value.code == "DAT_TOLERATE"
    assert "x: 2 of 100 values (2.0 %)" in error.value.what
    done = repository.prepare({"x": NUMBER | {"tolerate": 0.02}, "y": NUMBER | {"tolerate": 0}}, max_bad_fraction=0.5)
    assert done.profile["rows"]["refused"] == 2


def test_a_refused_run_leaves_the_last_good_result_and_the_rejects(repository):
    repository.write("data.csv", "x,y\n" + "".join(f"{i},{i}\n" for i in range(10)))
    good = repository.prepare(X_AND_Y)
    before = (good.folder / "train.parquet").read_bytes()
    repository.write("data.csv", "x,y\n" + "".join(f"{i},?\n" for i in range(10)))
    with pytest.raises(DataError) as error:
        repository.prepare(X_AND_Y)
    failed = repository.root / ".mlci" / "prepare.failed"
    assert str(failed / "quarantine.parquet").endswith(error.value.todo.rsplit(" ", 1)[1])
    assert pq.read_table(failed / "quarantine.parquet").num_rows == 10
    assert json.loads((failed / "result.json").read_text())["error"]["code"] == "DAT_TOO_MANY_BAD"
    assert (good.folder / "train.parquet").read_bytes() == before
    assert sorted(p.name for p in failed.iterdir()) == ["quarantine.parquet", "result.json"]


def test_an_unchanged_source_is_skipped(repository):
    repository.write("data.csv", "x,y\n" + "".join(f"{i},{i}\n" for i in range(10)))
    assert repository.prepare(X_AND_Y).result.status == "done"
    assert repository.prepare(X_AND_Y).result.status == "skipped"
    repository.write("data.csv", "x,y\n" + "".join(f"{i},{i}\n" for i in range(11)))
    assert repository.prepare(X_AND_Y).result.status == "done"


def test_long_and_strange_values_are_shown_cut(repository):
    repository.write("data.csv", "x,y\n" + "".join(f"{i},{i}\n" for i in range(10)) + f"1,{'é' * 500}\n")
    done = repository.prepare(X_AND_Y, max_bad_fraction=0.5)
    assert len(done.refused[0][3]) == 200


def test_european_numbers(repository):
    repository.write("data.csv", "x;y\n" + "".join(f"{i},5;{i}\n" for i in range(10)) + "1.234,5;1\n1.5;1\n")
    done = repository.prepare(X_AND_Y, read={"sep": ";", "decimal": ","}, max_bad_fraction=0.5)
    assert done.rows("x")[0] == (0.5,)
    assert [r[2:] for r in done.refused] == [("DAT_TYPE", "1.234,5"), ("DAT_TYPE", "1.5")]


def test_a_thousand_columns_with_one_bad_cell(repository):
    names = [f"c{i}" for i in range(1000)] + ["y"]
    rows = [[str(r + i) for i in range(1001)] for r in range(20)]
    rows[7][500] = "?"
    repository.write("data.csv", csv(names, rows))
    done = repository.prepare(dict.fromkeys(names, NUMBER), max_bad_fraction=0.1)
    assert done.refused == [(8, "c500", "DAT_TYPE", "?")]
