"""How far a metric, or a difference of two models in it, may be off because the test rows are a sample.

Each metric is linearised: metric ≈ value + mean of one influence value per row (Hampel 1974), so that its standard
error is that of a mean. Metrics of labels are functions of the confusion matrix and are differentiated there; ROC AUC
by its placements (DeLong, DeLong & Clarke-Pearson 1988); losses are means already. Anything else, a user's own
function too, by a jackknife over 50 groups of rows.

Differences are taken row by row, so that what is hard for both models cancels.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from stages.errors import ConfigError
from stages.model import metrics
from stages.model.metrics import Answer, Truth

#: One-sided 95 % and two-sided 95 % points of the normal distribution.
ONE_SIDED, TWO_SIDED = 1.6448536269514722, 1.959963984540054

_GROUPS = 50

#: Classes up to which the cells of the confusion matrix are looked at one by one.
MOST_CLASSES = 20


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error.

    `freedom`: degrees of freedom behind it. `influence`: per row, where known. `values`, `parts`: the metric of each
    answer, and its own influence.
    """

    value: float
    error: float
    freedom: float
    influence: np.ndarray | None = None
    values: tuple[float, ...] = ()
    parts: tuple[np.ndarray, ...] = ()

    @property
    def spreadless(self) -> bool:
        """Whether all rows say the same, so that the standard error is 0 and says nothing."""
        return self.error <= max(1e-12, 1e-6 * abs(self.value))

    def interval(self, two_sided: bool = True) -> tuple[float, float]:
        """95 % interval (two-sided), or the two one-sided 95 % bounds."""
        reach = self.error * _quantile(self.freedom, two_sided)
        return self.value - reach, self.value + reach


def estimate(name: str, truth: Truth, answer: Answer, baseline: Answer | None = None) -> Estimate:
    """The metric's value, or its difference `answer` − `baseline` on the same rows, with its standard error.

    NaN where the metric is not defined. Sign as the metric's own: see `Metric.greater_is_better`.
    """
    answers = [answer] if baseline is None else [answer, baseline]
    values = [value_of(name, truth, one) for one in answers]
    value = values[0] - (values[1] if baseline is not None else 0.0)
    n = len(truth.values)
    if n < 2 or not math.isfinite(value):
        return Estimate(value, math.nan, max(n - 1, 1))
    parts = tuple(part for one in answers if (part := influence(name, truth, one)) is not None)
    if len(parts) == len(answers):
        each = parts[0] if baseline is None else parts[0] - parts[1]
        return Estimate(value, _error_of_mean(each), _freedom(truth), each, tuple(values), parts)
    return _jackknife(lambda rows: [value_of(name, truth.take(rows), one.take(rows)) for one in answers], value, n)


def value_of(name: str, truth: Truth, answer: Answer) -> float:
    """The metric's value; NaN too where a function of the user's own fails, on a slice without positives, say."""
    try:
        return metrics.get(name)(truth, answer)
    except ConfigError as error:
        if ":" not in name or error.code != "CFG_METRIC":
            raise
        return math.nan


def share_of(name: str, truth: Truth, answer: Answer) -> tuple[int, int] | None:
    """(hits, of how many rows) where the metric is a share of unweighted rows, so that it is binomial; else None."""
    plain, sign = base(name)
    if truth.weight is not None or sign < 0 or plain not in ("accuracy", "recall", "precision"):
        return None
    if plain == "accuracy":
        right = metrics.encode(answer.labels, truth.classes or ()) == truth.codes
        return int(right.sum()), len(right)
    is_positive, said = truth.codes == truth.positive_index, np.asarray(answer.labels) == truth.positive
    hits = int((is_positive & said).sum())
    return hits, int((is_positive if plain == "recall" else said).sum())


def within(name: str, interval: tuple[float, float]) -> tuple[float, float]:
    """The interval without values that the metric cannot take: no recall is below 0."""
    plain, sign = base(name)
    low, high = next(
        (ends for stem, ends in _RANGES.items() if plain == stem or plain.startswith(f"{stem}_")),
        (-math.inf, math.inf),
    )
    if sign < 0:
        low, high = -high, -low
    return max(interval[0], low), min(interval[1], high)


def influence(name: str, truth: Truth, answer: Answer) -> np.ndarray | None:
    """Influence of each row on the metric: mean 0, and metric's variance ≈ their variance / n. None where not
    known."""
    plain, sign = base(name)
    relative = truth.weights / truth.weights.mean()
    if metrics.get(plain).needs == "label":
        return _signed(sign, _of_counts(plain, truth, answer, relative))
    if plain == "roc_auc" or (plain == "roc_auc_ovr" and truth.kind != "multiclass"):
        at = truth.positive_index if plain == "roc_auc" else 1
        return _signed(sign, _of_ranks(truth.codes == at, answer.leaning(at), relative))
    if plain == "roc_auc_ovr":
        assert answer.probabilities is not None
        count = answer.probabilities.shape[1]
        each = [_of_ranks(truth.codes == c, answer.probabilities[:, c], relative) for c in range(count)]
        return _signed(sign, np.mean(each, axis=0))
    losses = per_row(plain, truth, answer)
    if losses is not None:
        mean = np.average(losses, weights=relative)
        slope = 1.0 if plain not in _ROOTS else 0.5 / math.sqrt(mean) if mean > 0 else 0.0
        return _signed(sign, slope * relative * (losses - mean))
    if plain in ("r2", "explained_variance"):
        return _signed(sign, _of_explained(plain, truth, answer, relative))
    return None


