"""Metrics by scikit-learn's names: direction, kind of task, and their values from labels and probabilities.

numpy alone: the gate computes thousands of them without importing scikit-learn. The tests compare every value with
scikit-learn's.

    names = metrics.defaults("classification", 2)
    truth = metrics.Truth.of(y, classes=(False, True), positive=True, weight=None)
    scores = metrics.compute(names, truth, metrics.Answer(labels, probabilities))
    why = metrics.absent(names, truth, answer)      # for each name that is not in scores: the reason

Names may be those of functions (`roc_auc_score`), of scorers (`roc_auc`), or scorers with `neg_` (the value is negated,
greater is better). A metric that cannot be computed is absent with a reason, or NaN when it is not defined on these
rows; never a made-up number.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

import numpy as np

from stages.errors import ConfigError
from stages.model import scores

Kind = Literal["binary", "multiclass", "regression"]
#: What a metric is computed from. `score`: probabilities, or any number that grows with how likely a class is.
Needs = Literal["label", "score", "probability", "value"]


@dataclass(frozen=True)
class Truth:
    """What was right.

    `values`: the target, one per row. `classes`: all classes in the order of the probabilities' columns, None for
    regression. `positive`: the positive class of binary metrics. `weight`: non-negative weights, None for all one.
    """

    values: np.ndarray
    classes: tuple[Any, ...] | None = None
    positive: Any = None
    weight: np.ndarray | None = None

    @classmethod
    def of(cls, values: Any, classes: Iterable[Any] | None = None, positive: Any = None, weight: Any = None) -> Truth:
        """A truth whose positive class is filled in: the given one, else True, else the second class in order."""
        known = None if classes is None else tuple(classes)
        if known is not None and len(known) == 2:
            positive = positive_class(known, positive)
        return cls(np.asarray(values), known, positive, None if weight is None else np.asarray(weight, dtype=float))

    @property
    def kind(self) -> Kind:
        """What kind of task these values belong to."""
        if self.classes is None:
            return "regression"
        return "binary" if len(self.classes) == 2 else "multiclass"

    @cached_property
    def codes(self) -> np.ndarray:
        """Index into `classes` for each row, -1 for a class that is not among them."""
        return encode(self.values, self.classes or ())

    @cached_property
    def weights(self) -> np.ndarray:
        """Weights of the rows, ones where none were given."""
        return np.ones(len(self.values)) if self.weight is None else self.weight

    @cached_property
    def positive_index(self) -> int:
        """Where the positive class stands in `classes`."""
        return (self.classes or ()).index(self.positive)

    def take(self, rows: np.ndarray) -> Truth:
        """The same truth on some rows (indices or a mask), for slices and resampling."""
        weight = None if self.weight is None else self.weight[rows]
        return Truth(self.values[rows], self.classes, self.positive, weight)


@dataclass(frozen=True)
class Answer:
    """What a model said: `labels`, a class or a value per row; `probabilities`, one column per class, or None.

    `scores`: of two classes, how far each row leans to the second (`decision_function`), where there are no
    probabilities; else None.
    """

    labels: np.ndarray
    probabilities: np.ndarray | None = None
    scores: np.ndarray | None = None

    def take(self, rows: np.ndarray) -> Answer:
        """The same answer on some rows."""
        parts = (None if part is None else part[rows] for part in (self.probabilities, self.scores))
        return Answer(self.labels[rows], *parts)

    def has(self, needs: Needs) -> bool:
        """Whether metrics with these needs can be computed."""
        if needs == "score":
            return self.probabilities is not None or self.scores is not None
        return needs != "probability" or self.probabilities is not None

    def leaning(self, at: int) -> np.ndarray:
        """For each row a number that grows with how likely class `at` of two is.

        Raises:
            ValueError: the answer has neither probabilities nor scores.
        """
        if self.probabilities is not None:
            column: np.ndarray = self.probabilities[:, at]
            return column
        if self.scores is None:
            raise ValueError("the answer has neither probabilities nor scores")
        return self.scores if at == 1 else np.negative(self.scores)


@dataclass(frozen=True)
class Metric:
    """One metric. `name`: as the user wrote it; `kinds`: what it is defined for; `function(truth, answer) -> float`."""

    name: str
    kinds: frozenset[str]
    needs: Needs
    greater_is_better: bool
    function: Callable[[Truth, Answer], float] = field(repr=False)

    def __call__(self, truth: Truth, answer: Answer) -> float:
        """The metric's value. NaN where it is not defined on these rows (one class only, R² of one row, …).

        Raises:
            ConfigError: CFG_METRIC: it is not for this kind of task.
            ValueError: it needs probabilities, or scores, and the answer has none.
        """
        check(self.name, truth.kind)
        if not answer.has(self.needs):
            raise ValueError(f"{self.name} needs {lacking(self.needs)}")
        if len(truth.values) == 0 or not truth.weights.sum() > 0:
            return float("nan")
        with np.errstate(all="ignore"):
            return float(self.function(truth, answer))


def register(name: str, function: Callable[..., float]) -> None:
    """Make the user's own metric known as `module:function`.

    It is called as scikit-learn's are: `function(y_true, y_pred, sample_weight)`. Its attributes say more, if it has
    them: `greater_is_better` (default True), `needs_probability` (default False; True: y_pred is the probability of the
    positive class, or one column for each of several classes).
    """
    probability = bool(getattr(function, "needs_probability", False))
    kinds = frozenset({"binary", "multiclass"}) if probability else frozenset({"binary", "multiclass", "regression"})

    def value(truth: Truth, answer: Answer) -> float:
        said = answer.labels
        if probability and answer.probabilities is not None:
            binary = truth.kind == "binary"
            said = answer.probabilities[:, truth.positive_index] if binary else answer.probabilities
        try:
            found = function(truth.values, said, sample_weight=truth.weight)
            if isinstance(found, str):
                raise TypeError(f"the function answers text, {found!r}, and not a number")
            return float(found)
        except Exception as error:  # the user's function may raise anything
            what = f"{name} failed: {type(error).__name__}: {' '.join(str(error).split())}"
            raise ConfigError("CFG_METRIC", what, "correct the function") from error

    up = bool(getattr(function, "greater_is_better", True))
    # Never "label": such metrics are computed from the confusion matrix alone, which a user's function need not be.
    _OWN[name] = Metric(name, kinds, "probability" if probability else "value", up, value)


def get(name: str) -> Metric:
    """The metric of that name.

    Raises:
        ConfigError: CFG_METRIC, with the nearest known name.
    """
    if name in _OWN:
        return _OWN[name]
    plain = _ALIASES.get(name, name)
    if plain in _METRICS:
        metric = _METRICS[plain]
        return Metric(name, metric.kinds, metric.needs, metric.greater_is_better, metric.function)
    inner = _METRICS.get(_ALIASES.get(name.removeprefix("neg_"), name.removeprefix("neg_")))
    if name.startswith("neg_") and inner is not None and not inner.greater_is_better:
        function = inner.function
        return Metric(name, inner.kinds, inner.needs, True, lambda truth, answer: -function(truth, answer))
    from stages.config.problems import nearest  # a service, which has no pydantic, comes by here too

    raise ConfigError("CFG_METRIC", f"there is no metric {name!r}", nearest(name, known()))


def known() -> list[str]:
    """Every name that `get` takes, scorers with `neg_` included, sorted."""
    plain = {**{n: n for n in _METRICS}, **_ALIASES}
    return sorted({*plain, *(f"neg_{n}" for n, of in plain.items() if not _METRICS[of].greater_is_better)})


def check(name: str, kind: Kind) -> Metric:
    """The metric of that name, if it is for this kind of task.

    Raises:
        ConfigError: CFG_METRIC: unknown, or for another kind; the message names what to use instead.
    """
    metric = get(name)
    if kind in metric.kinds:
        return metric
    if kind == "multiclass" and "binary" in metric.kinds:
        plain = _ALIASES.get(name, name)
        instead = [n for n in (f"{plain}_macro", f"{plain}_ovr") if n in _METRICS] or ["f1_macro", "log_loss"]
        raise ConfigError("CFG_METRIC", f"{name} is for two classes, the target has more", f"use {instead[0]}")
    fits = sorted(n for n, m in _METRICS.items() if kind in m.kinds)
    raise ConfigError("CFG_METRIC", f"{name} is not for {kind}", f"use one of: {', '.join(fits)}")


def check_task(name: str, task: str) -> Metric:
    """Like `check`, when only the task of ml.yaml is known.

    Raises:
        ConfigError: CFG_METRIC.
    """
    metric = get(name)
    if task == "classification" and "binary" in metric.kinds:
        return metric
    return check(name, "regression" if task == "regression" else "multiclass")


def defaults(task: str, n_classes: int | None = None) -> list[str]:
    """What is reported when nothing is asked for. The first is what a search optimises."""
    if task == "regression":
        return [
            "root_mean_squared_error",
            "mean_absolute_error",
            "median_absolute_error",
            "r2",
            "explained_variance",
            "max_error",
        ]
    if n_classes == 2:
        names = ["roc_auc", "log_loss", "average_precision", "brier_score_loss", "accuracy", "balanced_accuracy"]
        return [*names, "precision", "recall", "f1", "matthews_corrcoef"]
    names = ["log_loss", "roc_auc_ovr", "accuracy", "balanced_accuracy", "f1_macro", "f1_weighted"]
    return [*names, "precision_macro", "recall_macro", "matthews_corrcoef", "cohen_kappa"]


def compute(names: Iterable[str], truth: Truth, answer: Answer) -> dict[str, float]:
    """Each metric's value, NaN where it is not defined on these rows. Those of `absent` are left out.

    Raises:
        ConfigError: CFG_METRIC: an unknown name, or a metric for another kind of task.
    """
    wanted = [check(name, truth.kind) for name in names]
    return {metric.name: metric(truth, answer) for metric in wanted if answer.has(metric.needs)}


def absent(names: Iterable[str], truth: Truth, answer: Answer) -> dict[str, str]:
    """Why metrics are missing from `compute` or are not a number, by name."""
    reasons = {}
    for name, metric in ((name, check(name, truth.kind)) for name in names):
        if not answer.has(metric.needs):
            reasons[name] = f"the estimator gives no {lacking(metric.needs)}"
        elif not np.isfinite(metric(truth, answer)):
            reasons[name] = f"not defined on these {len(truth.values)} rows"
    return reasons


def lacking(needs: Needs) -> str:
    """What an answer without them has none of, in words."""
    return "probabilities" if needs == "probability" else "probabilities or scores (decision_function)"


def positive_class(classes: Sequence[Any], configured: Any = None) -> Any:
    """The positive one of two classes: the configured one, else True, else the second in order.

    Raises:
        ConfigError: CFG_POSITIVE: the configured class is not one of the classes.
    """
    if configured is None:
        return classes[1]
    for one in classes:
        if one == configured and isinstance(one, bool | np.bool_) == isinstance(configured, bool):
            return one
        if isinstance(one, str) and not isinstance(configured, str) and one == canonical(configured):
            return one
    shown = ", ".join(canonical(c) for c in classes[:20])
    raise ConfigError("CFG_POSITIVE", f"data.positive: {configured!r} is no class of the target", f"classes: {shown}")


def canonical(value: Any) -> str:
    """A class as text: `true`, `false`, `1`, or the text itself."""
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def encode(values: np.ndarray, classes: Sequence[Any]) -> np.ndarray:
    """Index into `classes` of each value, -1 where it is none of them."""
    values = np.asarray(values)
    if not len(classes):
        return np.full(len(values), -1)
    known_classes = np.asarray(classes)
    order = np.argsort(known_classes, kind="stable")
    position = np.minimum(np.searchsorted(known_classes[order], values), len(classes) - 1)
    found = order[position]
    return np.where(known_classes[found] == values, found, -1)


# ---- the table ---------------------------------------------------------------------------------------------------


def _binary(
    function: Callable[[np.ndarray, np.ndarray, np.ndarray], float], ranking: bool
) -> Callable[[Truth, Answer], float]:
    """From (is positive, says positive or how far it leans there, weight) to a metric of truth and answer."""

    def metric(truth: Truth, answer: Answer) -> float:
        at = truth.positive_index
        right = truth.codes == at
        if ranking:
            return function(right, answer.leaning(at), truth.weights)
        return function(right, np.asarray(answer.labels) == truth.positive, truth.weights)

    return metric


def _counts(function: Callable[[np.ndarray], float]) -> Callable[[Truth, Answer], float]:
    """From the weighted confusion matrix (true classes down, said classes across) to a metric."""

    def metric(truth: Truth, answer: Answer) -> float:
        classes = truth.classes or ()
        return function(scores.confusion(truth.codes, encode(answer.labels, classes), truth.weights, len(classes)))

    return metric


def _columns(function: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Callable[[Truth, Answer], float]:
    """From (class index, probability matrix, weight) to a metric."""

    def metric(truth: Truth, answer: Answer) -> float:
        assert answer.probabilities is not None
        return function(truth.codes, answer.probabilities, truth.weights)

    return metric


def _values(function: Callable[[np.ndarray, np.ndarray, np.ndarray], float]) -> Callable[[Truth, Answer], float]:
    """From (right value, said value, weight) to a metric."""

    def metric(truth: Truth, answer: Answer) -> float:
        return function(np.asarray(truth.values, dtype=float), np.asarray(answer.labels, dtype=float), truth.weights)

    return metric


def _table() -> dict[str, Metric]:
    two, any_classes, real = frozenset({"binary"}), frozenset({"binary", "multiclass"}), frozenset({"regression"})
    rows: list[tuple[str, frozenset[str], Needs, bool, Callable[[Truth, Answer], float]]] = []
    rows += [(n, two, "label", up, _counts_of_two(f)) for n, (f, up) in scores.OF_TWO_COUNTS.items()]
    rows += [(n, any_classes, "label", up, _counts(f)) for n, (f, up) in scores.OF_COUNTS.items()]
    rows += [(n, two, "score", True, _binary(f, True)) for n, f in scores.OF_RANKING.items()]
    rows += [(n, any_classes, "probability", up, _columns(f)) for n, (f, up) in scores.OF_PROBABILITIES.items()]
    rows += [(n, real, "value", up, _values(f)) for n, (f, up) in scores.OF_VALUES.items()]
    return {row[0]: Metric(*row) for row in rows}


def _counts_of_two(function: Callable[[float, float, float, float], float]) -> Callable[[Truth, Answer], float]:
    """From (true positives, false positives, false negatives, true negatives), weighted, to a metric."""

    def counts(right: np.ndarray, said: np.ndarray, weight: np.ndarray) -> float:
        hit, alarm, miss = weight[right & said].sum(), weight[~right & said].sum(), weight[right & ~said].sum()
        return function(float(hit), float(alarm), float(miss), float(weight.sum() - hit - alarm - miss))

    return _binary(counts, ranking=False)


_METRICS = _table()
_OWN: dict[str, Metric] = {}

_ALIASES = {
    "accuracy_score": "accuracy",
    "average_precision_score": "average_precision",
    "balanced_accuracy_score": "balanced_accuracy",
    "brier_score": "brier_score_loss",
    "cohen_kappa_score": "cohen_kappa",
    "explained_variance_score": "explained_variance",
    "f1_score": "f1",
    "jaccard_score": "jaccard",
    "precision_score": "precision",
    "r2_score": "r2",
    "recall_score": "recall",
    "roc_auc_score": "roc_auc",
    "top_k_accuracy_score": "top_k_accuracy",
}
