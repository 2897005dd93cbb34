"""Simple models that a model must beat, and how they are compared.

The dummy answers the same for every row: class shares, the mean or the median. The linear one is a logistic or ridge
regression on scaled numbers and one-hot categories. Both see the training side only. The comparison is paired and
carries its uncertainty; Deepchecks' `SimpleModelComparison` compares point values.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Literal

import numpy as np

from stages.gate import uncertainty
from stages.gate.outcome import Outcome, Status, rows, short
from stages.model import metrics
from stages.model.metrics import Answer, Truth

Severity = Literal["fail", "warn", "off"]

#: A constant answer can reach any value of these, so that beating it says nothing.
_GAMEABLE = ("recall", "precision", "positive_likelihood_ratio", "negative_likelihood_ratio")


def dummy(train: Truth, n: int, metric: str) -> Answer:
    """The best constant answer for `n` rows: class shares and the class that is best by the metric; the mean, or the
    median where the metric is about absolute errors."""
    if train.classes is None:
        values = np.asarray(train.values, dtype=float)
        plain = uncertainty.base(metric)[0]
        middle = (
            np.median(values)
            if "absolute" in plain or "pinball" in plain
            else np.average(values, weights=train.weights)
        )
        return Answer(np.full(n, float(middle)))
    share = np.bincount(train.codes, weights=train.weights, minlength=len(train.classes)) / train.weights.sum()
    classes = np.asarray(train.classes)
    constant = classes[_best_constant(metric, train, classes, int(share.argmax()))]
    return Answer(np.full(n, constant), np.broadcast_to(share, (n, len(share))).copy())


def _best_constant(metric: str, train: Truth, classes: np.ndarray, common: int) -> int:
    """Which class a constant answer should name: for F1 the positive one, however rare it is. `common`: the commonest,
    which it is unless another is better on the training side."""
    found = metrics.get(metric)
    if found.needs not in ("label", "value") or len(classes) > uncertainty.MOST_CLASSES:
        return common
    sign = 1 if found.greater_is_better else -1
    values = [sign * uncertainty.value_of(metric, train, Answer(np.full(len(train.values), one))) for one in classes]
    best = int(np.argmax(np.nan_to_num(values, nan=-np.inf)))
    return best if not math.isfinite(values[common]) or values[best] > values[common] else common


def check_dummy(names: Iterable[str], train: Truth, truth: Truth, answer: Answer, severity: Severity) -> list[Outcome]:
    """For each comparable metric: the model must be better than a constant answer, beyond doubt.

    Passed: the one-sided 95 % lower bound of the advantage is above 0; failed (or warned): the advantage is not above
    0; inconclusive: between the two.
    """
    return [
        _beats(name, truth, answer, dummy(train, len(truth.values), name), severity)
        for name in _comparable(names, truth, answer)
    ]


def _beats(name: str, truth: Truth, answer: Answer, constant: Answer, severity: Severity) -> Outcome:
    advantage, ours, theirs = _advantage(name, truth, answer, constant)
    rule, n = f"baseline.dummy.{name}", len(truth.values)
    lower, upper = advantage.interval(two_sided=False)
    said = "a constant answer"
    if truth.classes is not None and metrics.get(name).needs in ("label", "value"):
        said = f"the constant answer {metrics.canonical(constant.labels[0])}" if len(constant.labels) else said
    between = f"{name} is {short(ours)}, {said} has {short(theirs)}"
    doubt = f"lower bound of the advantage {short(lower)}, {rows(n)}"
    details = {"metric": name, "model": ours, "baseline": theirs}
    status: Status = "passed"
    if not math.isfinite(advantage.value):
        status = "failed" if severity == "fail" else "warned"
        sentence, code = f"{between}: they cannot be compared", "GATE_BASELINE_DUMMY"
    elif advantage.value <= 0:
        status = "failed" if severity == "fail" else "warned"
        sentence, code = f"{between}: the model has learned nothing that helps ({rows(n)})", "GATE_BASELINE_DUMMY"
    elif not lower > 0:
        status = "inconclusive" if severity == "fail" else "warned"
        sentence, code = f"{between}: too few rows to tell them apart ({doubt})", "GATE_BASELINE_UNCLEAR"
    else:
        return Outcome(rule, status, f"{between} ({doubt})", None, advantage.value, 0.0, (lower, upper), n, details)
    return Outcome(rule, status, sentence, code, advantage.value, 0.0, _known(lower, upper), n, details)


def check_linear(
    names: Iterable[str], truth: Truth, answer: Answer, linear: Answer, severity: Severity
) -> list[Outcome]:
    """For each comparable metric: the model must not be worse than a linear one, beyond doubt (one-sided 95 %)."""
    return [_not_worse(name, truth, answer, linear, severity) for name in _comparable(names, truth, answer, linear)]


def _not_worse(name: str, truth: Truth, answer: Answer, linear: Answer, severity: Severity) -> Outcome:
    advantage, ours, theirs = _advantage(name, truth, answer, linear)
    rule, n = f"baseline.linear.{name}", len(truth.values)
    lower, upper = advantage.interval(two_sided=False)
    between = f"{name} is {short(ours)}, a linear model has {short(theirs)}"
    details = {"metric": name, "model": ours, "baseline": theirs}
    if not math.isfinite(advantage.value):
        sentence = f"{between}: they cannot be compared"
        return Outcome(rule, "skipped", sentence, "GATE_METRIC_UNDEFINED", None, 0.0, None, n, details)
    if upper < 0:
        status: Status = "failed" if severity == "fail" else "warned"
        sentence = f"{between}: the simpler model is better (by at least {short(-upper)}, {rows(n)})"
        return Outcome(
            rule, status, sentence, "GATE_BASELINE_LINEAR", advantage.value, 0.0, _known(lower, upper), n, details
        )
    return Outcome(
        rule, "passed", f"{between} ({rows(n)})", None, advantage.value, 0.0, _known(lower, upper), n, details
    )


def skipped_linear(why: str) -> Outcome:
    """The linear comparison was not made."""
    return Outcome("baseline.linear", "skipped", why)


def _advantage(name: str, truth: Truth, answer: Answer, other: Answer) -> tuple[uncertainty.Estimate, float, float]:
    """(how much better `answer` is, positive is better; its value; the other's value)"""
    found = uncertainty.estimate(name, truth, answer, other)
    sign = 1 if metrics.get(name).greater_is_better else -1
    turned = uncertainty.Estimate(sign * found.value, found.error, found.freedom)
    return turned, uncertainty.value_of(name, truth, answer), uncertainty.value_of(name, truth, other)


def _known(lower: float, upper: float) -> tuple[float, float] | None:
    return (lower, upper) if math.isfinite(lower) and math.isfinite(upper) else None


def _comparable(names: Iterable[str], truth: Truth, *answers: Answer) -> list[str]:
    chosen = []
    for name in names:
        metric = metrics.get(name)
        plain = uncertainty.base(name)[0]
        answered = all(answer.has(metric.needs) for answer in answers)
        if truth.kind in metric.kinds and answered and plain not in _GAMEABLE:
            chosen.append(name)
    return chosen
