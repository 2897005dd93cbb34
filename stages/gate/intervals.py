"""The interval of a difference between two models, one-sided at each end, that keeps its promise at every size.

The promise: a candidate that is truly worse by the margin is approved in at most 5 % of gates. The plain percentile
interval of a bootstrap approves 8 to 15 % at 200 rows and few discordant ones, because a few lucky rows make both the
difference and its spread look small. Three remedies, each measured in `benchmarks/gate_power.py`:

- accuracy: the score interval of a paired difference (Tango 1998), whose variance is that of the hypothesis, not of
  the sample;
- ROC AUC: the same idea, with each model's placement variance moved to the area that the hypothesis gives it, by the
  binomial factor A (1 − A);
- everything else: Student's t with Hall's (1992) correction for skewness, taken only where it widens.

The last two are widened to the percentile interval where that reaches further. Ends are computed at 3.5 %, not 5 %,
which pays for the error of the approximation and of 2,000 replicates.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.gate import uncertainty
from stages.model import metrics
from stages.model.metrics import Answer, Truth

#: What is promised, and the level at which the ends are computed to keep it.
LEVEL, WORKING_LEVEL = 0.05, 0.035

#: Power at which the smallest detectable difference is stated.
POWER = 0.95

#: Below this many discordant rows √(d / n) is too optimistic about what can be told.
_FEW = 25


@dataclass(frozen=True)
class Difference:
    """Candidate − champion in a metric, positive is better whatever the metric.

    `lower`, `upper`: one-sided 95 % ends. `detectable`: the margin that two equal models would pass with power 0.95.
    `method`: how the ends were found. `n`: rows.
    """

    value: float
    lower: float
    upper: float
    error: float
    detectable: float
    method: str
    n: int


def compare(
    name: str, truth: Truth, candidate: Answer, champion: Answer, replicates: np.ndarray | None = None
) -> Difference:
    """The difference in `name` with its interval.

    `replicates`: bootstrap differences of the same metric, from `bootstrap.differences`, which widen the interval.
    NaN where the metric is not defined.
    """
    plain, _ = uncertainty.base(name)
    n = len(truth.values)
    if plain == "accuracy" and truth.weight is None:
        return _of_accuracy(truth, candidate, champion)
    sign = 1 if metrics.get(name).greater_is_better else -1
    found = uncertainty.estimate(name, truth, candidate, champion)
    value = sign * found.value
    if not math.isfinite(found.error):
        return Difference(value, math.nan, math.nan, math.nan, math.nan, "none", n)
    quantile = _t(found.freedom)
    spread: Callable[[float], float] = lambda _: found.error  # noqa: E731
    method = "jackknife"
    below = above = quantile
    if found.influence is not None:
        skewness = _skewness(sign * found.influence)
        below, above = (_skewed(quantile, s, n) for s in (skewness, -skewness))
        method = "t with skewness"
    if plain == "roc_auc" and found.influence is not None:
        spread, method = _hypothetical(found, truth), "score of areas"
    lower = _end(lambda delta: value - delta - below * spread(delta), value, -2.0, found.error)
    upper = _end(lambda delta: delta - value - above * spread(delta), value, 2.0, found.error)
    if replicates is not None:
        drawn = sign * replicates[np.isfinite(replicates)]
        if len(drawn) >= len(replicates) / 2:
            low, high = np.quantile(drawn, [WORKING_LEVEL, 1 - WORKING_LEVEL])
            lower, upper, method = min(lower, float(low)), max(upper, float(high)), f"{method} and bootstrap"
    reach = max(below, above) + uncertainty.ONE_SIDED
    detectable = _end(lambda delta: -delta - reach * spread(delta), 0.0, -2.0, found.error)
    return Difference(value, lower, upper, found.error, -detectable, method, n)


# ---- accuracy ----------------------------------------------------------------------------------------------------


def discordant(truth: Truth, candidate: Answer, champion: Answer) -> tuple[int, int]:
    """Rows that only the candidate, and rows that only the champion answers right."""
    ours, theirs = candidate.labels == truth.values, champion.labels == truth.values
    return int((ours & ~theirs).sum()), int((~ours & theirs).sum())


def mcnemar(only_ours: int, only_theirs: int) -> float:
    """Exact two-sided p of McNemar's test: the split of discordant rows against a fair coin."""
    from scipy.special import bdtr

    total, few = only_ours + only_theirs, min(only_ours, only_theirs)
    return min(1.0, 2 * float(bdtr(few, total, 0.5))) if total else 1.0


