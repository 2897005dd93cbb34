import gzip
import io
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages import config
from stages.commands.init import init
from stages.errors import DataError, UsageError
from stages.prepare import prepare
from stages.project import Project


def rows(n=400):
    return pd.DataFrame(
        {
            "id": range(1, n + 1),
            "size": [None if i % 7 == 0 else i * 0.5 for i in range(n)],
            "zip": [f"0{i % 9}123" for i in range(n)],
            "when": [f"2024-01-{1 + i % 28:02d}T10:00:00Z" for i in range(n)],
            "same": ["x"] * n,
            "note": [f"note {i}" for i in range(n)],
            "paid": ["yes" if i % 3 else "no" for i in range(n)],
            "grade": [f"g{i % 4}" for i in range(n)],
            "price": [i * 1.25 for i in range(n)],
        }
    )


def made(tmp_path, target, name="data.csv", write=None, **options):
    path = tmp_path / name
    (write or (lambda f, p: f.to_csv(p, index=False)))(rows(), path)
    answer = init(path, target, str(tmp_path / "ml.yaml"), "jenkins", options.get("force", False))
    assert "ml.yaml" in answer.data["files"]
    return config.load(tmp_path / "ml.yaml").config


def test_columns_are_judged_over_the_whole_file(tmp_path):
    columns = made(tmp_path, "grade").data.columns
    assert {name: column.type for name, column in columns.items()} == {
        "id": "integer",
        "size": "number",
        "zip": "category",
        "when": "datetime",
        "same": "category",
        "note": "text",
        "paid": "boolean",
        "grade": "category",
        "price": "number",
    }
    assert [name for name, column in columns.items() if not column.feature] == ["id", "same", "note"]
    assert columns["size"].nullable
    assert columns["when"].timezone == "UTC"


@pytest.mark.parametrize(
    ("target", "task", "metric", "positive"),
    [
        ("grade", "classification", "balanced_accuracy", None),
        ("paid", "classification", "roc_auc", True),
        ("price", "regression", "r2", None),
    ],
)
def test_the_task_follows_from_the_target(tmp_path, target, task, metric, positive):
    written = made(tmp_path, target)
    assert written.task == task
    assert list(written.validation.metrics) == [metric]
    assert written.data.positive is positive


def gz(frame, path):
    with gzip.open(path, "wt") as out:
        frame.to_csv(out, index=False)


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("d.csv.gz", gz),
        ("d.parquet", lambda f, p: f.to_parquet(p)),
        ("d.jsonl", lambda f, p: f.to_json(p, orient="records", lines=True)),
        ("d.csv.zip", lambda f, p: f.to_csv(p, index=False)),
    ],
)
def test_every_format_gives_the_same_contract(tmp_path, name, write):
    columns = made(tmp_path, "grade", name, write).data.columns
    assert {n: c.type for n, c in columns.items() if n != "paid"} == {
        n: c.type for n, c in made(tmp_path, "grade", force=True).data.columns.items() if n != "paid"
    }


def test_european_files_are_recognised(tmp_path):
    def write(frame, path):
        frame.to_csv(path, sep=";", decimal=",", index=False, encoding="cp1252")

    read = made(tmp_path, "grade", write=write).data.read
    assert (read.sep, read.decimal) == (";", ",")


def test_nothing_is_replaced_without_force(tmp_path):
    made(tmp_path, "grade")
    with pytest.raises(UsageError, match="CFG_EXISTS"):
        made(tmp_path, "price")
    assert made(tmp_path, "price", force=True).task == "regression"


@pytest.mark.parametrize(
    ("target", "error", "code"), [("grad", UsageError, "grade"), ("note", DataError, "DAT"), ("same", DataError, "DAT")]
)
def test_a_target_that_cannot_be_one_is_refused(tmp_path, target, error, code):
    with pytest.raises(error) as refusal:
        made(tmp_path, target)
    assert code in f"{refusal.value.code} {refusal.value.todo}"


def test_a_column_without_a_name_is_left_out(tmp_path):
    (tmp_path / "d.csv").write_text("x,,y\n" + "".join(f"{i % 7},{i},{i % 3}\n" for i in range(60)))
    init(tmp_path / "d.csv", "y", str(tmp_path / "ml.yaml"), "jenkins", False)
    assert list(config.load(tmp_path / "ml.yaml").config.data.columns) == ["x", "y"]


def test_a_header_that_repeats_itself_is_refused(tmp_path):
    (tmp_path / "d.csv").write_text("x,x,y\n1,2,3\n2,3,4\n")
    with pytest.raises(DataError, match="DAT_HEADER"):
        init(tmp_path / "d.csv", "y", str(tmp_path / "ml.yaml"), "jenkins", False)


def test_a_target_with_gaps_is_said_and_allowed_for(tmp_path):
    (tmp_path / "d.csv").write_text("x,y\n" + "".join(f"{i % 7},{i % 2 if i % 10 else ''}\n" for i in range(200)))
    answer = init(tmp_path / "d.csv", "y", str(tmp_path / "ml.yaml"), "jenkins", False)
    assert any("10.0% of the rows have no y" in line for line in answer.lines)
    assert config.load(tmp_path / "ml.yaml").config.data.max_bad_fraction == 0.11


