"""Slices and what chance does among many of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from stages.config.schema import Bound
from stages.gate import slices
from stages.gate.champion import Rival
from stages.model.metrics import Answer, Truth

N = 3000


def world(seed: int = 0, bad: str | None = None) -> tuple[np.ndarray, Truth, Answer]:
    """Ten groups in which 85 % of the labels are right; in the group `bad` it is half."""
    rng = np.random.default_rng(seed)
    groups = np.array([f"g{i}" for i in range(10)], dtype=object)[rng.integers(0, 10, N)]
    y = rng.random(N) < 0.5
    right = rng.random(N) < np.where(groups == bad, 0.5, 0.85)
    p = np.where(y == right, 0.8, 0.2)
    return groups, Truth.of(y, (False, True)), Answer(p > 0.5, np.column_stack([1 - p, p]))


def check(cut: slices.Slices, truth: Truth, answer: Answer, rival: Any = None, **limits: float) -> Any:
    return slices.check(cut, {"accuracy": Bound(**limits)}, truth, answer, rival)[0]


def test_a_slice_that_is_worse_beyond_doubt_fails() -> None:
    groups, truth, answer = world(bad="g4")
    outcome = check(slices.by_level("group", groups), truth, answer, min=0.75)
    assert (outcome.rule, outcome.status, outcome.code) == ("slice.group.accuracy", "failed", "GATE_SLICE")
    assert "group = g4" in outcome.sentence
    assert outcome.observed == pytest.approx(0.5, abs=0.1)


def test_slices_that_are_below_the_bound_by_chance_do_not() -> None:
    """At the bound itself half of all slices lie below it; TFMA's thresholds on slices fail nearly every such model."""
    failed = below = 0
    for seed in range(60):
        groups, truth, answer = world(seed)
        outcome = check(slices.by_level("group", groups), truth, answer, min=0.85)
        failed += outcome.status == "failed"
        below += any(row["value"] < 0.85 for row in outcome.details["slices"])
    assert below > 55
    assert failed <= 7  # 3 expected; 8 or more in 1 of 50 such tests


def test_the_correction_is_holms() -> None:
    p = np.random.default_rng(0).beta(0.3, 4, 25)
    table = [{"p": value, "beyond": True, "status": "passed"} for value in p]
    slices._correct(table)
    expected = multipletests(p, 0.05, method="holm")[0]
    assert [row["status"] == "failed" for row in table] == expected.tolist()


def test_the_test_of_a_share_is_binomial() -> None:
    hits, n = 20, 30
    for side, below in (("less", True), ("greater", False)):
        expected = stats.binomtest(hits, n, 0.85, side).pvalue
        assert slices._exact(hits, n, 0.85, below) == pytest.approx(expected)


def test_small_slices_are_reported_as_skipped() -> None:
    groups, truth, answer = world()
    groups = groups.copy()
    groups[:12] = "tiny"
    outcome = check(slices.by_level("group", groups), truth, answer, min=0.5)
    rows = {row["slice"]: row for row in outcome.details["slices"]}
    assert (rows["tiny"]["status"], rows["tiny"]["n"]) == ("skipped", 12)
    assert "1 with fewer than 30 rows" in outcome.sentence
    few = check(slices.by_level("group", groups[:20]), truth.take(np.arange(20)), answer.take(np.arange(20)), min=0.5)
    assert few.status == "skipped"


def test_a_named_slice_that_is_absent_fails() -> None:
    groups, truth, answer = world()
    outcome = check(slices.by_level("group", groups, ("g1", "ghost")), truth, answer, min=0.1)
    assert (outcome.status, outcome.code) == ("failed", "GATE_SLICE_ABSENT")
    assert "ghost" in outcome.sentence


def test_missing_values_are_a_slice() -> None:
    groups = world()[0].copy()
    groups[:100], groups[100:200] = None, np.nan
    members = slices.by_level("group", groups).members
    assert members["missing"].sum() == 200
    values = np.arange(100.0)
    values[:40] = np.nan
    assert slices.by_quantile("x", values).members["missing"].sum() == 40


