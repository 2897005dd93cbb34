"""Candidate against champion: intervals, bootstrap, and the three verdicts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import optimize, stats
from sklearn import metrics as peer
from statsmodels.stats.contingency_tables import mcnemar

from stages.gate import bootstrap, champion, intervals, uncertainty
from stages.model import metrics
from stages.model.metrics import Answer, Truth


def pair(n: int = 500, seed: int = 0, drop: float = 0.0, weighted: bool = False, ties: bool = False) -> Any:
    """Truth, candidate, champion: two classifiers that share most of their noise; `drop` weakens the candidate."""
    rng = np.random.default_rng(seed)
    y = rng.random(n) < 0.35
    common = rng.normal(size=n)
    answers = []
    for strength in (1.6 - drop, 1.6):
        score = strength * (y - 0.5) + 0.9 * common + 0.4 * rng.normal(size=n)
        p = 1 / (1 + np.exp(-score))
        p = np.round(p, 1).clip(0.05, 0.95) if ties else p
        answers.append(Answer(p > 0.5, np.column_stack([1 - p, p])))
    return Truth.of(y, (False, True), True, rng.integers(1, 4, n) if weighted else None), *answers


def rival(answer: Answer, fresh: np.ndarray | None = None) -> champion.Rival:
    fresh = np.ones(len(answer.labels), dtype=bool) if fresh is None else fresh
    return champion.Rival("d" * 64, "production", fresh, answer.take(fresh), "scikit-learn")


def by_peer(name: str, truth: Truth, answer: Any) -> float:
    y, weight, p = truth.values, truth.weights, answer.probabilities[:, 1]
    match name:
        case "roc_auc":
            return peer.roc_auc_score(y, p, sample_weight=weight)
        case "average_precision":
            return peer.average_precision_score(y, p, sample_weight=weight)
        case "log_loss" | "neg_log_loss":
            return (-1 if name == "neg_log_loss" else 1) * peer.log_loss(y, p, sample_weight=weight)
        case "brier_score_loss":
            return peer.brier_score_loss(y, p, sample_weight=weight)
        case "accuracy":
            return peer.accuracy_score(y, answer.labels, sample_weight=weight)
    return peer.f1_score(y, answer.labels, sample_weight=weight)


# ---- bootstrap ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "name", ["roc_auc", "average_precision", "log_loss", "brier_score_loss", "accuracy", "f1", "neg_log_loss"]
)
def test_each_replicate_is_the_metric_of_its_rows(name: str, weighted: bool, ties: bool) -> None:
    """The vectorised forms against scikit-learn's functions on rows that are really repeated."""
    truth, first, second = pair(120, 3, 0.4, weighted, ties)
    if name in ("accuracy", "f1") and not weighted:
        pytest.skip("drawn by cells, not by rows: see the next test")
    found = bootstrap.differences([name], truth, first, second, replicates=20, seed=5)[name]
    (_, drawn), *_ = bootstrap._blocks(120, 20, 5)
    for b in range(20):
        rows = np.repeat(np.arange(120), drawn.counts[:, b])
        values = [by_peer(name, truth.take(rows), one.take(rows)) for one in (first, second)]
        assert found[b] == pytest.approx(values[0] - values[1])


@pytest.mark.parametrize("name", ["accuracy", "f1", "roc_auc", "log_loss", "matthews_corrcoef", "d2_log_loss_score"])
def test_the_spread_of_replicates_is_the_standard_error(name: str) -> None:
    truth, first, second = pair(800, 1)
    drawn = bootstrap.differences([name], truth, first, second)[name]
    found = uncertainty.estimate(name, truth, first, second)
    assert drawn.mean() == pytest.approx(found.value, abs=4 * found.error / math.sqrt(2000) + 0.1 * found.error)
    assert drawn.std() == pytest.approx(found.error, rel=0.2 if found.influence is None else 0.1)


def test_regression_and_several_classes_are_vectorised() -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=300)
    first, second = Answer(y + 0.5 * rng.normal(size=300)), Answer(y + 0.6 * rng.normal(size=300))
    for name in ("r2", "explained_variance", "root_mean_squared_error", "mean_absolute_error"):
        spread = bootstrap.differences([name], Truth.of(y), first, second)[name].std()
        assert spread == pytest.approx(uncertainty.estimate(name, Truth.of(y), first, second).error, rel=0.15)
    codes = rng.integers(0, 3, 300)
    p = rng.dirichlet([1, 1, 1], (2, 300)) + np.eye(3)[codes]
    p /= p.sum(axis=2, keepdims=True)
    truth = Truth.of(codes, (0, 1, 2))
    drawn = bootstrap.differences(["roc_auc_ovr"], truth, Answer(p[0].argmax(1), p[0]), Answer(p[1].argmax(1), p[1]))
    expected = uncertainty.estimate("roc_auc_ovr", truth, Answer(p[0].argmax(1), p[0]), Answer(p[1].argmax(1), p[1]))
    assert drawn["roc_auc_ovr"].std() == pytest.approx(expected.error, rel=0.15)


