"""Comparison with the champion: is the candidate worse by more than the margin, or can that not be told?

Non-inferiority by a paired interval (see `intervals`): TFX's `change_threshold` and MLflow's `min_absolute_change`
compare point values, so that two equal models fail or pass by luck.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from stages.data.hashing import are_new
from stages.gate import bootstrap, intervals, uncertainty
from stages.gate.outcome import Outcome, rows, short
from stages.model import metrics
from stages.model.metrics import Answer, Truth

#: Test rows that the champion was not trained on, and rows of each class where order or counts of classes matter.
MIN_ROWS, MIN_CLASS_ROWS = 200, 50

#: Means over all rows: rare classes do not make their intervals unreliable.
_MEANS = ("accuracy", "zero_one_loss", "log_loss", "brier_score_loss")


@dataclass(frozen=True)
class Rival:
    """The champion's answers on the test rows that it was not trained on.

    `version`: its digest. `fresh`: mask over the test side. `answer`: on those rows. `how`: what it was scored with.
    """

    version: str
    env: str
    fresh: np.ndarray
    answer: Answer
    how: str


def compare(margins: Mapping[str, float], truth: Truth, candidate: Answer, rival: Rival) -> list[Outcome]:
    """One outcome for each metric with a margin. `truth` and `candidate`: the whole test side."""
    kept, ours = truth.take(rival.fresh), candidate.take(rival.fresh)
    fresh = int(rival.fresh.sum())
    if fresh < MIN_ROWS:
        seen = len(rival.fresh) - fresh
        sentence = (
            f"only {rows(fresh)} of the test side are new to the champion ({seen:,} were in its training); "
            f"{MIN_ROWS} are needed to compare"
        )
        return [
            Outcome(f"champion.{name}", "inconclusive", sentence, "GATE_CHAMPION_ROWS", None, -margin, None, fresh)
            for name, margin in margins.items()
        ]
    names = [name for name in margins if _answered(name, ours, rival.answer)]
    drawn = bootstrap.differences(names, kept, ours, rival.answer) if names else {}
    return [_one(name, margin, kept, ours, rival, drawn.get(name)) for name, margin in margins.items()]


def missing(margins: Mapping[str, float], status: Any, sentence: str, code: str) -> list[Outcome]:
    """The same outcome for each metric with a margin: there is no champion, or it cannot be asked."""
    return [Outcome(f"champion.{name}", status, sentence, code, None, -margin) for name, margin in margins.items()]


def fresh_rows(test: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Mask of test rows whose 8-byte hashes are not among those of the champion's training rows."""
    return are_new(test, trained)


def _answered(name: str, *answers: Answer) -> bool:
    return all(one.has(metrics.get(name).needs) for one in answers)


def _one(name: str, margin: float, truth: Truth, ours: Answer, rival: Rival, drawn: np.ndarray | None) -> Outcome:
    rule, n = f"champion.{name}", len(truth.values)
    if not _answered(name, ours, rival.answer):
        whose = "the champion" if ours.has(metrics.get(name).needs) else "the candidate"
        sentence = f"{name} needs {metrics.lacking(metrics.get(name).needs)}, and {whose} gives none"
        return Outcome(rule, "failed", sentence, "GATE_METRIC_UNDEFINED", None, -margin, None, n)
    values = uncertainty.value_of(name, truth, ours), uncertainty.value_of(name, truth, rival.answer)
    found = intervals.compare(name, truth, ours, rival.answer, drawn)
    details: dict[str, Any] = {
        "metric": name,
        "candidate": values[0],
        "champion": values[1],
        "margin": margin,
        "smallest_detectable_difference": found.detectable,
        "method": found.method,
        "version": rival.version,
        "asked_through": rival.how,
    }
    between = f"{name} is {short(values[0])}, the champion has {short(values[1])}"
    if uncertainty.base(name)[0] == "accuracy":
        b, c = intervals.discordant(truth, ours, rival.answer)
        details |= {"only_candidate_right": b, "only_champion_right": c, "mcnemar_p": intervals.mcnemar(b, c)}
        between += (
            f" ({b:,} rows only the candidate has right, {c:,} only the champion, McNemar p {details['mcnemar_p']:.3g})"
        )
    interval = (found.lower, found.upper)
    if not all(math.isfinite(end) for end in interval):
        sentence = f"{between}: the difference cannot be computed on these rows"
        return Outcome(rule, "failed", sentence, "GATE_NOT_FINITE", found.value, -margin, None, n, details)
    rare = _rare(name, truth)
    if rare is not None and found.upper >= -margin:
        what, count = rare
        sentence = f"{between}: only {rows(count)} of class {what}, {MIN_CLASS_ROWS} are needed to compare {name}"
        return Outcome(rule, "inconclusive", sentence, "GATE_CHAMPION_ROWS", found.value, -margin, interval, n, details)
    return _judged(rule, between, margin, found, details)


