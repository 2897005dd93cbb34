"""One text for a category level whatever the source; codes that look like numbers stay what they are."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stages.config.schema import ReadOptions
from stages.data import cells, hashing, spelling
from stages.data.scoring import read_for_scoring
from stages.serving.decode import Decoder

N = 120
LEVEL = {"type": "category", "nullable": True}
COLUMNS = {"plan": LEVEL, "active": LEVEL, "code": LEVEL, "y": {"type": "number"}}


def frame():
    """As pandas has it: integers and booleans with missing values, and codes."""
    return pd.DataFrame(
        {
            "plan": [None if i % 7 == 0 else float(i % 3) for i in range(N)],
            "active": [None if i % 13 == 0 else bool(i // 3 % 2) for i in range(N)],
            "code": [("007", "2.10", "1.0", "True")[i % 4] for i in range(N)],
            "y": [float(i) for i in range(N)],
        }
    )


def write(repository, kind):
    path = repository.root / f"d.{kind}"
    made = frame()
    if kind == "csv":
        made.to_csv(path, index=False)
    elif kind == "parquet":
        made.to_parquet(path, index=False)
    else:
        made.to_json(path, orient="records", lines=True)
    return path.name


@pytest.mark.parametrize("kind", ["csv", "parquet", "jsonl"])
def test_levels_have_one_text_whatever_the_source(repository, kind):
    prepared = repository.prepare(COLUMNS, source=write(repository, kind))
    columns = prepared.schema["columns"]
    assert columns["plan"]["levels"] == ["0", "1", "2"]
    assert columns["active"]["levels"] == ["false", "true"]
    assert columns["code"]["levels"] == ["007", "1.0", "2.10", "True"]
    assert [columns[n].get("spelling") for n in COLUMNS] == ["canonical", "canonical", "exact", None]


def test_keys_and_groups_have_one_text_whatever_the_source(repository):
    columns = {"plan": {"type": "text", "nullable": True, "feature": False}, **{k: COLUMNS[k] for k in ("active", "y")}}
    split = {"by": "group", "column": "plan", "test": 0.3}
    sides = []
    for kind in ("csv", "parquet", "jsonl"):
        prepared = repository.prepare(columns, source=write(repository, kind), split=split)
        sides.append(prepared.table("test").to_pylist())
    assert sides[0] == sides[1] == sides[2]


def test_the_same_key_in_two_files_is_one(repository):
    repository.write("d/1.csv", "id,x,y\n" + "".join(f"{i},0,{i}\n" for i in range(20)))
    repository.write("d/2.csv", "id,x,y\n" + "".join(f"{i}.0,0,{i}\n" for i in range(10, 30)))
    columns = {"id": {"type": "category", "feature": False}, "x": {"type": "number"}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d/*.csv", key=["id"])
    assert sorted(prepared.rows("id")) == sorted((str(i),) for i in range(30))
    assert prepared.profile["rows"]["duplicates"] == 10


@pytest.mark.parametrize("values", [[1, 2], [1.0, 2.0], ["1", "2"], ["1.0", "2.0"]])
def test_listed_values_are_spelled_like_levels(repository, values):
    repository.write("d.csv", "c,y\n" + "".join(f"{i % 2 + 1}.0,{i}\n" for i in range(20)))
    columns = {"c": {"type": "category", "values": values}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.csv")
    assert set(prepared.rows("c")) == {("1",), ("2",)}
    assert prepared.refused == []


def test_listed_codes_are_codes_before_one_is_seen(repository):
    repository.write("d.csv", "c,y\n" + "".join(f"1.0,{i}\n" for i in range(20)))
    columns = {"c": {"type": "category", "values": ["1.0", "2.10"]}, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.csv")
    assert set(prepared.rows("c")) == {("1.0",)}
    assert prepared.schema["columns"]["c"]["spelling"] == "exact"


def test_a_decimal_comma_is_a_point(repository):
    repository.write("d.csv", "c;y\n" + "".join(f"{i % 2},{5 * (i % 2)};{i}\n" for i in range(20)))
    columns = {"c": LEVEL, "y": {"type": "number"}}
    prepared = repository.prepare(columns, source="d.csv", read={"sep": ";", "decimal": ","})
    assert prepared.schema["columns"]["c"]["levels"] == ["0", "1.5"]


def test_the_target_keeps_the_names_of_its_classes(repository):
    repository.write("d.csv", "a,y\n" + "".join(f"{i},{i % 2}.0\n" for i in range(40)))
    columns = {"a": {"type": "number"}, "y": {"type": "category"}}
    prepared = repository.prepare(columns, source="d.csv", task="classification")
    assert prepared.schema["classes"] == ["0.0", "1.0"]


def test_rows_are_known_by_their_hashes_of_before(repository):
    """A model that was trained before levels had one text holds hashes of the text as written."""
    prepared = repository.prepare(COLUMNS, source=write(repository, "csv"))
    made = pd.read_csv(repository.root / "d.csv", dtype=str)
    table = pa.table(
        {
            **{n: pa.array(made[n].where(made[n].notna(), None), pa.string()) for n in ("plan", "active", "code")},
            "y": pa.array(made["y"].astype(float)),
        }
    )
    before = hashing.row_hashes(table, COLUMNS)
    for side in ("train", "test"):
        rows = hashing.load(prepared.folder, side)
        assert rows.shape == (2, len(prepared.table(side)))
        assert not hashing.are_new(rows, before).any()
        assert hashing.are_new(rows, np.array([1], dtype=np.uint64)).all()
    assert hashing.load(repository.prepare(COLUMNS, source=write(repository, "parquet")).folder, "test").shape[0] == 1


# ---- scoring -----------------------------------------------------------------------------------------------------


def scored(path, spelled, **read):
    feature = {"name": "c", "type": "category", "nullable": True, **({"spelling": spelled} if spelled else {})}
    parts = list(read_for_scoring(path, {"features": [feature]}, ReadOptions(**read)))
    return [v for p in parts for v in p.table.column("c").to_pylist()], [e for p in parts for e in p.errors]


@pytest.mark.parametrize(
    ("spelled", "expected"),
    [
        ("canonical", ["1", "true", "2.10", "007"]),
        ("exact", ["1.0", "True", "2.10", "007"]),
        (None, ["1.0", "True", "2.10", "007"]),
    ],
)
def test_text_is_read_as_the_model_was_trained(tmp_path, spelled, expected):
    (tmp_path / "q.csv").write_text("c\n1.0\nTrue\n2.10\n007\n")
    (tmp_path / "q.jsonl").write_text('{"c": "1.0"}\n{"c": "True"}\n{"c": "2.10"}\n{"c": "007"}\n')
    assert scored(tmp_path / "q.csv", spelled)[0] == expected
    assert scored(tmp_path / "q.jsonl", spelled)[0] == expected


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2**60]),
        pa.array([1.0, 0.25]),
        pa.array([1.0, 0.25], pa.float32()),
        pa.array([True, False]),
    ],
)
def test_codes_take_no_numbers(tmp_path, values):
    pq.write_table(pa.table({"c": values}), tmp_path / "q.parquet")
    assert scored(tmp_path / "q.parquet", "exact")[0] == [None, None]
    assert scored(tmp_path / "q.parquet", "exact")[1][0].startswith("c: DAT_TYPE")
    texts = [cells.canonical(v) for v in values.to_pylist()]
    assert scored(tmp_path / "q.parquet", "canonical") == (texts, [None, None])
    decoder = Decoder({"features": [{"name": "c", "type": "category", "spelling": "exact"}]})
    assert [p.code for p in decoder.decode([{"c": v} for v in values.to_pylist()]).problems] == ["DAT_TYPE"] * 2


@pytest.mark.parametrize("values", [pa.array([1e16, 2.0**53]), pa.array([2.0**24, 1e9], pa.float32())])
def test_ids_that_a_float_has_rounded_are_refused(tmp_path, values):
    pq.write_table(pa.table({"c": values}), tmp_path / "q.parquet")
    assert [e.split(" (")[0] for e in scored(tmp_path / "q.parquet", "canonical")[1]] == ["c: DAT_TYPE"] * 2
    if values.type == pa.float64():
        decoder = Decoder({"features": [{"name": "c", "type": "category", "spelling": "canonical"}]})
        assert decoder.decode([{"c": v} for v in values.to_pylist()]).refused == 2
        assert scored(tmp_path / "q.parquet", None)[0] == ["1e+16", "9007199254740992.0"]


def test_a_float32_is_written_as_it_is(tmp_path):
    pq.write_table(pa.table({"c": pa.array([0.1, 3.0, None], pa.float32())}), tmp_path / "q.parquet")
    assert scored(tmp_path / "q.parquet", "canonical")[0] == ["0.1", "3", None]


# ---- the rule ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["007", "2.10", "1e3", "+1", "-0", " 1", "1.", ".5", "1e+16", "9007199254740992.0"])
def test_codes(text):
    assert spelling.is_code(text)
    assert spelling.spelling_of(["1.0", text]) == "exact"


@pytest.mark.parametrize("text", ["7", "-7", "1.0", "0.25", "1e-05", "12345678901234567890", "x", "1.2.3", "True", ""])
def test_no_codes(text):
    assert not spelling.is_code(text)


@given(st.one_of(st.floats(-1e15, 1e15), st.integers(), st.booleans()))
def test_what_python_writes_of_a_value_is_its_canonical_text(value):
    text = repr(value)
    assert not spelling.is_code(text)
    assert spelling.canonical(text) == cells.canonical(value)
    assert spelling.canonical(json.dumps(value)) == cells.canonical(value)


@given(st.text(max_size=6))
def test_canonical_text_stays(text):
    assert spelling.canonical(spelling.canonical(text)) == spelling.canonical(text)
