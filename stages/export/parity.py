"""Does model.onnx answer like the pipeline? Proved on every test row and on rows with missing and unseen values, or
refused.

The rule: |Δp| ≤ 1e-5 on at least 99.9 % of the test rows; no changed label where the two likeliest classes stand more
than 1e-4 apart; regression: |Δ| ≤ 1e-4 · max(1, |y|) on as many rows; every metric that a gate may ask for within
1e-4 (of max(1, |metric|)). Both sides get the same values. They are float64, as in training and in requests, so what
is proved is what is served; rounding them to float32 first would hide what that rounding does to a request.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from stages.export.graph import NotConvertible
from stages.model import metrics
from stages.model.answers import ask
from stages.model.frames import frame_from_lists
from stages.model.inputs import Inputs
from stages.model.metrics import Answer, Truth

PROBABILITY_TOLERANCE = 1e-5
LABEL_MARGIN = 1e-4
VALUE_TOLERANCE = 1e-4
METRIC_TOLERANCE = 1e-4
LEAST_SHARE = 0.999

#: Seconds of processor time that the ONNX model may take for the test rows and for one of them (nearest neighbours take
#: longer than scikit-learn's), and rows that it is asked for at once.
MOST_SECONDS, MOST_SECONDS_A_ROW = 20.0, 0.002
FIRST_ROWS, ROWS = 64, 4096

#: Seconds after which the time that a row takes is believed.
_SURE_AFTER = 0.5

#: One-versus-one metrics look at each pair of classes: beyond so many classes they are not compared.
_MOST_CLASSES = 12

Run = Callable[[np.ndarray], np.ndarray]
Lists = dict[str, list[Any]]
Case = tuple[str, str, Lists]


@dataclass
class Model:
    """An open ONNX model: `run` takes the input matrix; `output` is the kind of its answer."""

    run: Run
    inputs: Inputs
    output: str
    classes: tuple[Any, ...] | None

    def answer(self, matrix: np.ndarray) -> Answer:
        """Labels (or values) and probabilities of the rows of an input matrix."""
        return interpreted(self.run(matrix), self.output, self.classes)


@dataclass
class Verdict:
    """Whether it is proved, why not, and the figures."""

    reason: str | None = None
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def proved(self) -> bool:
        """Nothing speaks against it."""
        return self.reason is None

    def record(self) -> dict[str, Any]:
        """For result.json and signature.json."""
        return {"proved": self.proved, "reason": self.reason, **self.figures}


def interpreted(out: np.ndarray, output: str, classes: tuple[Any, ...] | None) -> Answer:
    """The graph's answer in the terms of `stages.model`."""
    if classes is None:
        return Answer(out[:, 0].astype(np.float64))
    known = np.asarray(classes)
    if output == "label":
        return Answer(known[out])
    chances = out.astype(np.float64)
    if output == "positive":
        chances = np.concatenate([1.0 - chances, chances], axis=1)
    return Answer(known[chances.argmax(axis=1)], chances)


def compare(said: Answer, again: Answer, classes: tuple[Any, ...] | None) -> dict[str, Any]:
    """What differs between the pipeline's answers and the ONNX model's: `max_delta`, `share` (of rows within the
    tolerance), `changed_labels` (those that count)."""
    if classes is None:
        delta = np.abs(again.labels - said.labels)
        within = delta <= VALUE_TOLERANCE * np.maximum(1.0, np.abs(said.labels))
        return {"max_delta": _largest(delta), "share": _share(within), "changed_labels": 0}
    changed = metrics.encode(again.labels, classes) != metrics.encode(said.labels, classes)
    if said.probabilities is None or again.probabilities is None:
        same = (said.probabilities is None) == (again.probabilities is None)
        share = _share(~changed) if same else 0.0
        return {"max_delta": None, "share": share, "changed_labels": int(changed.sum())}
    delta = np.abs(again.probabilities - said.probabilities).max(axis=1)
    two = np.partition(said.probabilities, -2, axis=1)[:, -2:]
    counted = changed & (two[:, 1] - two[:, 0] > LABEL_MARGIN)
    share = _share(delta <= PROBABILITY_TOLERANCE)
    return {"max_delta": _largest(delta), "share": share, "changed_labels": int(counted.sum())}


def verdict(truth: Truth, said: Answer, again: Answer) -> Verdict:
    """The rule applied to all test rows."""
    found: dict[str, Any] = {"rows": len(said.labels), **compare(said, again, truth.classes)}
    if not found["rows"]:
        return Verdict("there are no test rows", found)
    tolerance = f"{VALUE_TOLERANCE:g} · max(1, |y|)" if truth.classes is None else f"{PROBABILITY_TOLERANCE:g}"
    if found["changed_labels"]:
        return Verdict(f"{found['changed_labels']} of {found['rows']:,} test rows get another class", found)
    if found["share"] < LEAST_SHARE:
        within = f"only {found['share']:.4%} of {found['rows']:,} test rows are within {tolerance}"
        return Verdict(f"{within}, by up to {found['max_delta'] or 0:.2g}", found)
    name, largest = _metrics(truth, said, _ties_as(said, again, truth.classes))
    found["metric_delta"] = largest
    if not largest <= METRIC_TOLERANCE:
        return Verdict(f"the metric {name} differs by {largest:.2g}", found)
    return Verdict(None, found)


def _ties_as(said: Answer, again: Answer, classes: tuple[Any, ...] | None) -> Answer:
    """`again` with the labels of `said`: those that still differ are ties, which scikit-learn's own threads decide by
    the order in which they add."""
    return again if classes is None else Answer(said.labels, again.probabilities)


