"""The formulas behind `metrics`: pure functions on numpy arrays, weighted, equal to scikit-learn's.

Conventions for what is undefined follow scikit-learn (a precision without a predicted positive is 0), except that a
value which scikit-learn replaces by a warning and a number that depends on no data is NaN here.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np

NAN = float("nan")


def _ratio(above: float, below: float, undefined: float = 0.0) -> float:
    return above / below if below else undefined


# ---- two classes, from counts ------------------------------------------------------------------------------------


def _precision(hit: float, alarm: float, miss: float, quiet: float) -> float:
    return _ratio(hit, hit + alarm)


def _recall(hit: float, alarm: float, miss: float, quiet: float) -> float:
    return _ratio(hit, hit + miss)


def _f1(hit: float, alarm: float, miss: float, quiet: float) -> float:
    return _ratio(2 * hit, 2 * hit + alarm + miss)


def _jaccard(hit: float, alarm: float, miss: float, quiet: float) -> float:
    return _ratio(hit, hit + alarm + miss)


def _positive_likelihood_ratio(hit: float, alarm: float, miss: float, quiet: float) -> float:
    return _ratio(_ratio(hit, hit + miss, NAN), _ratio(alarm, alarm + quiet, NAN), NAN)


def _negative_likelihood_ratio(hit: float, alarm: float, miss: float, quiet: float) -> float:
    return _ratio(_ratio(miss, hit + miss, NAN), _ratio(quiet, alarm + quiet, NAN), NAN)


#: name → (function of true positives, false positives, false negatives, true negatives; greater is better)
OF_TWO_COUNTS: dict[str, tuple[Callable[[float, float, float, float], float], bool]] = {
    "precision": (_precision, True),
    "recall": (_recall, True),
    "f1": (_f1, True),
    "jaccard": (_jaccard, True),
    "positive_likelihood_ratio": (_positive_likelihood_ratio, True),
    "negative_likelihood_ratio": (_negative_likelihood_ratio, False),
}


# ---- any classes, from the confusion matrix ----------------------------------------------------------------------


def confusion(right: np.ndarray, said: np.ndarray, weight: np.ndarray, n: int) -> np.ndarray:
    """Weighted confusion matrix, (n + 1, n + 1): true classes down, said classes across.

    The last row and column hold what is none of the n classes (code -1).
    """
    flat = (right % (n + 1)) * (n + 1) + said % (n + 1)
    return np.bincount(flat, weights=weight, minlength=(n + 1) ** 2).reshape(n + 1, n + 1)


def _accuracy(counts: np.ndarray) -> float:
    return float(np.trace(counts[:-1, :-1]) / counts.sum())


def _error(counts: np.ndarray) -> float:
    return 1 - _accuracy(counts)


def _balanced_accuracy(counts: np.ndarray) -> float:
    rows = counts.sum(axis=1)
    return float((np.diag(counts)[rows > 0] / rows[rows > 0]).mean())


def _matthews(counts: np.ndarray) -> float:
    """R. Gorodkin's multi-class form of the Matthews correlation coefficient."""
    total, hits = counts.sum(), np.trace(counts)
    said, right = counts.sum(axis=0), counts.sum(axis=1)
    below = np.sqrt(total**2 - said @ said) * np.sqrt(total**2 - right @ right)
    return float((hits * total - said @ right) / below) if below > 0 else 0.0


def _kappa(counts: np.ndarray) -> float:
    total = counts.sum()
    chance = counts.sum(axis=0) @ counts.sum(axis=1) / total**2
    return _ratio(float(np.trace(counts) / total - chance), float(1 - chance), NAN)


def _averaged(counts: np.ndarray, part: str, average: str) -> float:
    hits, said, right = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    above, below = {
        "precision": (hits, said),
        "recall": (hits, right),
        "f1": (2 * hits, said + right),
        "jaccard": (hits, said + right - hits),
    }[part]
    if average == "micro":
        return _ratio(float(above.sum()), float(below.sum()))
    seen = (said + right) > 0
    each = np.divide(above, below, out=np.zeros_like(above), where=below > 0)
    if average == "macro":
        return float(each[seen].mean())
    return float((each * right).sum() / right.sum())


#: name → (function of the confusion matrix; greater is better)
OF_COUNTS: dict[str, tuple[Callable[[np.ndarray], float], bool]] = {
    "accuracy": (_accuracy, True),
    "balanced_accuracy": (_balanced_accuracy, True),
    "matthews_corrcoef": (_matthews, True),
    "cohen_kappa": (_kappa, True),
    "zero_one_loss": (_error, False),
    "hamming_loss": (_error, False),
    **{
        f"{part}_{average}": (partial(_averaged, part=part, average=average), True)
        for part in ("precision", "recall", "f1", "jaccard")
        for average in ("macro", "micro", "weighted")
    },
}


# ---- two classes, from the order of probabilities ----------------------------------------------------------------


