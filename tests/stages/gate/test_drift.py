"""Bins and drift against SciPy, and the faults of others that must not be ours."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from stages.gate import bins, drift
from stages.gate.bins import Bins, Counts


def levels(values: Any) -> tuple[dict[str, int], int]:
    found = Counter(value for value in values if value is not None)
    return dict(found), sum(value is None for value in values)


def column(reference: Any, current: Any, name: str = "x") -> drift.Compared:
    """One column alone: numbers when both are arrays of float, else levels."""
    if isinstance(reference, np.ndarray) and reference.dtype.kind == "f":
        known = bins.of_numbers(reference)
        return drift.compare({name: (known, bins.count_numbers(known, current))})[0]
    known = bins.of_levels(*levels(reference))
    return drift.compare({name: (known, bins.count_levels(known, *levels(current)))})[0]


# ---- bins --------------------------------------------------------------------------------------------------------


def test_numbers_are_cut_into_equally_filled_bins() -> None:
    values = np.random.default_rng(0).lognormal(size=10_000)
    values[:500] = np.nan
    known = bins.of_numbers(values)
    assert len(known.counts) == 10
    assert np.array(known.counts) == pytest.approx(950, abs=1)
    assert (known.missing, known.rows) == (500, 10_000)
    assert len(known.names()) == 10


@pytest.mark.parametrize("values", [[3.0] * 50, [1.0, 2.0, 2.0, 5.0], [0.0] * 900 + list(range(1, 100)), []])
def test_few_values_and_heavy_ones_have_sensible_bins(values: list[float]) -> None:
    array = np.array(values, dtype=float)
    known = bins.of_numbers(array)
    assert sum(known.counts) == len(values)
    assert (bins.count_numbers(known, array).counts == known.counts).all()
    if len(set(values)) <= 10:
        assert sum(count > 0 for count in known.counts) == len(set(values))


def test_an_edge_belongs_to_the_bin_above() -> None:
    known = bins.of_numbers(np.arange(100.0))
    edge = (known.edges or [])[4]
    counted = bins.count_numbers(known, np.array([edge, np.nextafter(edge, -np.inf), -9e9, 9e9])).counts
    assert counted.tolist() == [1, 0, 0, 0, 1, 1, 0, 0, 0, 1]


def test_each_of_few_values_has_a_bin_that_holds_nothing_else() -> None:
    known = bins.of_numbers(np.array([1.0, 2.0, 2.0, 5.0]))
    assert known.names() == ["below 1", "1", "1 to 2", "2", "2 to 5", "5", "above 5"]
    counted = bins.count_numbers(known, np.array([0.5, 1.0, 1.5, 2.0, 4.9, 5.0, 5.1]))
    assert counted.counts.tolist() == [1] * 7


def test_levels_have_bins_of_their_own_when_they_are_frequent() -> None:
    seen = {"a": 500, "b": 300, "c": 5, "d": 2, "e": 1, "f": 1}
    known = bins.of_levels(seen, 10)
    assert known.levels == ["a", "b"]
    assert (known.counts, known.unseen, known.twice, known.missing) == ([500, 300, 7], 2, 2, 10)
    counted = bins.count_levels(known, {"a": 3, "c": 1, "f": 1, "new": 2}, 1)
    assert (counted.counts.tolist(), counted.unseen, counted.missing) == ([3, 0, 2], 2, 1)


@given(st.dictionaries(st.text(max_size=3), st.integers(1, 60), max_size=30), st.integers(0, 5))
@settings(deadline=None, max_examples=50)
def test_no_row_is_lost(seen: dict[str, int], missing: int) -> None:
    known = bins.of_levels(seen, missing)
    assert known.rows == sum(seen.values()) + missing
    assert bins.count_levels(known, seen, missing).rows == known.rows
    assert Bins.of(json.loads(json.dumps(known.as_dict()))) == known


# ---- the index and its tests -------------------------------------------------------------------------------------


def test_psi_is_the_sum_of_both_divergences() -> None:
    r, c = np.array([50.0, 30, 20]), np.array([30.0, 30, 40])
    assert drift.psi(r, c) == pytest.approx(stats.entropy(r, c) + stats.entropy(c, r))
    assert drift.psi(r, r) == 0
    assert drift.psi(r, np.zeros(3)) == 0


def test_the_critical_value_is_yurdakuls() -> None:
    assert drift.critical_value(100, 100, 10) == pytest.approx(0.338, abs=1e-3)
    assert drift.critical_value(1000, 1000, 10) == pytest.approx(0.034, abs=1e-3)
    assert drift.critical_value(50, 50, 1) == 0


def test_the_chi_squared_test_is_scipys() -> None:
    r, c = np.array([120.0, 80, 100]), np.array([30.0, 50, 40])
    assert drift._chi_squared(r, c) == pytest.approx(stats.chi2_contingency([r, c], correction=False).pvalue)
    sparse = drift._chi_squared(np.array([500.0, 400, 3, 2, 1]), np.array([60.0, 40, 1, 0, 2]))
    pooled = stats.chi2_contingency([[500, 400, 6], [60, 40, 3]], correction=False).pvalue
    assert sparse != pytest.approx(pooled)  # six expected rows are too few: they join the next larger bin
    assert sparse == pytest.approx(stats.chi2_contingency([[500, 406], [60, 43]], correction=False).pvalue)


def test_the_exact_test_is_fishers() -> None:
    for here, n, there, m in ((0, 1000, 8, 100), (5, 200, 1, 100), (30, 300, 12, 90)):
        two = stats.fisher_exact([[there, m - there], [here, n - here]]).pvalue
        assert two / 1.05 <= drift._exact(here, n, there, m) <= 2.1 * two


def test_the_correction_is_scipys() -> None:
    p = np.random.default_rng(0).beta(0.4, 3, 60)
    expected = stats.false_discovery_control(p) <= 0.03
    assert (drift.benjamini_hochberg(p, 0.03) == expected).all()
    assert 0 < expected.sum() < 60
    assert drift.benjamini_hochberg(np.array([]), 0.03).tolist() == []


# ---- what must be seen, and what must not ------------------------------------------------------------------------


@pytest.mark.parametrize("n", [100, 1000, 20_000])
@pytest.mark.parametrize("kind", ["number", "level"])
def test_missing_values_are_seen(n: int, kind: str) -> None:
    """Evidently drops them before it tests."""
    rng = np.random.default_rng(n)
    reference, current = rng.normal(size=1000), rng.normal(size=n)
    gone = rng.random(n) < 0.2
    if kind == "number":
        current[gone] = np.nan
        found = column(reference, current)
    else:
        texts = [None if g else str(round(v)) for v, g in zip(current, gone, strict=True)]
        found = column([str(round(v)) for v in reference], texts)
    assert found.drifted
    assert found.names[-1] == "missing"
    assert found.current[-1] == pytest.approx(gone.mean())


def test_all_values_missing_is_drift_and_no_crash() -> None:
    """Evidently raises on a column of NaN alone."""
    reference = np.random.default_rng(0).normal(size=1000)
    assert column(reference, np.full(500, np.nan)).drifted
    assert column(np.full(500, np.nan), reference).drifted
    assert not column(np.full(500, np.nan), np.full(500, np.nan)).drifted


def test_unseen_levels_are_seen() -> None:
    rng = np.random.default_rng(0)
    reference = rng.choice(["a", "b", "c"], 2000).tolist()
    current = rng.choice(["a", "b", "c", "new"], 500, p=[0.25, 0.25, 0.25, 0.25]).tolist()
    found = column(reference, current)
    assert found.drifted
    assert dict(zip(found.names, found.current, strict=True))["unseen"] > 0.2


def test_new_levels_are_expected_where_many_levels_are_rare() -> None:
    """A column like a flight number always shows some that the reference did not have."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 5001)
    draw = rng.choice(5000, 3000, p=share / share.sum()).astype(str).tolist()
    found = column(draw[:2000], draw[2000:])
    assert dict(zip(found.names, found.current, strict=True))["unseen"] > 0.1
    assert not found.drifted