@pytest.mark.parametrize("index", [["id"], ["id", "grade"]])
def test_a_named_index_is_a_column(tmp_path, index):
    columns = made(
        tmp_path, "paid", "data.parquet", lambda frame, path: frame.set_index(index).to_parquet(path)
    ).data.columns
    assert set(columns) == set(rows().columns)


# ---- files as people have them: whatever init writes, prepare takes -----------------------------------------------


def prepared(tmp_path, name, content, target="y"):
    """Init on a file and prepare with what it wrote: the written columns, init's notes, rows of prepare."""
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    answer = init(path, target, str(tmp_path / "ml.yaml"), "jenkins", True)
    result = prepare(Project.open(tmp_path / "ml.yaml"))
    notes = [line.removeprefix("note: ") for line in answer.lines if line.startswith("note: ")]
    return config.load(tmp_path / "ml.yaml").config.data, notes, result.summary["rows"]


def lines(header, row, n=200):
    return "\n".join([header, *(row(i) for i in range(n))]) + "\n"


def parquet(**columns):
    sink = io.BytesIO()
    pq.write_table(pa.table({"y": ["no", "yes"] * 50, "z": [i / 7 for i in range(100)], **columns}), sink)
    return sink.getvalue()


def jsonl(row, n=100):
    return "".join(json.dumps({"y": ["no", "yes"][i % 2], "z": i / 7} | row(i)) + "\n" for i in range(n))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("d.jsonl", jsonl(lambda i: {"a": [i], "b": {"c": i}, "d": [{"e": 1}]})),
        ("d.parquet", parquet(a=[["x"]] * 100, b=[{"c": i} for i in range(100)], d=[[{"e": 1}]] * 100)),
        ("d.parquet", parquet(a=[timedelta(days=i) for i in range(100)], b=[None] * 99 + [{"x": 1}], d=[[]] * 100)),
    ],
)
def test_nested_columns_are_left_out_by_name(tmp_path, name, content):
    data, notes, _ = prepared(tmp_path, name, content)
    assert set(data.columns) == {"y", "z"}
    assert [note.split(":")[0] for note in notes] == ["a", "b", "d"]


@pytest.mark.parametrize(
    ("row", "kind", "nullable"),
    [
        (lambda i: {"a": float("nan") if i % 9 == 0 else i / 3}, "number", True),
        (lambda i: {"a": None if i % 9 == 0 else i}, "integer", True),
        (lambda i: {} if i % 9 == 0 else {"a": i % 2 == 0}, "boolean", True),
        (lambda i: {"a": i if i % 3 else i + 0.5}, "number", False),
        (lambda i: {"a": str(i % 7) if i % 3 else i % 7}, "integer", False),
        (lambda i: {"a": "x" if i % 3 else i % 7}, "category", False),
        (lambda i: {"a": float("inf") if i == 50 else i / 3}, "number", True),
        (lambda i: {"a": "2024-01-01T00:00:00+02:00" if i % 2 else "2024-07-01T00:00:00Z"}, "datetime", False),
    ],
)
@pytest.mark.parametrize("start", [b"", b"\xef\xbb\xbf", b"\n"])
def test_json_lines(tmp_path, row, kind, nullable, start):
    column = prepared(tmp_path, "d.jsonl", start + jsonl(row).encode())[0].columns["a"]
    assert (column.type, column.nullable) == (kind, nullable)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([float(i) for i in range(100)], "number"),
        ([None, *map(float, range(99))], "integer"),
        ([Decimal(i) / 4 for i in range(100)], "number"),
        ([True, None] * 50, "boolean"),
        ([date(2024, 1, 1 + i % 28) for i in range(100)], "datetime"),
        ([datetime(2024, 1, 1 + i % 28, tzinfo=UTC) for i in range(100)], "datetime"),
        ([date(9999, 12, 31)] * 50 + [date(1, 1, 1)] * 50, "datetime"),
        (pa.array(["u", "v"] * 50).dictionary_encode(), "category"),
        (pa.array([i % 3 for i in range(100)]).dictionary_encode(), "integer"),
        (pa.array([None] * 100), "text"),
        (pa.array([2**64 - 1 - i % 5 for i in range(100)], pa.uint64()), "category"),
    ],
)
def test_parquet_types(tmp_path, values, kind):
    assert prepared(tmp_path, "d.parquet", parquet(a=values))[0].columns["a"].type == kind


