"""Files scored row by row."""

from __future__ import annotations

import csv
import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from stages.config.schema import ReadOptions
from stages.errors import DataError, UsageError
from stages.serving.batch import Scored, score
from stages.serving.predictor import Predictor
from tests.stages import modelkit

HEAD = "delay,seats,carrier,origin,windy,when,late,unlisted"
LINES = [
    "1.5,100,AA,JFK,true,2024-06-01T12:00:00,true,x",
    "500,100,BB,1,,2024-06-01T12:00:00,,",
    "oops,0,AA,XYZ,true,2024-06-01T12:00:00,false,x",
    ",7,AA,LGA,false,2024-06-01T12:00:00+02:00,,",
    "1,7,AA,JFK,true,2024-03-31T02:30:00,,",
]
READ = ReadOptions()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    path.write_text("\n".join([HEAD, *LINES]) + "\n")
    return path


def rows_of(path: Path) -> list[dict[str, Any]]:
    content = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    if ".csv" in path.name.lower():
        return list(csv.DictReader(content.decode().splitlines()))
    if ".parquet" in path.suffixes:
        return pq.read_table(path).to_pylist()
    return [json.loads(line) for line in content.decode().splitlines()]


@pytest.mark.parametrize("suffix", ["csv", "csv.gz", "CSV", "jsonl", "jsonl.gz", "ndjson", "parquet"])
def test_as_many_rows_out_as_in_in_their_order(predictor: Predictor, file: Path, suffix: str) -> None:
    out = file.with_name(f"out.{suffix}")
    assert score(predictor, file, out, READ) == Scored(5, 2)
    rows = rows_of(out)
    assert list(rows[0]) == ["prediction", "probability_false", "probability_true", "error"]
    predictions = {"csv": ["false", "true", "", "false", ""]}.get(suffix[:3].lower(), [False, True, None, False, None])
    assert [row["prediction"] for row in rows] == predictions
    assert [bool(row["error"]) for row in rows] == [False, False, True, False, True]
    for code in ("delay: DAT_TYPE", "seats: DAT_MIN", "origin: DAT_VALUES"):
        assert code in rows[2]["error"]
    assert "DAT_TIME_GAP" in rows[4]["error"]
    assert float(rows[1]["probability_true"]) + float(rows[1]["probability_false"]) == pytest.approx(1)
    assert not rows[2]["probability_true"]
    assert [p.name for p in file.parent.iterdir() if p.name.startswith(".")] == []


def test_a_refused_value_steers_no_terminal(predictor: Predictor, file: Path) -> None:
    lines = file.read_text().splitlines()
    cells = lines[1].split(",")
    cells[HEAD.split(",").index("delay")] = "\x1b[2J\u202e::error::x"
    file.write_text("\n".join([*lines, ",".join(cells)]) + "\n")
    out = file.with_name("out.csv")
    score(predictor, file, out, READ)
    assert rows_of(out)[-1]["error"] == "delay: DAT_TYPE (\\x1b[2J\\u202e::error::x)"


def test_packed_output_has_the_same_bytes_each_time(predictor: Predictor, file: Path) -> None:
    first, second = file.with_name("first.csv.gz"), file.with_name("second.csv.gz")
    for out in (first, second):
        score(predictor, file, out, READ)
    assert first.read_bytes() == second.read_bytes()


def test_files_and_requests_get_the_same_answers(predictor: Predictor, tmp_path: Path) -> None:
    table = modelkit.table(200, seed=5)
    pq.write_table(table, tmp_path / "rows.parquet")
    assert score(predictor, tmp_path / "rows.parquet", tmp_path / "out.parquet", READ) == Scored(200, 0)
    asked = [
        {k: v.isoformat() if k == "when" else v for k, v in row.items() if k != "late"} for row in table.to_pylist()
    ]
    predictions, probabilities = predictor.predict(predictor.decode(asked).columns)
    scored = pq.read_table(tmp_path / "out.parquet")
    assert scored["prediction"].to_pylist() == predictions
    assert probabilities is not None
    assert scored["probability_true"].to_pylist() == pytest.approx([p["true"] for p in probabilities], abs=1e-12)


