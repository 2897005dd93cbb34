"""Evidently's figures where they should agree with ours, and the known faults of Evidently, MLflow, TFX and Deepchecks.

SciPy, statsmodels and scikit-learn are oracles in the tests of each part: bins, intervals, corrections, metrics.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy import stats

from stages.config.schema import Bound
from stages.gate import baselines, bins, bounds, champion, drift, gap
from stages.gate.champion import Rival
from stages.model.metrics import Answer, Truth
from tests.stages.gate.peers import evidently

RNG = np.random.default_rng
LEVELS = np.array(["a", "b", "c", "d"], dtype=object)


def draw(n: int, seed: int, share: tuple[float, ...] = (0.4, 0.3, 0.2, 0.1)) -> np.ndarray:
    return LEVELS[: len(share)][RNG(seed).choice(len(share), n, p=share)]


def numbers(n: int, seed: int, shift: float = 0.0, missing: float = 0.0) -> np.ndarray:
    values = RNG(seed).normal(size=n) + shift
    values[RNG(seed + 1).random(n) < missing] = np.nan
    return values


#: name → (test, kind, reference, current)
CASES: dict[str, tuple[str, str, np.ndarray, np.ndarray]] = {
    "psi of levels": ("psi_stat_test", "level", draw(3000, 1), draw(700, 2, (0.3, 0.3, 0.2, 0.2))),
    "psi of few values": (
        "psi_stat_test",
        "number",
        RNG(3).integers(0, 9, 3000).astype(float),
        RNG(4).integers(0, 9, 500).astype(float),
    ),
    "z of two levels": ("z_stat_test", "level", draw(900, 5, (0.6, 0.4)), draw(300, 6, (0.53, 0.47))),
    "chi-square, large reference": ("chi_stat_test", "level", draw(100_000, 7), draw(400, 8, (0.36, 0.3, 0.22, 0.12))),
    "chi-square, equal sides": ("chi_stat_test", "level", draw(400, 9), draw(400, 10, (0.36, 0.32, 0.22, 0.1))),
    "fisher": ("fisher_exact_test", "level", draw(200, 11, (0.9, 0.1)), draw(200, 12, (0.84, 0.16))),
    "kolmogorov": ("ks_stat_test", "number", numbers(800, 13), numbers(300, 14, 0.15)),
    "many rows": ("ks_stat_test", "number", numbers(60_000, 15), numbers(60_000, 16, 0.03)),
    "psi at 100 rows": ("psi_stat_test", "number", numbers(100, 17), numbers(100, 18)),
    "missing": ("preset", "number", numbers(1000, 19), numbers(1000, 20, 0.0, 0.4)),
    "all missing": ("preset", "number", numbers(500, 21), np.full(500, np.nan)),
}


@pytest.fixture(scope="module")
def theirs() -> dict[str, dict[str, Any]]:
    keys = ("test", "kind", "reference", "current")
    answers = evidently([dict(zip(keys, case, strict=True)) for case in CASES.values()])
    return dict(zip(CASES, answers, strict=True))


def ours(name: str) -> drift.Compared:
    _, kind, reference, current = CASES[name]
    if kind == "number":
        known = bins.of_numbers(reference)
        return drift.compare({"x": (known, bins.count_numbers(known, current))})[0]
    known = bins.of_levels(counts(reference), 0)
    return drift.compare({"x": (known, bins.count_levels(known, counts(current), 0))})[0]


def counts(values: np.ndarray) -> dict[str, int]:
    levels, found = np.unique(values.astype(str), return_counts=True)
    return dict(zip(levels.tolist(), found.tolist(), strict=True))


def table(name: str) -> np.ndarray:
    here, there = (counts(side) for side in CASES[name][2:])
    return np.array([[here.get(level, 0), there.get(level, 0)] for level in here], dtype=float).T


# ---- what should agree -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["psi of levels", "psi of few values"])
def test_the_index_of_the_same_bins_is_evidentlys(theirs: dict[str, Any], name: str) -> None:
    assert ours(name).psi == pytest.approx(theirs[name]["score"], rel=1e-9)


def test_two_levels_are_tested_as_by_evidentlys_z_test(theirs: dict[str, Any]) -> None:
    """The square of z is χ² with one degree of freedom."""
    assert ours("z of two levels").p == pytest.approx(theirs["z of two levels"]["score"], rel=1e-6)


def test_chi_square_agrees_where_the_reference_is_as_good_as_known(theirs: dict[str, Any]) -> None:
    name = "chi-square, large reference"
    assert ours(name).p == pytest.approx(theirs[name]["score"], rel=0.03)
    assert ours(name).p == pytest.approx(stats.chi2_contingency(table(name), correction=False).pvalue)


def test_the_exact_test_agrees(theirs: dict[str, Any]) -> None:
    here, there = table("fisher")
    p = drift._exact(int(here[1]), int(here.sum()), int(there[1]), int(there.sum()))
    expected = theirs["fisher"]["score"]
    assert expected == pytest.approx(stats.fisher_exact([here, there]).pvalue)
    assert expected / 1.05 <= p <= 2.1 * expected


def test_a_shift_is_seen_by_both(theirs: dict[str, Any]) -> None:
    """Different tests, the same finding of a shift of 0.15 standard deviations at 300 rows: not certain, not absurd."""
    _, _, reference, current = CASES["kolmogorov"]
    assert theirs["kolmogorov"]["score"] == pytest.approx(stats.ks_2samp(reference, current).pvalue)
    assert 1e-4 < ours("kolmogorov").p < 0.5


# ---- known faults of Evidently -----------------------------------------------------------------------------------


def test_evidently_takes_the_reference_for_the_truth(theirs: dict[str, Any]) -> None:
    """A goodness-of-fit χ² against 400 reference rows, as if their shares were known: twice the statistic."""
    name = "chi-square, equal sides"
    right = stats.chi2_contingency(table(name), correction=False).pvalue
    assert theirs[name]["score"] < 0.6 * right
    assert ours(name).p == pytest.approx(right)


def test_evidently_does_not_see_missing_values(theirs: dict[str, Any]) -> None:
    """They are dropped before the test [evidently issue 187]: 40 % of them are no drift."""
    assert theirs["missing"]["drifted"] is False
    assert ours("missing").drifted


def test_evidently_has_no_answer_to_a_column_that_went_silent(theirs: dict[str, Any]) -> None:
    """A ValueError [evidently issue 330], where a source broke completely."""
    assert "ValueError" in theirs["all missing"]["error"]
    assert ours("all missing").drifted


def test_evidently_calls_chance_drift_at_100_rows(theirs: dict[str, Any]) -> None:
    """Index above 0.1, without a critical value for so few rows."""
    assert theirs["psi at 100 rows"]["drifted"] is True
    assert not ours("psi at 100 rows").drifted


def test_a_test_alone_calls_nothing_drift_at_60000_rows(theirs: dict[str, Any]) -> None:
    assert theirs["many rows"]["drifted"] is True
    assert not ours("many rows").drifted
    assert ours("many rows").psi < 0.01


# ---- known faults of MLflow, TFX and Deepchecks ------------------------------------------------------------------


def rivals(noise: float, theirs: float, seed: int = 0, n: int = 600) -> tuple[Truth, Answer, Rival]:
    """Regression: a candidate and a champion whose errors have these standard deviations (the target's is 1)."""
    rng = RNG(seed)
    y = rng.normal(size=n)
    mine, other = (Answer(y + spread * rng.normal(size=n)) for spread in (noise, theirs))
    return Truth.of(y), mine, Rival("d" * 64, "production", np.ones(n, dtype=bool), other, "scikit-learn")


def mlflow_passes(candidate: float, baseline: float, relative: float) -> bool:
    """`MetricThreshold(min_relative_change)`: what fails is `change < relative` [mlflow validation.py]."""
    return not (candidate - baseline) / abs(baseline) < relative


def tfx_passes(candidate: float, baseline: float, relative: float) -> bool:
    """`change_threshold.relative`: what passes is `diff / base >= relative` [TFMA metrics_validator.py]."""
    return (candidate - baseline) / baseline >= relative


def test_mlflow_lets_nan_pass() -> None:
    assert mlflow_passes(math.nan, 0.8, 0.01)
    truth, _, rival = rivals(0.5, 0.5)
    lost = Answer(np.full(len(truth.values), np.nan))
    (bound,) = bounds.check({"r2": Bound(min=0.1)}, truth, lost)
    (compared,) = champion.compare({"r2": 0.05}, truth, lost, rival)
    assert (bound.status, bound.code) == ("failed", "GATE_NOT_FINITE")
    assert (compared.status, compared.code) == ("failed", "GATE_NOT_FINITE")


def test_mlflow_cannot_say_not_worse() -> None:
    """Its change has to be above 0, so that a model that is exactly as good always fails."""
    assert not mlflow_passes(0.8, 0.8, 1e-9)
    truth, _, rival = rivals(0.5, 0.5)
    (compared,) = champion.compare({"r2": 0.01}, truth, rival.answer, rival)
    assert compared.status == "passed"


def test_tfx_turns_a_negative_baseline_round() -> None:
    """A candidate with R² 0.7 fails against a champion with −1, and one that is worse than it passes."""
    assert not tfx_passes(0.7, -1.0, 0.01)
    assert tfx_passes(-2.0, -1.0, 0.01)
    assert champion.compare({"r2": 0.01}, *rivals(0.5, 1.4))[0].status == "passed"
    assert champion.compare({"r2": 0.01}, *rivals(1.7, 1.4))[0].status == "failed"


def test_a_relative_change_of_nought_is_not_defined() -> None:
    with pytest.raises(ZeroDivisionError):
        mlflow_passes(0.1, 0.0, 0.01)
    rng = RNG(0)
    y = rng.random(600) < 0.5
    constant = Rival(
        "d" * 64, "production", np.ones(600, dtype=bool), Answer(np.zeros(600, dtype=bool)), "scikit-learn"
    )
    better = Answer(np.where(rng.random(600) < 0.8, y, ~y))
    truth = Truth.of(y, (False, True))
    assert champion.compare({"matthews_corrcoef": 0.01}, truth, better, constant)[0].status == "passed"
    (found,) = gap.check(["matthews_corrcoef"], {"matthews_corrcoef": 0.0}, {"matthews_corrcoef": 0.0})
    assert (found.status, found.observed) == ("passed", 0.0)


def test_deepchecks_takes_luck_for_a_gain_over_the_simple_model() -> None:
    """A gain of 0.1 in point values passes `SimpleModelComparison`; among 30 coins one in seven shows it."""
    y, guess = np.arange(30) % 2 == 0, RNG(7).random((400, 30)) < 0.5
    gains = (guess == y).mean(axis=1) - 0.5
    lucky = Answer(guess[int(np.argmin(np.abs(gains - 0.1)))])
    assert 0.05 < (gains >= 0.1 - 1e-9).mean() < 0.3
    truth = Truth.of(y, (False, True))
    (outcome,) = baselines.check_dummy(["accuracy"], truth, truth, lucky, "fail")
    assert outcome.status == "inconclusive"


def test_deepchecks_judges_drift_on_ten_rows() -> None:
    assert drift.MIN_ROWS >= 100
