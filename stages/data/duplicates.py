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
    first = firsts(rows)
    conflict = shared(keys, first) if keys is not None else np.zeros(len(rows), dtype=np.bool_)
    return Repeated(~first & ~conflict, conflict)


def firsts(values: Hashes) -> Mask:
    """True for the first row of each value. Shape (n,)."""
    order = np.argsort(values, kind="stable")
    new = np.ones(len(values), dtype=np.bool_)
    new[1:] = _changes(values[order])
    first = np.empty(len(values), dtype=np.bool_)
    first[order] = new
    return first


def shared(values: Hashes, first: Mask) -> Mask:
    """True for rows whose value stands in more than one of the rows that `first` marks. Shape (n,)."""
    ordered = np.sort(values[first])
    twice = ordered[1:][~_changes(ordered)]
    if not len(twice):
        return np.zeros(len(values), dtype=np.bool_)
    found: Mask = np.isin(values, twice)
    return found


def _changes(ordered: Hashes) -> Mask:
    changes: Mask = ordered[1:] != ordered[:-1]
    return changes
