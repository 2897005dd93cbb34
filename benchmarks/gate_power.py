"""How often the gate is right, by simulation: the champion comparison and drift, beside other tools' rules.

    .venv/bin/python benchmarks/gate_power.py [--quick]

Champion. Two models are simulated whose true difference is known, at many sizes, in several metrics:

- a candidate worse by exactly the margin must be approved in at most 5 % of gates;
- an equal candidate, with a margin of the smallest detectable difference that the gate itself prints, must be approved
  in at least 90 %; with a margin of 0 it must be failed in at most 5 %.

Drift. 30 undrifted columns must raise an alarm in at most 5 % of gates; a column whose missing values go from 0 to 20 %
must always be seen. The same data go through the thresholds of MLflow and the defaults of Evidently, computed from
their published rules, so that neither has to be installed.

Rates stand with 95 % Clopper–Pearson intervals. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # two processes share the work already

import numpy as np
import scipy
from scipy import special, stats

from stages.gate import bins, bootstrap, champion, drift, intervals
from stages.model import metrics
from stages.model.metrics import Answer, Truth

SIZES = (200, 500, 1_000, 5_000, 20_000, 50_000)


# ---- two models whose difference is known ------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """How two models are simulated: `strength` of the champion, share of `positive` rows, `shared` noise."""

    kind: str
    strength: float
    positive: float = 0.5
    shared: float = 0.9

    def draw(self, rng: np.random.Generator, n: int, weaker: float) -> tuple[Truth, Answer, Answer]:
        """Truth, candidate (weaker than the champion by `weaker`), champion."""
        common = np.sqrt(self.shared) * rng.normal(size=n)
        noises = [common + np.sqrt(1 - self.shared) * rng.normal(size=n) for _ in range(2)]
        if self.kind == "regression":
            tails = np.sqrt(5 / rng.chisquare(5, n))  # errors have Student's t distribution with 5 degrees of freedom
            y = rng.normal(size=n)
            answers = [
                Answer(y + s * tails * e) for s, e in zip((self.strength + weaker, self.strength), noises, strict=True)
            ]
            return Truth.of(y), *answers  # type: ignore[return-value]
        late = rng.random(n) < self.positive
        strengths = self.strength - weaker, self.strength
        said = [self._answer(s * late + e, s) for s, e in zip(strengths, noises, strict=True)]
        return Truth.of(late, (False, True), True), *said  # type: ignore[return-value]

    def _answer(self, score: np.ndarray, strength: float) -> Answer:
        p = special.expit(strength * score - strength**2 / 2 + special.logit(self.positive))
        return Answer(p > 0.5, np.column_stack([1 - p, p]))

    def value(self, metric: str, weaker: float) -> float:
        """The metric's true value, by formula or quadrature."""
        if self.kind == "regression":
            t5 = 2 * np.sqrt(5) / (4 * special.beta(2.5, 0.5))
            return float((self.strength + weaker) * t5)
        d, share = self.strength - weaker, self.positive
        if metric == "roc_auc":
            return float(stats.norm.cdf(d / np.sqrt(2)))
        cut = d / 2 - special.logit(share) / d
        hit, alarm = share * stats.norm.sf(cut - d), (1 - share) * stats.norm.sf(cut)
        if metric == "accuracy":
            return float(hit + (1 - share) - alarm)
        if metric == "f1":
            return float(2 * hit / (hit + alarm + share))
        x = np.linspace(-10, 10 + d, 200_001)
        z = d * x - d * d / 2 + special.logit(share)
        lost = share * stats.norm.pdf(x - d) * np.logaddexp(0, -z) + (1 - share) * stats.norm.pdf(x) * np.logaddexp(
            0, z
        )
        return float(lost.sum() * (x[1] - x[0]))

    def drop(self, metric: str, weaker: float) -> float:
        """How much worse the weaker candidate truly is."""
        sign = 1 if metrics.get(metric).greater_is_better else -1
        return sign * (self.value(metric, 0.0) - self.value(metric, weaker))


