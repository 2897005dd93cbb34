"""Leakage: what makes a model look good on a test that will not be repeated in life.

A feature that alone predicts the target almost perfectly is usually a consequence of it. Deepchecks scores single
features by decision trees and its `predictive power score`; here each feature gets cross-validated R² (regression) or
ROC AUC (classification; several classes: mean of one against the rest) on a bounded sample of the training side.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stages import console
from stages.gate.outcome import Outcome, percent, short
from stages.model import metrics

if TYPE_CHECKING:
    import pandas as pd

#: R² or AUC of a single feature from which it counts as a copy of the target, and from which it is worth a look.
PERFECT, SUSPICIOUS = 0.999, 0.98
#: Share of test rows whose features also stand in the training side.
DUPLICATES = 0.01

MAX_ROWS = 20_000
_FOLDS = 3
#: With fewer training rows, one feature of several orders them rightly by chance.
_FEWEST = 30
_BINS = 1_000
_MOST_CLASSES = 20


def check_features(
    frame: pd.DataFrame, features: Sequence[Mapping[str, Any]], target: np.ndarray, n_classes: int | None
) -> Outcome:
    """Whether one feature alone predicts the target on the training side.

    `target`: class codes with `n_classes`, or values with None. `frame` may be a sample already; at most 20,000 rows
    are used, taken evenly by a fixed seed.
    """
    rng = np.random.default_rng(0)
    chosen = np.sort(rng.permutation(len(frame))[:MAX_ROWS])
    frame, target = frame.iloc[chosen], target[chosen]
    n, folds = len(chosen), rng.permutation(len(chosen)) % _FOLDS
    if n < _FEWEST:
        return Outcome("leakage.features", "skipped", f"only {n} training rows: too few to judge single features", n=n)
    if np.ptp(target) == 0:
        return Outcome("leakage.features", "skipped", "the target is the same in every row: anything predicts it", n=n)
    found = {}
    for number, feature in enumerate(features, 1):
        console.doing(f"leakage: feature {number:,} of {len(features):,}")
        found[feature["name"]] = _power(frame[feature["name"]], feature["type"], target, n_classes, folds)
    known = {name: value for name, value in found.items() if math.isfinite(value)}
    measure = "R²" if n_classes is None else "ROC AUC"
    ranked = sorted(known.items(), key=lambda item: -item[1])
    details = {"measure": measure, "features": dict(ranked)}
    if not ranked:
        return Outcome("leakage.features", "skipped", "no feature can be judged alone", n=n, details=details)
    name, best = ranked[0]
    said = f"{name} alone predicts the target with a cross-validated {measure} of {short(best)}"
    if best >= PERFECT:
        others = [other for other, value in ranked[1:] if value >= PERFECT]
        more = f" (so do {', '.join(others[:5])})" if others else ""
        sentence = f"{said}{more}: it is a consequence of the target, not known when it is asked for"
        status, code = "failed", "GATE_LEAK_FEATURE"
    elif best >= SUSPICIOUS:
        sentence, status, code = f"{said}: is it known when the model is asked?", "warned", "GATE_LEAK_FEATURE"
    else:
        return Outcome(
            "leakage.features",
            "passed",
            f"no single feature gives the target away; {said}",
            None,
            best,
            PERFECT,
            None,
            n,
            details,
        )
    return Outcome("leakage.features", status, sentence, code, best, PERFECT, None, n, details)  # type: ignore[arg-type]


def check_sides(leakage: Mapping[str, Any], n_test: int) -> list[Outcome]:
    """Rows and keys that stand on both sides, from the figures of `profile.json`."""
    found = []
    share = leakage.get("duplicate_feature_rows_share")
    if share is not None:
        said = f"{percent(share, 2)} of the test rows have the features of a training row"
        rule = "leakage.rows"
        if share > DUPLICATES:
            found.append(
                Outcome(
                    rule,
                    "failed",
                    f"{said}: the test repeats the training",
                    "GATE_LEAK_ROWS",
                    share,
                    DUPLICATES,
                    None,
                    n_test,
                )
            )
        elif share > 0:
            found.append(Outcome(rule, "warned", said, "GATE_LEAK_ROWS", share, DUPLICATES, None, n_test))
        else:
            found.append(
                Outcome(
                    rule,
                    "passed",
                    "no test row has the features of a training row",
                    None,
                    0.0,
                    DUPLICATES,
                    None,
                    n_test,
                )
            )
    for part, one in (("keys", "key"), ("groups", "group")):
        count = leakage.get(f"overlapping_{part}")
        if count is None:
            continue
        rule = f"leakage.{part}"
        if count > 0:
            many = f"{count:,} {one} of the test side also stands" if count == 1 else f"{count:,} {part} also stand"
            said = f"{many} in the training side"
            found.append(Outcome(rule, "failed", said, f"GATE_LEAK_{part.upper()}", float(count), 0.0, None, n_test))
        else:
            found.append(Outcome(rule, "passed", f"no {one} stands on both sides", None, 0.0, 0.0, None, n_test))
    return found


# ---- one feature -------------------------------------------------------------------------------------------------


def _power(column: pd.Series, kind: str, target: np.ndarray, n_classes: int | None, folds: np.ndarray) -> float:
    """Cross-validated R² or AUC of the better of the predictors that suit the column."""
    wanted = _columns(target, n_classes)
    if kind in ("category", "text"):
        codes = column.factorize(use_na_sentinel=False)[0]
        return _score(_by_level(codes, wanted, folds), target, n_classes, folds)
    values = _numbers(column, kind)
    by_steps = _by_level(_steps(values), wanted, folds)
    found = [
        _score(by_steps, target, n_classes, folds),
        _score(_by_line(values, wanted, folds), target, n_classes, folds),
    ]
    if max(found) >= 0.9:
        found.append(_score(_by_tree(values, wanted, folds), target, n_classes, folds))
    return max(found)


def _columns(target: np.ndarray, n_classes: int | None) -> np.ndarray:
    """What is predicted: the value; or 0/1, a column for each class (one column is enough for two).

    Of many classes the first twenty are looked at: a copy of the target shows in each of them.
    """
    if n_classes is None:
        return np.asarray(target, dtype=float)[:, None]
    if n_classes == 2:
        return np.asarray(target == 1, dtype=float)[:, None]
    wanted: np.ndarray = (target[:, None] == np.arange(min(n_classes, _MOST_CLASSES))).astype(float)
    return wanted


def _numbers(column: pd.Series, kind: str) -> np.ndarray:
    if kind == "datetime":
        whole = column.dt.tz_localize(None) if getattr(column.dt, "tz", None) is not None else column
        moments = whole.to_numpy(dtype="datetime64[us]")
        return np.where(np.isnat(moments), np.nan, moments.astype(np.int64).astype(float))
    return np.asarray(column.to_numpy(dtype=float))


def _steps(values: np.ndarray) -> np.ndarray:
    """Codes of at most a thousand equally filled steps, missing values in a step of their own."""
    known = np.isfinite(values)
    distinct = np.unique(values[known])
    most = max(2, min(_BINS, len(values) // 15))  # every step is met in every fold
    if len(distinct) > most:
        distinct = np.unique(np.quantile(values[known], np.linspace(0, 1, most + 1)[1:-1]))
    codes = np.searchsorted(distinct, values, side="right")
    codes[~known] = len(distinct) + 1
    return codes


def _by_level(codes: np.ndarray, wanted: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Each row's prediction: the mean of its level over the other folds, the whole mean for a level not seen
    there."""
    size = int(codes.max()) + 1
    said = np.empty_like(wanted)
    for fold in range(_FOLDS):
        fit = folds != fold
        counts = np.bincount(codes[fit], minlength=size)
        here = codes[~fit]
        for j in range(wanted.shape[1]):
            sums = np.bincount(codes[fit], weights=wanted[fit, j], minlength=size)
            means = np.where(counts > 0, sums / np.maximum(counts, 1), wanted[fit, j].mean())
            said[~fit, j] = means[here]
    return said


