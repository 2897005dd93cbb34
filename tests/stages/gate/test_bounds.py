"""Absolute bounds, and that nothing that cannot be compared passes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from stages.config.schema import Bound
from stages.gate import bounds
from stages.model import metrics
from stages.model.metrics import Answer, Truth


def binary(n: int = 400, seed: int = 0, weight: bool = False) -> tuple[Truth, Answer]:
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.4
    p = np.clip(0.4 + 0.3 * (y - 0.4) + 0.15 * rng.normal(size=n), 0.01, 0.99)
    truth = Truth.of(y, (False, True), True, rng.random(n) if weight else None)
    return truth, Answer(p > 0.5, np.column_stack([1 - p, p]))


def one(name: str, truth: Truth, answer: Answer, **limits: float) -> Any:
    return bounds.check({name: Bound(**limits)}, truth, answer)[0]


def test_bounds_are_inclusive_and_fail_on_their_side() -> None:
    truth, answer = Truth.of([0, 1, 1, 1], (0, 1)), Answer(np.array([0, 1, 1, 0]))
    assert one("accuracy", truth, answer, min=0.75).status == "passed"
    assert one("accuracy", truth, answer, max=0.75).status == "passed"
    low = one("accuracy", truth, answer, min=0.76)
    assert (low.status, low.code, low.observed, low.bound) == ("failed", "GATE_BELOW_BOUND", 0.75, 0.76)
    high = one("accuracy", truth, answer, min=0.1, max=0.7)
    assert (high.status, high.code, high.bound) == ("failed", "GATE_ABOVE_BOUND", 0.7)


def test_nothing_configured_is_not_approved() -> None:
    (outcome,) = bounds.check({}, *binary())
    assert (outcome.status, outcome.code) == ("failed", "GATE_NOTHING_CONFIGURED")


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_an_answer_that_is_no_number_fails(bad: float) -> None:
    """MLflow's relative threshold passes NaN."""
    truth, answer = binary()
    probabilities = np.array(answer.probabilities)
    probabilities[3] = bad
    outcome = one("roc_auc", truth, Answer(answer.labels, probabilities), min=0.1)
    assert (outcome.status, outcome.code) == ("failed", "GATE_NOT_FINITE")
    values = Truth.of(np.arange(5.0))
    outcome = one("mean_absolute_error", values, Answer(np.array([0, 1, bad, 3, 4])), max=9e9)
    assert (outcome.status, outcome.code) == ("failed", "GATE_NOT_FINITE")


def test_a_metric_that_is_not_defined_fails() -> None:
    outcome = one("r2", Truth.of([3.0]), Answer(np.array([3.0])), min=0.1)
    assert (outcome.status, outcome.code) == ("failed", "GATE_NOT_FINITE")
    truth, answer = binary()
    outcome = one("roc_auc", truth, Answer(answer.labels), min=0.1)
    assert (outcome.status, outcome.code) == ("failed", "GATE_METRIC_UNDEFINED")
    empty = one("accuracy", Truth.of([], (0, 1)), Answer(np.array([])), min=0)
    assert (empty.status, empty.code) == ("failed", "GATE_METRIC_UNDEFINED")


@pytest.mark.parametrize("name", ["roc_auc", "accuracy", "log_loss"])
def test_a_class_that_is_absent_from_the_test_side_fails(name: str) -> None:
    n = 50
    truth = Truth.of(np.ones(n, dtype=int), (0, 1))
    outcome = one(name, truth, Answer(np.ones(n, dtype=int), np.full((n, 2), 0.5)), min=0)
    assert (outcome.status, outcome.code) == ("failed", "GATE_CLASS_ABSENT")
    assert "0" in outcome.sentence


def test_a_class_that_the_model_does_not_know_fails() -> None:
    truth = Truth.of(np.array(["a", "b", "c", "zz"]), ("a", "b", "c"))
    outcome = one("accuracy", truth, Answer(np.array(["a", "b", "c", "a"])), min=0)
    assert (outcome.status, outcome.code) == ("failed", "GATE_CLASS_ABSENT")
    assert "zz" in outcome.sentence


