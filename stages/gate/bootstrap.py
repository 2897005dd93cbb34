"""Paired bootstrap: the difference of two models in a metric, on the same resampled rows, thousands of times.

How often a row is drawn is Poisson(1), independently (Hanley & MacGibbon 2006; Chamandy et al. 2012; TFMA resamples
so too): one replicate is then a vector of small counts that are the same for both models and all metrics. Nothing is
sorted or looped over again: a block of replicates is computed at once. Metrics of labels need only how often each
combination of (truth, candidate, champion) occurs, which is multinomial.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from typing import Any

import numpy as np

from stages.gate import uncertainty
from stages.model import metrics
from stages.model.metrics import Answer, Truth

REPLICATES = 2_000

#: Counts in a block of replicates: what is computed from it stays near the processor's cache.
_BLOCK = 1_000_000
#: Rows that may be looked at, over all replicates, for a metric without a vectorised form.
_PATIENCE = 20_000_000


class Drawn:
    """How often each row was drawn: `counts` (rows, replicates of this block)."""

    def __init__(self, counts: np.ndarray) -> None:
        self.counts = counts

    @cached_property
    def floats(self) -> np.ndarray:
        """The same as float64, for products."""
        return self.counts.astype(np.float64)


#: From a block to the metric of each of its replicates.
_OfDrawn = Callable[[Drawn], np.ndarray]


def differences(
    names: Iterable[str], truth: Truth, candidate: Answer, champion: Answer, replicates: int = REPLICATES, seed: int = 0
) -> dict[str, np.ndarray]:
    """For each metric, `replicates` differences candidate − champion.

    A metric that is neither vectorised nor quick enough to be computed so often is left out. Replicates in which a
    metric is not defined (a class was not drawn) are NaN.
    """
    found: dict[str, np.ndarray] = {}
    by_row: dict[str, tuple[_OfDrawn, _OfDrawn]] = {}
    n = len(truth.values)
    for name in names:
        plain, sign = uncertainty.base(name)
        few = truth.classes is not None and len(truth.classes) <= uncertainty.MOST_CLASSES
        if metrics.get(plain).needs == "label" and truth.weight is None and few:
            found[name] = sign * _of_labels(plain, truth, candidate, champion, replicates, seed)
            continue
        ours, theirs = _vectorised(plain, truth, candidate), _vectorised(plain, truth, champion)
        if ours is not None and theirs is not None:
            by_row[name] = ours, theirs
        elif n * replicates <= _PATIENCE:
            by_row[name] = _repeated(plain, truth, candidate), _repeated(plain, truth, champion)
    for name in by_row:
        found[name] = np.empty(replicates)
    if by_row:
        for first, drawn in _blocks(n, replicates, seed):
            for name, (ours, theirs) in by_row.items():
                sign = uncertainty.base(name)[1]
                found[name][first : first + drawn.counts.shape[1]] = sign * (ours(drawn) - theirs(drawn))
    return found


def _blocks(n: int, replicates: int, seed: int) -> Iterator[tuple[int, Drawn]]:
    """(number of the first replicate, block) until there are enough."""
    rng = np.random.default_rng(seed)
    table = _poisson_table()
    step = max(8, _BLOCK // n)
    for first in range(0, replicates, step):
        size = min(step, replicates - first)
        random = np.frombuffer(rng.bytes(2 * n * size), dtype=np.uint16).reshape(n, size)
        yield first, Drawn(table[random])


def _poisson_table() -> np.ndarray:
    """Counts for 16 random bits: Poisson(1) with its probabilities rounded to multiples of 2⁻¹⁶."""
    reached = np.cumsum([math.exp(-1) / math.factorial(k) for k in range(10)])
    return np.searchsorted(np.round(reached * 65536), np.arange(65536), side="right").astype(np.uint8)


# ---- metrics of labels -------------------------------------------------------------------------------------------


def _of_labels(plain: str, truth: Truth, candidate: Answer, champion: Answer, replicates: int, seed: int) -> np.ndarray:
    classes = truth.classes or ()
    k = len(classes)
    ours, theirs = (metrics.encode(one.labels, classes) for one in (candidate, champion))
    if min(truth.codes.min(), ours.min(), theirs.min()) < 0:
        return np.full(replicates, math.nan)
    joint, counts = np.unique((truth.codes * k + ours) * k + theirs, return_counts=True)
    right, said = joint // (k * k), (joint // k % k, joint % k)
    n = counts.sum()
    drawn = np.random.default_rng(seed).multinomial(n, counts / n, size=replicates)
    if plain in ("accuracy", "zero_one_loss"):
        gain = (said[0] == right).astype(float) - (said[1] == right)
        return np.asarray((1 if plain == "accuracy" else -1) * (drawn @ gain) / n)
    values = np.asarray(classes)
    metric = metrics.get(plain)
    small = [Answer(values[each]) for each in said]
    result = np.empty(replicates)
    for b, weights in enumerate(drawn.astype(float)):
        cells = Truth(values[right], truth.classes, truth.positive, weights)
        result[b] = metric(cells, small[0]) - metric(cells, small[1])
    return result


# ---- metrics of probabilities and values -------------------------------------------------------------------------


def _vectorised(plain: str, truth: Truth, answer: Answer) -> _OfDrawn | None:
    if plain in ("roc_auc", "average_precision"):
        at = truth.positive_index
        make = _areas if plain == "roc_auc" else _precisions
        return make(truth.codes == at, answer.leaning(at), truth.weight)
    if plain == "roc_auc_ovr":
        assert answer.probabilities is not None
        columns = range(answer.probabilities.shape[1]) if truth.kind == "multiclass" else (1,)
        each = [_areas(truth.codes == c, answer.probabilities[:, c], truth.weight) for c in columns]
        return lambda drawn: np.mean([one(drawn) for one in each], axis=0)
    losses = uncertainty.per_row(plain, truth, answer)
    if losses is not None:
        return _means(np.column_stack([truth.weights, losses * truth.weights]), uncertainty.is_root(plain))
    if plain in ("r2", "explained_variance"):
        return _explained(plain, truth, answer)
    return None


def _means(sums: np.ndarray, root: bool) -> _OfDrawn:
    def mean(drawn: Drawn) -> np.ndarray:
        mass, lost = sums.T @ drawn.floats
        return np.asarray(np.sqrt(lost / mass) if root else lost / mass)

    return mean


def _areas(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None) -> _OfDrawn:
    """ROC AUC: each positive row counts the weight of negatives below it, and half of those beside it."""
    negatives, positives = np.flatnonzero(~positive), np.flatnonzero(positive)
    negatives = negatives[np.argsort(score[negatives], kind="stable")]
    ordered = score[negatives]
    positives = positives[np.argsort(score[positives], kind="stable")]
    low, high = (np.searchsorted(ordered, score[positives], side=side) for side in ("left", "right"))
    tied = bool((low != high).any())
    exact = np.int32 if weight is None else np.float64

    def area(drawn: Drawn) -> np.ndarray:
        below, above = drawn.counts[negatives], drawn.counts[positives]
        if weight is not None:
            below, above = below * weight[negatives, None], above * weight[positives, None]
        reached = np.zeros((len(negatives) + 1, below.shape[1]), dtype=exact)
        np.cumsum(below, axis=0, out=reached[1:])
        beaten = reached[low]
        if tied:
            beaten = beaten + reached[high]
        won = np.einsum("ij,ij->j", beaten, above, dtype=np.float64) / (2 if tied else 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray(won / (reached[-1].astype(np.float64) * above.sum(axis=0)))

    return area


def _precisions(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None) -> _OfDrawn:
    """Average precision: the mean, over positive rows, of the precision at each one's threshold."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    ends = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    hits = positive[order]
    at = np.searchsorted(ends, np.flatnonzero(hits))  # the threshold of each positive row

    def precision(drawn: Drawn) -> np.ndarray:
        taken = drawn.counts[order] if weight is None else drawn.counts[order] * weight[order, None]
        found = np.cumsum(taken, axis=0, dtype=np.float64)[ends]
        right = np.cumsum(taken * hits[:, None], axis=0, dtype=np.float64)[ends]
        share = np.divide(right, found, out=np.zeros_like(right), where=found > 0)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.asarray((share[at] * taken[hits]).sum(axis=0) / right[-1])

    return precision


def _explained(plain: str, truth: Truth, answer: Answer) -> _OfDrawn:
    y, said = np.asarray(truth.values, dtype=float), np.asarray(answer.labels, dtype=float)
    off, residual = y - y.mean(), y - said
    sums = np.column_stack([np.ones(len(y)), off, off**2, residual, residual**2]) * truth.weights[:, None]

    def explained(drawn: Drawn) -> np.ndarray:
        mass, first, second, mean, squared = sums.T @ drawn.floats
        with np.errstate(invalid="ignore", divide="ignore"):
            above = squared / mass - ((mean / mass) ** 2 if plain == "explained_variance" else 0)
            return np.asarray(1 - above / (second / mass - (first / mass) ** 2))

    return explained


def _repeated(plain: str, truth: Truth, answer: Answer) -> _OfDrawn:
    """Any metric at all, replicate by replicate."""
    metric: Any = metrics.get(plain)

    def each(drawn: Drawn) -> np.ndarray:
        values = []
        for counts in drawn.counts.T:
            rows = np.repeat(np.arange(len(counts)), counts)
            values.append(metric(truth.take(rows), answer.take(rows)))
        return np.array(values)

    return each
