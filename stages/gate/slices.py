"""Slices: a model that is good on the whole and bad for some is not good.

Each slice of at least 30 rows is held against the metric's bounds, and against the champion where there is a margin.
A slice fails when it is beyond doubt on the wrong side (one-sided 95 %, Holm's correction for the number of slices):
with fifty slices, some are below any bound by chance. TFMA's slices compare point values; it fails closed on absent
slices, and so do levels that the contract names.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from stages.config.schema import Bound
from stages.gate import bounds, uncertainty
from stages.gate.champion import Rival
from stages.gate.outcome import Outcome, moment, rows, short
from stages.model import metrics
from stages.model.metrics import Answer, Truth

MIN_ROWS = 30
#: Numbers are cut into this many equally filled slices.
QUANTILES = 4
#: Levels of a slice column that are looked at, the most frequent ones.
MOST = 200
LEVEL = 0.05


@dataclass(frozen=True)
class Slices:
    """One column cut into slices.

    `members`: name → mask over the test side. `named`: levels that the contract lists. `further`: levels beyond the
    200 most frequent, which are not looked at.
    """

    column: str
    members: dict[str, np.ndarray]
    named: tuple[str, ...] = ()
    further: int = 0


def by_level(column: str, texts: np.ndarray, named: tuple[str, ...] = ()) -> Slices:
    """Slices of a category: `texts`, object array with None or NaN for missing."""
    missing = np.array([not isinstance(text, str) for text in texts], dtype=bool)
    known = np.where(missing, "", texts).astype(str)
    levels, codes, counts = np.unique(known, return_inverse=True, return_counts=True)
    members: dict[str, np.ndarray] = {}
    for i in np.argsort(-counts, kind="stable"):
        mask = (codes == i) & ~missing
        if mask.any() and len(members) < MOST:
            members[str(levels[i])] = mask
    if missing.any():
        members["missing"] = missing
    return Slices(column, members, named, max(0, int((counts > 0).sum()) - int(missing.any()) - MOST))


def by_quantile(column: str, values: np.ndarray, moments: bool = False) -> Slices:
    """Slices of a number: quarters, each with its range as name; few distinct values are slices themselves.

    `moments`: they are microseconds since 1970.
    """

    def shown(value: float) -> str:
        return moment(value) if moments else short(value)

    known = np.isfinite(values)
    distinct = np.unique(values[known])
    members: dict[str, np.ndarray] = {}
    if len(distinct) <= QUANTILES:
        members = {shown(value): values == value for value in distinct}
    else:
        edges = np.unique(np.quantile(values[known], np.linspace(0, 1, QUANTILES + 1)))
        for i, (low, high) in enumerate(pairwise(edges)):
            last = i == len(edges) - 2
            mask = known & (values >= low) & ((values <= high) if last else (values < high))
            members[f"{shown(low)} to {shown(high)}"] = mask
    if not known.all():
        members["missing"] = ~known
    return Slices(column, members)


def check(
    slices: Slices, limits: Mapping[str, Bound], truth: Truth, answer: Answer, rival: Rival | None = None
) -> list[Outcome]:
    """One outcome for each metric, over all slices of the column."""
    absent = [level for level in slices.named if level not in slices.members]
    if absent:
        shown = ", ".join(absent[:5])
        sentence = f"{slices.column} has no test row with {shown}, which the contract names"
        return [Outcome(f"slice.{slices.column}.{name}", "failed", sentence, "GATE_SLICE_ABSENT") for name in limits]
    return [_metric(slices, name, bound, truth, answer, rival) for name, bound in limits.items()]


def _metric(slices: Slices, name: str, bound: Bound, truth: Truth, answer: Answer, rival: Rival | None) -> Outcome:
    rule = f"slice.{slices.column}.{name}"
    table = [_row(level, mask, name, bound, truth, answer, rival) for level, mask in slices.members.items()]
    judged = [row for row in table if row["p"] is not None]
    small = sum(row["status"] == "skipped" for row in table)
    _correct(judged)
    details: dict[str, Any] = {
        "metric": name,
        "column": slices.column,
        "min": bound.min,
        "max": bound.max,
        "slices": table,
    }
    small += slices.further
    skipped = f", {small} with fewer than {MIN_ROWS} rows or undefined skipped" if small else ""
    count = len(table) + slices.further - small
    if not count:
        return Outcome(rule, "skipped", f"{slices.column} has no slice of {MIN_ROWS} rows", None, n=0, details=details)
    worst = min((row for row in table if row["value"] is not None), key=lambda row: _rank(name, row["value"]))
    told = f"worst: {slices.column} = {worst['slice']} with {short(worst['value'])}, {rows(worst['n'])}"
    failed = [row for row in judged if row["status"] == "failed"]
    if failed:
        first = min(failed, key=lambda row: row["p"])
        more = f" (and {len(failed) - 1} more slices)" if failed[1:] else ""
        sentence = f"{slices.column} = {first['slice']}: {first['why']}{more}; {count} slices compared{skipped}"
        return Outcome(
            rule, "failed", sentence, "GATE_SLICE", first["value"], first["bound"], None, first["n"], details
        )
    below = sum(row["status"] == "warned" for row in judged)
    doubt = f", {below} beyond the bound but within chance" if below else ""
    said = f"{name} is good enough in every slice of {slices.column}"
    if below:
        said = f"in no slice of {slices.column} is {name} too bad beyond doubt"
    elif not judged:
        said = f"{name} has no bound, and no champion, that slices of {slices.column} could be held against"
    sentence = f"{said} ({count} compared{doubt}{skipped}; {told})"
    return Outcome(rule, "passed", sentence, None, worst["value"], None, None, worst["n"], details)


def _rank(name: str, value: float) -> float:
    return value if metrics.get(name).greater_is_better else -value


def _row(
    level: str, mask: np.ndarray, name: str, bound: Bound, truth: Truth, answer: Answer, rival: Rival | None
) -> dict[str, Any]:
    """One slice: its value, interval, and the smallest p of being on the wrong side."""
    n = int(mask.sum())
    row: dict[str, Any] = {"slice": level, "n": n, "value": None, "interval": None, "p": None, "status": "skipped"}
    if n < MIN_ROWS:
        return row
    found = uncertainty.estimate(name, truth.take(mask), answer.take(mask))
    if not math.isfinite(found.value) or not math.isfinite(found.error):
        return row
    told = bounds.interval_of(name, found, truth.take(mask), answer.take(mask)) or (found.value, found.value)
    row |= {"value": found.value, "interval": list(told), "status": "passed"}
    share = uncertainty.share_of(name, truth.take(mask), answer.take(mask))
    tests = [
        (found.value - limit, limit, sign) for limit, sign in ((bound.min, 1), (bound.max, -1)) if limit is not None
    ]
    error = max(found.error, _cautious(name, truth.take(mask), answer.take(mask)))
    shortfalls = [
        (sign * gap, error, found.freedom, f"{name} is {short(found.value)}, the bound is {short(limit)}", limit)
        for gap, limit, sign in tests
    ]
    if bound.margin is not None and rival is not None:
        shortfalls += _against(name, bound.margin, mask, truth, answer, rival)
    for gap, error, freedom, why, limit in shortfalls:
        p = _p(gap, error, freedom)
        if share is not None and share[1] and limit in (bound.min, bound.max):
            p = _exact(*share, limit, below=limit == bound.min)
        if row["p"] is None or p < row["p"]:
            row |= {"p": p, "why": why, "bound": limit, "beyond": gap < 0}
    return row


def _against(
    name: str, margin: float, mask: np.ndarray, truth: Truth, answer: Answer, rival: Rival
) -> list[tuple[float, float, float, str, float]]:
    both = mask & rival.fresh
    if both.sum() < MIN_ROWS:
        return []
    theirs = rival.answer.take(both[rival.fresh])
    if not theirs.has(metrics.get(name).needs):
        return []
    found = uncertainty.estimate(name, truth.take(both), answer.take(both), theirs)
    if not math.isfinite(found.value) or not math.isfinite(found.error):
        return []
    value = found.value * (1 if metrics.get(name).greater_is_better else -1)
    why = f"{name} is worse than the champion's by {short(-value)}, the margin is {short(margin)}"
    return [(value + margin, found.error, found.freedom, why, -margin)]


def _cautious(name: str, truth: Truth, answer: Answer) -> float:
    """Standard error of a metric of labels with two more rows of each class, spread over what can be said of them.

    Four positives that are all missed have no spread; two more of either kind give them the spread that they may have
    (Agresti & Caffo 2000, for the difference of two shares). 0 for other metrics.
    """
    classes = truth.classes or ()
    if metrics.get(name).needs != "label" or len(classes) > uncertainty.MOST_CLASSES:
        return 0.0
    there = np.unique(truth.codes[truth.codes >= 0])
    right, said = (side.ravel() for side in np.meshgrid(there, np.arange(len(classes)), indexing="ij"))
    known = np.asarray(classes)
    weight = np.concatenate([truth.weights, np.full(len(right), truth.weights.mean() * 2 / len(classes))])
    more = Truth(np.concatenate([truth.values, known[right]]), truth.classes, truth.positive, weight)
    labels = np.concatenate([np.asarray(answer.labels), known[said]])
    error = uncertainty.estimate(name, more, Answer(labels)).error
    return error if math.isfinite(error) else 0.0


def _p(gap: float, error: float, freedom: float) -> float:
    """One-sided p that a value `gap` above its limit is truly not below it.

    Without any spread there is no t: of k rows of the rarest class all say the same. A recall, F1 or area that is truly
    at the limit lets each of them say otherwise with a chance of at least gap / 2.
    """
    from scipy.special import stdtr

    if error <= 1e-12:
        return 1.0 if gap >= 0 else float((1 - min(1.0, -gap) / 2) ** (freedom + 1))
    return float(stdtr(freedom, gap / error))


def _exact(hits: int, n: int, limit: float, below: bool) -> float:
    """p of so few (or so many) hits among n rows if the share were `limit`: a count of few misses is not normal."""
    from scipy.special import bdtr, bdtrc

    share = min(max(limit, 0.0), 1.0)
    return float(bdtr(hits, n, share)) if below else 1.0 if hits == 0 else float(bdtrc(hits - 1, n, share))


def _correct(judged: list[dict[str, Any]]) -> None:
    """Holm: the smallest p against 0.05 / m, the next against 0.05 / (m − 1), until one is not significant."""
    still = True
    for i, row in enumerate(sorted(judged, key=lambda row: row["p"])):
        still = still and row["p"] <= LEVEL / (len(judged) - i)
        row["status"] = "failed" if still else "warned" if row["beyond"] else "passed"
