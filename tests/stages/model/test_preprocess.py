"""Preprocessing: what `auto` chooses for whom, and what the user's own function may do wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

from stages.errors import MlciError
from stages.model import frames, preprocess, training
from stages.model.estimator import build
from tests.stages.model.conftest import Bench, rows

FEATURES = [
    {"name": "size", "type": "number", "nullable": True},
    {"name": "count", "type": "integer", "nullable": False},
    {"name": "open", "type": "boolean", "nullable": True},
    {"name": "kind", "type": "category", "nullable": True},
    {"name": "when", "type": "datetime", "nullable": False, "timezone": "UTC"},
    {"name": "seen", "type": "datetime", "nullable": True},
]


def _fitted(estimator: str, **params: Any) -> tuple[Any, pd.DataFrame, np.ndarray]:
    before = preprocess.auto(FEATURES, build(estimator, params, "classification"))
    frame = frames.frame_from_lists(rows(400), FEATURES)
    out = before.fit_transform(frame)
    return before, frame, out.toarray() if hasattr(out, "toarray") else out


def _kinds(part: Any, seen: list[str] | None = None) -> list[str]:
    seen = [] if seen is None else seen
    seen.append(type(part).__name__)
    for _, inner, *_ in getattr(part, "transformers_", getattr(part, "steps", [])):
        if not isinstance(inner, str):
            _kinds(inner, seen)
    return seen


@pytest.mark.parametrize(
    "estimator",
    [
        "sklearn.tree.DecisionTreeClassifier",
        "sklearn.ensemble.RandomForestClassifier",
        "sklearn.ensemble.HistGradientBoostingClassifier",
        "sklearn.ensemble.GradientBoostingClassifier",
        "sklearn.ensemble.AdaBoostClassifier",
    ],
)
def test_trees_are_never_scaled_and_get_codes(estimator: str) -> None:
    before, frame, out = _fitted(estimator)
    kinds = _kinds(before)
    assert "StandardScaler" not in kinds
    assert "OneHotEncoder" not in kinds
    assert "OrdinalEncoder" in kinds
    names = list(before.get_feature_names_out())
    assert np.array_equal(out[:, names.index("count")], frame["count"])
    keeps_nan = estimator.rpartition(".")[2] not in ("GradientBoostingClassifier", "AdaBoostClassifier")
    assert np.isnan(out).any() == keeps_nan
    assert ("SimpleImputer" in kinds) is not keeps_nan


def test_others_are_imputed_with_an_indicator_scaled_and_one_hot() -> None:
    before, frame, out = _fitted("sklearn.linear_model.LogisticRegression")
    names = list(before.get_feature_names_out())
    assert not np.isnan(out).any()
    assert np.array_equal(out[:, names.index("missingindicator_size")] > 0, frame["size"].isna())
    assert abs(out[:, names.index("count")].mean()) < 1e-9
    assert "missingindicator_count" not in names
    assert set(out[:, names.index("open")]) == {0.0, 1.0}
    assert [n for n in names if n.startswith("kind_")] == [
        "kind_a",
        "kind_b",
        "kind_ç",
        "kind_nan",
        "kind_infrequent_sklearn",
    ]
    assert {"when_weekday", "seen_days", "missingindicator_seen_year"} <= set(names)


def test_unseen_and_missing_categories() -> None:
    row = {n: v[:1] for n, v in rows(5).items()} | {"kind": ["unheard of"]}
    strange = frames.frame_from_lists(row, FEATURES)
    missing = frames.frame_from_lists(row | {"kind": [None]}, FEATURES)
    before, _, _ = _fitted("sklearn.linear_model.LogisticRegression")
    names = list(before.get_feature_names_out())
    assert before.transform(strange)[0, names.index("kind_infrequent_sklearn")] == 1
    before, _, _ = _fitted("sklearn.ensemble.GradientBoostingClassifier")
    kind = list(before.get_feature_names_out()).index("kind")
    assert (before.transform(strange)[0, kind], before.transform(missing)[0, kind]) == (-1, -2)
    before, _, _ = _fitted("sklearn.ensemble.HistGradientBoostingClassifier")
    kind = list(before.get_feature_names_out()).index("kind")
    assert np.isnan(before.transform(strange)[0, kind])
    assert np.isnan(before.transform(missing)[0, kind])


def test_many_levels_are_grouped() -> None:
    values = [f"v{i % 700}" for i in range(7000)]
    features = [{"name": "c", "type": "category", "nullable": False}]
    frame = frames.frame_from_lists({"c": values}, features)
    linear = preprocess.auto(features, build("sklearn.linear_model.LogisticRegression", {}, "classification"))
    assert linear.fit_transform(frame).shape == (7000, preprocess.MOST_LEVELS)
    tree = preprocess.auto(features, build("sklearn.tree.DecisionTreeClassifier", {}, "classification"))
    assert len(np.unique(tree.fit_transform(frame))) == preprocess.MOST_CODES


def test_sparse_only_for_estimators_that_take_it() -> None:
    for estimator, sparse in (
        ("sklearn.linear_model.LogisticRegression", True),
        ("sklearn.naive_bayes.GaussianNB", False),
    ):
        before = preprocess.auto(FEATURES, build(estimator, {}, "classification"))
        assert {n: t for n, t, _ in before.transformers}["categories"].sparse_output is sparse


def test_nothing_of_the_test_side_is_learned(bench: Bench) -> None:
    """Everything fitted is in the pipeline, and it is fitted on the training side alone."""
    from tests.stages.model.conftest import COLUMNS

    estimator = "sklearn.linear_model.LogisticRegression"
    config = bench.config("late", estimator)
    first = training.train(config, bench.prepared, bench.out, None)
    other = rows(80, seed=9)
    other["size"] = [1e6] * 80
    bench.sides({**COLUMNS, "late": {"type": "boolean"}}, rows(300), other)
    second = training.train(config, bench.prepared, bench.out, None)
    assert first.signature["model"]["sha256"] == second.signature["model"]["sha256"]
    assert first.metrics["train"] == second.metrics["train"]


OWN = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import FunctionTransformer, StandardScaler, TargetEncoder

def good():
    return ColumnTransformer([("n", StandardScaler(), ["count"])])

def told(features):
    return ColumnTransformer([("n", StandardScaler(), [f["name"] for f in features if f["type"] == "integer"])])

def encoded():
    return ColumnTransformer([("n", TargetEncoder(), ["kind"])])

def raises():
    raise RuntimeError("no luck\\ntoday")

def two(a, b):
    return StandardScaler()

def nothing():
    pass

def a_class():
    return StandardScaler

class Own(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.n_ = 1
        return self
    def transform(self, X):
        return X[["count"]].to_numpy() * 2

def own():
    return Own()

class Failing(Own):
    def fit(self, X, y=None):
        return X["not there"]

def failing():
    return Failing()

def half(x):
    return x

def local():
    return ColumnTransformer([("n", FunctionTransformer(lambda x: x), ["count"])])

def empty():
    return ColumnTransformer([("n", "drop", ["count"])])
"""


