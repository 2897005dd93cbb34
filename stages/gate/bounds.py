"""Absolute bounds: a metric must reach what ml.yaml asks for.

The bound is held against the measured value, inclusively (TFX Evaluator's `value_threshold` [TFMA config.proto]); the
interval beside it says how far that value may be off. What cannot be compared fails with a code of its own: MLflow's
`MetricThreshold` lets NaN pass, because `nan < bound` is false [mlflow models/evaluation/validation.py].
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from stages.config.schema import Bound
from stages.errors import ConfigError
from stages.gate import uncertainty
from stages.gate.outcome import Outcome, rows, short
from stages.model import metrics
from stages.model.metrics import Answer, Truth


def nothing_configured() -> Outcome:
    """No metric has a bound: nobody said what a good model is, so none is approved (as TFX: no validation, no
    blessing)."""
    return Outcome(
        "metrics",
        "failed",
        "nothing is configured under validate.metrics, so nothing says what a good model is",
        "GATE_NOTHING_CONFIGURED",
    )


def check(bounds: Mapping[str, Bound], truth: Truth, answer: Answer) -> list[Outcome]:
    """One outcome for each configured metric, in the order of the configuration.

    A metric with a margin alone has no absolute bound; that it can be computed is checked all the same.
    """
    if not bounds:
        return [nothing_configured()]
    return [_one(name, bound, truth, answer) for name, bound in bounds.items()]


def absent_classes(truth: Truth) -> list[str]:
    """Classes that the model knows and no row has, and those that rows have and the model does not know."""
    if truth.classes is None:
        return []
    seen = set(np.unique(truth.codes).tolist())
    known = [metrics.canonical(c) for i, c in enumerate(truth.classes) if i not in seen]
    strange = np.unique(truth.values[truth.codes < 0]).tolist() if -1 in seen else []
    return known + [metrics.canonical(c) for c in strange]


def _one(name: str, bound: Bound, truth: Truth, answer: Answer) -> Outcome:
    rule, n = f"metric.{name}", len(truth.values)

    def failed(code: str, sentence: str, observed: float | None = None) -> Outcome:
        limit = bound.min if bound.min is not None else bound.max
        return Outcome(rule, "failed", sentence, code, observed, limit, None, n)

    try:
        metric = metrics.check(name, truth.kind)
    except ConfigError as error:
        return failed("GATE_UNKNOWN_METRIC", f"{error.what}{_instead(error, truth.kind)}")
    if n == 0:
        return failed("GATE_METRIC_UNDEFINED", f"{name} is not defined: the test side has no rows")
    missing = absent_classes(truth)
    if missing:
        shown = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if missing[5:] else "")
        one = "class" if len(missing) == 1 else "classes"
        return failed(
            "GATE_CLASS_ABSENT", f"{name} says little: the test side and the model do not share {one} {shown}"
        )
    if not answer.has(metric.needs):
        what = f"{name} needs {metrics.lacking(metric.needs)}, and the estimator gives none"
        mend = "ask for a metric of labels, or wrap it in CalibratedClassifierCV"
        return failed("GATE_METRIC_UNDEFINED", f"{what}: {mend}")
    if not _finite(answer):
        return failed("GATE_NOT_FINITE", f"{name} cannot be computed: the model answers NaN or an infinity", math.nan)
    try:
        metric(truth, answer)
    except ConfigError as error:
        return failed("GATE_METRIC_UNDEFINED", error.what)
    found = uncertainty.estimate(name, truth, answer)
    if not math.isfinite(found.value):
        return failed("GATE_NOT_FINITE", f"{name} is {short(found.value)}, which no bound can approve", found.value)
    return _held(rule, name, bound, found, truth, answer)


def _instead(error: ConfigError, kind: metrics.Kind) -> str:
    """What to write instead of an unknown name: the nearest, else the usual ones of this kind of task."""
    if "did you mean" in error.todo or (error.todo.startswith("use ") and "," not in error.todo):
        return f"; {error.todo}"
    usual = metrics.defaults("regression" if kind == "regression" else "classification", 2 if kind == "binary" else 3)
    return f"; usual here: {', '.join(usual[:5])}"


def _finite(answer: Answer) -> bool:
    said = answer.labels
    whole = said.dtype.kind not in "fc" or bool(np.isfinite(said).all())
    given = (part for part in (answer.probabilities, answer.scores) if part is not None)
    return whole and all(bool(np.isfinite(part).all()) for part in given)


def _held(rule: str, name: str, bound: Bound, found: uncertainty.Estimate, truth: Truth, answer: Answer) -> Outcome:
    n, value = len(truth.values), found.value
    known = interval_of(name, found, truth, answer)
    limits = [f"{sign} {short(limit)}" for sign, limit in (("≥", bound.min), ("≤", bound.max)) if limit is not None]
    asked = " and ".join(limits) or "no absolute bound"
    around = f", 95 % interval {short(known[0])} to {short(known[1])}" if known else ""
    details = {"metric": name, "min": bound.min, "max": bound.max, "standard_error": found.error}
    low, high = bound.min is not None and value < bound.min, bound.max is not None and value > bound.max
    limit = bound.max if high or bound.min is None else bound.min
    if low or high:
        word = "below" if low else "above"
        sentence = f"{name} is {short(value)}, {word} the bound of {short(limit or 0.0)} ({rows(n)}{around})"
        return Outcome(rule, "failed", sentence, f"GATE_{word.upper()}_BOUND", value, limit, known, n, details)
    sentence = f"{name} is {short(value)} ({asked}; {rows(n)}{around})"
    return Outcome(rule, "passed", sentence, None, value, limit, known, n, details)


def interval_of(name: str, found: uncertainty.Estimate, truth: Truth, answer: Answer) -> tuple[float, float] | None:
    """The two-sided 95 % interval of the metric; None where these rows do not show how much it varies."""
    share = uncertainty.share_of(name, truth, answer)
    if share is not None and share[1]:
        return wilson(share[0] / share[1], share[1])
    if not math.isfinite(found.error) or found.spreadless:
        return None
    return uncertainty.within(name, found.interval())


def wilson(share: float, n: int) -> tuple[float, float]:
    """Two-sided 95 % score interval of a share of n rows (Wilson 1927), which stays inside 0 to 1."""
    z = uncertainty.TWO_SIDED
    middle = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return max(0.0, middle - reach), min(1.0, middle + reach)