def _steps(right: np.ndarray, score: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of true and of false positives above each distinct threshold, highest threshold first."""
    order = np.argsort(-score, kind="stable")
    ordered = score[order]
    last = np.flatnonzero(np.r_[ordered[1:] != ordered[:-1], True])
    share = weight[order]
    hit = np.cumsum(share * right[order])[last]
    return hit, np.cumsum(share)[last] - hit


def _roc_auc(right: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Area under the ROC curve by trapezoids; NaN when only one class is there."""
    if not np.isfinite(score).all():
        return NAN
    hit, alarm = _steps(right, score, weight)
    if not (hit[-1] > 0 and alarm[-1] > 0):
        return NAN
    hit, alarm = np.r_[0, hit], np.r_[0, alarm]
    return float(((alarm[1:] - alarm[:-1]) * (hit[1:] + hit[:-1]) / 2).sum() / (hit[-1] * alarm[-1]))


def _average_precision(right: np.ndarray, score: np.ndarray, weight: np.ndarray) -> float:
    """Σ (Rₙ − Rₙ₋₁) Pₙ over thresholds; NaN without a positive row."""
    if not np.isfinite(score).all():
        return NAN
    hit, alarm = _steps(right, score, weight)
    if not hit[-1] > 0:
        return NAN
    found = hit + alarm
    precision = np.divide(hit, found, out=np.zeros_like(hit), where=found > 0)
    return float((np.diff(np.r_[0, hit]) * precision).sum() / hit[-1])


#: name → function of (is positive, probability of positive, weight); greater is better
OF_RANKING: dict[str, Callable[[np.ndarray, np.ndarray, np.ndarray], float]] = {
    "roc_auc": _roc_auc,
    "average_precision": _average_precision,
}


# ---- any classes, from probabilities -----------------------------------------------------------------------------


def _own(codes: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Probability that each row's own class was given; 0 for a class the model does not know."""
    picked = probabilities[np.arange(len(codes)), codes]
    return np.where(codes >= 0, picked, np.where(np.isnan(picked), picked, 0.0))


def _log_loss(codes: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> float:
    """Mean −log of the probability of the right class, clipped to [ε, 1 − ε], ε of its dtype."""
    own = _own(codes, probabilities)
    eps = np.finfo(probabilities.dtype).eps
    return float(np.average(-np.log(np.clip(own, eps, 1 - eps)), weights=weight))


def _brier(codes: np.ndarray, probabilities: np.ndarray, weight: np.ndarray) -> float:
    """Mean squared distance of the probabilities from the one-hot truth; halved for two classes (Brier 1950)."""
    squared = (probabilities**2).sum(axis=1) + 1 - 2 * _own(codes, probabilities)
    return float(np.average(squared, weights=weight)) / (2 if probabilities.shape[1] == 2 else 1)


def _prior(codes: np.ndarray, weight: np.ndarray, n: int) -> np.ndarray:
    share = np.bincount(codes[codes >= 0], weights=weight[codes >= 0], minlength=n) / weight.sum()
    return np.broadcast_to(share, (len(codes), n))


def _d2(
    codes: np.ndarray,
    probabilities: np.ndarray,
    weight: np.ndarray,
    loss: Callable[[np.ndarray, np.ndarray, np.ndarray], float],
) -> float:
    """1 − loss / loss of always giving the class shares."""
    if len(codes) < 2:
        return NAN
    naive = loss(codes, _prior(codes, weight, probabilities.shape[1]), weight)
    return 1 - _ratio(loss(codes, probabilities, weight), naive, NAN)


def _top_k(codes: np.ndarray, probabilities: np.ndarray, weight: np.ndarray, k: int = 2) -> float:
    """Share of rows whose class is among the k most probable ones (scikit-learn's default: k = 2)."""
    own = _own(codes, probabilities)
    # Among equal probabilities the later class comes first, as in scikit-learn's stable sort read backwards.
    above = (probabilities > own[:, None]).sum(axis=1)
    later = np.arange(probabilities.shape[1])[None, :] > codes[:, None]
    above = above + ((probabilities == own[:, None]) & later).sum(axis=1)
    return float(np.average((above < k) & (codes >= 0), weights=weight))


def _one_vs_rest(codes: np.ndarray, probabilities: np.ndarray, weight: np.ndarray, weighted: bool = False) -> float:
    """Mean ROC AUC of each class against all others; NaN when a class is missing from the rows."""
    n = probabilities.shape[1]
    if n == 2:
        return _roc_auc(codes == 1, probabilities[:, 1], weight)
    each = np.array([_roc_auc(codes == c, probabilities[:, c], weight) for c in range(n)])
    if not weighted:
        return float(each.mean())
    return float(np.average(each, weights=np.bincount(codes[codes >= 0], weights=weight[codes >= 0], minlength=n)))


def _one_vs_one(codes: np.ndarray, probabilities: np.ndarray, weight: np.ndarray, weighted: bool = False) -> float:
    """Mean over pairs of classes of the ROC AUC between the two (Hand & Till 2001). It takes no row weights."""
    n = probabilities.shape[1]
    if n == 2:
        return _roc_auc(codes == 1, probabilities[:, 1], weight)
    ones, each, prevalence = np.ones(len(codes)), [], []
    for a in range(n):
        for b in range(a + 1, n):
            pair = (codes == a) | (codes == b)
            first = _roc_auc(codes[pair] == a, probabilities[pair, a], ones[pair]) if pair.any() else NAN
            second = _roc_auc(codes[pair] == b, probabilities[pair, b], ones[pair]) if pair.any() else NAN
            each.append((first + second) / 2)
            prevalence.append(pair.mean())
    return float(np.average(each, weights=prevalence if weighted else None))


#: name → (function of class index, probability matrix, weight; greater is better)
OF_PROBABILITIES: dict[str, tuple[Callable[[np.ndarray, np.ndarray, np.ndarray], float], bool]] = {
    "log_loss": (_log_loss, False),
    "brier_score_loss": (_brier, False),
    "d2_log_loss_score": (partial(_d2, loss=_log_loss), True),
    "d2_brier_score": (partial(_d2, loss=_brier), True),
    "top_k_accuracy": (_top_k, True),
    "roc_auc_ovr": (_one_vs_rest, True),
    "roc_auc_ovr_weighted": (partial(_one_vs_rest, weighted=True), True),
    "roc_auc_ovo": (_one_vs_one, True),
    "roc_auc_ovo_weighted": (partial(_one_vs_one, weighted=True), True),
}


# ---- regression --------------------------------------------------------------------------------------------------


def _median(values: np.ndarray, weight: np.ndarray) -> float:
    """Median; with weights the mean of the lower and the upper weighted median, as in scikit-learn."""
    if (weight == weight[0]).all():
        return float(np.median(values))
    order = np.argsort(values, kind="stable")
    values, weight = values[order][weight[order] > 0], weight[order][weight[order] > 0]
    reached, half = np.cumsum(weight), weight.sum() / 2
    at = min(int(np.searchsorted(reached, half)), len(values) - 1)
    after = at + 1 if np.isclose(reached[at], half, rtol=1e-12, atol=0) and at + 1 < len(values) else at
    return float((values[at] + values[after]) / 2)


def _mae(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(np.abs(y - said), weights=weight))


def _mse(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average((y - said) ** 2, weights=weight))


def _rmse(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return float(np.sqrt(_mse(y, said, weight)))


def _median_absolute(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return _median(np.abs(y - said), weight)


def _mape(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return float(np.average(np.abs(y - said) / np.maximum(np.abs(y), np.finfo(float).eps), weights=weight))


def _max_error(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return float(np.abs(y - said).max())


def _explained(above: float, below: float) -> float:
    """1 − above / below; scikit-learn's ends where the target does not vary: 1 when perfect, else 0."""
    if below:
        return 1 - above / below
    return NAN if np.isnan(above) else float(above == 0)


def _r2(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    if len(y) < 2:
        return NAN
    mean = np.average(y, weights=weight)
    return _explained(float((weight * (y - said) ** 2).sum()), float((weight * (y - mean) ** 2).sum()))


def _explained_variance(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    off, mean = np.average(y - said, weights=weight), np.average(y, weights=weight)
    above = np.average((y - said - off) ** 2, weights=weight)
    return _explained(float(above), float(np.average((y - mean) ** 2, weights=weight)))


def _msle(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return _mse(np.log1p(y), np.log1p(said), weight) if min(y.min(), said.min()) > -1 else NAN


def _rmsle(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return float(np.sqrt(_msle(y, said, weight)))


def _poisson(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    if y.min() < 0 or said.min() <= 0:
        return NAN
    logs = np.where(y > 0, y * np.log(np.where(y > 0, y, 1) / said), 0)
    return float(np.average(2 * (logs - y + said), weights=weight))


def _gamma(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    if y.min() <= 0 or said.min() <= 0:
        return NAN
    return float(np.average(2 * (np.log(said / y) + y / said - 1), weights=weight))


def _d2_absolute(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    if len(y) < 2:
        return NAN
    return _explained(_mae(y, said, weight), _mae(y, np.full_like(y, _median(y, weight)), weight))


def _pinball(y: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
    return _mae(y, said, weight) / 2


#: name → (function of right value, said value, weight; greater is better)
OF_VALUES: dict[str, tuple[Callable[[np.ndarray, np.ndarray, np.ndarray], float], bool]] = {
    "r2": (_r2, True),
    "explained_variance": (_explained_variance, True),
    "mean_absolute_error": (_mae, False),
    "mean_squared_error": (_mse, False),
    "root_mean_squared_error": (_rmse, False),
    "median_absolute_error": (_median_absolute, False),
    "mean_absolute_percentage_error": (_mape, False),
    "max_error": (_max_error, False),
    "mean_squared_log_error": (_msle, False),
    "root_mean_squared_log_error": (_rmsle, False),
    "mean_poisson_deviance": (_poisson, False),
    "mean_gamma_deviance": (_gamma, False),
    "mean_pinball_loss": (_pinball, False),
    "d2_absolute_error_score": (_d2_absolute, True),
    "d2_pinball_score": (_d2_absolute, True),
    "d2_tweedie_score": (_r2, True),
}