def _signed(sign: int, each: np.ndarray | None) -> np.ndarray | None:
    return each if each is None or sign > 0 else np.negative(each)


def base(name: str) -> tuple[str, int]:
    """The metric's plain name, and −1 where `name` is the scorer that negates it."""
    if name in _BY_FUNCTION.values():
        return name, 1
    function = metrics.get(name).function
    if function in _BY_FUNCTION:
        return _BY_FUNCTION[function], 1
    if name.startswith("neg_"):
        inner = name.removeprefix("neg_")
        return _BY_FUNCTION.get(metrics.get(inner).function, inner), -1
    return name, 1


def per_row(plain: str, truth: Truth, answer: Answer) -> np.ndarray | None:
    """The loss of each row, for metrics that are a mean of such losses or the root of one."""
    if plain in _CLASS_LOSSES:
        assert answer.probabilities is not None
        return _CLASS_LOSSES[plain](truth.codes, answer.probabilities)
    if plain in _VALUE_LOSSES:
        y, said = np.asarray(truth.values, dtype=float), np.asarray(answer.labels, dtype=float)
        return _VALUE_LOSSES[plain](y, said)
    return None


def is_root(plain: str) -> bool:
    """Whether the metric is the square root of the mean of `per_row`."""
    return plain in _ROOTS


# ---- by kind of metric -------------------------------------------------------------------------------------------


def _of_counts(plain: str, truth: Truth, answer: Answer, relative: np.ndarray) -> np.ndarray | None:
    """Metrics of labels: the metric's gradient over the cells of the confusion matrix, each cell moved a little."""
    classes = truth.classes or ()
    said = metrics.encode(answer.labels, classes)
    if plain == "accuracy":
        hits = (said == truth.codes).astype(float)
        return np.asarray(relative * (hits - np.average(hits, weights=relative)))
    if len(classes) > MOST_CLASSES or min(truth.codes.min(), said.min()) < 0:
        return None
    cells, where = np.unique(truth.codes * len(classes) + said, return_inverse=True)
    share = np.bincount(where, weights=relative) / len(where)
    slopes = np.zeros(len(cells))
    step = 1e-6
    for i in range(len(cells)):
        moved = [share.copy(), share.copy()]
        moved[0][i] += step * share[i]
        moved[1][i] -= step * share[i]
        up, down = (of_cells(plain, truth, cells, weights) for weights in moved)
        slopes[i] = (up - down) / (2 * step * share[i])
    each: np.ndarray = relative * slopes[where]
    each -= each.mean()
    return each


def of_cells(plain: str, truth: Truth, cells: np.ndarray, weights: np.ndarray) -> float:
    """A metric of labels from cells (true class · classes + said class) and their weights."""
    classes = np.asarray(truth.classes)
    right, said = np.divmod(cells, len(classes))
    small = Truth(classes[right], truth.classes, truth.positive, weights)
    return metrics.get(plain)(small, Answer(classes[said]))


def _of_ranks(positive: np.ndarray, score: np.ndarray, relative: np.ndarray) -> np.ndarray:
    """ROC AUC: how each row's placement among the other class differs from the mean."""
    order = np.argsort(score, kind="stable")
    ordered = score[order]
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    group = np.cumsum(np.r_[True, ordered[1:] != ordered[:-1]]) - 1
    weight, is_positive = relative[order], positive[order]

    def placement(mask: np.ndarray) -> np.ndarray:
        mass = np.add.reduceat(weight * mask, starts)
        below = np.cumsum(mass) - mass
        share: np.ndarray = (below + mass / 2)[group] / mass.sum()
        return share

    of_positive, of_negative = placement(~is_positive), 1 - placement(is_positive)
    area = np.average(of_positive, weights=weight * is_positive)
    n, up = len(score), (weight * is_positive).sum()
    each = np.empty(n)
    each[order] = weight * np.where(
        is_positive, (of_positive - area) * n / up, (of_negative - area) * n / (weight.sum() - up)
    )
    return each


def _of_explained(plain: str, truth: Truth, answer: Answer, relative: np.ndarray) -> np.ndarray:
    """1 − residual variance / variance, differentiated as a ratio of two means."""
    y, said = np.asarray(truth.values, dtype=float), np.asarray(answer.labels, dtype=float)
    residual = y - said
    if plain == "explained_variance":
        residual = residual - np.average(residual, weights=relative)
    above, below = residual**2, (y - np.average(y, weights=relative)) ** 2
    mean_above, mean_below = np.average(above, weights=relative), np.average(below, weights=relative)
    if mean_below == 0:
        return np.zeros(len(y))
    each: np.ndarray = -relative * (above - mean_above / mean_below * below) / mean_below
    return each


