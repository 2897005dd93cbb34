"""A model fitted on a few rows, before it is fitted on all: what could not be saved afterwards shows within a second.

Which types a model holds is known when it is fitted: LightGBM's booster, a user's own table of levels. The few rows are
the first of each class, or, before there are data, made up from the contract.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import logging
import random
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from stages.model import families, frames, metrics, persistence

log = logging.getLogger("mlci")

#: Rows of the sample: at most, and of each class.
_ROWS, _OF_A_CLASS = 300, 30
#: Parameters that say how long an estimator is fitted, and what they are lowered to.
_ROUNDS = frozenset(
    {"n_estimators", "max_iter", "iterations", "num_iterations", "num_boost_round", "n_iter", "epochs", "max_epochs"}
)
_FEW = 5


def check(pipeline: Any, signature: Mapping[str, Any], frame: pd.DataFrame, y: np.ndarray) -> None:
    """Refuse a pipeline that could not be saved, or loaded, once it is fitted.

    `frame`, `y`: training rows, of which a few are taken. A model that cannot be fitted on so few is judged unfitted.

    Raises:
        ArtefactError: MOD_UNTRUSTED, with every type at once; MOD_NOT_SKOPS; MOD_NOT_SAVED.
    """
    persistence.check([pipeline, *_fitted(pipeline, frame, y)], signature)


def check_without_data(pipeline: Any, signature: Mapping[str, Any], task: str) -> None:
    """`check` before there are any data: on rows that are made up from the contract.

    Raises: ArtefactError: as `check`.
    """
    features = signature["features"]
    rows = 2 * _OF_A_CLASS
    made = {feature["name"]: [_value(feature, i) for i in range(rows)] for feature in features}
    try:
        frame = frames.frame_from_lists(made, features)
    except (ValueError, TypeError, OverflowError):  # a contract for which no value can be made up
        frame = pd.DataFrame()
    y = np.arange(rows) % 2 if task == "classification" else np.linspace(0.5, 9.5, rows)
    check(pipeline, signature, frame, y)


def _fitted(pipeline: Any, frame: pd.DataFrame, y: np.ndarray) -> list[Any]:
    """The pipeline fitted on a few rows, if it can be."""
    from sklearn.base import clone

    rows = _sample(y)
    silent = io.StringIO()
    state, python_state = np.random.get_state(), random.getstate()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent):
            warnings.simplefilter("ignore")
            few = clone(pipeline)
            short = {n: _FEW for n, v in few.get_params().items() if n.split("__")[-1] in _ROUNDS and _is_more(v)}
            few.set_params(**short)
            families.single_threaded(few)
            few.fit(frame.iloc[rows], y[rows])
    except Exception as error:  # noqa: BLE001  so few rows may be too few, and the real fit says what is wrong
        log.debug("not fitted on %d rows: %s", len(rows), error)
        return []
    finally:
        np.random.set_state(state)
        random.setstate(python_state)
    return [few]


def _is_more(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > _FEW


def _sample(y: np.ndarray) -> np.ndarray:
    """Positions of a few rows: the first of each class; of numbers, some from start to end."""
    if y.dtype.kind == "f":
        return np.unique(np.linspace(0, len(y) - 1, min(2 * _OF_A_CLASS, len(y))).astype(int))
    classes = np.unique(y)
    each = max(min(_OF_A_CLASS, _ROWS // len(classes)), 2)
    return np.sort(np.concatenate([np.flatnonzero(y == value)[:each] for value in classes]))


def _value(feature: Mapping[str, Any], row: int) -> Any:
    """A value that the contract of a feature may take, another one in each row where there are several."""
    if feature.get("values"):
        return metrics.canonical(feature["values"][row % len(feature["values"])])
    if feature["type"] == "datetime":
        return dt.datetime(2024, 1, 1, tzinfo=dt.UTC if feature.get("timezone") else None) + dt.timedelta(hours=7 * row)
    if feature["type"] == "boolean":
        return row % 3 == 0
    if feature["type"] in ("category", "text"):
        return "abcde"[row * 7 % 5]
    low = feature.get("min", 0.0 if feature.get("max") is None else feature["max"] - 10)
    high = feature.get("max", low + 10)
    value = low + (high - low) * (row * 37 % 60 / 59)
    return round(value) if feature["type"] == "integer" else value