def test_an_unknown_name_fails_with_the_nearest() -> None:
    outcome = one("roc_aucc", *binary(), min=0)
    assert (outcome.status, outcome.code) == ("failed", "GATE_UNKNOWN_METRIC")
    assert "roc_auc" in outcome.sentence
    assert one("r2", *binary(), min=0).code == "GATE_UNKNOWN_METRIC"


def test_accuracy_carries_the_wilson_interval() -> None:
    truth, answer = binary()
    outcome = one("accuracy", truth, answer, min=0)
    hits = int((truth.values == answer.labels).sum())
    assert outcome.interval == pytest.approx(proportion_confint(hits, 400, method="wilson"))
    low, high = one("accuracy", Truth.of([0, 1], (0, 1)), Answer(np.array([0, 1])), min=0).interval
    assert 0 < low < 1
    assert high == 1


def test_a_margin_alone_still_needs_a_metric_that_can_be_computed() -> None:
    truth, answer = binary()
    assert one("roc_auc", truth, answer, margin=0.01).status == "passed"
    assert one("roc_auc", truth, Answer(answer.labels), margin=0.01).status == "failed"


def test_outcomes_are_plain_json() -> None:
    outcome = one("mean_squared_error", Truth.of([1.0, 2.0]), Answer(np.array([math.nan, 1.0])), max=1)
    assert outcome.as_dict()["observed"] == "NaN"


@pytest.mark.parametrize(
    ("name", "low", "high"),
    [("f1", 0, 1), ("recall_macro", 0, 1), ("roc_auc", 0, 1), ("log_loss", 0, math.inf), ("matthews_corrcoef", -1, 1)],
)
def test_an_interval_holds_no_value_that_the_metric_cannot_take(name: str, low: float, high: float) -> None:
    y = np.arange(12) < 3
    p = np.where(y, [0.9, 0.9, 1e-9] * 4, 0.2)
    truth, answer = Truth.of(y, (False, True)), Answer(p > 0.5, np.column_stack([1 - p, p]))
    interval = one(name, truth, answer, min=-9).interval
    assert interval is not None
    assert low <= interval[0] < interval[1] <= high


@pytest.mark.parametrize("name", ["recall", "precision"])
def test_shares_of_a_part_of_the_rows_have_wilsons_interval(name: str) -> None:
    y, said = np.arange(40) < 8, np.arange(40) < 5
    truth, answer = Truth.of(y, (False, True)), Answer(said)
    hits, of = (5, 8) if name == "recall" else (5, 5)
    expected = proportion_confint(hits, of, method="wilson")
    assert one(name, truth, answer, min=0).interval == pytest.approx(expected)
    weighted = Truth.of(y, (False, True), True, np.linspace(1, 2, 40))
    assert one(name, weighted, answer, min=0).interval != pytest.approx(expected)


def test_rows_that_all_say_the_same_have_no_interval() -> None:
    y = np.arange(40) < 8
    perfect = one("matthews_corrcoef", Truth.of(y, (False, True)), Answer(y), min=0.5)
    assert (perfect.status, perfect.observed, perfect.interval) == ("passed", pytest.approx(1), None)


def test_an_unknown_name_is_answered_in_one_line() -> None:
    truth, answer = binary()
    for name in ("nonsense", "silhouette_score", "r2", "ROC_AUC"):
        outcome = one(name, truth, answer, min=0.5)
        assert outcome.code == "GATE_UNKNOWN_METRIC"
        assert len(outcome.sentence) < 140
        assert "roc_auc" in outcome.sentence


def test_a_metric_of_ones_own_that_fails_or_answers_text_fails() -> None:
    def broken(y_true: Any, y_pred: Any, sample_weight: Any = None) -> float:
        raise ValueError("first line\nsecond line")

    truth, answer = binary()
    for number, function in enumerate((broken, lambda *_, sample_weight: "0.7", lambda *_, sample_weight: [1.0, 2.0])):
        metrics.register(f"tests:bad{number}", function)  # type: ignore[arg-type]
        outcome = one(f"tests:bad{number}", truth, answer, min=0.0)
        assert (outcome.status, outcome.code) == ("failed", "GATE_METRIC_UNDEFINED")
        assert "\n" not in outcome.sentence
