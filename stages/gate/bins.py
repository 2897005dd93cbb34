"""How values are counted for drift: bins made from reference data and kept with the model, so that later data can be
counted without it.

| kind | bins |
|---|---|
| number | up to ten, equally filled, between `edges`; alone each value that a tenth of the rows share, or of ten |
| level (category, text, boolean, class) | each level of at least 1 % of the rows and 20 rows, `rare`, and `unseen` |
| all | `missing` |

In the reference, no level is unseen. How often new data of the same kind would show one is estimated by leaving out
one row at a time: a row is unseen when its level stands in no other row. Those rows are counted as unseen, and not as
rare. The estimate's variance is that of the count of such rows and of those whose level stands twice (Good 1953).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from stages.gate.outcome import moment

MOST_BINS = 10
#: A level below this share of the reference, or below this many rows, has no bin of its own: the fewer rows made it
#: pass, the more it falls back in the next sample.
RARE, LEAST = 0.01, 20
#: Levels that the record names at most; the rarest beyond them count as unseen.
MOST_LEVELS = 5_000


@dataclass(frozen=True)
class Bins:
    """One column's bins and what the reference counted in them.

    `edges`: inner edges of a number's bins, each belonging to the bin above it. `levels`: levels with a bin, most
    frequent first; `others`: further known levels. `counts`: reference rows in each bin, in the order of `names`;
    `missing`, `unseen`: apart. `twice`: rows whose level stands in exactly one other row.
    """

    kind: Literal["number", "level"]
    counts: list[int]
    missing: int
    unseen: int = 0
    twice: int = 0
    edges: list[float] | None = None
    levels: list[str] | None = None
    others: list[str] | None = None
    moments: bool = False

    @property
    def rows(self) -> int:
        """Rows of the reference."""
        return sum(self.counts) + self.missing + self.unseen

    def names(self) -> list[str]:
        """What each bin of `counts` holds, for people."""
        if self.levels is not None:
            return [*self.levels, "rare"]
        edges = self.edges or []
        shown = [_shown(edge, self.moments) for edge in edges]
        if not edges:
            return ["all"]
        alone = [high == _next(low) for low, high in pairwise(edges)]
        pairs = zip(pairwise(shown), alone, strict=True)
        between = [low if one else f"{low} to {high}" for (low, high), one in pairs]
        last = f"above {shown[-2]}" if alone and alone[-1] else f"{shown[-1]} and more"
        return [f"below {shown[0]}", *between, last]

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the record."""
        given = {"edges": self.edges, "levels": self.levels, "others": self.others}
        kept: dict[str, Any] = {
            "kind": self.kind,
            "counts": self.counts,
            "missing": self.missing,
        }
        kept |= {"unseen": self.unseen, "twice": self.twice} if self.kind == "level" else {}
        kept |= {name: value for name, value in given.items() if value is not None}
        return kept | {"moments": True} if self.moments else kept

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Bins:
        """The reverse of `as_dict`. Raises: KeyError, TypeError."""
        return cls(**data)


@dataclass(frozen=True)
class Counts:
    """Rows in each bin, missing and unseen ones apart."""

    counts: np.ndarray
    missing: int
    unseen: int

    @property
    def rows(self) -> int:
        """All rows."""
        return int(self.counts.sum()) + self.missing + self.unseen


# ---- numbers -----------------------------------------------------------------------------------------------------


def of_numbers(values: np.ndarray, moments: bool = False) -> Bins:
    """Bins of float64 `values`, NaN where one is missing. `moments`: they are microseconds since 1970."""
    known = values[np.isfinite(values)]
    distinct = np.unique(known[:: max(1, len(known) // 10_000)])
    if len(distinct) <= MOST_BINS:
        distinct = np.unique(known)
    if len(distinct) <= MOST_BINS:
        edges, heavy = distinct[:0], distinct
    else:
        tenths = np.quantile(known, np.linspace(0, 1, MOST_BINS + 1))
        edges = np.unique(tenths[1:-1])
        edges = edges[edges > tenths[0]]
        # whatever a tenth of the rows share is one of the tenths
        heavy = np.array([one for one in np.unique(tenths) if np.count_nonzero(known == one) * MOST_BINS >= len(known)])
    # from such a value to the next float: a change of nothing but that value must not stay inside its bin
    edges = np.unique(np.concatenate([edges, heavy, _next(heavy)]))
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    missing = len(values) - len(known)
    return Bins("number", counts.tolist(), missing, edges=edges.tolist(), moments=moments)


def count_numbers(bins: Bins, values: np.ndarray) -> Counts:
    """New values in the bins of the reference."""
    known = values[np.isfinite(values)]
    edges = np.asarray(bins.edges)
    counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
    return Counts(counts, len(values) - len(known), 0)


# ---- levels ------------------------------------------------------------------------------------------------------


def of_levels(found: Mapping[str, int], missing: int) -> Bins:
    """Bins of levels from how often each was seen."""
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    total = sum(found.values())
    own = [level for level, count in ordered if count >= max(LEAST, RARE * total)]
    others = [level for level, _ in ordered[len(own) :]][: MOST_LEVELS - len(own)]
    counts = [found[level] for level in own]
    once = sum(1 for _, count in ordered if count == 1)
    beyond = sum(found[level] for level, _ in ordered[len(own) + len(others) :] if found[level] > 1)
    unseen = once + beyond
    twice = sum(2 for _, count in ordered if count == 2)
    return Bins("level", [*counts, total - sum(counts) - unseen], missing, unseen, twice, levels=own, others=others)


def count_levels(bins: Bins, found: Mapping[str, int], missing: int) -> Counts:
    """New levels in the bins of the reference."""
    own = {level: i for i, level in enumerate(bins.levels or [])}
    others = set(bins.others or [])
    counts, unseen = np.zeros(len(own) + 1, dtype=np.int64), 0
    for level, count in found.items():
        if level in own:
            counts[own[level]] += count
        elif level in others:
            counts[-1] += count
        else:
            unseen += count
    return Counts(counts, missing, unseen)


def _next(value: Any) -> Any:
    """The smallest float above `value`."""
    return np.nextafter(value, np.inf)


def _shown(edge: float, moments: bool) -> str:
    if moments:
        return moment(edge)
    return f"{edge:.4g}"
