"""Estimators from configuration: what is wrong is named, with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from stages.errors import ConfigError
from stages.model import families
from stages.model.estimator import build

LOGISTIC = "sklearn.linear_model.LogisticRegression"
TREE = "sklearn.tree.DecisionTreeClassifier"

WRONG: list[tuple[str, dict[str, Any], str, str, str]] = [
    ("xgboots.XGBClassifier", {}, "classification", "no module 'xgboots'", "requirements.txt"),
    ("imblearn.ensemble.BalancedBaggingClassifier", {}, "classification", "no module 'imblearn'", "imbalanced-learn"),
    ("sklearn.linear_model.LogisticRegresion", {}, "classification", "no class", "'LogisticRegression'"),
    ("sklearn.linear_models.Foo", {}, "classification", "no module", "'linear_model'"),
    (
        "sklearn.tree.RandomForestClassifier",
        {},
        "classification",
        "no class",
        "sklearn.ensemble.RandomForestClassifier",
    ),
    ("sklearn.tree.PoissonRegressor", {}, "regression", "no class", "it is sklearn.linear_model.PoissonRegressor"),
    ("sklearn.linear_model.ridge_regression", {}, "regression", "not a class", "name the class"),
    ("sklearn.preprocessing.StandardScaler", {}, "regression", "no fit, predict", "scikit-learn compatible"),
    ("sklearn.pipeline.Pipeline", {}, "classification", "model.estimator: mlci makes the Pipeline", "model.preprocess"),
    ("sklearn.pipeline.make_pipeline", {}, "classification", "not a class", "model.preprocess"),
    ("sklearn.multiclass.OneVsRestClassifier", {}, "classification", "'estimator'", "params: {estimator: {class:"),
    ("sklearn.cluster.KMeans", {}, "classification", "does not do classification", "choose a classifier"),
    ("sklearn.ensemble.RandomForestRegressor", {}, "classification", "is a regressor", "RandomForestClassifier"),
    ("sklearn.ensemble.RandomForestClassifier", {}, "regression", "is a classifier", "RandomForestRegressor"),
    ("sklearn.linear_model.Ridge", {}, "classification", "is a regressor", "change"),
    (LOGISTIC, {"c": 1}, "classification", "no parameter 'c'", "'C'"),
    (LOGISTIC, {"C": -1}, "classification", "'C' parameter", "LogisticRegression"),
    (LOGISTIC, {"C": "much"}, "classification", "Got 'much'", "LogisticRegression"),
    ("sklearn.ensemble.BaggingClassifier", {"estimator": "sklearn.tree.Tree"}, "classification", "no class", ""),
    (
        "sklearn.ensemble.BaggingClassifier",
        {"estimator__depth": 3},
        "classification",
        "no parameter 'estimator__depth'",
        "",
    ),
]


@pytest.mark.parametrize(("dotted", "params", "task", "what", "todo"), WRONG, ids=[f"{w[0]}-{w[1]}" for w in WRONG])
def test_mistakes_are_named(dotted: str, params: dict[str, Any], task: str, what: str, todo: str) -> None:
    with pytest.raises(ConfigError) as caught:
        build(dotted, params, task)
    assert caught.value.code == "CFG_ESTIMATOR"
    assert caught.value.what.startswith("model.")
    assert what in caught.value.what
    assert todo in caught.value.todo
    assert "\n" not in caught.value.what


def test_a_module_of_the_user_that_fails_on_import_is_named(write_module: Callable[[str, str], None]) -> None:
    write_module("mine_broken", "1 / 0")
    with pytest.raises(ConfigError, match="division by zero"):
        build("mine_broken.Model", {}, "classification")
    write_module("mine_needy", "import not_there_at_all")
    with pytest.raises(ConfigError, match="needs 'not_there_at_all'"):
        build("mine_needy.Model", {}, "classification")


def test_an_estimator_of_the_user(write_module: Callable[[str, str], None]) -> None:
    write_module(
        "mine_good",
        "from sklearn.dummy import DummyClassifier\nclass Mine(DummyClassifier):\n    pass\n",
    )
    assert type(build("mine_good.Mine", {"strategy": "prior"}, "classification")).__name__ == "Mine"


def test_nested_estimators_are_built_from_names() -> None:
    bagging = build(
        "sklearn.ensemble.BaggingClassifier",
        {"estimator": {"class": LOGISTIC, "params": {"C": 3}}, "estimator__max_iter": 7},
        "classification",
    )
    assert (bagging.estimator.C, bagging.estimator.max_iter) == (3, 7)
    voting = build(
        "sklearn.ensemble.VotingClassifier",
        {"estimators": [["a", LOGISTIC], ["b", "sklearn.tree.DecisionTreeClassifier"]]},
        "classification",
    )
    assert [type(e).__name__ for _, e in voting.estimators] == ["LogisticRegression", "DecisionTreeClassifier"]


@pytest.mark.parametrize(
    ("dotted", "params", "tree", "nan"),
    [
        (LOGISTIC, {}, False, False),
        ("sklearn.svm.SVC", {}, False, False),
        ("sklearn.tree.DecisionTreeClassifier", {}, True, True),
        ("sklearn.ensemble.RandomForestClassifier", {}, True, True),
        ("sklearn.ensemble.GradientBoostingClassifier", {}, True, False),
        ("sklearn.ensemble.HistGradientBoostingClassifier", {}, True, True),
        ("sklearn.ensemble.AdaBoostClassifier", {}, True, False),
        ("sklearn.ensemble.BaggingClassifier", {}, True, True),
        ("sklearn.ensemble.BaggingClassifier", {"estimator": LOGISTIC}, False, False),
        ("sklearn.calibration.CalibratedClassifierCV", {}, False, False),
        ("sklearn.calibration.CalibratedClassifierCV", {"estimator": TREE}, True, False),
        ("sklearn.ensemble.StackingClassifier", {"estimators": [["a", TREE], ["b", LOGISTIC]]}, False, False),
    ],
)  # fmt: skip
def test_families(dotted: str, params: dict[str, Any], tree: bool, nan: bool) -> None:
    estimator = build(dotted, params, "classification")
    assert families.is_tree(estimator) is tree
    assert families.takes_nan(estimator) is nan


def test_boosting_libraries_are_trees_by_their_module() -> None:
    gbm = type("LGBMClassifier", (), {"__module__": "lightgbm.sklearn"})()
    assert families.is_tree(gbm)
    assert families.takes_nan(gbm)
    linear = type("XGBClassifier", (), {"__module__": "xgboost.sklearn", "booster": "gblinear"})()
    assert not families.is_tree(linear)


def test_seeds_reach_every_depth_and_leave_what_is_set() -> None:
    from sklearn.decomposition import PCA
    from sklearn.pipeline import Pipeline

    bagging = build(
        "sklearn.ensemble.BaggingClassifier",
        {"estimator": "sklearn.tree.DecisionTreeClassifier", "random_state": 5},
        "classification",
    )
    pipeline = Pipeline([("preprocess", PCA()), ("estimator", bagging)])
    families.seed(pipeline, 9)
    assert pipeline.named_steps["preprocess"].random_state == 9
    assert bagging.random_state == 5
    assert bagging.estimator.random_state == 9


def test_serving_uses_one_thread_at_every_depth() -> None:
    import numpy as np

    params = {
        "estimator": {"class": "sklearn.ensemble.RandomForestClassifier", "params": {"n_jobs": 2, "n_estimators": 2}}
    }
    model = build("sklearn.calibration.CalibratedClassifierCV", {**params, "cv": 2, "n_jobs": 2}, "classification")
    model.fit(np.arange(40.0).reshape(-1, 1), np.arange(40) % 2)
    families.single_threaded(model)
    assert model.n_jobs == 1
    assert [c.estimator.n_jobs for c in model.calibrated_classifiers_] == [1, 1]


def test_class_weights_by_truth_survive_saving() -> None:
    forest = build(LOGISTIC, {"class_weight": {True: 2.0, False: 1.0}}, "classification")
    assert forest.class_weight == {1: 2.0, 0: 1.0}