def _needs_both(name: str) -> bool:
    return uncertainty.base(name)[0] not in _MEANS


def _judged(rule: str, between: str, margin: float, found: intervals.Difference, details: dict[str, Any]) -> Outcome:
    interval, n = (found.lower, found.upper), found.n
    told = f"{better(found.value)}, one-sided 95 % bounds {short(found.lower)} and {short(found.upper)}"
    limit = f"margin {short(margin)}, {rows(n)}"
    if found.lower >= -margin:
        return Outcome(rule, "passed", f"{between}: {told} ({limit})", None, found.value, -margin, interval, n, details)
    if found.upper < -margin:
        sentence = f"{between}: beyond the margin ({told}; {limit})"
        return Outcome(rule, "failed", sentence, "GATE_CHAMPION_WORSE", found.value, -margin, interval, n, details)
    wanted = rows_to_decide(found, margin)
    details["rows_to_decide"] = wanted
    advice = f"about {wanted:,} test rows would decide" if wanted else "no number of rows would decide soon"
    sentence = (
        f"{between}: cannot tell whether it is worse by more than the margin ({told}; {limit}); "
        f"the smallest difference that these rows show is {short(found.detectable)}, {advice}"
    )
    return Outcome(rule, "inconclusive", sentence, "GATE_CHAMPION_UNCLEAR", found.value, -margin, interval, n, details)


def better(value: float) -> str:
    """`better by 0.01`, `worse by 0.01`, `no difference`: a difference whose positive side is the candidate's."""
    if value == 0:
        return "no difference"
    return f"{'worse' if value < 0 else 'better'} by {short(abs(value))}"


def rows_to_decide(found: intervals.Difference, margin: float) -> int | None:
    """Test rows with which two equal models pass with power 0.95; or, if these are there already, with which a
    difference like the observed one is told from the margin. None where no number of rows would.

    A standard error falls with the square root of the rows.
    """
    if margin > 0 and found.detectable > margin:
        return _rounded(found.n * (found.detectable / margin) ** 2)
    apart = abs(found.value + margin)
    reach = 2 * uncertainty.ONE_SIDED * found.error
    if apart <= reach / 100:
        return None
    return _rounded(found.n * max(1.0, (reach / apart) ** 2))


def _rounded(count: float) -> int:
    """Two significant digits, upwards."""
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return int(math.ceil(count / unit) * unit)


def _rare(name: str, truth: Truth) -> tuple[str, int] | None:
    """The rarest class and its rows, where they are too few for this metric."""
    if truth.classes is None or not _needs_both(name):
        return None
    counts = np.bincount(truth.codes[truth.codes >= 0], minlength=len(truth.classes))
    rarest = int(counts.argmin())
    if counts[rarest] >= MIN_CLASS_ROWS:
        return None
    return metrics.canonical(truth.classes[rarest]), int(counts[rarest])
