"""The linear baseline: fitted on a bounded number of training rows, in little memory.

A hundred thousand rows fix a few hundred coefficients to well below what the comparison can see (the expected excess
log loss of p coefficients is p / 2n: Akaike), so that more would only cost time.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.model.metrics import Answer

if TYPE_CHECKING:
    import pandas as pd
    from scipy import sparse

MAX_ROWS = 100_000
_MAX_LEVELS = 100
_ITERATIONS = 200
_PIECE = 20_000


class Linear:
    """A logistic regression (classification) or ridge regression on simply encoded features.

    `features`: as in signature.json; text columns are left out. Numbers are standardised, with their missing values
    at the mean and marked in a column of their own; categories are one-hot, the 100 commonest levels of each.
    """

    def __init__(self, features: Sequence[Mapping[str, Any]], classes: tuple[Any, ...] | None) -> None:
        self.features = [f for f in features if f["type"] != "text"]
        self.classes = classes
        self._numbers: dict[str, tuple[float, float]] = {}
        self._levels: dict[str, dict[str, int]] = {}

    def fit(self, frame: pd.DataFrame, target: np.ndarray, weight: np.ndarray | None = None) -> Linear:
        """Fit on all rows of `frame`; `target`: class codes, or values."""
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression, Ridge

        for feature in self.features:
            self._learn(feature, frame[feature["name"]])
        if self.classes is None:
            self._model = Ridge(alpha=1.0, solver="sparse_cg", tol=1e-6)
        else:
            self._model = LogisticRegression(max_iter=_ITERATIONS, tol=1e-3)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are enough for a baseline
            self._model.fit(self._encoded(frame), target, sample_weight=weight)
        return self

    def answer(self, frame: pd.DataFrame) -> Answer:
        """Labels and, for classification, probabilities."""
        encoded = self._encoded(frame)
        if self.classes is None:
            return Answer(self._model.predict(encoded))
        known = self._model.predict_proba(encoded)
        full = np.zeros((len(frame), len(self.classes)))
        full[:, self._model.classes_] = known
        return Answer(np.asarray(self.classes)[full.argmax(axis=1)], full)

    def _learn(self, feature: Mapping[str, Any], column: pd.Series) -> None:
        name = feature["name"]
        if feature["type"] == "category":
            counts = column.value_counts()
            self._levels[name] = {level: i for i, level in enumerate(counts.index[:_MAX_LEVELS])}
            return
        values = _numbers(column, feature["type"])
        known = values[np.isfinite(values)]
        spread = float(known.std()) if len(known) else 0.0
        self._numbers[name] = (float(known.mean()) if len(known) else 0.0, spread or 1.0)

    def _encoded(self, frame: pd.DataFrame) -> sparse.csr_array:
        """float32 CSR, made piece by piece, so that its coordinates never stand in memory whole."""
        from scipy import sparse

        pieces = [self._piece(frame.iloc[start : start + _PIECE]) for start in range(0, max(len(frame), 1), _PIECE)]
        return pieces[0] if len(pieces) == 1 else sparse.vstack(pieces, format="csr")

    def _piece(self, frame: pd.DataFrame) -> sparse.csr_array:
        """Only what is not zero is kept, each column's block at its own offset."""
        from scipy import sparse

        n, at = len(frame), 0
        rows, columns, values = [], [], []
        every = np.arange(n, dtype=np.int32)
        for feature in self.features:
            name = feature["name"]
            if feature["type"] == "category":
                levels = self._levels[name]
                codes = frame[name].map(levels).to_numpy(dtype=float, na_value=-1)
                seen = codes >= 0
                rows.append(every[seen])
                columns.append((codes[seen] + at).astype(np.int32))
                values.append(np.ones(int(seen.sum()), dtype=np.float32))
                at += len(levels)
                continue
            middle, spread = self._numbers[name]
            scaled = ((_numbers(frame[name], feature["type"]) - middle) / spread).astype(np.float32)
            missing = ~np.isfinite(scaled)
            scaled[missing] = 0
            rows += [every, every[missing]]
            columns += [np.full(n, at, dtype=np.int32), np.full(int(missing.sum()), at + 1, dtype=np.int32)]
            values += [np.clip(scaled, -10, 10), np.ones(int(missing.sum()), dtype=np.float32)]
            at += 2
        where = (np.concatenate(rows), np.concatenate(columns)) if rows else (every[:0], every[:0])
        data = np.concatenate(values) if values else np.empty(0, dtype=np.float32)
        return sparse.csr_array((data, where), shape=(n, max(at, 1)))


def _numbers(column: pd.Series, kind: str) -> np.ndarray:
    if kind != "datetime":
        return np.asarray(column.to_numpy(dtype=np.float64))
    whole = column.dt.tz_localize(None) if getattr(column.dt, "tz", None) is not None else column
    moments = whole.to_numpy(dtype="datetime64[us]")
    return np.where(np.isnat(moments), np.nan, moments.astype(np.int64).astype(np.float64))


def is_linear(estimator: object) -> bool:
    """Whether an estimator is itself linear in its inputs, so that the comparison would be with itself."""
    kind = type(estimator)
    if kind.__module__.startswith("sklearn.linear_model") or kind.__module__.startswith(
        "sklearn.discriminant_analysis"
    ):
        return kind.__name__ != "QuadraticDiscriminantAnalysis"
    return kind.__name__ in ("LinearSVC", "LinearSVR")