def test_counts_are_poisson() -> None:
    counts = bootstrap._poisson_table()
    for k in range(7):
        assert (counts == k).mean() == pytest.approx(stats.poisson.pmf(k, 1), abs=1.6e-5)


def test_the_same_seed_gives_the_same_replicates() -> None:
    truth, first, second = pair()
    again = [bootstrap.differences(["roc_auc", "accuracy"], truth, first, second) for _ in range(2)]
    assert all((again[0][name] == again[1][name]).all() for name in again[0])


def test_a_metric_too_slow_to_repeat_is_left_out_and_has_a_jackknife() -> None:
    truth, first, second = pair(20_000)
    assert bootstrap.differences(["d2_log_loss_score"], truth, first, second) == {}
    found = intervals.compare("d2_log_loss_score", truth, first, second)
    assert (found.method, math.isfinite(found.lower)) == ("jackknife", True)


# ---- accuracy ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("b", "c"), [(0, 0), (3, 1), (12, 30), (1, 9), (200, 150)])
def test_mcnemar_is_statsmodels(b: int, c: int) -> None:
    assert intervals.mcnemar(b, c) == pytest.approx(mcnemar([[10, b], [c, 10]], exact=True).pvalue)


def test_the_score_statistic_at_no_difference_is_mcnemars() -> None:
    assert intervals.tango(30, 12, 400, 0.0) == pytest.approx(
        math.sqrt(mcnemar([[9, 30], [12, 9]], False, False).statistic)
    )


@pytest.mark.parametrize(("b", "c", "n"), [(9, 3, 44), (0, 4, 200), (40, 61, 900), (3, 0, 50)])
@pytest.mark.parametrize("delta", [-0.2, -0.05, 0.1])
def test_the_score_statistic_uses_the_variance_of_the_hypothesis(b: int, c: int, n: int, delta: float) -> None:
    """Tango's closed form against the restricted likelihood, maximised numerically."""

    def unlikely(q: float) -> float:
        return -(b * math.log(q + delta) + c * math.log(q) + (n - b - c) * math.log(1 - 2 * q - delta))

    ends = max(0.0, -delta) + 1e-12, (1 - delta) / 2 - 1e-12
    share = optimize.minimize_scalar(unlikely, bounds=ends, method="bounded", options={"xatol": 1e-10}).x
    expected = (b - c - n * delta) / math.sqrt(n * (2 * share + delta * (1 - delta)))
    assert intervals.tango(b, c, n, delta) == pytest.approx(expected, rel=1e-4)


def level(n: int, discordant: float, margin: float) -> float:
    """Exact chance that a candidate worse by `margin` in accuracy is approved, summed over all outcomes."""
    up, down = (discordant - margin) / 2, (discordant + margin) / 2
    quantile = stats.norm.ppf(1 - intervals.WORKING_LEVEL)
    most = int(n * discordant + 8 * math.sqrt(n * discordant) + 8)
    total = 0.0
    for b in range(most):
        for c in range(most):
            if b + c <= n and intervals.tango(b, c, n, -margin) >= quantile:
                total += stats.binom.pmf(b, n, up) * stats.binom.pmf(c, n - b, down / (1 - up))
    return total


@pytest.mark.parametrize(("n", "discordant", "margin"), [(200, 0.03, 0.02), (200, 0.05, 0.05), (500, 0.02, 0.01)])
def test_a_true_drop_of_the_margin_is_approved_in_at_most_5_percent(n: int, discordant: float, margin: float) -> None:
    assert 0.005 < level(n, discordant, margin) <= 0.05


def test_the_smallest_detectable_difference() -> None:
    assert intervals.detectable_accuracy(1000, 20_000) == pytest.approx(3.29 * math.sqrt(0.05 / 20_000), rel=1e-3)
    assert intervals.detectable_accuracy(0, 200) > 0
    values = [intervals.detectable_accuracy(d, 1000) for d in range(60)]
    assert values == sorted(values)


# ---- the rule ----------------------------------------------------------------------------------------------------


def one(name: str, margin: float, truth: Truth, ours: Answer, theirs: champion.Rival) -> Any:
    return champion.compare({name: margin}, truth, ours, theirs)[0]


@pytest.mark.parametrize("name", ["roc_auc", "log_loss", "accuracy", "f1", "neg_brier_score"])
def test_the_three_verdicts(name: str) -> None:
    truth, ours, theirs = pair(6000, 1)
    assert one(name, 0.1, truth, ours, rival(theirs)).status == "passed"
    truth, ours, theirs = pair(6000, 1, drop=1.2)
    worse = one(name, 0.005, truth, ours, rival(theirs))
    assert (worse.status, worse.code) == ("failed", "GATE_CHAMPION_WORSE")
    assert worse.interval[1] < -0.005
    truth, ours, theirs = pair(400, 7)
    unclear = one(name, 0.001, truth, ours, rival(theirs))
    assert (unclear.status, unclear.code) == ("inconclusive", "GATE_CHAMPION_UNCLEAR")
    assert unclear.details["rows_to_decide"] > 400
    assert f"{unclear.details['rows_to_decide']:,} test rows would decide" in unclear.sentence


