"""The user's transform: what its frame looks like, which rows its answer means, and what is refused."""

import pytest

from stages.errors import ConfigError, DataError

ROWS = [
    # c is text that looks like a number; from int on, columns are not declared
    ["1", "1.5", "3", "007", "1", "0.5", "True", "", "a", "2024-01-01"],
    ["2", "2", "4", "008", "2", "1", "False", "5", "b", "2024-01-02"],
    ["3", "", "5", "009", "3", "2.5", "True", "6", "1", "2024-01-03"],
    ["4", "oops", "6", "010", "4", "3", "False", "7", "", "2024-01-04"],
    *[[str(i), "9", "7", "1", "5", "4", "True", "8", "c", "2024-01-05"] for i in range(5, 25)],
]
HEADER = ["id", "n", "i", "c", "int", "float", "bool", "gaps", "text", "when"]
COLUMNS = {
    "id": {"type": "integer"},
    "n": {"type": "number", "nullable": True},
    "i": {"type": "integer"},
    "c": {"type": "category"},
    "when": {"type": "datetime"},
    "y": {"type": "number"},
}


@pytest.fixture
def transformed(repository, monkeypatch):
    """Prepare with a function body, in chunks of `size` bytes."""
    from stages.data import csvfile

    def run(body, size=csvfile.SIZE, columns=COLUMNS, rows=ROWS, header=HEADER, **options):
        monkeypatch.setattr(csvfile, "SIZE", size)
        repository.write("features.py", "import json, random\nimport pandas as pd\n\ndef change(frame):\n" + body)
        repository.write("data.csv", "\n".join(",".join(r) for r in [header, *rows]) + "\n")
        return repository.prepare(columns, transform="features:change", max_bad_fraction=0.5, **options)

    return run


RESET = "    return frame.assign(y=1.0).dropna().reset_index(drop=True)\n"
SEEN = """
    line = json.dumps([[c, str(t)] for c, t in frame.dtypes.items()] + [int(frame.index[0]), len(frame)])
    with open("seen.txt", "a") as file:
        file.write(line + "\\n")
    return frame.assign(y=frame["float"] * 2)
"""


@pytest.mark.parametrize("size", [60, 1 << 22])
def test_frames_have_pandas_types_that_are_the_same_in_every_chunk(transformed, repository, size):
    import json

    done = transformed(SEEN, size)
    seen = [json.loads(line) for line in (repository.root / "seen.txt").read_text().splitlines()]
    types = {json.dumps(line[:-2]) for line in seen}
    assert len(types) == 1
    assert dict(seen[0][:-2]) == {
        "id": "int64", "n": "float64", "i": "int64", "c": "str", "int": "int64", "float": "float64",
        "bool": "bool", "gaps": "float64", "text": "str", "when": "str",
    }  # fmt: skip
    assert seen[0][-2] == 1
    assert len(seen) == 2 if size > 100 else len(seen) > 5
    assert done.refused == [(4, "n", "DAT_TYPE", "oops")]
    assert done.rows("id", "n", "c", "y")[:1] == [(1, 1.5, "007", 1.0)]
    assert done.profile["dropped_columns"]["count"] == 5


def test_dropped_rows_are_counted_and_the_others_keep_their_numbers(transformed):
    body = """
    frame = frame[frame['id'] % 2 == 0]
    return frame.assign(y=[x if x != 6 else None for x in frame['id']])
"""
    for size in (60, 1 << 22):
        done = transformed(body, size)
        assert done.profile["rows"]["dropped_by_transform"] == 12
        assert done.refused == [(4, "n", "DAT_TYPE", "oops"), (6, "y", "DAT_NULL", None)]
        assert {i for (i,) in done.rows("id")} == {i for i in range(2, 25, 2) if i not in (4, 6)}


@pytest.mark.parametrize(
    "body",
    [
        "    return frame.assign(y=1.0).iloc[::-1]\n",
        "    frame = frame.assign(y=1.0)\n    frame.index = range(len(frame))\n    return frame\n",
        "    return frame.assign(y=1.0).reset_index(drop=True)\n",
        "    frame['y'] = 1.0\n    return frame\n",
    ],
)
def test_order_and_positional_indices(transformed, body):
    done = transformed(body)
    assert [i for (i,) in done.rows("id")][:3] == [1, 10, 11]
    assert done.profile["rows"]["accepted"] == 23
    assert done.table("train")["id"].to_pylist() == sorted(done.table("train")["id"].to_pylist())