@pytest.mark.parametrize(
    ("cell", "kind", "said"),
    [
        (lambda i: f"{i},5", "number", ""),
        (lambda i: f"{i},5" if i % 50 else "k.A.", "number", "'k.A.' is read as missing"),
        (lambda i: f"{i}" if i % 40 else "-", "integer", "'-' is read as missing"),
        (lambda i: f"{i}" if i % 40 else ("n/a", "unknown")[i % 80 == 0], "integer", "is read as missing"),
        (lambda i: f"{i}" if i % 40 else "nicht erhoben", "integer", "'nicht erhoben' is read as missing"),
        (lambda i: f"{i % 28 + 1}.03.2024" if i % 50 else "k.A.", "datetime", "'k.A.' is read as missing"),
        (lambda i: f"{i}.{i % 9}00,25", "text", "thousands"),
        (lambda i: f"{i} €", "text", "units"),
        (lambda i: f"{i % 28 + 1:02d}.{i % 12 + 1:02d}.2024", "datetime", ""),
        (lambda i: f"{i % 28 + 1:02d}.{i % 12 + 1:02d}.2024 14:{i % 60:02d}", "datetime", ""),
        (lambda i: f"{i % 12 + 1:02d}/{i % 12 + 1:02d}/2024", "datetime", "fits as well"),
        (lambda i: f"{i % 12 + 1:02d}/{i % 28 + 1:02d}/2024", "datetime", ""),
        (lambda i: f"{i % 28 + 1}-Mar-2024", "datetime", ""),
        (lambda i: f"{i},0" if i % 9 else "", "integer", ""),
        (lambda i: f"{i % 40:05d}", "category", ""),
        (lambda i: f"{10**20 + i % 9}", "category", ""),
        (lambda i: "12a" if i == 7 else f"{i},5", "number", "refused, for example '12a'"),
        (lambda i: f"{i % 20}\x01" if i == 7 else f"w{i % 20}", "category", "control characters"),
        (lambda i: f"{i % 20}\x01", None, "left out"),
        (lambda i: "inf" if i == 7 else f"{i},5", "number", "refused, for example 'inf'"),
        (lambda i: '"a\nb"' if i % 2 else "c", "category", ""),
    ],
)
def test_cells_of_european_files(tmp_path, cell, kind, said):
    content = lines("a;z;y", lambda i: f"{cell(i)};{i},25;{'ja' if i % 3 else 'nein'}")
    data, notes, rows_ = prepared(tmp_path, "d.csv", content)
    assert (data.columns["a"].type if "a" in data.columns else None) == kind
    assert said in " ".join(notes)
    assert bool(notes) == bool(said)
    assert rows_["read"] == 200
    assert rows_["refused"] <= 1


@pytest.mark.parametrize(
    ("content", "read"),
    [
        ("sep=;\n" + lines("x;y", lambda i: f"{i},5;{i % 2}"), {"sep": ";", "decimal": ","}),
        ("sep=,\n" + lines("x,y", lambda i: f"{i}.5,{i % 2}"), {}),
        (lines("x\ty", lambda i: f"{i}.5\t{i % 2}"), {"sep": "\t"}),
        (lines('"a, b";y', lambda i: f"{i}.5;{i % 2}"), {"sep": ";"}),
        (lines("x;y", lambda i: f"w{i % 9}{'é' if i == 190 else ''};{i % 2}").encode("cp1252"), {"encoding": "cp1252"}),
        (lines("x;y", lambda i: f"w{i % 9};{i % 2}").encode("utf-16"), {"sep": ";", "encoding": "utf-16"}),
        (gzip.compress(lines("x,y", lambda i: f"w{i % 9},{i % 2}").encode()), {}),
    ],
)
def test_how_a_text_file_is_read(tmp_path, content, read):
    data, notes, rows_ = prepared(tmp_path, "d.csv", content)
    assert {key: getattr(data.read, key) for key in read} == read
    assert (notes, rows_["refused"], len(data.columns)) == ([], 0, 2)


def test_classes_that_were_saved_as_floats(tmp_path):
    content = lines("x,y", lambda i: f"{i}.5,{i % 2}.0")
    assert prepared(tmp_path, "d.csv", content)[0].columns["y"].type == "integer"
    assert config.load(tmp_path / "ml.yaml").config.task == "classification"


def test_rows_that_the_contract_refuses_are_allowed_for(tmp_path):
    content = lines("x,w,y", lambda i: f"{i}.5,b,{i % 2}" if i % 20 else f"{i}.5,{i % 2}")
    data, notes, rows_ = prepared(tmp_path, "d.csv", content)
    assert data.max_bad_fraction == 0.06
    assert "5.00% of the rows do not meet the contract" in notes[0]
    assert rows_["refused"] == 10


def test_a_column_that_counts_is_better_than_none(tmp_path):
    columns = prepared(tmp_path, "d.csv", lines("x,y", lambda i: f"{i},{i % 2}"))[0].columns
    assert columns["x"].feature


def test_nothing_to_learn_from_is_said(tmp_path):
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"a": [1], "y": i % 2}) + "\n" for i in range(60)))
    with pytest.raises(DataError, match="no column besides y") as refusal:
        init(tmp_path / "d.jsonl", "y", str(tmp_path / "ml.yaml"), "jenkins", False)
    assert "a: left out" in refusal.value.todo