def _jackknife(values: Callable[[np.ndarray], list[float]], value: float, n: int) -> Estimate:
    """Standard error by leaving out one of 50 random groups of rows at a time (Shao & Wu 1989)."""
    groups = min(_GROUPS, n)
    member = np.random.default_rng(0).permutation(n) % groups
    left = []
    for g in range(groups):
        first, *rest = values(np.flatnonzero(member != g))
        left.append(first - sum(rest))
    each = np.array(left)
    if not np.isfinite(each).all():
        return Estimate(value, math.nan, groups - 1)
    error = math.sqrt((groups - 1) / groups * ((each - each.mean()) ** 2).sum())
    return Estimate(value, error, groups - 1)


def _error_of_mean(each: np.ndarray) -> float:
    n = len(each)
    return float(np.sqrt((each**2).sum() / (n - 1) / n))


def _freedom(truth: Truth) -> float:
    """Degrees of freedom: rows of the rarest class (or all rows) less one."""
    if truth.classes is None:
        return len(truth.values) - 1
    counts = np.bincount(truth.codes[truth.codes >= 0], minlength=len(truth.classes))
    return max(int(min(counts[counts > 0], default=2)) - 1, 1)


def _quantile(freedom: float, two_sided: bool) -> float:
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975 if two_sided else 0.95))


# ---- losses of single rows ---------------------------------------------------------------------------------------


def _own(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    return np.where(codes >= 0, probabilities[np.arange(len(codes)), codes], 0.0)


def _log(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    eps = np.finfo(probabilities.dtype).eps
    loss: np.ndarray = -np.log(np.clip(_own(codes, probabilities), eps, 1 - eps))
    return loss


def _brier(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    squared = (probabilities**2).sum(axis=1) + 1 - 2 * _own(codes, probabilities)
    loss: np.ndarray = squared / (2 if probabilities.shape[1] == 2 else 1)
    return loss


def _poisson(y: np.ndarray, said: np.ndarray) -> np.ndarray:
    logs = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / said), 0)
    loss: np.ndarray = 2 * (logs - y + said)
    return loss


_CLASS_LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "log_loss": _log,
    "brier_score_loss": _brier,
}

_VALUE_LOSSES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "mean_absolute_error": lambda y, said: np.abs(y - said),
    "mean_squared_error": lambda y, said: (y - said) ** 2,
    "root_mean_squared_error": lambda y, said: (y - said) ** 2,
    "mean_absolute_percentage_error": lambda y, said: np.abs(y - said) / np.maximum(np.abs(y), np.finfo(float).eps),
    "mean_squared_log_error": lambda y, said: (np.log1p(y) - np.log1p(said)) ** 2,
    "root_mean_squared_log_error": lambda y, said: (np.log1p(y) - np.log1p(said)) ** 2,
    "mean_poisson_deviance": _poisson,
    "mean_gamma_deviance": lambda y, said: 2 * (np.log(said / y) + y / said - 1),
    "mean_pinball_loss": lambda y, said: np.abs(y - said) / 2,
}

_SHARE, _LOSS = (0.0, 1.0), (0.0, math.inf)

#: What values a metric can take, by name or its beginning; a metric of the user's own has no limits.
_RANGES: dict[str, tuple[float, float]] = {
    **dict.fromkeys(("accuracy", "balanced_accuracy", "f1", "precision", "recall", "jaccard", "roc_auc"), _SHARE),
    **dict.fromkeys(("average_precision", "top_k_accuracy", "hamming_loss", "zero_one_loss"), _SHARE),
    **dict.fromkeys(("matthews_corrcoef", "cohen_kappa"), (-1.0, 1.0)),
    **dict.fromkeys(("r2", "explained_variance", "d2"), (-math.inf, 1.0)),
    **dict.fromkeys((*_CLASS_LOSSES, *_VALUE_LOSSES, "median_absolute_error", "max_error"), _LOSS),
    **dict.fromkeys(("positive_likelihood_ratio", "negative_likelihood_ratio"), _LOSS),
}

_ROOTS = ("root_mean_squared_error", "root_mean_squared_log_error")

#: Aliases and scorers share the function of the plain name, so the function finds it.
_BY_FUNCTION: dict[Callable[[Truth, Answer], float], str] = {
    metrics.get(name).function: name
    for name in (
        *("accuracy", "balanced_accuracy", "zero_one_loss", "f1", "precision", "recall", "matthews_corrcoef"),
        *("roc_auc", "roc_auc_ovr", "average_precision", "r2", "explained_variance"),
        *_CLASS_LOSSES,
        *_VALUE_LOSSES,
    )
}