def _metrics(truth: Truth, said: Answer, again: Answer) -> tuple[str, float]:
    """The metric that differs most and by how much, over every metric that a gate can have for this kind of task."""
    unchanged = np.array_equal(said.labels, again.labels)
    classes = len(truth.classes or ())
    # Of two classes, these are the plain ROC AUC again.
    left_out = ("ovo", "ovr") if classes == 2 else ("ovo",) if classes > _MOST_CLASSES else ()
    worst = ("", 0.0)
    for name in metrics.known():
        metric = metrics.get(name)
        if name.startswith("neg_") or truth.kind not in metric.kinds or any(part in name for part in left_out):
            continue
        if (metric.needs == "label" and unchanged) or not (said.has(metric.needs) and again.has(metric.needs)):
            continue
        one, other = metric(truth, said), metric(truth, again)
        if np.isnan(one) and np.isnan(other):
            continue
        delta = abs(other - one) / max(1.0, abs(one))
        if not delta <= worst[1]:
            worst = (name, float(delta))
    return worst


def ask_all(model: Model, path: Path, columns: Sequence[str], seconds: float = MOST_SECONDS) -> Answer:
    """The ONNX model's answers to all rows of a parquet file, read in batches.

    Raises:
        NotConvertible: it would take longer than `seconds`.
    """
    parts: list[Answer] = []
    started, done, total = time.process_time(), 0, 0
    for rows, matrix in _matrices(model, path, columns):
        total = rows
        parts.append(model.answer(matrix))
        done += len(matrix)
        spent = time.process_time() - started
        if spent > _SURE_AFTER and spent / done * max(total, seconds / MOST_SECONDS_A_ROW) > seconds:
            raise NotConvertible(f"the ONNX model needs {spent / done * 1000:.1f} ms a row")
    chances = [part.probabilities for part in parts if part.probabilities is not None]
    return Answer(np.concatenate([part.labels for part in parts]), np.concatenate(chances) if chances else None)


def _matrices(model: Model, path: Path, columns: Sequence[str]) -> Iterator[tuple[int, np.ndarray]]:
    """How many rows there are in all, and the next input matrix; a small one first, to learn how long a row takes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        total = file.metadata.num_rows
        first = FIRST_ROWS
        for batch in file.iter_batches(batch_size=ROWS, columns=list(columns), use_threads=False):
            matrix = model.inputs.from_table(pa.Table.from_batches([batch]))
            if first:
                yield total, matrix[:first]
                matrix, first = matrix[first:], 0
            if len(matrix):
                yield total, matrix


# ---- rows that a test side may not have


def variants(head: Lists, features: Sequence[Mapping[str, Any]]) -> list[Case]:
    """Copies of some rows: as they are, each nullable column null, all of them null, each category unseen.

    Returns (column or "", kind, columns as lists).
    """
    found: list[Case] = [("", "plain", head)]
    rows = len(next(iter(head.values())))
    nullable = [f["name"] for f in features if f.get("nullable")]
    found += [(name, "missing", {**head, name: [None] * rows}) for name in nullable]
    if len(nullable) > 1:
        found.append(("", "missing", {**head, **{name: [None] * rows for name in nullable}}))
    for feature in features:
        if feature["type"] == "category" and feature.get("values") is None:
            found.append(
                (feature["name"], "unseen", {**head, feature["name"]: ["never seen in training \u2603"] * rows})
            )
    return found


def refusals(pipeline: Any, cases: list[Case], signature: Mapping[str, Any]) -> list[Answer | None]:
    """What the pipeline says about each variant, None where it raises, as it then does for a request."""
    sizes = [len(next(iter(lists.values()))) for _, _, lists in cases]
    together = {name: [v for _, _, lists in cases for v in lists[name]] for name in cases[0][2]}
    whole = _asked(pipeline, together, signature)
    if whole is None:
        return [_asked(pipeline, lists, signature) for _, _, lists in cases]
    ends = np.cumsum(sizes)
    return [whole.take(np.arange(end - size, end)) for end, size in zip(ends, sizes, strict=True)]


def _asked(pipeline: Any, lists: Lists, signature: Mapping[str, Any]) -> Answer | None:
    from threadpoolctl import threadpool_limits

    try:
        # For a few rows, threads that wait for each other take longer than the work.
        with threadpool_limits(1), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # encoders warn of unseen categories, which are the point
            return ask(pipeline, frame_from_lists(lists, signature["features"]), signature["classes"])
    except Exception:  # noqa: BLE001  a transformer may raise anything for what it was not fitted on
        return None


def strange(model: Model, cases: list[Case], said: list[Answer | None]) -> str | None:
    """Why the ONNX model is wrong about a variant; None where it is not. The matrix is made as serving makes it."""
    for (name, kind, lists), expected in zip(cases, said, strict=True):
        rows = len(next(iter(lists.values())))
        what = f"rows with {kind} values{' of ' + name if name else ''}" if kind != "plain" else "single rows"
        refused = bool(model.inputs.refused(lists))
        again = model.answer(model.inputs.matrix(lists))
        numbers = again.labels if again.probabilities is None else again.probabilities
        refused = refused or (numbers.dtype.kind == "f" and not np.isfinite(numbers).all())
        if refused or expected is None:
            if refused and expected is None:
                continue
            return f"{what} are {'refused' if refused else 'answered'}, unlike by the pipeline"
        found = compare(expected, again, model.classes)
        if found["share"] < 1 or found["changed_labels"]:
            return f"{what} are answered differently ({rows} rows, by up to {found['max_delta'] or 0:.2g})"
    return None


def _largest(delta: np.ndarray) -> float | None:
    """None for no rows; infinity where one side is not a number."""
    if not len(delta):
        return None
    return float(np.where(np.isnan(delta), np.inf, delta).max())


def _share(within: np.ndarray) -> float:
    return float(within.mean()) if len(within) else 0.0
