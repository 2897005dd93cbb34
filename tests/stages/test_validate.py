"""The stage as a whole, on a model and data laid out as `prepare` and `train` leave them."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OrdinalEncoder
from sklearn.svm import LinearSVC
from threadpoolctl import threadpool_limits

from stages.cli import main
from stages.errors import ArtefactError
from stages.gate import asking, report, verdict
from stages.gate.explain import explain
from stages.gate.outcome import Outcome
from stages.model import answers, frames, persistence
from stages.model.metrics import Answer, Truth
from stages.model.signature import signature as signature_of
from stages.project import Project
from stages.records import result
from stages.records.result import Result
from stages.store import DirectoryStore, Move, model_digest
from stages.store.version import files_of
from stages.validate import describe, validate

ROOT = Path(__file__).resolve().parents[2]

BINARY = """
name: sample
task: classification
data:
  source: data.csv
  target: late
  positive: "yes"
  columns:
    x: {type: number, nullable: true}
    z: {type: number}
    late: {type: category}
model: {estimator: sklearn.ensemble.HistGradientBoostingClassifier}
"""
REGRESSION = """
name: sample
task: regression
data:
  source: data.csv
  target: y
  columns: {x: {type: number, nullable: true}, z: {type: number}, y: {type: number}}
model: {estimator: sklearn.ensemble.RandomForestRegressor}
"""


def table(config: str, n: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    x, z = rng.normal(size=n), rng.normal(size=n)
    signal = x * z + 0.5 * x + 0.3 * rng.normal(size=n)
    columns: dict[str, Any] = {"x": pa.array(np.where(rng.random(n) < 0.05, np.nan, x), from_pandas=True), "z": z}
    if config == REGRESSION:
        return pa.table({**columns, "y": signal})
    late = pa.array(np.where(signal > 0, "yes", "no")).dictionary_encode()
    return pa.table({**columns, "late": late})


class Laid:
    """A project with its `prepare` and `train` folders written by hand."""

    def __init__(self, root: Path, config: str, estimator: Any, gate: str) -> None:
        self.root, self.config, self.estimator = root, config, estimator
        (root / "ml.yaml").write_text(config + gate)
        self.project = Project.open(root / "ml.yaml")
        self.sides = {"train": table(config, 1200, 1), "test": table(config, 600, 2)}
        self.leakage: dict[str, Any] = {"duplicate_feature_rows_share": 0.0, "overlapping_keys": None}
        self.first_row, self.swapped = 0, False
        self.gap = {"train": {"roc_auc": 0.99}, "test": {"roc_auc": 0.97}}

    def gate(self, text: str) -> None:
        (self.root / "ml.yaml").write_text(self.config + text)
        self.project = Project.open(self.root / "ml.yaml")

    def write(self) -> None:
        prepared, trained = self.project.folder("prepare"), self.project.folder("train")
        for folder in (prepared, trained):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        for side, rows in self.sides.items():
            pq.write_table(rows, prepared / f"{side}.parquet")
            first = self.first_row + (5_000 if (side == "test") != self.swapped else 0)
            np.save(prepared / f"{side}.rows.npy", np.arange(first, first + rows.num_rows, dtype=np.uint64))
        rows = {"read": 1800, "train": 1200, "test": 600, "refused": 0, "duplicates": 0, "dropped_by_transform": 0}
        columns = {"x": {"type": "number", "nulls": 60}, "z": {"type": "number", "nulls": 0}}
        profile = {"leakage": self.leakage, "rows": rows, "columns": columns, "refused": {"by_code": {}}}
        (prepared / "profile.json").write_text(json.dumps(profile))
        self.record("prepare", prepared, {})
        classes = ["no", "yes"] if self.config == BINARY else None
        said = signature_of(self.project.config, classes, "yes" if classes else None)
        inputs = frames.frame(self.sides["train"], said["features"])
        kind = said["target"]["type"]
        target = frames.target(self.sides["train"].column(said["target"]["name"]), kind, said["task"])
        pipeline = make_pipeline(OrdinalEncoder(), self.estimator) if kind == "never" else make_pipeline(self.estimator)
        pipeline.fit(inputs, target)
        said = persistence.save(pipeline, trained, said, inputs.head(5), answers.ask(pipeline, inputs.head(5), classes))
        (trained / "signature.json").write_text(json.dumps(said))
        asked = {"requests": [{"rows": [{"x": 0.5, "z": -1.0}, {"x": None, "z": 2.0}]}], "answers": []}
        (trained / "golden.json").write_text(json.dumps(asked))
        (trained / "metrics.json").write_text(json.dumps({**self.gap, "cv": None}))
        self.record("train", trained, result.digests_of(prepared))

    def record(self, stage: str, folder: Path, inputs: dict[str, Any]) -> None:
        here = {f".mlci/prepare/{name}": digest for name, digest in inputs.items()}
        outputs = result.digests_of(folder)
        Result(stage, "done", 0, "now", 0.0, 0, here, outputs, {}, "3", {}, None, {}).write(folder)

    def verdict(self, **options: Any) -> tuple[Result, dict[str, Any]]:
        done = validate(self.project, **options)
        return done, json.loads((self.project.folder("validate") / "gate.json").read_bytes())


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Small models are slower with several threads, and other tests run beside these."""
    with threadpool_limits(1):
        yield


