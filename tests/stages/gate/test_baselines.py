"""What a model must beat."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.linear_model import LinearRegression, LogisticRegression, LogisticRegressionCV, Ridge
from sklearn.tree import DecisionTreeClassifier

from stages.gate import baselines, linear
from stages.model import metrics
from stages.model.metrics import Answer, Truth


def sides(strength: float, n: int, seed: int = 0) -> tuple[Truth, Truth, Answer]:
    rng = np.random.default_rng(seed)
    y = rng.random(2 * n) < 0.3
    p = 1 / (1 + np.exp(-(strength * (y - 0.3) + rng.normal(size=2 * n) - 0.8)))
    train, test = Truth.of(y[:n], (False, True)), Truth.of(y[n:], (False, True))
    return train, test, Answer(p[n:] > 0.5, np.column_stack([1 - p[n:], p[n:]]))


def test_the_dummy_is_scikit_learns() -> None:
    train, _, _ = sides(1, 500)
    blank = np.zeros((500, 1))
    peer = DummyClassifier(strategy="prior").fit(blank, train.values)
    answer = baselines.dummy(train, 500, "log_loss")
    assert (answer.labels == peer.predict(blank)).all()
    assert answer.probabilities == pytest.approx(peer.predict_proba(blank))
    values = Truth.of(np.random.default_rng(0).gamma(2, size=99))
    for metric, strategy in (
        ("r2", "mean"),
        ("mean_absolute_error", "median"),
        ("neg_median_absolute_error", "median"),
    ):
        peer = DummyRegressor(strategy=strategy).fit(blank[:99], values.values)
        assert baselines.dummy(values, 3, metric).labels == pytest.approx(peer.predict(blank[:3]))


@pytest.mark.parametrize(
    ("strength", "n", "severity", "status"),
    [(2.0, 1000, "fail", "passed"), (0.0, 3000, "fail", "failed"), (0.0, 3000, "warn", "warned")],
)
def test_a_model_must_beat_a_constant_answer(strength: float, n: int, severity: Any, status: str) -> None:
    train, test, answer = sides(strength, n, seed=4)
    (outcome,) = baselines.check_dummy(["log_loss"], train, test, answer, severity)
    assert outcome.status == status
    assert outcome.rule == "baseline.dummy.log_loss"
    assert (outcome.code is None) == (status == "passed")


def test_too_few_rows_to_tell_is_inconclusive() -> None:
    train, test, answer = sides(0.3, 40, seed=3)
    outcome: Any = baselines.check_dummy(["roc_auc"], train, test, answer, "fail")[0]
    assert (outcome.status, outcome.code) == ("inconclusive", "GATE_BASELINE_UNCLEAR")
    assert outcome.observed > 0 > outcome.interval[0]


def test_metrics_that_a_constant_can_win_are_left_out() -> None:
    train, test, answer = sides(2, 200)
    names = ["recall", "precision", "accuracy", "f1"]
    found = [o.rule for o in baselines.check_dummy(names, train, test, answer, "fail")]
    assert found == ["baseline.dummy.accuracy", "baseline.dummy.f1"]


def frame(n: int, seed: int) -> tuple[pd.DataFrame, np.ndarray]:
    rng = np.random.default_rng(seed)
    levels = np.array(["a", "b", "c", np.nan], dtype=object)
    x, c = rng.normal(size=n), rng.integers(0, 4, n)
    x[rng.random(n) < 0.1] = np.nan
    when = pd.Series(np.datetime64("2024-01-01", "us") + rng.integers(0, 10**9, n) * np.timedelta64(1, "ms"))
    table = pd.DataFrame({"x": x, "c": levels[c], "when": when, "note": "free text"})
    score = np.nan_to_num(x) + np.array([-1.0, 0.0, 1.0, 0.5])[c]
    return table, score + rng.normal(size=n)


FEATURES = [
    {"name": "x", "type": "number"},
    {"name": "c", "type": "category"},
    {"name": "when", "type": "datetime"},
    {"name": "note", "type": "text"},
]


def by_hand(table: pd.DataFrame) -> np.ndarray:
    """The same design, dense and through pandas."""
    x = table["x"].fillna(table["x"].mean())
    one_hot = pd.get_dummies(table["c"]).to_numpy(dtype=float)
    when = table["when"].astype("int64")
    return np.column_stack([(x - x.mean()) / x.std(), table["x"].isna(), one_hot, (when - when.mean()) / when.std()])


def test_the_linear_baseline_is_scikit_learns() -> None:
    (table, y), (fresh, y_fresh) = frame(3000, 0), frame(3000, 1)
    found: Any = linear.Linear(FEATURES, None).fit(table, y).answer(fresh)
    peer = LinearRegression().fit(by_hand(table), y).predict(by_hand(fresh))
    assert metrics.get("r2")(Truth.of(y_fresh), found) == pytest.approx(
        metrics.get("r2")(Truth.of(y_fresh), Answer(peer)), abs=2e-3
    )
    codes = (y > 0).astype(int)
    found = linear.Linear(FEATURES, (False, True)).fit(table, codes).answer(fresh)
    peer = LogisticRegression().fit(by_hand(table), codes).predict_proba(by_hand(fresh))
    assert np.abs(found.probabilities - peer).mean() < 0.01


def test_the_linear_baseline_takes_what_it_has_not_seen() -> None:
    table, y = frame(200, 0)
    fresh, _ = frame(10, 1)
    fresh["c"] = "new"
    fresh["x"] = np.nan
    model = linear.Linear(FEATURES, ("low", "mid", "high", "never")).fit(table, np.digitize(y, [-1, 1]))
    answer: Any = model.answer(fresh)
    assert np.isfinite(answer.probabilities).all()
    assert (answer.probabilities[:, 3] == 0).all()


def test_a_model_worse_than_a_linear_one_is_told_so() -> None:
    rng = np.random.default_rng(0)
    n = 2000
    y = rng.random(n) < 0.5
    score = y + 0.7 * rng.normal(size=n)
    good = Answer(score > 0.5, np.column_stack([1 - score, score]).clip(0.01, 0.99))
    noisy = score + 1.5 * rng.normal(size=n)
    bad = Answer(noisy > 0.5, np.column_stack([1 - noisy, noisy]).clip(0.01, 0.99))
    truth = Truth.of(y, (False, True))
    (worse,) = baselines.check_linear(["roc_auc"], truth, bad, good, "warn")
    assert (worse.status, worse.code) == ("warned", "GATE_BASELINE_LINEAR")
    (worse,) = baselines.check_linear(["roc_auc"], truth, bad, good, "fail")
    assert worse.status == "failed"
    (better,) = baselines.check_linear(["roc_auc"], truth, good, bad, "fail")
    assert better.status == "passed"


def test_linear_estimators_are_known() -> None:
    assert linear.is_linear(LogisticRegressionCV())
    assert linear.is_linear(Ridge())
    assert not linear.is_linear(DecisionTreeClassifier())


def test_the_constant_answer_of_f1_names_the_positive_class() -> None:
    """Saying yes to all has an F1 of 2 p / (1 + p); saying no to all has 0, which any model beats."""
    train, test, _ = sides(1, 4000)
    answer = baselines.dummy(train, 4000, "f1")
    share = test.values.mean()
    assert metrics.get("f1")(test, answer) == pytest.approx(2 * share / (1 + share))
    assert not baselines.dummy(train, 5, "accuracy").labels.any()
    rng = np.random.default_rng(0)
    guess = Answer(rng.random(4000) < 0.3)
    (outcome,) = baselines.check_dummy(["f1"], train, test, guess, "fail")
    assert outcome.status == "failed"


def test_what_is_no_number_is_not_called_a_bad_model() -> None:
    train, test, answer = sides(1, 300)
    metrics.register("tests:nan", lambda *_, sample_weight: float("nan"))
    (outcome,) = baselines.check_dummy(["tests:nan"], train, test, answer, "fail")
    assert outcome.status == "failed"
    assert "cannot be compared" in outcome.sentence
