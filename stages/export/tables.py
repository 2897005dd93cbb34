"""Encoders of categories as tables: level → numbers, found by asking the fitted encoder itself.

The look-up happens before the graph (`stages/model/inputs.py`): text in an ONNX graph costs three times the whole
model for one row.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pandas as pd

from stages.export.graph import Graph, NotConvertible
from stages.export.matrix import Flags, Frame, Matrix, Numbers

ENCODERS = ("OneHotEncoder", "OrdinalEncoder", "TargetEncoder")

#: Rows that the encoder is asked for at once: a dense one-hot answer is as wide as there are levels.
_ROWS = 512


def name_of(transformer: Any) -> str:
    """Class name of one of scikit-learn's own estimators, nothing for classes of others, which may do anything."""
    cls = type(transformer)
    return cls.__name__ if cls.__module__.startswith("sklearn.") else ""


def encoded(graph: Graph, steps: list[Any], frame: Frame) -> Matrix:
    """What `steps` (imputers, then one encoder) make of category columns.

    Raises:
        NotConvertible: columns of other types, an indicator of missing values, or an encoder that answers oddly.
    """
    for feature in frame:
        if feature["type"] not in ("category", "text"):
            raise NotConvertible(f"one encoder is given text and the {feature['type']} column {feature['name']}")
    if any(getattr(step, "add_indicator", False) for step in steps[:-1]):
        raise NotConvertible("an imputer of categories adds indicators")
    encoder = steps[-1]
    widths = _widths(encoder, len(frame))
    matrices, start = [], 0
    for place, feature in enumerate(frame):
        part = slice(start, start + widths[place])
        start = part.stop
        levels = [level for level in encoder.categories_[place] if isinstance(level, str)]
        table, refused = _table(steps, frame, place, part, levels)
        if table.shape[1]:
            matrices.append(_columns(graph, feature["name"], levels, table, refused))
    return Matrix.beside(matrices)


def _widths(encoder: Any, columns: int) -> list[int]:
    """How many columns each column becomes."""
    if name_of(encoder) == "OneHotEncoder":
        return [int(width) for width in encoder._n_features_outs]
    if name_of(encoder) == "TargetEncoder" and encoder.target_type_ == "multiclass":
        return [len(encoder.classes_)] * columns
    return [1] * columns


def _table(steps: list[Any], frame: Frame, place: int, part: slice, levels: list[str]) -> tuple[np.ndarray, list[str]]:
    """Rows for each level, then for a missing and an unseen value, NaN where the encoder refuses those; which it
    refuses."""
    unseen = "unseen"
    while unseen in levels:
        unseen += "-"
    known = [_ask(steps, frame, place, levels[i : i + _ROWS])[:, part] for i in range(0, len(levels), _ROWS)]
    refused, others = [], []
    for kind, value in (("missing", np.nan), ("unseen", unseen)):
        try:
            others.append(_ask(steps, frame, place, [value])[:, part])
        except ValueError:
            refused.append(kind)
            others.append(np.full((1, part.stop - part.start), np.nan))
    return np.concatenate([*known, *others]), refused


def _ask(steps: list[Any], frame: Frame, place: int, values: list[Any]) -> np.ndarray:
    """What the steps answer when column `place` has these values and the others their first level."""
    columns: dict[str, Any] = {}
    for i, feature in enumerate(frame):
        first = next((v for v in steps[-1].categories_[i] if isinstance(v, str)), "")
        column = np.empty(len(values), dtype=object)
        column[:] = values if i == place else first
        columns[feature["name"]] = column
    state: Any = pd.DataFrame(columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for step in steps:
            state = step.transform(state)
    dense = state.toarray() if hasattr(state, "toarray") else np.asarray(state)
    return np.asarray(dense, dtype=np.float64)


def _columns(graph: Graph, name: str, levels: list[str], table: np.ndarray, refused: list[str]) -> Matrix:
    def column(values: np.ndarray) -> int:
        numbers = [None if np.isnan(value) else float(value) for value in values]
        return graph.column(
            {
                "feature": name,
                "kind": "category",
                "levels": dict(zip(levels, numbers[:-2], strict=True)),
                "missing": numbers[-2],
                "unseen": numbers[-1],
                "refused": refused,
            }
        )

    if table.shape[1] > 2 and _one_hot(table):
        codes = np.where(table.sum(axis=1) > 0, table.argmax(axis=1), -1).astype(np.float64)
        index = column(codes)
        return Matrix((Flags(tuple((index, float(code)) for code in range(table.shape[1]))),))
    return Matrix((Numbers(tuple(column(table[:, i]) for i in range(table.shape[1]))),))


def _one_hot(table: np.ndarray) -> bool:
    known = table[~np.isnan(table).any(axis=1)]
    return bool(np.isin(known, (0.0, 1.0)).all() and (known.sum(axis=1) <= 1).all())
