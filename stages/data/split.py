"""Which rows are held out. Made from hashes and order alone, before anything is learned.

| by | the test side |
|---|---|
| key, group | rows whose hash, as a number in [0, 1), is below the share: a row keeps its side as data grows |
| time | the latest rows; those with the same time stay together |
| random | a share of each class (classification) or of all rows, by the seed |
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stages.data import hashing
from stages.data.hashing import Hashes
from stages.errors import DataError

Mask = npt.NDArray[np.bool_]


def by_hash(hashes: Hashes, share: float) -> Mask:
    """True for rows of the test side.

    With so few distinct hashes that one side would be empty, the lowest one goes to test or the highest to train.
    """
    test = hashing.share(hashes) < share
    if len(hashes) and hashes.min() != hashes.max():
        if not test.any():
            test = hashes == hashes.min()
        elif test.all():
            test = hashes < hashes.max()
    return test


def by_time(moments: npt.NDArray[np.float64] | npt.NDArray[np.int64], share: float) -> Mask:
    """True for the latest `share` of rows. Of the two places beside ties, the one nearer to the share is taken."""
    n = len(moments)
    wanted = max(1, round(share * n))
    if n < 2:
        return np.ones(n, dtype=np.bool_)
    border = np.sort(moments)[n - wanted]
    with_ties, without = moments >= border, moments > border
    options = [side for side in (with_ties, without) if side.any() and not side.all()]
    if not options:
        return np.zeros(n, dtype=np.bool_)
    return min(options, key=lambda side: abs(int(side.sum()) - wanted))


def at_random(n: int, share: float, seed: int, classes: npt.NDArray[np.int64] | None = None) -> Mask:
    """True for `share` of rows, of each class where `classes` (codes, shape (n,)) is given.

    The order is that of SplitMix64 over seed and position, which no version of numpy changes. A class of one row
    stays in training.
    """
    start = hashing.mix(np.array([seed % 2**64], dtype=np.uint64))
    order = np.argsort(hashing.mix(np.arange(n, dtype=np.uint64) ^ start[0]), kind="stable")
    test = np.zeros(n, dtype=np.bool_)
    if classes is None:
        test[order[: _count(n, share)]] = True
        return test
    codes, sizes = np.unique(classes, return_counts=True)
    taken = _shares(sizes, share)
    ordered = classes[order]
    for code, count in zip(codes.tolist(), taken.tolist(), strict=True):
        test[order[ordered == code][:count]] = True
    return test


def _count(n: int, share: float) -> int:
    return min(max(round(share * n), 1), n - 1) if n > 1 else 0


def _shares(sizes: npt.NDArray[np.int64], share: float) -> npt.NDArray[np.int64]:
    """Test rows of each class: floors, then the largest remainders up to the whole share; one row of each stays in
    training."""
    exact = sizes * share
    taken: npt.NDArray[np.int64] = np.minimum(np.floor(exact).astype(np.int64), sizes - 1)
    missing = _count(int(sizes.sum()), share) - int(taken.sum())
    for i in np.argsort(-(exact - np.floor(exact)), kind="stable").tolist():
        if missing <= 0:
            break
        if taken[i] < sizes[i] - 1:
            taken[i] += 1
            missing -= 1
    return taken


def check(test: Mask, how: str, classes: npt.NDArray[np.int64] | None = None, names: list[str] | None = None) -> None:
    """Refuse a split that nothing can be learned from.

    `how`: what it was made by, for the message. `classes`, `names`: codes of the target and their texts.

    Raises:
        DataError: DAT_SPLIT: a side is empty, there are fewer than two classes, or one is absent from the training
        side.
    """
    train = int(len(test) - test.sum())
    if not train or train == len(test):
        side = "training" if not train else "test"
        raise DataError(
            "DAT_SPLIT",
            f"split by {how}: the {side} side is empty ({len(test):,} rows in all)",
            "change data.split (another share, column or by: random), or give more data",
        )
    if classes is None or names is None:
        return
    if len(names) < 2:
        raise DataError(
            "DAT_SPLIT",
            f"the target has one class only: {', '.join(map(repr, names))}",
            "classification needs two; check data.target and the transform, or set task: regression",
        )
    absent = sorted(set(range(len(names))) - set(np.unique(classes[~test]).tolist()))
    if absent:
        raise DataError(
            "DAT_SPLIT",
            f"split by {how}: class {names[absent[0]]!r} is absent from the training side"
            + (f" (and {len(absent) - 1} more)" if absent[1:] else ""),
            "use data.split by: random, which keeps every class in training, or give more rows of it",
        )
