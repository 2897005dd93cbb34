"""Drift: whether data are still distributed as the data that a model was trained on.

A column has drifted when the difference is both material and beyond chance:

- its population stability index Σ (r − c) ln (r / c) exceeds 0.1 (the convention of credit scoring, Lewis 1994) and its
  critical value (1/n + 1/m) χ²₀.₉₅(bins − 1) for these row counts (Yurdakul 2018): at n = 100, chance alone exceeds
  0.1 most of the time;
- it stays significant after Benjamini & Hochberg (1995) over all columns. The p-value is that of a χ² test
  over the bins (those with fewer than five expected rows pooled) and of exact tests for missing and for unseen
  values, corrected for their number: sparse bins make the χ² approximation to the index itself too generous.

Missing and unseen values count as values. Evidently drops missing ones first, so that none → 40 % is invisible there
[evidently issue 187], and tests each column at its own 5 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.gate.bins import Bins, Counts
from stages.gate.outcome import Outcome, percent, rows, short

MATERIAL, CRITICAL = 0.1, 0.95
#: Promised is 5 %; the rest pays for the approximation of the χ² test at 100 rows.
FALSE_DISCOVERIES = 0.03

#: Fewer new rows than this are not compared.
MIN_ROWS = 100

_EXPECTED = 5.0


@dataclass(frozen=True)
class Compared:
    """One column against its reference.

    `psi`, its `critical` value, and the `p` of the tests; `drifted` after the correction for all columns. `names`,
    `reference`, `current`: shares by bin, missing and unseen among them.
    """

    column: str
    psi: float
    critical: float
    p: float
    drifted: bool
    names: list[str]
    reference: list[float]
    current: list[float]

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "column": self.column,
            "psi": self.psi,
            "critical": self.critical,
            "p": self.p,
            "drifted": self.drifted,
            "bins": self.names,
            "reference": self.reference,
            "current": self.current,
        }


def compare(columns: Mapping[str, tuple[Bins, Counts]]) -> list[Compared]:
    """Every column against its reference, corrected for their number, the most different first."""
    found = [_column(name, bins, counts) for name, (bins, counts) in columns.items()]
    significant = benjamini_hochberg(np.array([one.p for one in found]), FALSE_DISCOVERIES)
    judged = [
        Compared(**{**vars(one), "drifted": bool(sure) and one.psi > max(MATERIAL, one.critical)})
        for one, sure in zip(found, significant, strict=True)
    ]
    return sorted(judged, key=lambda one: (not one.drifted, -one.psi))


def psi(reference: np.ndarray, current: np.ndarray) -> float:
    """Population stability index of two vectors of counts; an empty bin counts as half a row."""
    if reference.sum() == 0 or current.sum() == 0:
        return 0.0
    r, c = (np.maximum(counts, 0.5) / counts.sum() for counts in (reference, current))
    return float(((r - c) * np.log(r / c)).sum())


def critical_value(n: int, m: int, bins: int) -> float:
    """What the index of two samples of n and m rows of the same population stays below in 95 % of cases."""
    from scipy.special import chdtri

    return (1 / n + 1 / m) * float(chdtri(bins - 1, 1 - CRITICAL)) if bins > 1 and n and m else 0.0


def benjamini_hochberg(p: np.ndarray, q: float) -> np.ndarray:
    """Mask of the p-values that stay significant at false discovery rate `q`."""
    if not len(p):
        return np.zeros(0, dtype=bool)
    order = np.argsort(p)
    below = np.flatnonzero(p[order] <= q * np.arange(1, len(p) + 1) / len(p))
    mask = np.zeros(len(p), dtype=bool)
    mask[order[: below[-1] + 1 if len(below) else 0]] = True
    return mask


# ---- one column --------------------------------------------------------------------------------------------------


def _column(name: str, bins: Bins, counts: Counts) -> Compared:
    names = bins.names()
    reference, current = np.array(bins.counts, dtype=float), counts.counts.astype(float)
    filled = (reference > 0) | (current > 0)
    if filled.any():
        names = [name for name, some in zip(names, filled, strict=True) if some]
        reference, current = reference[filled], current[filled]
    known = reference, current
    for what, here, there in (("unseen", bins.unseen, counts.unseen), ("missing", bins.missing, counts.missing)):
        if here or there:
            names = [*names, what]
            reference, current = np.append(reference, here), np.append(current, there)
    n, m = int(reference.sum()), int(current.sum())
    tests = [_chi_squared(*known)]
    if bins.unseen or counts.unseen:
        tests.append(_unseen(bins, n - bins.missing, counts.unseen, m - counts.missing))
    if bins.missing or counts.missing:
        tests.append(_exact(bins.missing, n, counts.missing, m))
    return Compared(
        name,
        psi(reference, current),
        critical_value(n, m, len(reference)),
        min(1.0, len(tests) * min(tests)),
        False,
        names,
        (reference / max(n, 1)).tolist(),
        (current / max(m, 1)).tolist(),
    )


def _chi_squared(reference: np.ndarray, current: np.ndarray) -> float:
    """p of Pearson's χ² test that two rows of counts are alike; bins with few expected rows are pooled."""
    from scipy.special import chdtrc

    n, m = reference.sum(), current.sum()
    if not n or not m:
        return 1.0
    pooled = reference + current
    order = np.argsort(pooled)
    small = _EXPECTED * (n + m) / min(n, m)
    below = pooled[order] < small
    few = int(below.sum())
    if few and pooled[order[:few]].sum() < small:
        few = min(few + 1, len(order))
    groups = [group for group in (order[:few], *order[few:, None]) if len(group)]
    table = np.array([[side[group].sum() for group in groups] for side in (reference, current)])
    if table.shape[1] < 2:
        return 1.0
    expected = table.sum(axis=0) * np.array([[n], [m]]) / (n + m)
    return float(chdtrc(table.shape[1] - 1, ((table - expected) ** 2 / expected).sum()))