@pytest.mark.parametrize("baseline", [0.0, -0.4])
def test_a_champion_at_zero_or_below_is_no_obstacle(baseline: float) -> None:
    """MLflow's relative change divides by the baseline."""
    rng = np.random.default_rng(0)
    y = rng.normal(size=1000)
    y = (y - y.mean()) / y.std()
    theirs = Answer(np.full(1000, math.sqrt(-baseline)))
    ours = Answer(0.9 * y)
    truth = Truth.of(y)
    assert metrics.get("r2")(truth, theirs) == pytest.approx(baseline)
    assert one("r2", 0.01, truth, ours, rival(theirs)).status == "passed"
    assert one("r2", 0.01, truth, theirs, rival(ours)).status == "failed"


def test_the_same_model_again_passes_any_margin() -> None:
    truth, ours, _ = pair(400)
    for name in ("roc_auc", "log_loss", "f1"):
        assert one(name, 0.0, truth, ours, rival(ours)).status == "passed"
    assert one("accuracy", 0.02, truth, ours, rival(ours)).status == "passed"


def test_rows_that_the_champion_was_trained_on_do_not_count() -> None:
    truth, ours, theirs = pair(1000)
    trained = np.arange(0, 850, dtype=np.uint64)
    fresh = champion.fresh_rows(np.arange(1000, dtype=np.uint64), trained)
    assert fresh.sum() == 150
    outcome = one("roc_auc", 0.5, truth, ours, rival(theirs, fresh))
    assert (outcome.status, outcome.code, outcome.n) == ("inconclusive", "GATE_CHAMPION_ROWS", 150)
    outcome = one("roc_auc", 0.5, truth, ours, rival(theirs, champion.fresh_rows(np.arange(1000), trained[:600])))
    assert (outcome.status, outcome.n) == ("passed", 400)


def test_a_rare_class_makes_the_order_inconclusive_but_not_the_mean() -> None:
    rng = np.random.default_rng(0)
    y = np.arange(1000) < 20
    p = np.clip(0.3 * y + 0.3 + 0.1 * rng.normal(size=1000), 0.01, 0.99)
    q = np.clip(p + 0.01 * rng.normal(size=1000), 0.01, 0.99)
    ours, theirs = (Answer(x > 0.5, np.column_stack([1 - x, x])) for x in (p, q))
    truth = Truth.of(y, (False, True))
    outcome = one("roc_auc", 0.2, truth, ours, rival(theirs))
    assert (outcome.status, outcome.code) == ("inconclusive", "GATE_CHAMPION_ROWS")
    assert "20 rows of class true" in outcome.sentence
    assert one("log_loss", 0.2, truth, ours, rival(theirs)).status == "passed"


def test_a_champion_without_probabilities_fails() -> None:
    truth, ours, theirs = pair()
    outcome = one("roc_auc", 0.1, truth, ours, rival(Answer(theirs.labels)))
    assert (outcome.status, outcome.code) == ("failed", "GATE_METRIC_UNDEFINED")
    assert "the champion gives none" in outcome.sentence
    outcome = one("log_loss", 0.1, truth, Answer(ours.labels, None, ours.leaning(1)), rival(theirs))
    assert (outcome.status, outcome.code) == ("failed", "GATE_METRIC_UNDEFINED")
    assert "the candidate gives none" in outcome.sentence


@pytest.mark.parametrize("name", ["roc_auc", "average_precision"])
def test_scores_compare_like_the_probabilities_of_the_same_order(name: str) -> None:
    truth, ours, theirs = pair(drop=0.3)
    by_probability = one(name, 0.01, truth, ours, rival(theirs))
    by_score = [Answer(one.labels, None, np.log(one.leaning(1) / one.leaning(0))) for one in (ours, theirs)]
    for left, right in [(by_score[0], by_score[1]), (ours, by_score[1]), (by_score[0], theirs)]:
        found = one(name, 0.01, truth, left, rival(right))
        assert (found.status, found.interval) == (by_probability.status, pytest.approx(by_probability.interval))


def test_accuracy_shows_mcnemar_beside_it() -> None:
    truth, ours, theirs = pair(2000)
    outcome = one("accuracy", 0.05, truth, ours, rival(theirs))
    b, c = outcome.details["only_candidate_right"], outcome.details["only_champion_right"]
    assert outcome.details["mcnemar_p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert outcome.details["smallest_detectable_difference"] == pytest.approx(
        3.29 * math.sqrt((b + c) / 2000 / 2000), rel=1e-3
    )


def test_skewness_only_widens() -> None:
    assert intervals._skewed(1.8, 0.0, 100) == 1.8
    assert intervals._skewed(1.8, 4.0, 100) == 1.8
    assert intervals._skewed(1.8, -4.0, 100) > 2.0