def tango(only_ours: int, only_theirs: int, n: int, delta: float) -> float:
    """Score statistic of the hypothesis that the difference of two paired shares is `delta` (Tango 1998, eq. 1–3)."""
    b, c = only_ours, only_theirs
    middle = -b - c + (2 * n - b + c) * delta
    share = (math.sqrt(max(middle**2 + 8 * n * c * delta * (1 - delta), 0.0)) - middle) / (4 * n)
    variance = n * (2 * max(share, 0.0, -delta) + delta * (1 - delta))
    above = b - c - n * delta
    if variance <= 0:
        return math.copysign(math.inf, above) if above else 0.0
    return above / math.sqrt(variance)


def _of_accuracy(truth: Truth, candidate: Answer, champion: Answer) -> Difference:
    n = len(truth.values)
    b, c = discordant(truth, candidate, champion)
    value, quantile = (b - c) / n, _t(math.inf)
    error = math.sqrt(max(b + c - (b - c) ** 2 / n, 0.0)) / n
    lower = _bisect(lambda delta: tango(b, c, n, delta) - quantile, -1.0, value)
    upper = _bisect(lambda delta: tango(b, c, n, delta) + quantile, value, 1.0)
    return Difference(value, lower, upper, error, detectable_accuracy(b + c, n), "score", n)


def detectable_accuracy(discordant_rows: int, n: int) -> float:
    """Smallest detectable difference of accuracy: 3.29 √(d / n), d = discordant rows / n; few count as more."""
    counted = discordant_rows if discordant_rows >= _FEW else min(discordant_rows + 4, _FEW)
    return 2 * uncertainty.ONE_SIDED * math.sqrt(counted) / n


# ---- ROC AUC -----------------------------------------------------------------------------------------------------


def _hypothetical(found: uncertainty.Estimate, truth: Truth) -> Callable[[float], float]:
    """Standard error of the difference of two areas if it were `delta`, never less than the sample's own."""
    (ours, theirs), areas = found.parts, found.values
    n, middle = len(ours), sum(areas) / 2
    few = int(min((truth.codes == truth.positive_index).sum(), (truth.codes != truth.positive_index).sum()))
    own, both, other = (float(x @ y) / (n - 1) / n for x, y in ((ours, ours), (ours, theirs), (theirs, theirs)))

    def factor(area: float) -> float:
        kept = (min(max(area, 0.0), 1.0) * few + 0.5) / (few + 1)
        return math.sqrt(kept * (1 - kept))

    def spread(delta: float) -> float:
        here = factor(middle + delta / 2) / factor(areas[0])
        there = factor(middle - delta / 2) / factor(areas[1])
        moved = here**2 * own - 2 * here * there * both + there**2 * other
        return math.sqrt(max(moved, own - 2 * both + other))

    return spread


# ---- arithmetic --------------------------------------------------------------------------------------------------


def _t(freedom: float) -> float:
    from scipy.special import ndtri, stdtrit

    return float(stdtrit(freedom, 1 - WORKING_LEVEL)) if math.isfinite(freedom) else float(ndtri(1 - WORKING_LEVEL))


def _skewness(influence: np.ndarray) -> float:
    squared = float((influence**2).mean())
    return float((influence**3).mean()) / squared**1.5 if squared > 0 else 0.0


def _skewed(quantile: float, skewness: float, n: int) -> float:
    """The t at which Hall's corrected statistic reaches `quantile`; at least `quantile` itself."""

    def corrected(t: float) -> float:
        return t + skewness * (2 * t * t + 1) / (6 * math.sqrt(n)) + skewness**2 * t**3 / (27 * n)

    if corrected(quantile) >= quantile:
        return quantile
    return _bisect(lambda t: corrected(t) - quantile, quantile, 100.0)


def _end(gap: Callable[[float], float], start: float, limit: float, step: float) -> float:
    """Where `gap`, negative at `start`, first reaches 0 on the way to `limit`; doubling steps, then bisection."""
    if step == 0:
        return start
    near, far, direction = start, start, math.copysign(1.0, limit - start)
    reach = step
    while gap(far) < 0:
        near, far = far, start + direction * reach
        reach *= 2
        if reach > 1e9 * step:
            return far
    return _bisect(gap, near, far) if near != far else far


def _bisect(function: Callable[[float], float], low: float, high: float) -> float:
    """A root between two ends; the end whose value has the wanted sign already, if both have the same."""
    at_low, at_high = function(low), function(high)
    if at_low == 0 or at_low * at_high > 0:
        return low if abs(at_low) <= abs(at_high) else high
    for _ in range(80):
        middle = (low + high) / 2
        if (function(middle) > 0) == (at_low > 0):
            low = middle
        else:
            high = middle
    return (low + high) / 2