def _by_line(values: np.ndarray, wanted: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Each row's prediction by a least-squares line of the other folds; missing values at their mean."""
    said = np.empty_like(wanted)
    for fold in range(_FOLDS):
        fit = folds != fold
        known = fit & np.isfinite(values)
        middle = values[known].mean() if known.any() else 0.0
        spread = values[known].std() if known.any() else 1.0
        x = np.where(np.isfinite(values), (values - middle) / (spread or 1.0), 0.0)
        off = wanted[fit].mean(axis=0)
        below = (x[fit] ** 2).sum()
        slope = (x[fit, None] * (wanted[fit] - off)).sum(axis=0) / below if below else 0.0
        said[~fit] = off + x[~fit, None] * slope
    return said


def _by_tree(values: np.ndarray, wanted: np.ndarray, folds: np.ndarray) -> np.ndarray:
    """Each row's prediction by a regression tree of the other folds."""
    from sklearn.tree import DecisionTreeRegressor

    filled = np.where(np.isfinite(values), values, np.nan)[:, None].astype(np.float32)
    said = np.empty_like(wanted)
    for fold in range(_FOLDS):
        fit = folds != fold
        tree = DecisionTreeRegressor(min_samples_leaf=2, random_state=0).fit(filled[fit], wanted[fit])
        said[~fit] = tree.predict(filled[~fit]).reshape(-1, wanted.shape[1])
    return said


def _score(said: np.ndarray, target: np.ndarray, n_classes: int | None, folds: np.ndarray) -> float:
    """Mean over folds, leaving out those in which it is not defined (one class only)."""
    measure, classes = ("r2", None) if n_classes is None else ("roc_auc", (0, 1))
    metric = metrics.get(measure)
    each = []
    for fold in range(_FOLDS):
        here = folds == fold
        wanted = _columns(target[here], n_classes)
        areas = []
        for j in range(wanted.shape[1]):
            truth = metrics.Truth(
                wanted[:, j] if classes is None else wanted[:, j].astype(int), classes, 1 if classes else None
            )
            p = said[here, j]
            areas.append(metric(truth, metrics.Answer(p, np.column_stack([1 - p, p]) if classes else None)))
        finite = [a for a in areas if math.isfinite(a)]
        if finite:
            each.append(float(np.mean(finite)))
    return float(np.mean(each)) if each else math.nan