WORLDS = [
    ("accuracy", World("classification", 1.6, 0.5, 0.9)),
    ("accuracy", World("classification", 2.6, 0.3, 0.98)),
    ("roc_auc", World("classification", 1.6, 0.3, 0.5)),
    ("roc_auc", World("classification", 1.6, 0.3, 0.9)),
    ("roc_auc", World("classification", 2.2, 0.3, 0.9)),
    ("log_loss", World("classification", 1.6, 0.1, 0.9)),
    ("log_loss", World("classification", 2.2, 0.3, 0.9)),
    ("f1", World("classification", 1.6, 0.5, 0.9)),
    ("mean_absolute_error", World("regression", 1.0, shared=0.9)),
]


#: Beyond this many rows the percentile interval of the bootstrap, which can only widen, differs from the other by its
#: own random error (3 % of its length) alone, and is left out of the simulation.
BOOTSTRAP_UP_TO = 1_000


class Judged:
    """One simulated pair before the gate; the bootstrap is drawn only where it could change the verdict."""

    def __init__(self, metric: str, world: World, rng: np.random.Generator, n: int, weaker: float) -> None:
        self.metric = metric
        self.truth, self.ours, self.theirs = world.draw(rng, n, weaker)
        self.found = intervals.compare(metric, self.truth, self.ours, self.theirs)
        self.rare = champion._rare(metric, self.truth) is not None
        self.widened = metric == "accuracy" or n > BOOTSTRAP_UP_TO

    def verdict(self, margin: float) -> str:
        """passed, failed or inconclusive."""
        if self.rare:
            return "inconclusive"
        said = self._at(margin)
        if said != "inconclusive" and not self.widened:
            drawn = bootstrap.differences([self.metric], self.truth, self.ours, self.theirs)[self.metric]
            self.found = intervals.compare(self.metric, self.truth, self.ours, self.theirs, drawn)
            self.widened = True
            said = self._at(margin)
        return said

    def _at(self, margin: float) -> str:
        return "passed" if self.found.lower >= -margin else "failed" if self.found.upper < -margin else "inconclusive"


def champion_cell(metric: str, world: World, n: int, weaker: float, times: tuple[int, int, int]) -> dict[str, Any]:
    """Rates for one metric, world and size. `times`: repetitions at the margin, with a detectable margin, with none.

    The power is that of pairs which the gate judges at all: with fewer than 50 rows of a class it says so instead.
    """
    rng = np.random.default_rng([n, zlib.crc32(f"{metric} {world}".encode())])
    margin = world.drop(metric, weaker)
    approved = point = 0
    for _ in range(times[0]):
        one = Judged(metric, world, rng, n, weaker)
        point += one.found.value >= -margin
        approved += one.verdict(margin) == "passed"
    detectable = float(np.mean([Judged(metric, world, rng, n, 0.0).found.detectable for _ in range(50)]))
    equal = judged = failed = mlflow = 0
    for i in range(max(times[1:])):
        one = Judged(metric, world, rng, n, 0.0)
        mlflow += one.found.value <= 0
        judged += i < times[1] and not one.rare
        equal += i < times[1] and one.verdict(detectable) == "passed"
        failed += i < times[2] and one.verdict(0.0) == "failed"
    return {
        "metric": metric,
        "n": n,
        "world": f"{world.strength:g}/{world.positive:g}/{world.shared:g}",
        "margin": margin,
        "detectable": detectable,
        "judged": judged / times[1],
        "approve_at_margin": (approved, times[0]),
        "point_approves_at_margin": (point, times[0]),
        "approve_equal": (equal, judged),
        "fail_equal": (failed, times[2]),
        "mlflow_fails_equal": (mlflow, max(times[1:])),
    }


