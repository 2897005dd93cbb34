"""Standard errors against SciPy, statsmodels and resampling."""

from __future__ import annotations

import math
import time
from typing import Any

import numpy as np
import pytest
from scipy import stats

from stages.gate import uncertainty
from stages.model import metrics
from stages.model.metrics import Answer, Truth


def classified(kind: str, n: int, seed: int, weighted: bool) -> Any:
    rng = np.random.default_rng(seed)
    classes = (False, True) if kind == "binary" else ("a", "b", "c")
    codes = rng.choice(len(classes), n, p=[0.6, 0.4] if kind == "binary" else [0.5, 0.3, 0.2])
    answers = []
    for noise in (1.0, 1.4):
        scores = 1.5 * np.eye(len(classes))[codes] + noise * rng.normal(size=(n, len(classes)))
        p = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
        answers.append(Answer(np.asarray(classes)[p.argmax(axis=1)], p))
    weight = rng.integers(1, 4, n).astype(float) if weighted else None
    return Truth.of(np.asarray(classes)[codes], classes, None, weight), *answers


def measured(n: int, seed: int, weighted: bool) -> Any:
    rng = np.random.default_rng(seed)
    y = rng.gamma(3, size=n) + 1
    first, second = y * np.exp(0.2 * rng.normal(size=n)), y * np.exp(0.3 * rng.normal(size=n))
    return Truth.of(y, weight=rng.integers(1, 4, n).astype(float) if weighted else None), Answer(first), Answer(second)


def resampled(name: str, truth: Truth, answers: list[Answer], times: int) -> float:
    rng, metric = np.random.default_rng(1), metrics.get(name)
    n, values = len(truth.values), []
    for _ in range(times):
        rows = rng.integers(0, n, n)
        first, *rest = [metric(truth.take(rows), one.take(rows)) for one in answers]
        values.append(first - sum(rest))
    return float(np.std(values, ddof=1))


BINARY = ["accuracy", "roc_auc", "log_loss", "brier_score_loss", "f1", "precision", "recall", "matthews_corrcoef"]
MANY = ["accuracy", "roc_auc_ovr", "log_loss", "f1_macro", "balanced_accuracy", "cohen_kappa"]
REAL = ["r2", "root_mean_squared_error", "mean_absolute_error", "mean_absolute_percentage_error"]
REAL += ["root_mean_squared_log_error", "explained_variance", "mean_poisson_deviance", "mean_gamma_deviance"]
CASES = [*(("binary", n) for n in BINARY), *(("multiclass", n) for n in MANY), *(("regression", n) for n in REAL)]


@pytest.mark.parametrize(("kind", "name"), CASES)
def test_errors_agree_with_resampling(kind: str, name: str) -> None:
    weighted = name in ("log_loss", "roc_auc", "f1_macro", "r2")
    n = 400
    truth, first, second = measured(n, 5, weighted) if kind == "regression" else classified(kind, n, 5, weighted)
    alone, paired = uncertainty.estimate(name, truth, first), uncertainty.estimate(name, truth, first, second)
    assert alone.value == pytest.approx(metrics.get(name)(truth, first))
    assert alone.influence is not None
    assert alone.influence.mean() == pytest.approx(0, abs=1e-9)
    # 300 replicates give a standard deviation to about 4 %
    assert alone.error == pytest.approx(resampled(name, truth, [first], 300), rel=0.15)
    assert paired.error == pytest.approx(resampled(name, truth, [first, second], 300), rel=0.15)


def test_the_error_of_a_mean_is_scipys() -> None:
    truth, first, second = measured(300, 2, weighted=False)
    loss = np.abs(truth.values - first.labels) - np.abs(truth.values - second.labels)
    found = uncertainty.estimate("mean_absolute_error", truth, first, second)
    assert found.error == pytest.approx(stats.sem(loss))
    assert found.interval() == pytest.approx(stats.t.interval(0.95, 299, loss.mean(), stats.sem(loss)))


def test_roc_auc_error_is_delongs() -> None:
    """DeLong's variance written out: S10 / m + S01 / n."""
    truth, answer, _ = classified("binary", 200, 3, weighted=False)
    score = np.asarray(answer.probabilities)[:, 1]
    up, down = score[truth.values], score[~truth.values]
    wins = (up[:, None] > down) + 0.5 * (up[:, None] == down)
    variance = wins.mean(axis=1).var(ddof=1) / len(up) + wins.mean(axis=0).var(ddof=1) / len(down)
    found = uncertainty.estimate("roc_auc", truth, answer)
    assert found.value == pytest.approx(wins.mean())
    assert found.error == pytest.approx(math.sqrt(variance), rel=0.01)


def test_negated_and_aliased_names_are_the_same_metric() -> None:
    truth, first, second = classified("binary", 100, 1, weighted=False)
    plain = uncertainty.estimate("log_loss", truth, first, second)
    negated = uncertainty.estimate("neg_log_loss", truth, first, second)
    assert (negated.value, negated.error) == pytest.approx((-plain.value, plain.error))
    assert uncertainty.base("accuracy_score") == ("accuracy", 1)
    assert uncertainty.base("neg_brier_score") == ("brier_score_loss", -1)


@pytest.mark.parametrize("name", ["average_precision", "roc_auc_ovo", "d2_log_loss_score"])
def test_other_metrics_use_a_jackknife(name: str) -> None:
    truth, first, second = classified("binary", 400, 5, weighted=False)
    found = uncertainty.estimate(name, truth, first, second)
    assert found.freedom == 49
    assert found.error == pytest.approx(resampled(name, truth, [first, second], 300), rel=0.35)


def test_many_classes_take_no_longer_than_few() -> None:
    rng = np.random.default_rng(0)
    n, k = 20_000, 300
    codes = rng.integers(0, k, n)
    labels = np.where(rng.random(n) < 0.8, codes, rng.integers(0, k, n))
    truth, answer = Truth.of(codes, range(k)), Answer(labels)
    started = time.process_time()
    found = uncertainty.estimate("accuracy", truth, answer)
    macro = uncertainty.estimate("f1_macro", truth, answer)
    assert time.process_time() - started < 5
    assert found.error == pytest.approx(math.sqrt(found.value * (1 - found.value) / n), rel=1e-3)
    assert macro.freedom == 49
