"""model.onnx: auto, require and never, as `mlci train` carries them out."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest

from stages.errors import ArtefactError
from stages.prepare import prepare
from stages.project import Project
from stages.serving.golden import compare
from stages.serving.onnx_predictor import OnnxPredictor
from stages.serving.predictor import Predictor
from stages.train import train

CONFIG = """\
name: small
task: classification
data:
  source: data.csv
  target: late
  columns:
    size: {type: number, nullable: true}
    kind: {type: category, nullable: true}
    late: {type: boolean}
  split: {test: 0.25, by: random}
model:
  estimator: ESTIMATOR
  onnx: WANTED
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    size, kind = rng.normal(size=300), rng.choice(["a", "b", "ç"], 300)
    late = size + (kind == "b") + rng.normal(0, 0.5, 300) > 0
    shown = ["" if i % 9 == 2 else f"{v:.5f}" for i, v in enumerate(size)]
    lines = [f"{s},{k},{str(bool(y)).lower()}" for s, k, y in zip(shown, kind, late, strict=True)]
    (tmp_path / "data.csv").write_text("\n".join(["size,kind,late", *lines]), encoding="utf-8")
    return tmp_path


def _project(folder: Path, estimator: str, wanted: str) -> Project:
    (folder / "ml.yaml").write_text(CONFIG.replace("ESTIMATOR", estimator).replace("WANTED", wanted))
    project = Project.open(folder / "ml.yaml")
    prepare(project)
    return project


def test_a_proved_model_is_left_recorded_and_loaded(folder: Path) -> None:
    project = _project(folder, "sklearn.linear_model.LogisticRegression", "require")
    result = train(project)
    out = project.folder("train")
    signature = json.loads((out / "signature.json").read_text())
    digest = hashlib.sha256((out / "model.onnx").read_bytes()).hexdigest()
    assert signature["onnx"]["proved"] is True
    assert signature["onnx"]["sha256"] == digest == result.outputs["model.onnx"]["sha256"]
    assert result.summary["onnx"]["max_delta"] < 1e-9
    predictor = Predictor.load(out)
    assert isinstance(predictor, OnnxPredictor)
    golden = json.loads((out / "golden.json").read_text())
    assert compare(golden, lambda body: predictor.predict(predictor.decode(body["rows"]).columns)._asdict()) == []


def test_never_leaves_none_and_nothing_of_onnx_is_touched(folder: Path) -> None:
    project = _project(folder, "sklearn.linear_model.LogisticRegression", "never")
    train(project)
    out = project.folder("train")
    assert not (out / "model.onnx").exists()
    assert json.loads((out / "signature.json").read_text())["onnx"]["proved"] is False
    assert not isinstance(Predictor.load(out), OnnxPredictor)


# Votes of whole estimators have no probabilities to compare.
REFUSED = "sklearn.linear_model.Perceptron"


def test_what_is_not_proved_is_served_by_scikit_learn_and_the_log_says_why(
    folder: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages.export import estimators
    from stages.export.graph import NotConvertible

    def refuse(*given: object) -> None:
        raise NotConvertible("a reason of the test")

    monkeypatch.setitem(estimators._OWN, "Perceptron", refuse)
    project = _project(folder, REFUSED, "auto")
    with caplog.at_level("INFO", logger="mlci"):
        result = train(project)
    assert [r.message for r in caplog.records if "scikit-learn will serve" in r.message] == [
        "scikit-learn will serve, there is no ONNX model: a reason of the test"
    ]
    assert not (project.folder("train") / "model.onnx").exists()
    assert result.summary["onnx"] == {"proved": False, "reason": "a reason of the test"}
    assert not isinstance(Predictor.load(project.folder("train")), OnnxPredictor)
    with pytest.raises(ArtefactError, match="a reason of the test") as caught:
        train(_project(folder, REFUSED, "require"))
    assert (caught.value.code, caught.value.exit_code) == ("MOD_ONNX", 3)


def test_a_model_that_answers_recorded_requests_differently_is_not_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last proof asks as the service does; here serving's own look-up of categories is broken."""
    from stages.model import inputs

    whole = inputs._maker
    monkeypatch.setattr(
        inputs, "_maker", lambda column: (lambda value: 3.0) if column["kind"] == "category" else whole(column)
    )
    project = _project(folder, "sklearn.linear_model.LogisticRegression", "auto")
    result = train(project)
    assert result.summary["onnx"]["proved"] is False
    assert not (project.folder("train") / "model.onnx").exists()