def accuracy_exactly(n: int, discordant: float, margin: float) -> float:
    """Chance of approval at the margin, summed over all outcomes instead of simulated."""
    up, down = (discordant - margin) / 2, (discordant + margin) / 2
    b = np.arange(stats.binom.ppf(1e-9, n, up), stats.binom.ppf(1 - 1e-9, n, up) + 1)
    c = np.arange(stats.binom.ppf(1e-9, n, down), stats.binom.ppf(1 - 1e-9, n, down) + 1)
    quantile = special.ndtri(1 - intervals.WORKING_LEVEL)
    total = 0.0
    for one in b:
        # Approval falls with c, so the last approved c is found by bisection.
        low, high = -1, len(c) - 1
        while low < high:
            middle = (low + high + 1) // 2
            if one + c[middle] <= n and intervals.tango(int(one), int(c[middle]), n, -margin) >= quantile:
                low = middle
            else:
                high = middle - 1
        if low >= 0:
            total += stats.binom.pmf(one, n, up) * stats.binom.cdf(c[low], n - one, down / (1 - up))
    return float(total)


def exact_level() -> tuple[float, str]:
    """The worst level of the accuracy rule over sizes, discordance and margins."""
    worst, where = 0.0, ""
    for n in SIZES:
        for margin in (0.002, 0.005, 0.01, 0.02, 0.03, 0.05):
            for discordant in (margin, 0.02, 0.05, 0.1, 0.15, 0.3):
                if discordant >= margin:
                    found = accuracy_exactly(n, discordant, margin)
                    if found > worst:
                        worst, where = found, f"n {n:,}, discordant {discordant:g}, margin {margin:g}"
    return worst, where


# ---- drift -------------------------------------------------------------------------------------------------------

_LEVELS = 200
_SHARES = 1 / np.arange(1, _LEVELS + 1) ** 1.3


def columns(rng: np.random.Generator, n: int, count: int = 30) -> dict[str, np.ndarray]:
    """Columns like those of real tables: normal, skewed, counts, with missing values, many levels, two levels."""
    made: dict[str, np.ndarray] = {}
    for i in range(count):
        match i % 6:
            case 0:
                made[f"c{i}"] = rng.normal(size=n)
            case 1:
                made[f"c{i}"] = rng.lognormal(size=n)
            case 2:
                made[f"c{i}"] = rng.poisson(3, n).astype(float)
            case 3:
                made[f"c{i}"] = np.where(rng.random(n) < 0.02, np.nan, rng.normal(size=n))
            case 4:
                made[f"c{i}"] = rng.choice(_LEVELS, n, p=_SHARES / _SHARES.sum())
            case 5:
                made[f"c{i}"] = (rng.random(n) < 0.3).astype(int)
    return made


def tally(values: np.ndarray) -> dict[str, int]:
    """How often each level occurs."""
    found, counts = np.unique(values, return_counts=True)
    return {str(level): int(count) for level, count in zip(found.tolist(), counts, strict=True)}


def compared(reference: dict[str, np.ndarray], current: dict[str, np.ndarray]) -> list[drift.Compared]:
    """What the gate finds, binning included."""
    pairs = {}
    for name, values in reference.items():
        if values.dtype.kind == "f":
            known = bins.of_numbers(values)
            pairs[name] = known, bins.count_numbers(known, current[name])
        else:
            known = bins.of_levels(tally(values), 0)
            pairs[name] = known, bins.count_levels(known, tally(current[name]), 0)
    return drift.compare(pairs)


