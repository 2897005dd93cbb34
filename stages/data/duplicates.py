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
    """Identical rows by `rows` (hashes over all listed columns), conflicts by `keys` (hashes over the key). Masks
    of shape (n,)."""
    identical = np.ones(len(rows), dtype=np.bool_)
    identical[np.unique(rows, return_index=True)[1]] = False
    conflict = np.zeros(len(rows), dtype=np.bool_)
    if keys is not None:
        first = np.flatnonzero(~identical)
        conflict[first] = repeated(keys[first])
    return Repeated(identical, conflict)


def repeated(values: Hashes) -> Mask:
    """True for every value that stands more than once. Shape (n,)."""
    _, of, counts = np.unique(values, return_inverse=True, return_counts=True)
    return counts[of] > 1
