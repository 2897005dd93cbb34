"""Every metric equals scikit-learn's, with and without weights, and says what it cannot do."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import sklearn.metrics as sk

from stages.errors import ConfigError
from stages.model import metrics
from stages.model.metrics import Answer, Truth

RNG = np.random.default_rng(7)
N = 400


def _classification(classes: list[Any], seed: int = 3) -> tuple[Truth, Answer]:
    rng = np.random.default_rng(seed)
    k = len(classes)
    raw = rng.dirichlet(np.ones(k), N)
    raw = np.round(raw, 2) + 1e-9  # ties
    probabilities = raw / raw.sum(axis=1, keepdims=True)
    codes = np.array([rng.choice(k, p=p) for p in probabilities])
    y = np.array(classes)[codes]
    return Truth.of(y, classes), Answer(np.array(classes)[probabilities.argmax(axis=1)], probabilities)


def _weighted(truth: Truth) -> Truth:
    weight = np.random.default_rng(1).integers(0, 4, len(truth.values)).astype(float)
    return Truth(truth.values, truth.classes, truth.positive, weight)


def _averaged(part: str, average: str) -> Callable[..., float]:
    function = getattr(sk, f"{part}_score")
    zero = {} if part == "jaccard" else {"zero_division": 0}
    return lambda y, s, p, w: function(y, s, average=average, sample_weight=w, **zero)


BINARY = {
    "accuracy": lambda y, s, p, w: sk.accuracy_score(y, s, sample_weight=w),
    "balanced_accuracy": lambda y, s, p, w: sk.balanced_accuracy_score(y, s, sample_weight=w),
    "precision": lambda y, s, p, w: sk.precision_score(y, s, sample_weight=w, pos_label="yes"),
    "recall": lambda y, s, p, w: sk.recall_score(y, s, sample_weight=w, pos_label="yes"),
    "f1": lambda y, s, p, w: sk.f1_score(y, s, sample_weight=w, pos_label="yes"),
    "jaccard": lambda y, s, p, w: sk.jaccard_score(y, s, sample_weight=w, pos_label="yes"),
    "matthews_corrcoef": lambda y, s, p, w: sk.matthews_corrcoef(y, s, sample_weight=w),
    "cohen_kappa": lambda y, s, p, w: sk.cohen_kappa_score(y, s, sample_weight=w),
    "zero_one_loss": lambda y, s, p, w: sk.zero_one_loss(y, s, sample_weight=w),
    "hamming_loss": lambda y, s, p, w: sk.hamming_loss(y, s, sample_weight=w),
    "roc_auc": lambda y, s, p, w: sk.roc_auc_score(y == "yes", p[:, 1], sample_weight=w),
    "roc_auc_ovr": lambda y, s, p, w: sk.roc_auc_score(y == "yes", p[:, 1], sample_weight=w),
    "average_precision": lambda y, s, p, w: sk.average_precision_score(y == "yes", p[:, 1], sample_weight=w),
    "log_loss": lambda y, s, p, w: sk.log_loss(y, p, sample_weight=w),
    "brier_score_loss": lambda y, s, p, w: sk.brier_score_loss(y == "yes", p[:, 1], sample_weight=w),
    "d2_log_loss_score": lambda y, s, p, w: sk.d2_log_loss_score(y, p, sample_weight=w),
    "d2_brier_score": lambda y, s, p, w: sk.d2_brier_score(y == "yes", p[:, 1], sample_weight=w),
    "positive_likelihood_ratio": lambda y, s, p, w: sk.class_likelihood_ratios(y, s, sample_weight=w)[0],
    "negative_likelihood_ratio": lambda y, s, p, w: sk.class_likelihood_ratios(y, s, sample_weight=w)[1],
    "f1_macro": lambda y, s, p, w: sk.f1_score(y, s, sample_weight=w, average="macro"),
}
MULTI = {
    "accuracy": BINARY["accuracy"],
    "balanced_accuracy": BINARY["balanced_accuracy"],
    "matthews_corrcoef": BINARY["matthews_corrcoef"],
    "cohen_kappa": BINARY["cohen_kappa"],
    "log_loss": BINARY["log_loss"],
    "d2_log_loss_score": BINARY["d2_log_loss_score"],
    "brier_score_loss": lambda y, s, p, w: sk.brier_score_loss(y, p, sample_weight=w),
    "d2_brier_score": lambda y, s, p, w: sk.d2_brier_score(y, p, sample_weight=w),
    "top_k_accuracy": lambda y, s, p, w: sk.top_k_accuracy_score(y, p, sample_weight=w),
    "roc_auc_ovr": lambda y, s, p, w: sk.roc_auc_score(y, p, multi_class="ovr", sample_weight=w),
    "roc_auc_ovr_weighted": lambda y, s, p, w: sk.roc_auc_score(
        y, p, multi_class="ovr", average="weighted", sample_weight=w
    ),
    **{
        f"{part}_{average}": _averaged(part, average)
        for part in ("precision", "recall", "f1", "jaccard")
        for average in ("macro", "micro", "weighted")
    },
}
REGRESSION = {
    "r2": sk.r2_score,
    "explained_variance": sk.explained_variance_score,
    "mean_absolute_error": sk.mean_absolute_error,
    "mean_squared_error": sk.mean_squared_error,
    "root_mean_squared_error": sk.root_mean_squared_error,
    "median_absolute_error": sk.median_absolute_error,
    "mean_absolute_percentage_error": sk.mean_absolute_percentage_error,
    "mean_squared_log_error": sk.mean_squared_log_error,
    "root_mean_squared_log_error": sk.root_mean_squared_log_error,
    "mean_poisson_deviance": sk.mean_poisson_deviance,
    "mean_gamma_deviance": sk.mean_gamma_deviance,
    "mean_pinball_loss": sk.mean_pinball_loss,
    "d2_absolute_error_score": sk.d2_absolute_error_score,
    "d2_pinball_score": sk.d2_pinball_score,
    "d2_tweedie_score": sk.d2_tweedie_score,
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", BINARY)
def test_binary_metrics_equal_scikit_learn(name: str, weighted: bool) -> None:
    truth, answer = _classification(["no", "yes"])
    truth = _weighted(truth) if weighted else truth
    expected = BINARY[name](truth.values, answer.labels, answer.probabilities, truth.weight)
    assert metrics.compute([name], truth, answer)[name] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", MULTI)
@pytest.mark.parametrize("classes", [["a", "b", "ç"], [1, 2, 3, 10]])
def test_multiclass_metrics_equal_scikit_learn(name: str, classes: list[Any], weighted: bool) -> None:
    truth, answer = _classification(classes)
    truth = _weighted(truth) if weighted else truth
    expected = MULTI[name](truth.values, answer.labels, answer.probabilities, truth.weight)
    assert metrics.compute([name], truth, answer)[name] == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("average", ["macro", "weighted"])
def test_one_vs_one_equals_scikit_learn(average: str) -> None:
    truth, answer = _classification(["a", "b", "c"])
    expected = sk.roc_auc_score(truth.values, answer.probabilities, multi_class="ovo", average=average)
    name = "roc_auc_ovo" + ("_weighted" if average == "weighted" else "")
    assert metrics.compute([name], truth, answer)[name] == pytest.approx(expected)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", REGRESSION)
def test_regression_metrics_equal_scikit_learn(name: str, weighted: bool) -> None:
    y = RNG.gamma(2, 2, N) + 0.1
    truth, answer = Truth.of(y), Answer(y * RNG.uniform(0.7, 1.3, N))
    truth = _weighted(truth) if weighted else truth
    expected = REGRESSION[name](truth.values, answer.labels, sample_weight=truth.weight)
    assert metrics.compute([name], truth, answer)[name] == pytest.approx(expected, rel=1e-9)


def test_max_error_looks_at_every_row() -> None:
    assert metrics.compute(["max_error"], Truth.of([1.0, 2, 3]), Answer(np.array([1.0, 5, 3]))) == {"max_error": 3.0}


def test_weighted_median_between_two_rows() -> None:
    y, said, weight = np.array([1.0, 2, 3, 4]), np.zeros(4), np.array([1.0, 2, 1, 2])
    expected = sk.median_absolute_error(y, said, sample_weight=weight)
    assert metrics.compute(["median_absolute_error"], Truth.of(y, weight=weight), Answer(said)) == {
        "median_absolute_error": pytest.approx(expected)
    }


def test_every_scorer_of_scikit_learn_for_labelled_rows_is_known_or_left_out_on_purpose() -> None:
    clustering = {"rand_score", "completeness_score", "v_measure_score", "homogeneity_score", "fowlkes_mallows_score"}
    left_out = {
        n for n in sk.get_scorer_names() if "mutual_info" in n or "rand" in n or n.endswith("_samples")
    } | clustering
    missing = [n for n in sk.get_scorer_names() if n not in left_out and n not in metrics.known()]
    assert missing == []


def test_directions_follow_scikit_learn() -> None:
    for name in set(sk.get_scorer_names()) & set(metrics.known()):
        if name == "max_error":  # kept by scikit-learn's function list as an error
            continue
        assert metrics.get(name).greater_is_better, name
    for name in ("log_loss", "max_error", "mean_absolute_error", "brier_score_loss", "zero_one_loss"):
        assert not metrics.get(name).greater_is_better


def test_neg_names_negate() -> None:
    truth, answer = _classification(["no", "yes"])
    found = metrics.compute(["log_loss", "neg_log_loss"], truth, answer)
    assert found["neg_log_loss"] == -found["log_loss"]
    assert metrics.get("neg_brier_score").greater_is_better


def test_aliases_give_the_same_value_under_the_name_that_was_asked_for() -> None:
    truth, answer = _classification(["no", "yes"])
    found = metrics.compute(["roc_auc", "roc_auc_score", "f1_score", "f1"], truth, answer)
    assert found["roc_auc"] == found["roc_auc_score"]
    assert found["f1"] == found["f1_score"]


@pytest.mark.parametrize(
    ("call", "what", "todo"),
    [
        (lambda: metrics.get("roc_auk"), "roc_auk", "roc_auc"),
        (lambda: metrics.get("neg_roc_auc"), "neg_roc_auc", "roc_auc"),
        (lambda: metrics.check("roc_auc", "multiclass"), "two classes", "roc_auc_ovr"),
        (lambda: metrics.check("f1", "multiclass"), "two classes", "f1_macro"),
        (lambda: metrics.check("f1", "regression"), "not for regression", "r2"),
        (lambda: metrics.check("r2", "binary"), "not for binary", "accuracy"),
        (lambda: metrics.check_task("r2", "classification"), "not for", "accuracy"),
        (lambda: metrics.positive_class((False, True), "yes"), "'yes'", "false, true"),
    ],
)
def test_wrong_names_are_config_errors(call, what: str, todo: str) -> None:
    with pytest.raises(ConfigError) as caught:
        call()
    assert what in caught.value.what
    assert todo in caught.value.todo


def test_check_task_leaves_the_number_of_classes_open() -> None:
    assert metrics.check_task("roc_auc", "classification").name == "roc_auc"
    assert metrics.check_task("roc_auc_ovr", "classification").name == "roc_auc_ovr"
    assert metrics.check_task("r2", "regression").name == "r2"


@pytest.mark.parametrize(
    ("classes", "configured", "expected"),
    [
        ((False, True), None, True),
        ((False, True), False, False),
        (("late", "on time"), None, "on time"),
        (("late", "on time"), "late", "late"),
        ((0, 1), 0, 0),
        (("0", "1"), 0, "0"),
        (("false", "true"), True, "true"),
    ],
)
def test_positive_class(classes: tuple[Any, ...], configured: object, expected: object) -> None:
    assert metrics.positive_class(classes, configured) == expected
    assert Truth.of([classes[0]], classes, configured).positive == expected


def test_the_positive_class_decides_what_precision_means() -> None:
    y, said = np.array(["a", "a", "b", "b"]), np.array(["a", "b", "b", "b"])
    of_b = metrics.compute(["precision"], Truth.of(y, ("a", "b")), Answer(said))["precision"]
    of_a = metrics.compute(["precision"], Truth.of(y, ("a", "b"), "a"), Answer(said))["precision"]
    assert of_a == 1.0
    assert of_b == pytest.approx(2 / 3)


def test_without_probabilities_metrics_are_absent_with_a_reason() -> None:
    truth, answer = _classification(["no", "yes"])
    answer = Answer(answer.labels)
    assert metrics.compute(["roc_auc", "log_loss", "accuracy"], truth, answer).keys() == {"accuracy"}
    assert metrics.absent(["roc_auc", "log_loss", "accuracy"], truth, answer) == {
        "roc_auc": "the estimator gives no probabilities or scores (decision_function)",
        "log_loss": "the estimator gives no probabilities",
    }


@pytest.mark.parametrize("positive", ["no", "yes"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_what_ranks_rows_takes_scores_as_scikit_learn_does(name: str, weighted: bool, positive: str) -> None:
    plain, answer = _classification(["no", "yes"])
    truth = Truth.of(plain.values, plain.classes, positive)
    truth = _weighted(truth) if weighted else truth
    scores = np.random.default_rng(1).normal(size=len(truth.values)).round(1) + 2.0 * (truth.codes == 1)
    said = Answer(answer.labels, None, scores)
    peer = {"roc_auc": sk.roc_auc_score, "average_precision": sk.average_precision_score}
    right = (truth.values == positive).astype(int)
    expected = peer[name](right, scores if positive == "yes" else -scores, sample_weight=truth.weight)
    assert metrics.compute([name], truth, said)[name] == pytest.approx(expected, abs=1e-12)
    rows = np.arange(0, len(scores), 2)
    assert (said.take(rows).leaning(1) == scores[rows]).all()
    assert metrics.absent(["log_loss", "roc_auc_ovr"], truth, said).keys() == {"log_loss", "roc_auc_ovr"}


def test_undefined_values_are_nan_and_named() -> None:
    truth = Truth.of(np.array(["no", "no"]), ("no", "yes"))
    answer = Answer(np.array(["no", "yes"]), np.array([[0.8, 0.2], [0.4, 0.6]]))
    assert np.isnan(metrics.compute(["roc_auc"], truth, answer)["roc_auc"])
    assert "roc_auc" in metrics.absent(["roc_auc", "log_loss"], truth, answer)
    assert np.isnan(metrics.compute(["r2"], Truth.of([1.0]), Answer(np.array([1.0])))["r2"])
    assert np.isnan(
        metrics.compute(["accuracy"], Truth.of(np.empty(0, "U1"), ("a", "b")), Answer(np.empty(0, "U1")))["accuracy"]
    )


def test_nan_in_an_answer_is_never_hidden() -> None:
    truth, answer = _classification(["no", "yes"])
    assert answer.probabilities is not None
    broken = answer.probabilities.copy()
    broken[5] = np.nan
    found = metrics.compute(
        ["roc_auc", "log_loss", "brier_score_loss", "average_precision"], truth, Answer(answer.labels, broken)
    )
    assert all(np.isnan(v) for v in found.values())
    values = metrics.defaults("regression")
    found = metrics.compute(values, Truth.of([1.0, 2, 3]), Answer(np.array([1.0, np.nan, 3])))
    assert all(np.isnan(v) for v in found.values())


def test_a_class_that_the_model_does_not_know_counts_as_wrong() -> None:
    truth = Truth.of(np.array(["a", "z"]), ("a", "b"))
    found = metrics.compute(
        ["accuracy", "log_loss"], truth, Answer(np.array(["a", "b"]), np.array([[1.0, 0], [0.5, 0.5]]))
    )
    assert found["accuracy"] == 0.5
    assert found["log_loss"] > 15


def test_zero_weight_rows_do_not_count() -> None:
    truth, answer = _classification(["no", "yes"])
    weight = np.zeros(N)
    weight[:200] = 1
    names = metrics.defaults("classification", 2)
    some = metrics.compute(names, Truth.of(truth.values, truth.classes, weight=weight), answer)
    assert some == pytest.approx(metrics.compute(names, truth.take(np.arange(200)), answer.take(np.arange(200))))


def test_all_defaults_of_67_thousand_rows_take_less_than_a_third_of_a_second() -> None:
    n = 67_000
    p = RNG.random(n)
    y = RNG.random(n) < p
    truth, answer = Truth.of(y, (False, True)), Answer(p > 0.5, np.c_[1 - p, p])
    started = time.process_time()
    found = metrics.compute(metrics.defaults("classification", 2), truth, answer)
    assert time.process_time() - started < 0.3
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["roc_auc"] == pytest.approx(sk.roc_auc_score(y, p))
