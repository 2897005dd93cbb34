"""New data against what a model was trained on, without its training data: for a schedule, between two trainings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from stages.data.scoring import Rows
from stages.gate import drift, reference
from stages.gate.bins import Counts
from stages.gate.reference import Reference
from stages.model.metrics import Answer
from stages.serving.predictor import Predictor, RowsRefused


@dataclass(frozen=True)
class Watched:
    """What was found: each feature, the model's answers where there are any, and how many rows were looked at and
    refused."""

    features: list[drift.Compared]
    prediction: drift.Compared | None
    rows: int
    refused: int


def watch(known: Reference, predictor: Predictor, parts: Iterable[Rows]) -> Watched:
    """Count rows chunk by chunk, ask the model for those that the contract accepts, and compare.

    A refused value counts as missing: a source that breaks the contract has drifted too.
    """
    counted: dict[str, Counts] = {}
    answers: Counts | None = None
    rows = refused = 0
    for part in parts:
        for name, bins in known.features.items():
            fresh = reference.count_column(bins, [part.table.column(name)], known.kinds[name])
            counted[name] = _sum(counted.get(name), fresh)
        good = np.array([error is None for error in part.errors])
        answer = _ask(predictor, part, good)
        if answer is not None:
            answers = _sum(answers, reference.count_predictions(known.prediction, answer, predictor.signature))
        rows += len(good)
        refused += int((~good).sum())
    compared = drift.compare({name: (bins, counted[name]) for name, bins in known.features.items() if name in counted})
    said = None if answers is None else drift.compare({"prediction": (known.prediction, answers)})[0]
    return Watched(compared, said, rows, refused)


def _ask(predictor: Predictor, part: Rows, good: np.ndarray) -> Answer | None:
    """What the model says about the rows without an error; None where it refuses some of them."""
    import pyarrow as pa

    if not good.any():
        return None
    try:
        said = predictor.predict_table(part.table.filter(pa.array(good)))
    except RowsRefused:
        return None
    chances = None if said.probabilities is None else np.array([list(row.values()) for row in said.probabilities])
    return Answer(np.asarray(said.predictions), chances)


def _sum(so_far: Counts | None, fresh: Counts) -> Counts:
    if so_far is None:
        return fresh
    return Counts(so_far.counts + fresh.counts, so_far.missing + fresh.missing, so_far.unseen + fresh.unseen)
