"""JSON that somebody else may have written: refused in bounded memory, whatever it holds."""

import json
import os
import subprocess
import sys

import pytest

from stages.errors import ArtefactError, MlciError
from stages.model import persistence
from stages.records import jsonfile, result
from stages.store.base import alias_of, logged
from stages.store.record import Record

DEEP = [
    b"[" * 200_000,
    b"[" * 200_000 + b"]" * 200_000,
    b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
    b"[" * 70 + b"]" * 70,
]
HOSTILE = [*DEEP, b"9" * 5000, b"[" + b"9" * 400 + b"]", b"", b"\xff\xfe", b'"\\ud800', b"nul", b"[1] [2]"]
OTHER_SHAPES = [
    b"[]",
    b"1",
    b"null",
    b'"text"',
    b'{"move": [1]}',
    b'{"move": {"from": 1}}',
    b'{"files": 5, "when": 1.0}',
]


@pytest.mark.parametrize("content", HOSTILE)
def test_text_that_is_refused(content):
    with pytest.raises(ValueError):
        jsonfile.parse(content)


@pytest.mark.parametrize("content", [*HOSTILE, *OTHER_SHAPES])
def test_every_record_refuses_it(content, tmp_path):
    for name in ("signature.json", "result.json", "artefact.json"):
        (tmp_path / name).write_bytes(content)
    assert result.read(tmp_path) is None
    assert Record.of(content) is None
    assert logged(content + b"\n").moves == []
    with pytest.raises(MlciError) as refused:
        alias_of(content, "alias")
    assert refused.value.code == "STO_READ"
    with pytest.raises(ArtefactError) as refused:
        persistence._signature(tmp_path)
    assert refused.value.code == "MOD_RECORD"


@pytest.mark.parametrize("content", [*HOSTILE, b"[]", b"1", b"null"])
def test_a_stage_reads_objects_only(content, tmp_path):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(ArtefactError, match=r"x\.json: cannot be read"):
        jsonfile.read_json(tmp_path / "x.json")


def test_a_file_that_is_none(tmp_path):
    os.mkfifo(tmp_path / "x.json")
    with pytest.raises(ArtefactError, match="regular file"):
        jsonfile.read_json(tmp_path / "x.json")
    with pytest.raises(ArtefactError, match="regular file"):
        jsonfile.read_json(tmp_path)


@pytest.mark.parametrize(("unit", "times"), [("[],", 6_000_000), ('{"a":1},', 3_000_000), ('"a",', 5_000_000)])
def test_many_values_in_bounded_memory(unit, times, tmp_path):
    with (tmp_path / "x.json").open("w") as out:
        out.write('{"outputs": [')
        for _ in range(times // 100_000):
            out.write(unit * 100_000)
        out.write("0]}")
    code = (
        "import resource, sys; from pathlib import Path; from stages.records import jsonfile\n"
        "resource.setrlimit(resource.RLIMIT_AS, (600 * 2**20,) * 2)\n"
        "try: jsonfile.read_json(Path(sys.argv[1]))\n"
        "except Exception as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "x.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "more than 4,000,000 values" in done.stdout


def test_a_sparse_file_of_a_terabyte(tmp_path):
    with (tmp_path / "result.json").open("wb") as out:
        out.truncate(2**40)
    assert result.read(tmp_path) is None


def test_what_mlci_writes_is_read(tmp_path):
    value = {
        "a": [1, -2.5, None, True, "é"],
        "nan": float("nan"),
        "big": 2**64,
        "deep": json.loads("[" * 60 + "]" * 60),
    }
    (tmp_path / "x.json").write_text(json.dumps(value))
    assert repr(jsonfile.read_json(tmp_path / "x.json")) == repr(value)


@pytest.mark.parametrize(
    "damage",
    [
        {"outputs": []},
        {"outputs": {"a": 1}},
        {"outputs": {"a": {"sha256": "x"}}},
        {"inputs": None},
        {"summary": "text"},
        {"key": 1},
        {"libraries": []},
        {"error": "x"},
        {"error": {}},
        {"exit_code": "0"},
        {"seconds": "1"},
        {"stage": None},
    ],
)
def test_a_record_of_another_shape_is_none(damage, tmp_path):
    found = result.Result("train", "done", 0, "", 1.0, 1, {}, {}, {}, "3", {}, None, {})
    found.write(tmp_path)
    assert result.read(tmp_path) == found
    data = json.loads((tmp_path / "result.json").read_text())
    (tmp_path / "result.json").write_text(json.dumps(data | damage))
    assert result.read(tmp_path) is None