def evidently_says(reference: np.ndarray, current: np.ndarray) -> bool:
    """Evidently's default test of one column: Kolmogorov–Smirnov, χ² or z at 0.05 up to 1,000 reference rows; normed
    Wasserstein or Jensen–Shannon distance of 0.1 above. Missing values are dropped first.
    """
    number = reference.dtype.kind == "f" and len(np.unique(reference[np.isfinite(reference)])) > 5
    if reference.dtype.kind == "f":
        reference, current = reference[np.isfinite(reference)], current[np.isfinite(current)]
    if number:
        if len(reference) <= 1000:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # it falls back to the asymptotic p-value by itself
                return bool(stats.ks_2samp(reference, current).pvalue < 0.05)
        return bool(stats.wasserstein_distance(reference, current) / max(reference.std(), 0.001) >= 0.1)
    levels, codes = np.unique(np.concatenate([reference, current]), return_inverse=True)
    r, c = (
        np.bincount(side, minlength=len(levels)).astype(float)
        for side in (codes[: len(reference)], codes[len(reference) :])
    )
    if len(reference) > 1000:
        return bool(np.sqrt(_divergence(r / r.sum(), c / c.sum())) >= 0.1)
    if len(levels) == 2:
        share = (r[1] + c[1]) / (r.sum() + c.sum())
        error = np.sqrt(share * (1 - share) * (1 / r.sum() + 1 / c.sum()))
        return bool(2 * stats.norm.sf(abs(r[1] / r.sum() - c[1] / c.sum()) / error) < 0.05) if error else False
    expected = r / r.sum() * c.sum()
    seen = expected > 0
    return bool(stats.chi2.sf(((c - expected)[seen] ** 2 / expected[seen]).sum(), seen.sum() - 1) < 0.05)


def _divergence(r: np.ndarray, c: np.ndarray) -> float:
    middle = (r + c) / 2
    return float((stats.entropy(r, middle) + stats.entropy(c, middle)) / 2)


def drift_cell(n: int, m: int, times: int) -> dict[str, Any]:
    """Rates for a reference of n rows and m new ones."""
    rng = np.random.default_rng([n, m])
    alarms = seen = evidently = evidently_seen = psi_alone = 0
    for _ in range(times):
        reference, current = columns(rng, n), columns(rng, m)
        found = compared(reference, current)
        alarms += any(one.drifted for one in found)
        psi_alone += any(one.psi > 0.1 for one in found)
        evidently += any(evidently_says(reference[name], current[name]) for name in reference)
        current["c0"] = np.where(rng.random(m) < 0.2, np.nan, current["c0"])
        seen += any(one.drifted and one.column == "c0" for one in compared(reference, current))
        evidently_seen += evidently_says(reference["c0"], current["c0"])
    return {
        "n": n,
        "m": m,
        "alarm": (alarms, times),
        "missing_seen": (seen, times),
        "psi_alone_alarm": (psi_alone, times),
        "evidently_alarm": (evidently, times),
        "evidently_missing_seen": (evidently_seen, times),
    }


# ---- table -------------------------------------------------------------------------------------------------------


def rate(found: tuple[int, int]) -> str:
    """`3.1 % (2.4–3.9)`."""
    hits, of = found
    low = stats.beta.ppf(0.025, hits, of - hits + 1) if hits else 0.0
    high = stats.beta.ppf(0.975, hits + 1, of - hits) if hits < of else 1.0
    return f"{100 * hits / of:5.1f} % ({100 * low:.1f}–{100 * high:.1f})"


def share(found: tuple[int, int]) -> float:
    """The rate itself."""
    return found[0] / found[1]