def _train(bench: Bench, write_module: Callable[[str, str], None], name: str, **model: Any) -> training.Trained:
    import importlib

    write_module("own_columns", OWN)
    function = getattr(importlib.import_module("own_columns"), name)
    config = bench.config("late", "sklearn.linear_model.LogisticRegression", preprocess=f"own_columns:{name}", **model)
    return training.train(config, bench.prepared, bench.out, function)


@pytest.mark.parametrize("name", ["good", "told", "encoded"])
def test_the_users_function(bench: Bench, write_module: Callable[[str, str], None], name: str) -> None:
    trained = _train(bench, write_module, name)
    assert trained.pipeline.steps[-1][1].n_features_in_ == 1


def test_cross_fitting_transformers_are_measured_as_they_will_serve(
    bench: Bench, write_module: Callable[[str, str], None]
) -> None:
    trained = _train(bench, write_module, "encoded")
    frame = frames.frame_from_parquet(bench.prepared / "train.parquet", trained.signature["features"])
    right = trained.pipeline.predict(frame) == np.array(rows(300)["late"])
    assert trained.metrics["train"]["accuracy"] == pytest.approx(right.mean())


@pytest.mark.parametrize(
    ("name", "code", "exit_code", "words"),
    [
        ("raises", "MOD_PREPROCESS", 3, "RuntimeError: no luck today"),
        ("two", "CFG_PREPROCESS", 2, "takes 2 arguments"),
        ("nothing", "CFG_PREPROCESS", 2, "returned NoneType"),
        ("a_class", "CFG_PREPROCESS", 2, "a class"),
        ("failing", "MOD_UNTRUSTED", 3, "own_columns.Failing"),
        ("own", "MOD_UNTRUSTED", 3, "own_columns.Own"),
        ("local", "MOD_NOT_SKOPS", 3, "<lambda>"),
        ("empty", "MOD_PREPROCESS", 3, "no column"),
    ],
)
def test_what_the_users_function_may_do_wrong(
    bench: Bench, write_module: Callable[[str, str], None], name: str, code: str, exit_code: int, words: str
) -> None:
    with pytest.raises(MlciError) as caught:
        _train(bench, write_module, name)
    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)
    assert words in caught.value.what
    if code == "MOD_UNTRUSTED":
        assert f"trust: [{words}]" in caught.value.todo


def test_trust_lets_the_users_class_in_and_its_faults_are_told(
    bench: Bench, write_module: Callable[[str, str], None]
) -> None:
    trained = _train(bench, write_module, "own", trust=["own_columns.Own"])
    assert trained.signature["model"]["trust"] == ["own_columns.Own"]
    with pytest.raises(MlciError) as caught:
        _train(bench, write_module, "failing", trust=["own_columns.Failing"])
    assert caught.value.code == "MOD_PREPROCESS"
    assert "own_columns:failing raised KeyError in fit" in caught.value.what


def test_the_list_to_trust_is_whole(bench: Bench, write_module: Callable[[str, str], None]) -> None:
    with pytest.raises(MlciError) as caught:
        _train(bench, write_module, "own", trust=["other.Thing"])
    assert "trust: [other.Thing, own_columns.Own]" in caught.value.todo


def test_auto_refuses_text_columns() -> None:
    with pytest.raises(MlciError, match="text columns"):
        preprocess.auto([{"name": "note", "type": "text"}], build("sklearn.svm.SVC", {}, "classification"))


def test_inputs_that_must_not_be_negative() -> None:
    _, _, out = _fitted("sklearn.naive_bayes.MultinomialNB")
    assert out.min() >= 0


def test_encoders_are_plain_scikit_learn() -> None:
    for estimator, encoder in (
        ("sklearn.svm.SVC", OneHotEncoder),
        ("sklearn.tree.DecisionTreeClassifier", OrdinalEncoder),
    ):
        before, _, _ = _fitted(estimator)
        assert type(before.named_transformers_["categories"]) is encoder
    assert StandardScaler.__name__ in _kinds(_fitted("sklearn.svm.SVC")[0])
