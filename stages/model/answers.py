"""What a fitted pipeline says about a frame, checked: one answer per row, finite, probabilities in a known order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stages.errors import ArtefactError
from stages.model import families
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
    said = ask(pipeline, frame, classes, scores=False)
    if classes is None or said.probabilities is None:
        return said.labels.tolist(), None
    names = [canonical(c) for c in classes]
    return said.labels.tolist(), [dict(zip(names, row, strict=True)) for row in said.probabilities.tolist()]


def ask(pipeline: Any, frame: pd.DataFrame, classes: list[Any] | tuple[Any, ...] | None, scores: bool = True) -> Answer:
    """Labels (or values) and probabilities of every row, transformed once; `scores`: as `ask_estimator`.

    Raises:
        ArtefactError: MOD_NOT_FINITE: a value or probability is NaN or infinite; MOD_SHAPE: not one answer per row, or
            classes that the signature does not have.
    """
    if len(frame) == 0:
        none = classes is None or not gives_probabilities(pipeline.steps[-1][1])
        return Answer(np.empty(0), None if none else np.empty((0, len(classes or ()))))
    return ask_estimator(pipeline, transformed(pipeline, frame), classes, scores)


def transformed(pipeline: Any, frame: pd.DataFrame) -> Any:
    """The frame as the pipeline's estimator sees it."""
    inputs = frame
    for _, step in pipeline.steps[:-1]:
        inputs = step.transform(inputs)
    return inputs


def ask_estimator(
    pipeline: Any, inputs: Any, classes: list[Any] | tuple[Any, ...] | None, scores: bool = True
) -> Answer:
    """Like `ask`, from rows that the steps before the estimator have transformed.

    `scores`: where there are no probabilities, what scikit-learn's scorers take then: the decision function (of two
    classes; of more, an order of rows needs probabilities).
    """
    estimator, rows = pipeline.steps[-1][1], inputs.shape[0]
    if classes is None:
        return Answer(_finite(_one_each(estimator.predict(inputs), rows).astype(np.float64), "a prediction"))
    if not gives_probabilities(estimator):
        leaning = _decided(estimator, inputs, classes) if scores and gives_scores(estimator, len(classes)) else None
        return Answer(_one_each(estimator.predict(inputs), rows), None, leaning)
    given = _finite(np.asarray(estimator.predict_proba(inputs), dtype=np.float64), "a probability")
    coded = families.wants_codes(estimator)
    probabilities = _ordered(given, estimator, range(len(classes)) if coded else classes, rows)
    if coded or families.says_likeliest(estimator):
        return Answer(np.asarray(classes)[probabilities.argmax(axis=1)], probabilities)
    return Answer(_one_each(estimator.predict(inputs), rows), probabilities)


def gives_probabilities(estimator: Any) -> bool:
    """Whether the fitted estimator has `predict_proba`."""
    return hasattr(estimator, "predict_proba")


def gives_scores(estimator: Any, n_classes: int) -> bool:
    """Whether the fitted estimator says of two classes how far a row leans to the second, in whatever unit."""
    return n_classes == 2 and hasattr(estimator, "decision_function")


def _decided(estimator: Any, inputs: Any, classes: list[Any] | tuple[Any, ...]) -> np.ndarray | None:
    """The decision function, its sign that of the signature's second class; None for one of another shape."""
    given = np.asarray(estimator.decision_function(inputs), dtype=np.float64)
    own = encode(np.asarray(estimator.classes_), classes).tolist()
    if given.shape != (inputs.shape[0],) or sorted(own) != [0, 1]:
        return None
    return _finite(given if own == [0, 1] else np.negative(given), "a score")


def _one_each(labels: Any, rows: int) -> np.ndarray:
    given: np.ndarray = np.asarray(labels)
    one = given[:, 0] if given.shape == (rows, 1) else given
    if one.shape != (rows,):
        raise ArtefactError(
            "MOD_SHAPE",
            f"the estimator answered with shape {one.shape} for {rows} rows",
            "use an estimator that predicts one value per row",
        )
    return one


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