def test_only_refused_rows_are_an_error_with_the_reasons_left_behind(predictor: Predictor, file: Path) -> None:
    file.write_text("\n".join([HEAD, LINES[2], LINES[4]]) + "\n")
    out = file.with_name("out.csv")
    with pytest.raises(DataError) as refused:
        score(predictor, file, out, READ)
    assert refused.value.code == "DAT_ALL_REFUSED"
    assert len(rows_of(out)) == 2


def test_rows_that_the_model_refuses_have_an_error(predictor: Predictor, file: Path) -> None:
    class Moody(Predictor):
        def _ask(self, rows: Any) -> Any:
            if 500.0 in rows["delay"].tolist():
                raise ValueError("no")
            return super()._ask(rows)

    out = file.with_name("out.jsonl")
    assert score(Moody(predictor.pipeline, predictor.signature), file, out, READ) == Scored(5, 3)
    assert rows_of(out)[1]["error"].startswith("MOD_NO_ANSWER")
    assert rows_of(out)[0]["prediction"] is False


def test_a_failure_leaves_no_file(predictor: Predictor, file: Path) -> None:
    file.write_text("seats,carrier\n1,AA\n")
    out = file.with_name("out.csv")
    out.write_text("what was there")
    with pytest.raises(DataError) as refused:
        score(predictor, file, out, READ)
    assert refused.value.code == "DAT_COLUMN_MISSING"
    assert out.read_text() == "what was there"
    assert sorted(p.name for p in file.parent.iterdir()) == ["out.csv", "rows.csv"]


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.csv.zip", ".", "nowhere/out.csv", "rows.csv"])
def test_outputs_that_cannot_be(predictor: Predictor, file: Path, name: str) -> None:
    before = file.read_text()
    with pytest.raises(UsageError):
        score(predictor, file, file.parent / name, READ)
    assert file.read_text() == before


PROGRAM = (
    "import sys; from pathlib import Path; from stages.config.schema import ReadOptions\n"
    "from stages.serving.batch import score; from stages.serving.predictor import Predictor\n"
    "score(Predictor.load(Path(sys.argv[1])), Path(sys.argv[2]), None, ReadOptions()); print('after')"
)


def printed(model_folder: Path, file: Path, output: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, str(model_folder), str(file)],
        cwd=Path(__file__).resolve().parents[3],
        stdout=output,
        stderr=subprocess.PIPE,
        text=True,
        timeout=120,
        check=False,
    )


def test_a_full_disk_behind_standard_output_is_one(model_folder: Path, file: Path) -> None:
    with Path("/dev/full").open("w") as full:
        said = printed(model_folder, file, full).stderr
    assert said.rstrip().splitlines()[-1].startswith("stages.errors.InfraError: DEP_DISK: standard output: No space")


def test_standard_output_is_csv(model_folder: Path, file: Path) -> None:
    lines = printed(model_folder, file, subprocess.PIPE).stdout.splitlines()
    assert lines[0] == "prediction,probability_false,probability_true,error"
    assert len(lines) == 7
    assert lines[-1] == "after"


@pytest.mark.parametrize("runtime", ["scikit-learn", "onnxruntime"])
def test_every_row_refused_still_has_all_columns(
    predictor: Predictor, onnx: Predictor, tmp_path: Path, runtime: str
) -> None:
    file, out = tmp_path / "rows.csv", tmp_path / "out.csv"
    file.write_text("\n".join([HEAD, LINES[2], LINES[4]]) + "\n")
    rejected: list[int] = []
    chosen = predictor if runtime == "scikit-learn" else onnx
    with pytest.raises(DataError, match="DAT_ALL_REFUSED"):
        score(chosen, file, out, READ, reject=lambda row, error: rejected.append(row))
    assert rejected == [1, 2]
    assert list(rows_of(out)[0]) == ["prediction", "probability_false", "probability_true", "error"]
