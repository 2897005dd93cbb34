"""Cross-validation folds that keep the promise of `data.split`: groups stay whole, time only runs forward."""

from __future__ import annotations

import logging

import numpy as np

from stages.errors import DataError

log = logging.getLogger("mlci")

Folds = list[tuple[np.ndarray, np.ndarray]]
"""(training rows, test rows), positions in the training side."""


def folds(
    n: int,
    y: np.ndarray,
    *,
    classes: bool,
    seed: int,
    groups: np.ndarray | None = None,
    times: np.ndarray | None = None,
) -> Folds:
    """`n` folds of the rows of `y`, fewer (with a line in the log) when the data do not allow as many.

    `classes`: the target is a class, folds are stratified. `groups`: codes; a group is never on both sides. `times`:
    sortable values; each fold tests on rows later than all it trains on, and equal times stay together.

    Raises:
        DataError: MOD_FOLDS: the data do not allow two folds.
    """
    if times is not None:
        return _forward(n, times)
    if groups is not None:
        return _grouped(n, y, groups, classes, seed)
    return _shuffled(n, y, classes, seed)


def _shuffled(n: int, y: np.ndarray, classes: bool, seed: int) -> Folds:
    from sklearn.model_selection import KFold, StratifiedKFold

    if classes:
        counts = np.unique(y, return_counts=True)[1]
        n = _fewer(n, max(2, int(counts.min())), f"the rarest class has {counts.min()} rows")
        if counts.max() >= n:  # scikit-learn wants one class at least to reach every fold
            import warnings

            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The least populated class")
                splitter = StratifiedKFold(n, shuffle=True, random_state=seed)
                return list(splitter.split(np.zeros(len(y)), y))
    n = _fewer(n, len(y), f"the training side has {len(y)} rows")
    return list(KFold(n, shuffle=True, random_state=seed).split(y))


def _grouped(n: int, y: np.ndarray, groups: np.ndarray, classes: bool, seed: int) -> Folds:
    from sklearn.model_selection import GroupKFold, StratifiedGroupKFold

    distinct = len(np.unique(groups))
    n = _fewer(n, distinct, f"the training side has {distinct} groups")
    if classes and np.unique(y, return_counts=True)[1].min() >= n:
        found = list(StratifiedGroupKFold(n, shuffle=True, random_state=seed).split(y, y, groups))
        if all(len(train) and len(test) for train, test in found):
            return found
    return list(GroupKFold(n).split(y, y, groups))


def _forward(n: int, times: np.ndarray) -> Folds:
    order = np.argsort(times, kind="stable")
    ordered = times[order]
    # A row may start a fold only where the time differs from the row before it.
    starts = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    n = _fewer(n, len(starts) - 1, f"the training side has {len(starts)} distinct times", least=1)
    wanted = np.linspace(0, len(order), n + 2)[1:-1]
    cuts = np.unique(starts[np.clip(np.searchsorted(starts, wanted), 1, len(starts) - 1)])
    ends = [*cuts[1:], len(order)]
    return [(order[:cut], order[cut:end]) for cut, end in zip(cuts, ends, strict=True)]


def _fewer(wanted: int, possible: int, because: str, least: int = 2) -> int:
    if possible < least:
        raise DataError("MOD_FOLDS", f"no cross-validation: {because}", "get more data, or remove model.search and cv")
    if possible < wanted:
        log.warning("%d folds instead of %d: %s", possible, wanted, because)
    return min(wanted, possible)