@pytest.mark.parametrize("shift", [0.0, 0.02])
def test_a_difference_without_effect_is_no_drift_however_many_rows(shift: float) -> None:
    """Kolmogorov–Smirnov flags a shift of 0.02 standard deviations at 100,000 rows."""
    rng = np.random.default_rng(3)
    found = column(rng.normal(size=100_000), rng.normal(size=100_000) + shift)
    assert not found.drifted
    assert found.psi < 0.01


def test_an_effect_without_evidence_is_no_drift() -> None:
    """At 100 rows an index above 0.1 is ordinary."""
    rng = np.random.default_rng(0)
    found = [column(rng.normal(size=100), rng.normal(size=100)) for _ in range(40)]
    assert sum(one.psi > 0.1 for one in found) > 20
    assert sum(one.drifted for one in found) <= 1


def test_a_real_shift_is_drift() -> None:
    rng = np.random.default_rng(0)
    assert column(rng.normal(size=1000), rng.normal(size=300) + 0.7).drifted


# ---- rules -------------------------------------------------------------------------------------------------------


def many(drifted: int, of: int) -> list[drift.Compared]:
    rng = np.random.default_rng(0)
    columns = {}
    for i in range(of):
        known = bins.of_numbers(rng.normal(size=2000))
        columns[f"c{i}"] = known, bins.count_numbers(known, rng.normal(size=2000) + (i < drifted))
    return drift.compare(columns)


@pytest.mark.parametrize(("drifted", "status"), [(0, "passed"), (2, "warned"), (5, "warned"), (6, "failed")])
def test_too_many_drifted_features_fail(drifted: int, status: str) -> None:
    outcome = drift.judge(many(drifted, 10), 0.5, 2000)
    assert outcome.status == status
    assert outcome.observed == drifted / 10
    found = {one["column"] for one in outcome.details["columns"] if one["drifted"]}
    assert found == {f"c{i}" for i in range(drifted)}


def test_drift_of_the_label_warns() -> None:
    known = bins.of_levels({"yes": 500, "no": 500}, 0)
    compared = drift.compare({"label": (known, Counts(np.array([900, 100, 0]), 0, 0))})[0]
    outcome = drift.judge_one("label", compared, 1000)
    assert (outcome.rule, outcome.status, outcome.code) == ("drift.label", "warned", "GATE_DRIFT")
    assert math.isfinite(outcome.observed or math.nan)


@pytest.mark.parametrize("shape", ["constant", "mostly nought", "few values"])
def test_a_value_that_many_rows_share_cannot_move_inside_its_bin(shape: str) -> None:
    """A dead sensor that answers another constant, a default that becomes -1."""
    rng = np.random.default_rng(2)
    reference = {
        "constant": np.ones(2000),
        "mostly nought": np.where(rng.random(2000) < 0.8, 0.0, rng.random(2000) + 1),
        "few values": rng.integers(0, 4, 2000).astype(float),
    }[shape]
    heavy = reference[int(np.argmax([np.count_nonzero(reference == value) for value in reference[:50]]))]
    current = rng.permutation(reference)[:500]
    same = column(reference, current)
    assert not same.drifted
    assert all(same.reference), "bins that are empty on both sides are not counted"
    for moved in (heavy - 0.5, heavy + 0.5, heavy - 9):
        found = column(reference, np.where(current == heavy, moved, current))
        assert found.drifted, moved
        assert found.psi > 0.5
