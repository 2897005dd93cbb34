"""Recorded requests that hold no person's row, and prove a model all the same."""

import json
import os
import re
import stat

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.serving import synthetic
from stages.serving.decode import Decoder

FEATURES = [
    {"name": "number", "type": "number", "nullable": True},
    {"name": "bounded", "type": "number", "nullable": False, "min": 0, "max": 1},
    {"name": "integer", "type": "integer", "nullable": False, "min": 1},
    {"name": "listed", "type": "integer", "nullable": False, "values": [1, 5, 7]},
    {"name": "boolean", "type": "boolean", "nullable": True},
    {"name": "level", "type": "category", "nullable": False},
    {"name": "value", "type": "category", "nullable": False, "values": ["a", 1, True]},
    {"name": "plate", "type": "text", "nullable": False, "pattern": r"[A-Z]{1,3}-(?:\d{2}|[^\W_a-z]+x?)\.(a|b)$"},
    {"name": "free", "type": "text", "nullable": True},
    {"name": "zoned", "type": "datetime", "nullable": False, "timezone": "Europe/Berlin"},
    {"name": "plain", "type": "datetime", "nullable": False, "format": "%d.%m.%Y"},
]
SCHEMA = {
    "columns": {
        "number": {"min": -3.5, "max": 8.25},
        "bounded": {"min": 0.25, "max": 0.75},
        "integer": {"min": 20, "max": 40},
        "level": {"levels": ["x", "y"]},
        "free": {"longest": 5},
        "zoned": {"min": "2024-03-30T00:00:00+00:00", "max": "2024-11-01T00:00:00+00:00"},
        "plain": {"min": "2020-01-01T00:00:00", "max": "2021-01-01T00:00:00"},
    }
}


def drawn(features=FEATURES, real=list, n=40, seed=1):
    return synthetic.rows({"features": features}, SCHEMA, real, n, seed)


def test_every_type_meets_the_contract_and_the_ranges_of_the_data():
    rows = drawn()
    assert len(rows) == 40
    assert not Decoder({"features": FEATURES}).decode(rows).refused
    assert rows == drawn(), "the same rows each time"
    assert rows != drawn(seed=2)
    assert all(0.25 <= row["bounded"] <= 0.75 and 20 <= row["integer"] <= 40 for row in rows)
    assert {row["level"] for row in rows} == {"x", "y"}
    assert {None} < {row["boolean"] for row in rows}
    assert all(re.fullmatch(r"\d\d\.\d\d\.2020|01\.01\.2021", row["plain"]) for row in rows)


def test_no_row_is_a_real_one():
    features = [feature for feature in FEATURES if feature["name"] in ("listed", "boolean", "level")]
    every = [(n, b, level) for n in (1, 5, 7) for b in (True, False, None) for level in ("x", "y")]
    spared = every.pop(4)

    def real():
        names, kinds = ("listed", "boolean", "level"), (pa.int64(), pa.bool_(), pa.dictionary(pa.int32(), pa.string()))
        columns = [pa.array(values).cast(kind) for values, kind in zip(zip(*every, strict=True), kinds, strict=True)]
        for at in range(0, len(every), 5):
            yield pa.record_batch(columns, names=names).slice(at, 5)

    assert drawn(features, real) == [dict(zip(("listed", "boolean", "level"), spared, strict=True))]
    every.append(spared)
    with pytest.raises(ValueError, match="stands in the data"):
        drawn(features, real)


@pytest.mark.parametrize(
    "pattern", [r"\w+@\w+\.(com|org)", r"^a.c$", r"(?i)ab?", r"[^a-y]{3}", r"\S\s\D\W", r"(?P<x>é|ü)+", r"\d{4}-\d\d"]
)
def test_texts_that_a_pattern_takes(pattern):
    feature = {"name": "t", "type": "text", "nullable": False, "pattern": pattern}
    assert drawn([feature], n=5)


def test_from_training_to_verification(repository):
    os.umask(0o022)
    repository.write("ml.yaml", (repository.folder / "ml.yaml").read_text() + "golden: {source: synthetic}\n")
    assert repository.run("prepare").exit_code == 0
    assert repository.run("train").exit_code == 0
    golden = json.loads((repository.folder / ".mlci/train/golden.json").read_text())
    asked = golden["requests"][0]["rows"]
    assert len(asked) == 32
    real = {
        (row["size"], row["kind"], row["built"].isoformat())
        for side in ("train", "test")
        for row in pq.read_table(repository.folder / f".mlci/prepare/{side}.parquet").to_pylist()
    }
    assert not [row for row in asked if (row["size"], row["kind"], row["built"]) in real]
    assert repository.run("train").data["status"] == "skipped"
    repository.change("golden: {source: synthetic}", "golden: {source: sampled}")
    assert repository.run("train").data["status"] == "done"
    assert repository.run("check", "--set", "golden.source=other").codes == ["CFG_VALUE"]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in (repository.folder / ".mlci").rglob("*")}
    assert {path.name: oct(mode) for path, mode in modes.items() if mode & 0o027 & ~(path.is_dir() * 0o010)} == {}
    assert os.umask(0o022) == 0o022, "the command leaves the umask as it was"