def _unseen(bins: Bins, n: int, there: int, m: int) -> float:
    """p that so many unseen values are chance. The reference's share is an estimate whose variance is larger than
    that of a count, by (once + twice) / once, so it is given accordingly fewer rows."""
    scale = (bins.unseen + 1) / (bins.unseen + bins.twice + 1)
    return _exact(round(bins.unseen * scale), round(n * scale), there, m)


def _exact(here: int, n: int, there: int, m: int) -> float:
    """Two-sided p of Fisher's exact test of two shares, twice the smaller tail."""
    from scipy.stats import hypergeom

    if not n or not m:
        return 1.0
    chance = hypergeom(n + m, here + there, m)
    return min(1.0, 2 * float(min(chance.cdf(there), chance.sf(there - 1))))


# ---- rules -------------------------------------------------------------------------------------------------------


def judge(compared: Sequence[Compared], max_share: float, n: int) -> Outcome:
    """Whether too many features have drifted. Some, but not too many, is a warning."""
    drifted = [one.column for one in compared if one.drifted]
    share = len(drifted) / len(compared) if compared else 0.0
    details = {"columns": [one.as_dict() for one in compared]}
    said = f"{len(drifted)} of {len(compared)} features have drifted from the champion's training data"
    shown = f": {', '.join(drifted[:5])}" + (f" and {len(drifted) - 5} more" if drifted[5:] else "") if drifted else ""
    limit = f"at most {percent(max_share)} may, {rows(n)}"
    if share > max_share:
        sentence = f"{said}{shown} ({limit})"
        return Outcome("drift.features", "failed", sentence, "GATE_DRIFT", share, max_share, None, n, details)
    status, code = ("warned", "GATE_DRIFT") if drifted else ("passed", None)
    return Outcome("drift.features", status, f"{said}{shown} ({limit})", code, share, max_share, None, n, details)  # type: ignore[arg-type]


def judge_one(what: str, compared: Compared, n: int) -> Outcome:
    """Drift of the label or of the predictions: worth a look, and no fault of the model."""
    rule, details = f"drift.{what}", compared.as_dict()
    least = max(MATERIAL, compared.critical)
    told = f"PSI {short(compared.psi)}, limit {short(least)}, p {compared.p:.2g}, {rows(n)}"
    if compared.drifted:
        sentence = f"the {what} has drifted from the champion's training data ({told})"
        return Outcome(rule, "warned", sentence, "GATE_DRIFT", compared.psi, least, None, n, details)
    return Outcome(rule, "passed", f"the {what} has not drifted ({told})", None, compared.psi, least, None, n, details)


def skipped(why: str) -> Outcome:
    """Drift was not compared."""
    return Outcome("drift.features", "skipped", why)