def main() -> int:
    """Run all cells on two processes, print the tables and the line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true", help="a twentieth of the repetitions, to see that it runs")
    quick = parser.parse_args().quick
    started = time.perf_counter()
    few = 20 if quick else 1
    cells: list[tuple[Callable[..., dict[str, Any]], tuple[Any, ...]]] = []
    seen: set[str] = set()
    for metric, world in WORLDS:
        for n in SIZES:
            if n > 5_000 and metric in seen:
                continue  # one world of each metric is enough where the approximations are at their best
            times = (5000, 800, 2000) if n <= 1_000 else (3000, 2000, 2000) if n <= 5_000 else (1500, 750, 1500)
            weaker = 0.05 if world.kind == "regression" else 0.2
            cells.append((champion_cell, (metric, world, n, weaker, tuple(max(t // few, 10) for t in times))))
        seen.add(metric)
    drifts = [(1_000, 100, 1000), (1_000, 1_000, 600), (10_000, 1_000, 300), (100_000, 100_000, 120), (100, 100, 1000)]
    cells += [(drift_cell, (n, m, max(times // few, 10))) for n, m, times in drifts]
    with ProcessPoolExecutor(2) as pool:
        waiting = [pool.submit(function, *arguments) for function, arguments in reversed(cells)]  # the long ones first
        for i, _ in enumerate(as_completed(waiting), 1):
            print(f"\r{i} of {len(cells)} cells", end="", file=sys.stderr, flush=True)
        print(file=sys.stderr)
        found = [one.result() for one in reversed(waiting)]
    champions = [one for one in found if "metric" in one]
    drifted = [one for one in found if "metric" not in one]
    exact, where = exact_level()
    show(champions, drifted, exact, where)
    ratios = {
        "approve_at_margin_max": max(exact, *(share(one["approve_at_margin"]) for one in champions)),
        "approve_equal_min": min(share(one["approve_equal"]) for one in champions),
        "fail_equal_max": max(share(one["fail_equal"]) for one in champions),
        "drift_alarm_max": max(share(one["alarm"]) for one in drifted),
        "missing_seen_min": min(share(one["missing_seen"]) for one in drifted if one["n"] >= 1_000),
    }
    versions = {"numpy": np.__version__, "scipy": scipy.__version__, "python": sys.version.split()[0]}
    print(f"\n{time.perf_counter() - started:.0f} s")
    print(
        json.dumps({"name": "gate_power", "ratios": {k: round(v, 4) for k, v in ratios.items()}, "versions": versions})
    )
    return 0


def show(champions: list[dict[str, Any]], drifted: list[dict[str, Any]], exact: float, where: str) -> None:
    """Both tables."""
    print(
        "Champion comparison. World: strength of the champion / share of positives / correlation of the two models.\n"
    )
    titles = (
        "approves a drop = margin",
        "approves equal",
        "fails equal, margin 0",
        "point rule approves drop",
        "MLflow fails equal",
    )
    keys = ("approve_at_margin", "approve_equal", "fail_equal", "point_approves_at_margin", "mlflow_fails_equal")
    print(
        f"{'metric':<20} {'world':<13} {'n':>6} {'margin':>8} {'detect.':>8}  " + " ".join(f"{t:<24}" for t in titles)
    )
    for one in champions:
        start = (
            f"{one['metric']:<20} {one['world']:<13} {one['n']:>6} {one['margin']:>8.4f} {one['detectable']:>8.4f}  "
        )
        note = "" if one["judged"] == 1 else f"  ({1 - one['judged']:.1%} not judged: fewer than 50 rows of a class)"
        print(start + " ".join(f"{rate(one[key]):<24}" for key in keys) + note)
    print(f"\nAccuracy, summed over all outcomes instead of simulated: worst level {100 * exact:.2f} % at {where}.")
    print("Point rule: candidate ≥ champion − margin, as with MLflow's or TFX's thresholds. MLflow fails equal: its")
    print("min_absolute_change must be greater than 0, so an equal candidate fails at least half of the time.\n")
    print("Drift, 30 columns: any alarm without drift; and whether 20 % new missing values are seen.\n")
    titles = ("mlci: alarm", "sees missing", "PSI > 0.1: alarm", "Evidently: any alarm", "sees missing")
    keys = ("alarm", "missing_seen", "psi_alone_alarm", "evidently_alarm", "evidently_missing_seen")
    print(f"{'reference':>9} {'rows':>7}  " + " ".join(f"{t:<24}" for t in titles))
    for one in drifted:
        print(f"{one['n']:>9} {one['m']:>7}  " + " ".join(f"{rate(one[key]):<24}" for key in keys))


if __name__ == "__main__":
    sys.exit(main())