@pytest.mark.parametrize(
    ("body", "code", "said"),
    [
        ("    return frame['nothing']\n", "DAT_TRANSFORM", "change failed (features.py:5): KeyError: 'nothing'"),
        ("    raise SystemExit('stop')\n", "DAT_TRANSFORM", "SystemExit"),
        ("    frame['y'] = 1.0\n", "DAT_TRANSFORM", "returned NoneType"),
        (RESET, "DAT_TRANSFORM", "another index"),
        ("    return pd.concat([frame, frame]).assign(y=1.0)\n", "DAT_TRANSFORM", "another index"),
        ("    return frame\n", "DAT_COLUMN_MISSING", "the answer of features:change has no column 'y'"),
        ("    return pd.concat([frame.assign(y=1.0), frame[['id']]], axis=1)\n", "DAT_TRANSFORM", "more than once"),
        ("    return frame.assign(y=frame['i'].mean())\n", "DAT_TRANSFORM_NOT_ROWWISE", "'y'"),
        ("    return frame.assign(y=frame['int'].shift().fillna(0))\n", "DAT_TRANSFORM_NOT_ROWWISE", "'y'"),
        ("    return frame.assign(y=frame['i'].rank())\n", "DAT_TRANSFORM_NOT_ROWWISE", "'y'"),
        ("    return frame.assign(y=1.0).head(20)\n", "DAT_TRANSFORM_NOT_ROWWISE", "which rows it keeps"),
        ("    return frame.assign(y=[random.random() for _ in frame.index])\n", "DAT_TRANSFORM_NOT_ROWWISE", "'y'"),
    ],
)  # fmt: skip
def test_refused_transforms(transformed, body, code, said):
    with pytest.raises(DataError) as error:
        transformed(body)
    assert error.value.code == code
    assert said in error.value.what


def test_a_transform_that_is_not_there(repository):
    repository.write("data.csv", "x,y\n1,1\n")
    with pytest.raises(ConfigError) as error:
        repository.prepare({"x": {"type": "number"}, "y": {"type": "number"}}, transform="nowhere:change")
    assert error.value.code == "CFG_IMPORT"


def test_a_column_that_is_mostly_no_number_stays_text_to_be_repaired(transformed):
    rows = [[f"${i}", str(i)] for i in range(20)]
    done = transformed(
        "    return frame.assign(x=frame['x'].str.lstrip('$').astype(float))\n",
        columns={"x": {"type": "number"}, "y": {"type": "number"}},
        rows=rows,
        header=["x", "y"],
    )
    assert done.profile["rows"]["accepted"] == 20
    assert not done.refused


def test_answers_of_mixed_and_extension_types(transformed):
    body = """
    y = frame["id"].astype("Int64").where(frame["id"] > 2)
    c = pd.Series([1 if i % 2 else "x" for i in frame["id"]], index=frame.index, dtype=object)
    return frame.assign(y=y, c=c, when=pd.to_datetime(frame["when"]), text=frame["text"].astype("category"))
"""
    columns = COLUMNS | {"text": {"type": "category", "nullable": True}}
    done = transformed(body, columns=columns)
    assert [r[:3] for r in done.refused] == [(1, "y", "DAT_NULL"), (2, "y", "DAT_NULL"), (4, "n", "DAT_TYPE")]
    assert {c for (c,) in done.rows("c")} == {"1", "x"}
    assert {t for (t,) in done.rows("text")} == {"c", "1"}


def test_json_lines_and_parquet_give_typed_frames(repository):
    import json

    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {"id": i, "gaps": None if i == 3 else i, "flag": i % 2 == 0, "s": f"t{i}", "x": 1.5, "mixed": 1}
        for i in range(20)
    ]
    rows[7]["mixed"] = "seven"
    repository.write(
        "features.py",
        "from pathlib import Path\n\ndef change(frame):\n"
        "    Path('seen').write_text(str(dict(frame.dtypes.astype(str))))\n"
        "    return frame.assign(y=1.0)\n",
    )
    repository.write("data.jsonl", "".join(json.dumps(r) + "\n" for r in rows))
    pq.write_table(pa.Table.from_pylist([r | {"mixed": 0} for r in rows]), repository.root / "data.parquet")
    columns = {"id": {"type": "integer"}, "s": {"type": "category"}, "y": {"type": "number"}}
    for name, mixed in (("data.jsonl", "object"), ("data.parquet", "int64")):
        done = repository.prepare(columns, source=name, transform="features:change")
        assert done.profile["rows"]["accepted"] == 20
        assert (repository.root / "seen").read_text() == str(
            {"id": "int64", "gaps": "float64", "flag": "bool", "s": "str", "x": "float64", "mixed": mixed}
        )