def test_numbers_are_cut_into_quarters() -> None:
    values = np.random.default_rng(0).normal(size=1000)
    members = list(slices.by_quantile("x", values).members.values())
    assert [mask.sum() for mask in members] == [250] * 4
    assert (np.sum(members, axis=0) == 1).all()
    few = slices.by_quantile("x", np.array([1.0, 2.0, 2.0, 3.0])).members
    assert {name: int(mask.sum()) for name, mask in few.items()} == {"1": 1, "2": 2, "3": 1}


def test_a_slice_far_worse_than_the_champion_fails() -> None:
    groups, truth, answer = world()
    ours = answer.labels.copy()
    hurt = groups == "g7"
    ours[hurt] = ~ours[hurt] & (np.arange(hurt.sum()) % 2 == 0)
    rival = Rival("d", "production", np.ones(N, dtype=bool), answer, "scikit-learn")
    outcome = check(slices.by_level("group", groups), truth, Answer(ours), rival, margin=0.02)
    assert outcome.status == "failed"
    assert "group = g7" in outcome.sentence
    assert "champion" in outcome.sentence


def test_a_metric_that_is_not_defined_in_a_slice_is_skipped_there() -> None:
    groups, truth, answer = world()
    values = truth.values.copy()
    values[groups == "g3"] = True
    outcome = slices.check(
        slices.by_level("group", groups), {"roc_auc": Bound(min=0.5)}, Truth.of(values, (False, True)), answer
    )[0]
    rows = {row["slice"]: row["status"] for row in outcome.details["slices"]}
    assert rows["g3"] == "skipped"
    assert rows["g2"] != "skipped"


def test_levels_beyond_the_most_frequent_are_counted() -> None:
    texts = np.array([f"v{i}" for i in range(250)] * 40, dtype=object)
    cut = slices.by_level("many", texts)
    assert (len(cut.members), cut.further) == (200, 50)


@pytest.mark.parametrize("name", ["recall", "precision", "f1", "matthews_corrcoef", "balanced_accuracy"])
def test_a_few_rows_that_all_say_the_same_prove_nothing(name: str) -> None:
    """No hit among four positives is what a recall of 0.01 looks like in 96 of 100 tests; among 400 it is not."""
    for n, positives, status in ((120, 4, "passed"), (2000, 400, "failed")):
        y, said = np.arange(n) < positives, np.zeros(n, dtype=bool)
        said[-2 if n < 200 else -200 :] = True
        truth, answer = Truth.of(y, (False, True)), Answer(said)
        here = {"matthews_corrcoef": 0.1, "balanced_accuracy": 0.55}.get(name, 0.1)
        cut = slices.by_level("c", np.full(n, "a", dtype=object))
        outcome = slices.check(cut, {name: Bound(min=here)}, truth, answer)[0]
        assert outcome.status == status, outcome.sentence


def test_an_answer_that_is_the_same_for_all_is_no_proof_either() -> None:
    for n, status in ((40, "passed"), (4000, "failed")):
        y = np.arange(n) % 10 == 0
        truth, answer = Truth.of(y, (False, True)), Answer(np.zeros(n, dtype=bool))
        outcome = slices.check(
            slices.by_level("c", np.full(n, "a", dtype=object)), {"f1": Bound(min=0.2)}, truth, answer
        )[0]
        assert outcome.status == status, outcome.sentence


def test_slices_of_moments_are_named_by_date() -> None:
    values = np.arange(400) * 86_400e6
    names = list(slices.by_quantile("t", values, moments=True).members)
    assert names[0].startswith("1970-01-01 00:00:00 to 1970-04-")


def test_without_a_bound_slices_are_not_called_good() -> None:
    groups, truth, answer = world()
    outcome = check(slices.by_level("group", groups), truth, answer, margin=0.01)
    assert "no bound" in outcome.sentence
