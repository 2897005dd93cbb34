"""Rows that stand in the source more than once. Nothing here depends on their order, but which one of identical
rows is first."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from stages.data.hashing import Hashes

Mask = npt.NDArray[np.bool_]


class Repeated(NamedTuple):
    """`identical`: later copies of a row, to be dropped. `conflict`: rows whose key stands with another content
    too."""

    identical: Mask
    conflict: Mask


def find(rows: Hashes, keys: Hashes | None) -> Repeated:
    """Identical rows by `rows` (hashes over all listed columns), conflicts by `keys` (hashes over the key). Masks of
    shape (n,). A copy of a row in conflict is in conflict too."""
    first = np.zeros(len(rows), dtype=np.bool_)
    first[np.unique(rows, return_index=True)[1]] = True
    conflict = shared(keys, first) if keys is not None else np.zeros(len(rows), dtype=np.bool_)
    return Repeated(~first & ~conflict, conflict)


def shared(values: Hashes, first: Mask) -> Mask:
    """True for rows whose value stands in more than one of the rows that `first` marks. Shape (n,)."""
    _, of = np.unique(values, return_inverse=True)
    return np.bincount(of, weights=first, minlength=1)[of] > 1
