import gzip

import pandas as pd
import pytest

from stages import config
from stages.commands.init import init
from stages.errors import DataError, UsageError


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
    assert list(columns) == index + [name for name in rows().columns if name not in index]
