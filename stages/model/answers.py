"""What a fitted pipeline says about a frame, checked: one answer per row, finite, probabilities in a known order."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stages.errors import ArtefactError
from stages.model.metrics import Answer, canonical, encode


def answers(
    pipeline: Any, frame: pd.DataFrame, signature: Mapping[str, Any]
) -> tuple[list[Any], list[dict[str, float]] | None]:
    """Predictions as plain values in row order, and for each row the probability of each class by its canonical text.

    Probabilities are None for regression and for classifiers that give none.

    Raises:
        ArtefactError: as `ask`.
    """
    classes = signature["classes"]
    said = ask(pipeline, frame, classes)
    if classes is None or said.probabilities is None:
        return said.labels.tolist(), None
    names = [canonical(c) for c in classes]
    return said.labels.tolist(), [dict(zip(names, row, strict=True)) for row in said.probabilities.tolist()]


def ask(pipeline: Any, frame: pd.DataFrame, classes: list[Any] | tuple[Any, ...] | None) -> Answer:
    """Labels (or values) and probabilities of every row, transformed once.

    Raises:
        ArtefactError: MOD_NOT_FINITE: a value or probability is NaN or infinite; MOD_SHAPE: not one answer per row, or
            classes that the signature does not have.
    """
    estimator = pipeline.steps[-1][1]
    if len(frame) == 0:
        return Answer(np.empty(0), None if not gives_probabilities(estimator) else np.empty((0, len(classes or ()))))
    with warnings.catch_warnings():
        # Raised once per call by an estimator that was fitted on a frame and is asked with its array, or the reverse.
        warnings.filterwarnings("ignore", message="X (does not have valid feature names|has feature names)")
        inputs = pipeline[:-1].transform(frame) if len(pipeline.steps) > 1 else frame
        labels = _one_each(estimator.predict(inputs), len(frame))
        if classes is None:
            return Answer(_finite(labels.astype(np.float64), "a prediction"))
        if not gives_probabilities(estimator):
            return Answer(labels)
        probabilities = np.asarray(estimator.predict_proba(inputs), dtype=np.float64)
    return Answer(labels, _ordered(_finite(probabilities, "a probability"), estimator, classes, len(frame)))


def gives_probabilities(estimator: Any) -> bool:
    """Whether the fitted estimator has `predict_proba`."""
    return hasattr(estimator, "predict_proba")


def _one_each(labels: Any, rows: int) -> np.ndarray:
    labels: np.ndarray = np.asarray(labels)
    if labels.shape == (rows, 1):
        labels = labels[:, 0]
    if labels.shape != (rows,):
        raise ArtefactError(
            "MOD_SHAPE",
            f"the estimator answered with shape {labels.shape} for {rows} rows",
            "use an estimator that predicts one value per row",
        )
    return labels


def _finite(values: np.ndarray, what: str) -> np.ndarray:
    if not np.isfinite(values).all():
        bad = int((~np.isfinite(values)).reshape(len(values), -1).any(axis=1).sum())
        raise ArtefactError(
            "MOD_NOT_FINITE",
            f"{what} is not a finite number in {bad} of {len(values)} rows",
            "look at infinite or huge feature values (min and max in the contract), or at the estimator's parameters",
        )
    return values


def _ordered(probabilities: np.ndarray, estimator: Any, classes: Any, rows: int) -> np.ndarray:
    """Columns moved into the order of the signature's classes; a class that the estimator never saw gets 0."""
    own = np.asarray(estimator.classes_)
    where = encode(own, classes)
    if probabilities.shape != (rows, len(own)) or (where < 0).any():
        raise ArtefactError(
            "MOD_SHAPE",
            f"the estimator gives {probabilities.shape} probabilities for {rows} rows and {len(classes)} classes",
            "its predict_proba must have one column per class, in the order of classes_",
        )
    if len(own) == len(classes) and (where == np.arange(len(classes))).all():
        return probabilities
    out = np.zeros((rows, len(classes)))
    out[:, where] = probabilities
    return out
