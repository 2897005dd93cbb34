"""The reader's ml.yaml decides what is loaded; what travels with a model can only be refused."""

from __future__ import annotations

import json
import os
import pickle
from pathlib import Path
from typing import Any

import pytest

from stages.errors import ArtefactError
from stages.model import persistence
from stages.model.policy import Policy, file_of, proved
from stages.records.digest import damaged, sha256_file
from stages.records.jsonfile import read_json
from stages.records.regular import read_regular
from stages.serving.predictor import Predictor


class Evil:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (self.mark,))


def stored(folder: Path, content: bytes, **model: Any) -> dict[str, Any]:
    """A folder with a model whose records agree with it: what somebody who writes to the store can make."""
    name = f"model.{model['format']}"
    (folder / name).write_bytes(content)
    signature: dict[str, Any] = {
        "model": {"trust": [], "file": name, "sha256": sha256_file(folder / name).sha256, **model},
        "versions": {},
        "classes": None,
        "features": [],
    }
    (folder / "signature.json").write_text(json.dumps(signature))
    return signature


def test_a_record_cannot_make_a_pickle_be_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    signature = stored(tmp_path, pickle.dumps(Evil(mark)), format="joblib")
    for load in (
        lambda: persistence.load(tmp_path, signature, Policy()),
        lambda: persistence.load(tmp_path, None, Policy()),
        lambda: Predictor.load(tmp_path, Policy("skops", ("os.system",))),
        lambda: Policy().check(signature),
    ):
        with pytest.raises(ArtefactError) as refused:
            load()
        assert refused.value.code == "MOD_PICKLE"
        assert "--set model.format=joblib" in refused.value.todo
    assert not mark.exists()
    Policy("joblib").check(signature)


@pytest.mark.parametrize("model_format", ["pickle", "../joblib", "skops/../../x", "", None, 3, ["joblib"], {"a": 1}])
def test_other_formats_are_refused(model_format: Any, tmp_path: Path) -> None:
    signature = {"model": {"format": model_format, "file": "../../etc/passwd"}, "versions": {}, "classes": None}
    for policy in (None, Policy(), Policy("joblib")):
        with pytest.raises(ArtefactError) as refused:
            persistence.load(tmp_path, signature, policy)
        assert refused.value.code == "MOD_RECORD"


@pytest.mark.parametrize("signature", [[], None, "x", {}, {"model": []}, {"onnx": [1], "model": {"format": "skops"}}])
def test_what_is_no_signature_is_refused(signature: Any) -> None:
    with pytest.raises(ArtefactError) as refused:
        Policy().check(signature)
    assert refused.value.code == "MOD_RECORD"


def test_the_name_of_a_file_is_not_taken_from_a_record() -> None:
    assert file_of({"model": {"format": "skops", "file": "/dev/zero"}}) == "model.skops"


def test_a_record_cannot_widen_trust(tmp_path: Path) -> None:
    signature = {"model": {"format": "skops", "trust": ["b.B", "a.A"]}}
    with pytest.raises(ArtefactError) as refused:
        Policy("skops", ("a.A",)).check(signature)
    assert refused.value.code == "MOD_UNTRUSTED"
    assert refused.value.what.endswith("does not have: b.B")
    assert "trust: [a.A, b.B]" in refused.value.todo
    Policy("skops", ("a.A", "b.B", "c.C")).check(signature)
    assert proved({"onnx": {"proved": True}})
    Policy().check({"onnx": {"proved": True}, "model": {"format": "joblib"}})  # the ONNX file is what is loaded


def test_types_are_audited_against_the_configuration(tmp_path: Path) -> None:
    import skops.io

    from tests.stages.model.test_policy import Trusted

    name = f"{Trusted.__module__}.Trusted"
    signature = stored(tmp_path, skops.io.dumps(Trusted()), format="skops", trust=[name], estimator="sklearn.x")
    with pytest.raises(ArtefactError) as refused:
        persistence.load(tmp_path, signature, Policy())
    assert refused.value.code == "MOD_UNTRUSTED"


class Trusted:
    """A type that only model.trust lets through."""

    value = 1


def test_the_service_is_told_what_it_may_load() -> None:
    from stages.serving.__main__ import _arguments

    given = _arguments(["--folder", "x", *Policy("skops", ("a.A", "b.B")).words()])
    assert (given.model_format, given.trust) == ("skops", ["a.A", "b.B"])


# ---- files


def test_pipes_devices_and_huge_files_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "folder").mkdir()
    with (tmp_path / "huge").open("wb") as stream:
        stream.truncate(2**43)
    for name in ("pipe", "zero", "folder", "huge"):
        with pytest.raises(OSError):
            read_regular(tmp_path / name)
        with pytest.raises(ArtefactError) as refused:
            read_json(tmp_path / name)
        assert refused.value.code == "MOD_RECORD"
        recorded = {name: {"sha256": "0", "size": (tmp_path / name).stat().st_size}}
        if name != "huge":
            assert damaged(tmp_path, recorded) == [name]


@pytest.mark.parametrize("name", ["model.skops", "signature.json"])
def test_a_pipe_in_the_place_of_a_model_is_refused_at_once(name: str, tmp_path: Path) -> None:
    stored(tmp_path, b"x", format="skops")
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(ArtefactError) as refused:
        Predictor.load(tmp_path, Policy())
    assert refused.value.code == "MOD_RECORD"


def test_deep_json_is_a_refusal(tmp_path: Path) -> None:
    (tmp_path / "signature.json").write_text("[" * 200_000)
    with pytest.raises(ArtefactError) as refused:
        Predictor.load(tmp_path, Policy())
    assert refused.value.code == "MOD_RECORD"


def test_onnx_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The digest is that of the bytes that are loaded, however often the file is exchanged."""
    from stages.serving import onnx_predictor

    (tmp_path / "model.onnx").write_bytes(b"good")
    signature = {"onnx": {"proved": True, "sha256": sha256_file(tmp_path / "model.onnx").sha256}, "features": []}
    read: list[Path] = []

    def exchanged(path: Path) -> bytes:
        read.append(path)
        content = read_regular(path)
        path.write_bytes(b"bad!" if content == b"good" else b"good")
        return content

    monkeypatch.setattr(onnx_predictor, "read_regular", exchanged)
    monkeypatch.setattr(
        onnx_predictor.OnnxPredictor, "__init__", lambda self, content, *_: self.__dict__.update(c=content)
    )
    loaded = onnx_predictor.OnnxPredictor.open(tmp_path, signature)
    assert (loaded.__dict__["c"], len(read)) == (b"good", 1)
    with pytest.raises(ArtefactError):
        onnx_predictor.OnnxPredictor.open(tmp_path, signature)


def test_whoever_reads_a_model_says_what_it_may_be() -> None:
    """Left out only by training, and inside what was built from a checked version."""
    import ast

    root = Path(__file__).resolve().parents[3] / "stages"
    free = []
    for path in sorted(root.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call):
                most = {"Predictor.load": 1, "persistence.load": 2}.get(ast.unparse(node.func))
                if most is not None and len(node.args) <= most:
                    free.append(str(path.relative_to(root)))
    assert set(free) == {"train.py", "product/embedded.py", "product/scorer.py"}
