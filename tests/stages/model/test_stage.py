"""`mlci train` as a stage: skipped when unchanged, errors with file and line, reproducible."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path

import pytest

from stages.errors import ConfigError, GateError, MlciError
from stages.model import training
from stages.prepare import prepare
from stages.project import Project
from stages.records.stage import outputs_of
from stages.train import describe, train
from tests.stages.model.conftest import rows

CONFIG = """\
name: small
task: classification
data:
  source: data.csv
  target: late
  columns:
    size: {type: number, nullable: true}
    count: {type: integer, min: 0}
    kind: {type: category, nullable: true}
    late: {type: boolean}
  split: {test: 0.25, by: random}
model:
  estimator: sklearn.ensemble.RandomForestClassifier
  params: {n_estimators: 5}
card: {owner: me}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    table = rows(400)
    names = ["size", "count", "kind", "late"]
    with (tmp_path / "data.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(names)
        for values in zip(*(table[n] for n in names), strict=True):
            writer.writerow(["" if v is None else str(v).lower() if isinstance(v, bool) else v for v in values])
    (tmp_path / "ml.yaml").write_text(CONFIG)
    return tmp_path


def _project(folder: Path, *changes: tuple[str, str]) -> Project:
    text = (folder / "ml.yaml").read_text()
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (folder / "ml.yaml").write_text(text)
    return Project.open(folder / "ml.yaml")


def test_leaves_every_file_and_is_skipped_the_second_time(folder: Path) -> None:
    project = _project(folder)
    prepare(project)
    result = train(project)
    assert result.status == "done"
    left = {path.name for path in project.folder("train").iterdir()}
    assert left >= {"model.skops", "signature.json", "golden.json", "metrics.json", "MODEL_CARD.md", "result.json"}
    signature = json.loads((project.folder("train") / "signature.json").read_text())
    digest = hashlib.sha256((project.folder("train") / "model.skops").read_bytes()).hexdigest()
    assert signature["model"]["sha256"] == digest == result.outputs["model.skops"]["sha256"]
    golden = json.loads((project.folder("train") / "golden.json").read_text())
    assert golden["requests"]
    assert "roc_auc" in result.summary["text"]
    assert "test rows" in result.summary["text"]
    assert train(project).status == "skipped"


def test_runs_again_for_another_model_but_not_for_another_bound(folder: Path) -> None:
    project = _project(folder)
    prepare(project)
    train(project)
    project = _project(folder, ("card:", "validate: {metrics: {roc_auc: {min: 0.6}}}\ncard:"))
    assert train(project).status == "skipped"
    project = _project(folder, ("n_estimators: 5", "n_estimators: 6"))
    assert train(project).status == "done"


def test_training_again_gives_the_same_model(folder: Path) -> None:
    project = _project(folder)
    prepare(project)
    first = train(project, verify_reproducible=True)
    assert train(project, verify_reproducible=True).status == "skipped"
    before = outputs_of(project, "train", ["model.skops"])
    (project.folder("train") / "result.json").unlink()
    second = train(project)
    assert outputs_of(project, "train", ["model.skops"]) == before
    assert first.summary["predictions_sha256"] == second.summary["predictions_sha256"]


def test_a_model_that_is_not_reproducible_is_found(folder: Path) -> None:
    (folder / "mine.py").write_text(
        "import os\nimport numpy as np\nfrom sklearn.base import BaseEstimator, TransformerMixin\n"
        "class Noise(TransformerMixin, BaseEstimator):\n"
        "    def fit(self, X, y=None):\n"
        "        self.shift_ = int.from_bytes(os.urandom(4), 'big')\n        return self\n"
        "    def transform(self, X):\n"
        "        return np.random.default_rng(self.shift_).normal(size=(len(X), 1)) + self.shift_ % 1000\n"
        "def noise():\n    return Noise()\n"
    )
    project = _project(folder, ("params:", "preprocess: mine:noise\n  trust: [mine.Noise]\n  params:"))
    prepare(project)
    with pytest.raises(GateError) as caught:
        train(project, verify_reproducible=True)
    assert (caught.value.code, caught.value.exit_code) == ("MOD_NOT_REPRODUCIBLE", 4)
    assert train(project).status == "skipped"


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("RandomForestClassifier", "RandomForrestClassifier", "ml.yaml:13: model.estimator"),
        ("n_estimators: 5", "n_estimator: 5", "ml.yaml:14: model.params"),
        ("params: {n_estimators: 5}", "search: {params: {depth: [1]}}", "ml.yaml:14: model.search.params.depth"),
        ("target: late", "positive: maybe\n  target: late", "data.positive"),
    ],
)
def test_config_errors_name_file_and_line(folder: Path, old: str, new: str, line: str) -> None:
    prepare(_project(folder))
    try:
        project = _project(folder, (old, new))
    except ConfigError:  # found when the file was read, even earlier
        return
    with pytest.raises(ConfigError) as caught:
        train(project)
    assert line in caught.value.what
    assert not project.folder("train").exists()


def test_without_data_there_is_nothing_to_train_on(folder: Path) -> None:
    with pytest.raises(MlciError) as caught:
        describe(_project(folder))
    assert (caught.value.code, caught.value.exit_code) == ("DAT_NOT_PREPARED", 3)


@pytest.mark.parametrize("text", ['{"columns": 5}', '{"columns": {"late": 5}}', "{}"])
def test_a_schema_that_is_none(folder: Path, text: str) -> None:
    project = _project(folder)
    prepare(project)
    schema = project.folder("prepare") / "schema.json"
    schema.write_text(text)
    with pytest.raises(MlciError) as caught:
        train(project)
    assert (caught.value.code, caught.value.exit_code) == ("DAT_RECORD", 3)
    assert "schema.json" in caught.value.what
    with pytest.raises(MlciError) as caught:
        training.schema_of(project.folder("prepare"))
    assert (caught.value.code, caught.value.exit_code) == ("MOD_RECORD", 3)


def test_a_failed_attempt_leaves_the_last_good_model(folder: Path) -> None:
    project = _project(folder)
    prepare(project)
    train(project)
    before = (project.folder("train") / "model.skops").read_bytes()
    project = _project(folder, ("n_estimators: 5", "n_estimators: 5, max_samples: 2.0, bootstrap: false"))
    with pytest.raises(MlciError):
        train(project)
    assert (project.folder("train") / "model.skops").read_bytes() == before
    failed = json.loads((project.folder("train.failed") / "result.json").read_text())
    assert failed["status"] == "failed"
