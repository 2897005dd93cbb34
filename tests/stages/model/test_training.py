"""Training over many estimators: the pipeline is fitted, measured, saved, and answers again from its file."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from stages.errors import MlciError
from stages.model import answers, frames, persistence, training
from tests.stages.model.conftest import COLUMNS, TARGETS, Bench, rows

ESTIMATORS: list[tuple[str, str, dict[str, Any]]] = [
    ("late", "sklearn.linear_model.LogisticRegression", {"max_iter": 500}),
    ("late", "sklearn.ensemble.RandomForestClassifier", {"n_estimators": 8, "n_jobs": 2}),
    ("late", "sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 8}),
    ("late", "sklearn.svm.SVC", {}),
    ("late", "sklearn.dummy.DummyClassifier", {}),
    ("late", "sklearn.calibration.CalibratedClassifierCV", {"estimator": "sklearn.svm.LinearSVC", "cv": 2}),
    ("late", "sklearn.ensemble.AdaBoostClassifier", {"n_estimators": 5}),
    ("level", "sklearn.neighbors.KNeighborsClassifier", {}),
    ("level", "sklearn.naive_bayes.GaussianNB", {}),
    ("level", "sklearn.naive_bayes.MultinomialNB", {}),
    ("level", "sklearn.ensemble.GradientBoostingClassifier", {"n_estimators": 5}),
    ("level", "sklearn.linear_model.RidgeClassifier", {}),
    ("grade", "sklearn.tree.DecisionTreeClassifier", {"max_depth": 4}),
    ("grade", "sklearn.ensemble.HistGradientBoostingClassifier", {"max_iter": 5}),
    ("grade", "sklearn.neural_network.MLPClassifier", {"hidden_layer_sizes": [8], "max_iter": 600}),
    ("amount", "sklearn.linear_model.Ridge", {}),
    ("amount", "sklearn.ensemble.ExtraTreesRegressor", {"n_estimators": 8}),
    ("amount", "sklearn.ensemble.HistGradientBoostingRegressor", {"max_iter": 8}),
    ("amount", "sklearn.gaussian_process.GaussianProcessRegressor", {"alpha": 1.0}),
    ("amount", "sklearn.cross_decomposition.PLSRegression", {}),
    ("amount", "sklearn.compose.TransformedTargetRegressor", {"regressor": "sklearn.linear_model.LinearRegression"}),
    ("amount", "sklearn.ensemble.BaggingRegressor", {"estimator": "sklearn.linear_model.Ridge"}),
]


def _ids(case: tuple[str, str, dict[str, Any]]) -> str:
    return f"{case[1].rpartition('.')[2]}-{case[0]}"


@pytest.mark.parametrize("case", ESTIMATORS, ids=_ids)
def test_trains_measures_saves_and_answers_again(bench: Bench, case: tuple[str, str, dict[str, Any]]) -> None:
    target, estimator, params = case
    config = bench.config(target, estimator, params=params)
    trained = training.train(config, bench.prepared, bench.out, None)

    signature = trained.signature
    assert [f["name"] for f in signature["features"]] == ["size", "count", "open", "kind", "when", "seen"]
    assert signature["ignored"] == ["group", "weight", target]
    for side, n in (("train", 300), ("test", 80)):
        assert trained.metrics["rows"][side] == n
        assert all(v is None or np.isfinite(v) for v in trained.metrics[side].values())
        assert set(trained.metrics[side]) | set(trained.metrics["absent"].get(side, {})) > {"accuracy", "log_loss"} or (
            TARGETS[target][0] == "regression" and trained.metrics[side]["r2"] is not None
        )
    json.dumps(trained.metrics, allow_nan=False)
    json.dumps(signature, allow_nan=False)

    loaded = persistence.load(bench.out, signature)
    frame = frames.frame_from_parquet(bench.prepared / "test.parquet", signature["features"])
    predictions, probabilities = answers.answers(loaded, frame, signature)
    plain = {"late": bool, "level": str, "grade": int, "amount": float}[target]
    assert all(type(p) is plain for p in predictions)
    assert len(predictions) == 80
    reference = np.asarray(trained.pipeline.predict(frame)).ravel()
    if target == "amount":
        assert np.allclose(predictions, reference)
    else:
        assert predictions == reference.tolist()
    if probabilities is not None:
        names = {"late": ["false", "true"], "level": ["høy", "low", "mid"], "grade": ["0", "10", "20"]}[target]
        assert list(probabilities[0]) == names
        assert all(abs(sum(row.values()) - 1) < 1e-6 for row in probabilities)
    lists = pq.read_table(bench.prepared / "test.parquet").to_pydict()
    served = answers.answers(loaded, frames.frame_from_lists(lists, signature["features"]), signature)
    assert served == (predictions, probabilities)


def test_the_models_learn_something(bench: Bench) -> None:
    config = bench.config("late", "sklearn.ensemble.HistGradientBoostingClassifier", params={"max_iter": 40})
    found = training.train(config, bench.prepared, bench.out, None).metrics
    assert found["test"]["roc_auc"] > 0.85
    assert found["train"]["roc_auc"] > found["test"]["roc_auc"]


@pytest.mark.parametrize("model_format", ["skops", "joblib"])
@pytest.mark.parametrize("estimator", ["sklearn.ensemble.RandomForestClassifier", "sklearn.linear_model.SGDClassifier"])
def test_the_same_seed_gives_the_same_file_and_another_seed_another(
    bench: Bench, estimator: str, model_format: str
) -> None:
    digests, answered = [], []
    for seed in (1, 1, 2):
        params = {"n_estimators": 5} if "Forest" in estimator else {"loss": "log_loss"}
        config = bench.config("late", estimator, params=params, seed=seed, format=model_format)
        trained = training.train(config, bench.prepared, bench.out, None)
        digests.append(trained.signature["model"]["sha256"])
        answered.append(trained.predictions)
    assert digests[0] == digests[1] != digests[2]
    assert answered[0] == answered[1] != answered[2]


def test_weights_reach_the_fit_and_the_metrics(bench: Bench) -> None:
    estimator = "sklearn.linear_model.LogisticRegression"
    plain = training.train(bench.config("late", estimator), bench.prepared, bench.out, None)
    weighted = training.train(
        bench.config("late", estimator, data={"weight": "weight"}), bench.prepared, bench.out, None
    )
    assert not np.array_equal(plain.pipeline.steps[-1][1].coef_, weighted.pipeline.steps[-1][1].coef_)
    frame = frames.frame_from_parquet(bench.prepared / "test.parquet", weighted.signature["features"])
    table = pq.read_table(bench.prepared / "test.parquet").to_pydict()
    right = weighted.pipeline.predict(frame) == np.array(table["late"])
    assert weighted.metrics["test"]["accuracy"] == pytest.approx(np.average(right, weights=table["weight"]))


@pytest.mark.parametrize("name", ["svm.LinearSVC", "svm.SVC", "linear_model.RidgeClassifier"])
def test_estimators_without_probabilities_are_ranked_by_their_decision_function(bench: Bench, name: str) -> None:
    from sklearn.metrics import get_scorer

    trained = training.train(bench.config("late", f"sklearn.{name}"), bench.prepared, bench.out, None)
    frame = frames.frame_from_parquet(bench.prepared / "test.parquet", trained.signature["features"])
    right = np.array(pq.read_table(bench.prepared / "test.parquet").to_pydict()["late"])
    for metric in ("roc_auc", "average_precision", "accuracy"):
        expected = get_scorer(metric)(trained.pipeline, frame, right)
        assert trained.metrics["test"][metric] == pytest.approx(expected, abs=1e-9), metric
    for metric in ("log_loss", "brier_score_loss"):
        assert metric not in trained.metrics["test"]
        assert trained.metrics["absent"]["test"][metric] == "the estimator gives no probabilities"


def test_several_classes_without_probabilities_have_no_order(bench: Bench) -> None:
    trained = training.train(bench.config("level", "sklearn.svm.LinearSVC"), bench.prepared, bench.out, None)
    assert trained.said.scores is None
    assert set(trained.metrics["absent"]["test"]) == {"log_loss", "roc_auc_ovr"}
    assert trained.metrics["test"]["accuracy"] > 0.5


def test_cross_validation_reports_mean_spread_and_each_fold(bench: Bench) -> None:
    config = bench.config("late", "sklearn.linear_model.LogisticRegression", cv=3)
    found = training.train(config, bench.prepared, bench.out, None).metrics["cv"]
    assert found["folds"] == 3
    each = found["each"]["roc_auc"]
    assert len(each) == 3
    assert found["mean"]["roc_auc"] == pytest.approx(np.mean(each))
    assert found["std"]["roc_auc"] == pytest.approx(np.std(each))


WEIGHTED = {"data": {"weight": "weight"}}
FAULTS: list[tuple[str, str, dict[str, Any], dict[str, Any], str, int]] = [
    ("one class", "late", {}, {"late": lambda t: [True] * len(t["late"])}, "MOD_ONE_CLASS", 3),
    ("negative weight", "late", WEIGHTED, {"weight": lambda t: [-1.0] * len(t["weight"])}, "MOD_WEIGHT", 3),
    ("zero weights", "late", WEIGHTED, {"weight": lambda t: [0.0] * len(t["weight"])}, "MOD_WEIGHT", 3),
    ("null weight", "late", WEIGHTED, {"weight": lambda t: [None] * len(t["weight"])}, "MOD_WEIGHT", 3),
    ("wrong positive", "late", {"data": {"positive": "yes"}}, {}, "CFG_POSITIVE", 2),
    ("search parameter", "late", {"search": {"params": {"CC": [1]}}}, {}, "CFG_SEARCH", 2),
    ("search metric", "late", {"search": {"params": {"C": [1]}, "metric": "roc_auk"}}, {}, "CFG_METRIC", 2),
    ("metric of another task", "late", {"search": {"params": {"C": [1]}, "metric": "r2"}}, {}, "CFG_METRIC", 2),
    ("nothing fits", "late", {"search": {"params": {"C": [-1.0]}}}, {}, "MOD_SEARCH", 3),
    ("refused together", "late", {"params": {"solver": "newton-cholesky", "l1_ratio": 0.5}}, {}, "MOD_FIT", 3),
]  # fmt: skip


@pytest.mark.parametrize(
    ("what", "target", "change", "columns", "code", "exit_code"), FAULTS, ids=[f[0] for f in FAULTS]
)
def test_faults_have_their_code(
    bench: Bench, what: str, target: str, change: dict[str, Any], columns: dict[str, Any], code: str, exit_code: int
) -> None:
    table, other = rows(300), rows(80, seed=1)
    for name, make in columns.items():
        table[name], other[name] = make(table), make(other)
    contract = {**COLUMNS, target: TARGETS[target][1]}
    bench.sides(contract, table, other)
    config = bench.config(target, "sklearn.linear_model.LogisticRegression", **change)
    with pytest.raises(MlciError) as caught:
        training.train(config, bench.prepared, bench.out, None)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert "\n" not in caught.value.what + caught.value.todo


def test_a_constant_regression_target_is_fitted_and_said(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    table, other = rows(50), rows(20, seed=1)
    table["amount"], other["amount"] = [2.0] * 50, [2.0] * 20
    bench.sides({**COLUMNS, "amount": {"type": "number"}}, table, other)
    with caplog.at_level("WARNING", logger="mlci"):
        found = training.train(bench.config("amount", "sklearn.linear_model.Ridge"), bench.prepared, bench.out, None)
    assert "nothing to learn" in caplog.text
    assert found.metrics["test"]["mean_absolute_error"] == pytest.approx(0)


@pytest.mark.parametrize(
    "estimator",
    [
        "sklearn.linear_model.LogisticRegression",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.ensemble.AdaBoostClassifier",
    ],
)
def test_an_empty_column_and_a_class_of_one_row(bench: Bench, estimator: str, caplog: pytest.LogCaptureFixture) -> None:
    table, other = rows(120), rows(30, seed=1)
    table["size"], other["size"] = [None] * 120, [1.0] * 30
    table["level"][5] = "only one"
    columns = {name: COLUMNS[name] for name in ("size", "count")}
    bench.sides({**columns, "level": {"type": "category"}}, table, other)
    config = bench.config("level", estimator, columns, cv=3)
    with caplog.at_level("WARNING", logger="mlci"):
        trained = training.train(config, bench.prepared, bench.out, None)
    assert trained.signature["classes"] == ["høy", "low", "mid", "only one"]
    assert "2 folds instead of 3: the rarest class has 1 rows" in caplog.text
    assert "nothing learned from it: size" in caplog.text


def test_nothing_but_empty_columns_is_refused(bench: Bench) -> None:
    table = rows(60) | {"size": [None] * 60}
    bench.sides({"size": COLUMNS["size"], "late": {"type": "boolean"}}, table, table)
    config = bench.config("late", "sklearn.dummy.DummyClassifier", {"size": COLUMNS["size"]})
    with pytest.raises(MlciError) as caught:
        training.train(config, bench.prepared, bench.out, None)
    assert caught.value.code == "MOD_NO_FEATURE"


STRICT = """
import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin

class XGBClassifier(ClassifierMixin, BaseEstimator):
    def __init__(self, depth=1):
        self.depth = depth
    def fit(self, X, y, sample_weight=None):
        self.classes_ = np.unique(y)
        if self.classes_.tolist() != list(range(len(self.classes_))):
            raise ValueError(f"Expected: 0, 1, 2, got {self.classes_}")
        self.means_ = np.array([np.nanmean(X[y == c], axis=0) for c in self.classes_])
        return self
    def predict_proba(self, X):
        near = 1 / (1 + np.nansum((np.asarray(X)[:, None] - self.means_) ** 2, axis=2)) ** self.depth
        return near / near.sum(axis=1, keepdims=True)
    def predict(self, X):
        return self.classes_[self.predict_proba(X).argmax(axis=1)]
"""


@pytest.mark.parametrize("target", ["level", "grade"])
def test_estimators_that_take_only_numbered_classes(bench: Bench, write_module: Any, target: str) -> None:
    """XGBoost wants 0, 1, 2, …; what is answered, measured and searched is about the classes all the same."""
    write_module("xgboost", STRICT)
    trust = ["xgboost.XGBClassifier"]
    search = {"method": "grid", "params": {"depth": [1, 2]}, "cv": 2}
    config = bench.config(
        target, "xgboost.XGBClassifier", {"count": COLUMNS["count"]}, trust=trust, cv=2, search=search
    )
    trained = training.train(config, bench.prepared, bench.out, None)
    known: dict[str, list[Any]] = {"level": ["høy", "low", "mid"], "grade": [0, 10, 20]}
    classes = known[target]
    assert trained.signature["classes"] == classes
    frame = frames.frame_from_parquet(bench.prepared / "test.parquet", trained.signature["features"])
    said, probabilities = answers.answers(persistence.load(bench.out, trained.signature), frame, trained.signature)
    right = np.array(said) == np.array(rows(80, seed=1)[target])
    assert trained.metrics["test"]["accuracy"] == pytest.approx(right.mean())
    assert set(said) <= set(classes)
    assert probabilities is not None
    assert list(probabilities[0]) == [str(c) for c in classes]
    assert 0 < trained.metrics["search"]["best"]["mean"] < 2


def test_convergence_is_warned_about_in_one_line(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    config = bench.config("late", "sklearn.linear_model.LogisticRegression", params={"max_iter": 1}, cv=3)
    with caplog.at_level("WARNING", logger="mlci"):
        training.train(config, bench.prepared, bench.out, None)
    lines = [r.getMessage() for r in caplog.records if "ConvergenceWarning" in r.getMessage()]
    assert lines
    assert all("\n" not in line for line in lines)


def test_two_processes_give_the_same_file(bench: Bench) -> None:
    """Text hashes differ between processes, and with them the order of sets."""
    import os
    import subprocess
    import sys

    config = bench.config("level", "sklearn.ensemble.RandomForestClassifier", params={"n_estimators": 3})
    digests = set()
    for seed in ("1", "2"):
        script = (
            "import sys; from pathlib import Path; from stages.config import Config; from stages.model import training;"
            "c = Config.model_validate_json(sys.argv[1]);"
            "t = training.train(c, Path(sys.argv[2]), Path(sys.argv[3]), None); print(t.signature['model']['sha256'])"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, config.model_dump_json(by_alias=True), str(bench.prepared), str(bench.out)],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        digests.add(done.stdout.strip())
    assert len(digests) == 1