@pytest.fixture
def lay(tmp_path: Path) -> Callable[..., Laid]:
    def make(gate: str, config: str = BINARY, estimator: Any = None) -> Laid:
        default = HistGradientBoostingClassifier(max_iter=20, random_state=0)
        if config == REGRESSION:
            default = RandomForestRegressor(10, random_state=0)
        laid = Laid(tmp_path, config, estimator or default, gate)
        laid.write()
        return laid

    return make


GOOD = "validate: {metrics: {roc_auc: {min: 0.8}, log_loss: {max: 0.6}}}\n"


def by_rule(gate: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {found["rule"]: found for found in gate["rules"]}


def test_a_good_model_is_approved(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    done, gate = laid.verdict()
    assert (done.exit_code, done.status, done.error) == (0, "done", None)
    assert (gate["approved"], gate["verdict"], gate["schema_version"]) == (True, "approved", 1)
    assert gate["model"] == model_digest(laid.project.folder("train"))
    rules = by_rule(gate)
    assert {r: found["status"] for r, found in rules.items() if not r.startswith("gap")} == {
        "metric.roc_auc": "passed",
        "metric.log_loss": "passed",
        "baseline.dummy.roc_auc": "passed",
        "baseline.dummy.log_loss": "passed",
        "baseline.linear.roc_auc": "passed",
        "baseline.linear.log_loss": "passed",
        "leakage.features": "passed",
        "leakage.rows": "passed",
    }
    low, high = rules["metric.roc_auc"]["interval"]
    assert 0.8 < low < rules["metric.roc_auc"]["observed"] < high <= 1
    assert done.summary["text"].startswith("approved: roc_auc is 0.9")
    cases = ET.parse(laid.project.folder("validate") / "junit.xml").getroot().iter("testcase")
    assert [case.get("name") for case in cases] == [found["rule"] for found in gate["rules"]]
    assert "approved" in (laid.project.folder("validate") / "summary.md").read_text()


def test_the_same_model_gives_the_same_verdict_byte_for_byte(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    done, _ = laid.verdict()
    first = (laid.project.folder("validate") / "gate.json").read_bytes()
    shutil.rmtree(laid.project.folder("validate"))
    laid.verdict()
    assert (laid.project.folder("validate") / "gate.json").read_bytes() == first
    assert validate(laid.project).status == "skipped"
    assert done.status == "done"


def test_no_thresholds_approve_nothing(lay: Callable[..., Laid]) -> None:
    for gate in ("", "validate: {metrics: {}}\n"):
        laid = lay(gate)
        done, found = laid.verdict()
        assert (done.exit_code, done.status, found["approved"]) == (4, "failed", False)
        assert done.error is not None
        assert done.error["code"] == "GATE_NOTHING_CONFIGURED"


def test_a_failed_verdict_stays_failed_until_something_changes(lay: Callable[..., Laid]) -> None:
    laid = lay("validate: {metrics: {roc_auc: {min: 0.9999}}}\n")
    done, gate = laid.verdict()
    assert (done.exit_code, gate["verdict"]) == (4, "failed")
    assert done.error is not None
    assert done.error["code"] == "GATE_BELOW_BOUND"
    assert "mlci validate --explain metric.roc_auc" in done.error["todo"]
    again = validate(laid.project)
    assert (again.exit_code, again.status, again.started) == (4, "failed", done.started)
    laid.gate(GOOD)
    assert laid.verdict()[0].exit_code == 0


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("validate: {metrics: {roc_aux: {min: 0.1}}}\n", "GATE_UNKNOWN_METRIC"),
        ("validate: {metrics: {r2: {min: 0.1}}}\n", "GATE_UNKNOWN_METRIC"),
        ("validate: {metrics: {roc_auc: {max: 0.5}}}\n", "GATE_ABOVE_BOUND"),
    ],
)
def test_what_cannot_hold_fails_with_its_own_code(lay: Callable[..., Laid], gate: str, code: str) -> None:
    done, _ = lay(gate).verdict()
    assert done.exit_code == 4
    assert done.error is not None
    assert done.error["code"] == code


def test_a_class_absent_from_the_test_side_fails(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    rows = laid.sides["test"]
    laid.sides["test"] = rows.filter(pa.compute.equal(rows["late"].cast(pa.string()), "yes"))
    laid.write()
    done, gate = laid.verdict()
    assert by_rule(gate)["metric.roc_auc"]["code"] == "GATE_CLASS_ABSENT"
    assert done.exit_code == 4


def test_leakage_from_the_profile_and_from_single_features_fails(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    laid.leakage = {"duplicate_feature_rows_share": 0.3, "overlapping_keys": 2}
    for side, rows in laid.sides.items():
        leak = pa.compute.equal(rows["late"].cast(pa.string()), "yes").cast(pa.float64())
        laid.sides[side] = rows.set_column(rows.schema.get_field_index("z"), "z", leak)
    laid.write()
    done, gate = laid.verdict()
    found = by_rule(gate)
    failed = {rule for rule in found if found[rule]["status"] == "failed"}
    assert failed == {"leakage.features", "leakage.rows", "leakage.keys"}
    assert done.error is not None
    assert done.error["code"] == "GATE_FAILED"


def test_regression_and_a_linear_model(lay: Callable[..., Laid]) -> None:
    laid = lay("validate: {metrics: {r2: {min: 0.3}, mean_absolute_error: {max: 2}}}\n", REGRESSION)
    done, gate = laid.verdict()
    assert done.exit_code == 0, done.summary
    assert {"baseline.dummy.r2", "baseline.linear.mean_absolute_error"} <= set(by_rule(gate))


def test_linear_estimators_are_not_held_against_themselves(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD.replace("0.8", "0.5"))
    laid.sides = {k: t.set_column(0, "x", pa.compute.fill_null(t["x"], 0.0)) for k, t in laid.sides.items()}
    laid.estimator = LogisticRegression()
    laid.write()
    assert by_rule(laid.verdict()[1])["baseline.linear"]["status"] == "skipped"


def test_baselines_can_be_turned_off(lay: Callable[..., Laid]) -> None:
    gate = "validate: {metrics: {roc_auc: {min: 0.5}}, baselines: {dummy: off, linear: off}}\n"
    rules = by_rule(lay(gate).verdict()[1])
    assert not [rule for rule in rules if rule.startswith("baseline")]


def test_a_model_that_does_not_match_its_record_is_refused(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    path = laid.project.folder("train") / "metrics.json"
    path.write_text("{}")
    with pytest.raises(ArtefactError) as raised:
        validate(laid.project)
    assert raised.value.code == "MOD_RECORD"


def test_first_is_part_of_the_key(lay: Callable[..., Laid], monkeypatch: pytest.MonkeyPatch) -> None:
    laid = lay(GOOD)
    assert describe(laid.project).config["first"] is False
    monkeypatch.setenv("MLCI_FIRST", "1")
    assert describe(laid.project) == describe(laid.project, first=True)


def test_explain(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    laid.verdict()
    lines = explain(laid.project.folder("validate"), "baseline.dummy.roc_auc")
    assert lines[0] == "baseline.dummy.roc_auc: passed"


def test_it_runs_alone(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    command = [sys.executable, str(ROOT / "stages" / "validate.py"), "--config", str(laid.root / "ml.yaml"), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=laid.root.parent)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1])["summary"]["verdict"] == "approved"


# ---- champion ----------------------------------------------------------------------------------------------------

MARGIN = """
validate:
  metrics: {roc_auc: {min: 0.6, margin: 0.02}, log_loss: {margin: 0.05}}
  slices: [z, late]
  drift: {max_share: 0.3}
deploy: {local: {target: process, port: 8082}}
"""


def promote(laid: Laid, env: str = "local", **more: bytes) -> str:
    """Put the current model into the store and let the environment's alias point at it."""
    store = DirectoryStore(laid.project.store)
    digest = store.put("sample", files_of(laid.project) | {f"code/{name}.py": text for name, text in more.items()})
    current = store.alias("sample", env)
    origin, generation = (None, 1) if current is None else (current.digest, current.generation + 1)
    store.move("sample", Move("now", env, "deploy", origin, digest, "test", "test", None, generation))
    return digest


@pytest.fixture(autouse=True)
def _own_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCI_STORE", str(tmp_path / "store"))


def test_the_first_model_has_no_champion(lay: Callable[..., Laid], monkeypatch: pytest.MonkeyPatch) -> None:
    laid = lay(MARGIN)
    done, gate = laid.verdict()
    assert (done.exit_code, gate["first"]) == (0, True)
    found = by_rule(gate)["champion.roc_auc"]
    assert (found["status"], found["code"]) == ("skipped", "GATE_FIRST")
    assert by_rule(gate)["drift.features"]["status"] == "skipped"
    for name in ("CI", "JENKINS_URL"):
        monkeypatch.setenv(name, "true")
        done, gate = laid.verdict()
        assert (done.exit_code, by_rule(gate)["champion.roc_auc"]["code"]) == (4, "GATE_NO_CHAMPION")
        done, gate = laid.verdict(first=True)
        assert (done.exit_code, gate["first"]) == (0, True)
        monkeypatch.delenv(name)


def again(laid: Laid, rows: int = 1200, seed: int = 11, **columns: Any) -> None:
    """New data, trained again."""
    laid.sides = {"train": table(laid.config, rows, seed), "test": table(laid.config, 600, seed + 1)}
    for side in laid.sides:
        for name, change in columns.items():
            changed = change(laid.sides[side][name])
            laid.sides[side] = laid.sides[side].set_column(laid.sides[side].schema.get_field_index(name), name, changed)
    laid.first_row += 10_000
    laid.write()


def test_a_candidate_is_compared_with_the_champion(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    champion = promote(laid)
    again(laid)
    done, gate = laid.verdict()
    rules = by_rule(gate)
    assert (gate["champion"], gate["first"]) == (champion, False)
    assert rules["champion.roc_auc"]["n"] == 600
    assert rules["champion.roc_auc"]["status"] in ("passed", "inconclusive")
    assert rules["drift.features"]["status"] == "passed"
    assert {"slice.z.roc_auc", "slice.late.log_loss", "drift.label", "drift.prediction"} <= set(rules)
    assert done.summary["rules"]["passed"] > 10
    laid.estimator = HistGradientBoostingClassifier(max_iter=1, learning_rate=0.001, random_state=0)
    laid.write()
    done, gate = laid.verdict()
    worse = by_rule(gate)["champion.log_loss"]
    assert (worse["status"], worse["code"], done.exit_code) == ("failed", "GATE_CHAMPION_WORSE", 4)


def test_a_champion_with_modules_of_its_own_is_asked_apart(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    assert by_rule(laid.verdict()[1])["metric.roc_auc"]["status"] == "passed"
    promote(laid, columns=b"raise SystemExit('today, this module is another one')\n")
    found = by_rule(laid.verdict()[1])["champion.roc_auc"]
    assert (found["status"], found["observed"]) == ("passed", 0.0)
    assert found["details"]["asked_through"] == "scikit-learn, with its own modules"


RANKED = """
validate:
  metrics: {roc_auc: {min: 0.5, margin: 0.2}, accuracy: {margin: 0.2}}
  slices: [z]
  champion: local
deploy: {local: {target: process, port: 8082}}
"""


def test_a_classifier_without_probabilities_is_judged_by_its_scores(lay: Callable[..., Laid]) -> None:
    def machine(c: float) -> Any:
        return make_pipeline(SimpleImputer(), LinearSVC(C=c))

    laid = lay(RANKED, estimator=machine(1.0))
    rules = by_rule(laid.verdict()[1])
    assert (rules["metric.roc_auc"]["status"], rules["baseline.dummy.roc_auc"]["status"]) == ("passed", "passed")
    champion = promote(laid)
    for estimator in (machine(0.5), HistGradientBoostingClassifier(max_iter=20, random_state=0)):
        laid.estimator = estimator
        again(laid)
        _, gate = laid.verdict()
        rules = by_rule(gate)
        assert gate["champion"] == champion
        assert {rule for rule, one in rules.items() if one["code"] == "GATE_METRIC_UNDEFINED"} == set()
        assert rules["champion.roc_auc"]["status"] == "passed"
        assert rules["slice.z.roc_auc"]["status"] != "skipped"
        assert 0.5 < rules["champion.roc_auc"]["details"]["champion"] < 0.9
    promote(laid)
    laid.estimator = machine(1.0)  # against a champion with probabilities
    again(laid, seed=21)
    assert by_rule(laid.verdict()[1])["champion.roc_auc"]["code"] in (None, "GATE_CHAMPION_WORSE")
    laid.gate(RANKED.replace("roc_auc: {min: 0.5, margin: 0.2}", "log_loss: {max: 1, margin: 0.2}"))
    found = by_rule(laid.verdict()[1])["metric.log_loss"]
    assert (found["status"], found["code"]) == ("failed", "GATE_METRIC_UNDEFINED")
    assert "CalibratedClassifierCV" in found["sentence"]


def test_a_champion_whose_onnx_model_gives_labels_is_ranked_by_its_pipeline(
    lay: Callable[..., Laid], tmp_path: Path
) -> None:
    laid = lay(RANKED, estimator=make_pipeline(SimpleImputer(), LinearSVC()))
    test = laid.project.folder("prepare") / "test.parquet"
    labels = asking.ask(laid.project.folder("train"), test)
    assert labels.scores is None
    said = asking.ask_with_scores(laid.project.folder("train"), test)
    assert (said.labels == labels.labels).all()
    assert ((said.leaning(1) > 0) == (said.labels == "yes")).all()
    assert asking.main(str(laid.project.folder("train")), str(test), str(tmp_path / "a.npz"), "scores") == 0
    assert (asking.read(tmp_path / "a.npz").leaning(1) == said.leaning(1)).all()


def test_a_new_champion_makes_the_verdict_stale(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    promote(laid)
    assert validate(laid.project).status != "skipped"
    assert validate(laid.project).status == "skipped" or validate(laid.project).exit_code == 4


def test_rows_that_the_champion_learned_from_are_left_out(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    promote(laid)
    laid.sides = {"train": laid.sides["test"], "test": laid.sides["train"]}
    laid.swapped = True
    laid.write()
    found = by_rule(laid.verdict()[1])["champion.roc_auc"]
    assert (found["status"], found["code"], found["n"]) == ("inconclusive", "GATE_CHAMPION_ROWS", 0)


def test_a_drifted_source_fails(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    promote(laid)
    again(laid, z=lambda column: pa.compute.add(column, 3.0))
    rules = by_rule(laid.verdict()[1])
    found = rules["drift.features"]
    assert (found["status"], found["code"], found["observed"]) == ("failed", "GATE_DRIFT", 0.5)
    assert rules["drift.label"]["status"] in ("passed", "warned")


@pytest.mark.parametrize("fault", ["no file", "other library", "other target", "column gone", "other classes"])
def test_a_champion_that_cannot_be_scored_is_not_approved_past(
    lay: Callable[..., Laid], fault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_NO_INDEX", "1")  # its old environment cannot be made
    laid = lay(MARGIN)
    laid.verdict()
    said = laid.project.folder("train") / "signature.json"
    signature = json.loads(said.read_text())
    match fault:
        case "no file":
            (laid.project.folder("prepare") / "train.rows.npy").unlink()
        case "other library":
            signature["versions"]["scikit-learn"] = "0.1"
        case "other target":
            signature["target"]["name"] = "other"
        case "column gone":
            signature["features"].append({"name": "gone", "type": "number", "nullable": True})
        case "other classes":
            signature["classes"] = ["maybe", "yes"]
    said.write_text(json.dumps(signature))
    laid.record("train", said.parent, result.digests_of(laid.project.folder("prepare")))
    promote(laid)
    laid.write()
    done, gate = laid.verdict()
    found = by_rule(gate)["champion.roc_auc"]
    assert (found["status"], found["code"], done.exit_code) == ("failed", "GATE_CHAMPION_ENV", 4)
    told = {"column gone": "feature: false", "other classes": "class no, which it does not know"}
    assert told.get(fault, "") in found["sentence"]


def test_a_damaged_champion_is_an_error(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    digest = promote(laid)
    path = laid.project.store / "models" / "sample" / digest / "model.skops"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtefactError) as raised:
        validate(laid.project)
    assert raised.value.code == "STO_DIGEST"


def test_latency_and_size(lay: Callable[..., Laid]) -> None:
    laid = lay("validate: {metrics: {roc_auc: {min: 0.5}}, latency: {p99_ms: 5000}, size: {max_mb: 50}}\n")
    rules = by_rule(laid.verdict()[1])
    assert (rules["latency"]["status"], rules["size"]["status"]) == ("passed", "passed")
    assert 0 < rules["latency"]["observed"] < 5000
    laid.gate("validate: {metrics: {roc_auc: {min: 0.5}}, latency: {p99_ms: 0.0001}, size: {max_mb: 0.0001}}\n")
    rules = by_rule(laid.verdict()[1])
    assert (rules["latency"]["code"], rules["size"]["code"]) == ("GATE_LATENCY", "GATE_SIZE")


# ---- metrics of one's own -----------------------------------------------------------------------------------------

OWN = """
import numpy as np

def cost(y_true, y_pred, sample_weight=None):
    return float(np.mean(np.where(y_true == y_pred, 0.0, np.where(y_true == "yes", 1.5, 1.0))))

cost.greater_is_better = False

def sharpness(y_true, y_pred, sample_weight=None):
    return float(np.mean(np.abs(y_pred - 0.5)))

sharpness.needs_probability = True

def broken(y_true, y_pred, sample_weight=None):
    raise KeyError("price")

def choosy(y_true, y_pred, sample_weight=None):
    if len(y_true) < 150:
        raise ZeroDivisionError("no hits")
    return float(np.mean(y_true == y_pred))
"""


def test_a_metric_of_ones_own(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    (laid.root / "measures.py").write_text(OWN)
    laid.gate('validate: {metrics: {"measures:cost": {max: 1.0}, "measures:sharpness": {min: 0.9}}}\n')
    done, gate = laid.verdict()
    cost, sharpness = (by_rule(gate)[f"metric.measures:{name}"] for name in ("cost", "sharpness"))
    assert (cost["status"], sharpness["status"], done.exit_code) == ("passed", "failed", 4)
    assert cost["interval"][0] < cost["observed"] < cost["interval"][1]
    assert by_rule(gate)["baseline.dummy.measures:cost"]["status"] == "passed"
    assert "measures.py" in done.key["user_files"]
    (laid.root / "measures.py").write_text(OWN.replace("1.5", "50.0"))
    assert by_rule(laid.verdict()[1])["metric.measures:cost"]["observed"] > 1


def test_a_metric_of_ones_own_that_fails_is_named(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    (laid.root / "measures.py").write_text(OWN)
    laid.gate('validate: {metrics: {"measures:broken": {max: 1.0}}}\n')
    done, gate = laid.verdict()
    rule = by_rule(gate)["metric.measures:broken"]
    assert (done.exit_code, rule["status"], rule["code"]) == (4, "failed", "GATE_METRIC_UNDEFINED")
    assert "KeyError" in rule["sentence"]


def test_a_metric_of_ones_own_may_fail_in_a_slice(lay: Callable[..., Laid]) -> None:
    laid = lay(GOOD)
    (laid.root / "measures.py").write_text(OWN)
    laid.gate('validate: {metrics: {"measures:choosy": {min: 0.0}, accuracy: {min: 0.1}}, slices: [x]}\n')
    _, gate = laid.verdict()
    rules = by_rule(gate)
    assert rules["metric.measures:choosy"]["status"] == "passed"
    assert rules["slice.x.measures:choosy"]["status"] == "skipped"
    assert rules["slice.x.accuracy"]["status"] == "passed"


# ---- report ------------------------------------------------------------------------------------------------------


def test_the_report_stands_for_itself_under_jenkins_policy(lay: Callable[..., Laid]) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    promote(laid)
    again(laid)
    laid.verdict()
    folder = laid.project.folder("validate") / "report"
    page = (folder / "index.html").read_text()
    for forbidden in ("<script", "style=", "<style", "data:", "http://", "https://", "javascript:", "onclick"):
        assert forbidden not in page
    files = {path.name for path in folder.iterdir()}
    wanted = set(re.findall(r'(?:src|srcset|href)="([^"#]+)"', page))
    assert wanted | {"index.html"} == files
    assert sum(path.stat().st_size for path in folder.iterdir()) < 1_000_000
    tree = ET.fromstring(
        re.sub(r"<(meta|link|source|img)([^>]*)>", r"<\1\2/>", page.split("-->", 1)[-1].split(">", 1)[1])
    )
    assert all(image.get("alt") for image in tree.iter("img"))
    assert all(cell.get("scope") for cell in tree.iter("th"))
    assert all(table.find("caption") is not None for table in tree.iter("table"))
    for path in folder.glob("*.svg"):
        drawing = ET.parse(path).getroot()
        assert drawing.find("{http://www.w3.org/2000/svg}title") is not None
        assert not [shape for shape in drawing.iter() if shape.get("style") or shape.tag.endswith("style")]


def test_the_report_says_first_what_stopped_the_model(lay: Callable[..., Laid]) -> None:
    laid = lay("validate: {metrics: {roc_auc: {min: 0.999}, log_loss: {max: 0.9}}}\n")
    laid.gap = {"train": {"log_loss": 0.1}, "test": {"log_loss": 0.9}}
    laid.write()
    _, gate = laid.verdict()
    page = (laid.project.folder("validate") / "report" / "index.html").read_text()
    box = page[page.index('aria-label="Verdict"') : page.index("<nav")]
    stopping, warned = by_rule(gate)["metric.roc_auc"], by_rule(gate)["gap.log_loss"]
    assert (stopping["status"], warned["status"]) == ("failed", "warned")
    sentence = stopping["sentence"].replace("<", "&lt;").replace(">", "&gt;")
    assert box.count(sentence) == 1
    assert box.index(sentence) < box.index(warned["sentence"])
    assert "Of " in box


def test_the_report_of_several_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 3, 900)
    chances = rng.dirichlet([1, 1, 1], 900) + 0.8 * np.eye(3)[codes]
    chances /= chances.sum(axis=1, keepdims=True)
    names = ("a", "b", "c")
    truth = Truth.of(np.array(names)[codes], names)
    answer = Answer(np.array(names)[chances.argmax(axis=1)], chances)
    outcomes = [Outcome("metric.accuracy", "passed", "accuracy is good")]
    gate = verdict.as_dict("approved", outcomes, "d" * 64, {})
    said = {"task": "classification", "target": {"name": "y"}, "classes": list(names)}
    report.write(tmp_path / "report", report.Facts("three", said, gate, outcomes, truth, answer, {}))
    page = (tmp_path / "report" / "index.html").read_text()
    assert "Calibration of the most likely class" in page
    for at, name in enumerate(names):
        area = roc_auc_score(codes == at, chances[:, at])
        shown = re.search(rf"ROC curve for {name} against all others, area ([0-9]+[.]?[0-9]*)", page)
        assert shown is not None
        assert float(shown[1]) == pytest.approx(area, abs=2e-3)


def test_the_report_of_a_regression(lay: Callable[..., Laid]) -> None:
    laid = lay("validate: {metrics: {r2: {min: 0.3}}, slices: [x]}\n", REGRESSION)
    laid.verdict()
    page = (laid.project.folder("validate") / "report" / "index.html").read_text()
    assert "Residuals" in page
    assert "missing" in page


# ---- mlci drift --------------------------------------------------------------------------------------------------


def csv_of(path: Path, rows: pa.Table) -> Path:
    import pyarrow.csv

    pyarrow.csv.write_csv(rows.select(["x", "z"]), path)
    return path


def run(laid: Laid, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, dict[str, Any], str]:
    code = main([*words, "--config", str(laid.root / "ml.yaml"), "--json"])
    printed = capsys.readouterr()
    return code, json.loads(printed.out.splitlines()[-1]), printed.out + printed.err


def test_new_data_are_compared_without_the_training_data(
    lay: Callable[..., Laid], capsys: pytest.CaptureFixture[str]
) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    promote(laid)
    shutil.rmtree(laid.project.work)
    same = csv_of(laid.root / "same.csv", table(BINARY, 700, 5))
    code, data, out = run(laid, capsys, "drift", str(same), "--env", "local")
    assert (code, data["status"], data["rows"], data["refused"]) == (0, "passed", 700, 0)
    assert {one["column"] for one in data["columns"]} == {"x", "z", "prediction"}
    moved = table(BINARY, 700, 5)
    moved = moved.set_column(1, "z", pa.compute.add(moved["z"], 2.0))
    code, data, out = run(laid, capsys, "drift", str(csv_of(laid.root / "moved.csv", moved)))
    assert (code, data["error"]["code"], data["share"]) == (4, "GATE_DRIFT", 0.5)
    assert "DRIFTED" in out


def test_values_that_break_the_contract_have_drifted_too(
    lay: Callable[..., Laid], capsys: pytest.CaptureFixture[str]
) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    path = laid.root / "broken.csv"
    path.write_text("x,z\n" + "".join(f"{i / 100 - 1.5},{'?' if i % 3 else i / 100 - 1.5}\n" for i in range(300)))
    code, data, _ = run(laid, capsys, "drift", str(path))
    found = {one["column"]: one for one in data["columns"]}
    assert (code, found["z"]["drifted"], data["refused"]) == (4, True, 200)
    assert found["z"]["bins"][-1] == "missing"


def test_a_file_of_which_the_model_takes_no_row_does_not_end_well(
    lay: Callable[..., Laid], capsys: pytest.CaptureFixture[str]
) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    path = laid.root / "refused.csv"
    path.write_text("x,z\n" + "".join(f"{i / 100 - 1.5},?\n" for i in range(300)))
    code, data, out = run(laid, capsys, "drift", str(path), "--set", "validate.drift.max_share=1")
    assert (code, data["error"]["code"], data["refused"], data["status"]) == (4, "GATE_DRIFT", 300, "failed")
    assert "the model takes none of its 300 rows" in out
    assert "300 of 300 rows break the contract" in out


@pytest.mark.parametrize(
    ("words", "code", "error"),
    [
        (["nothing.csv"], 2, "CFG_FILE"),
        (["few.csv"], 3, "DAT_TOO_FEW"),
        (["few.csv", "--env", "nowhere"], 2, "CFG_USAGE"),
        (["few.csv", "--env", "local"], 3, "DEP_NOTHING_DEPLOYED"),
    ],
)
def test_drift_refuses_in_one_line(
    lay: Callable[..., Laid], capsys: pytest.CaptureFixture[str], words: list[str], code: int, error: str
) -> None:
    laid = lay(MARGIN)
    laid.verdict()
    csv_of(laid.root / "few.csv", table(BINARY, 20, 5))
    found, data, out = run(laid, capsys, "drift", str(laid.root / words[0]), *words[1:])
    assert (found, data["error"]["code"]) == (code, error)
    assert "Traceback" not in out


def test_a_model_without_its_bins_cannot_be_watched(
    lay: Callable[..., Laid], capsys: pytest.CaptureFixture[str]
) -> None:
    laid = lay(MARGIN)
    path = csv_of(laid.root / "new.csv", table(BINARY, 200, 5))
    code, data, _ = run(laid, capsys, "drift", str(path))
    assert (code, data["error"]["code"]) == (3, "GATE_REFERENCE")
