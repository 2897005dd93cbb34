"""Datetimes as numbers that any estimator takes."""

from __future__ import annotations

from typing import Any, Self

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

PARTS = ("year", "month", "day", "weekday", "hour", "days")


class DatetimeParts(TransformerMixin, BaseEstimator):
    """Each datetime column as six numbers: year, month, day, weekday (Monday is 0), hour, days since 1970-01-01.

    `days` has a fraction and lets a model see order and distance, the others seasons. UTC for zoned columns, the clock
    as written for naive ones. A missing datetime gives NaN six times. Nothing but the columns' names is learned.
    """

    def fit(self, X: pd.DataFrame, y: Any = None) -> Self:
        """Remember the columns' names."""
        self.feature_names_in_ = np.asarray(X.columns, dtype=object)
        self.n_features_in_ = X.shape[1]
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """A float64 array, six columns for each column of `X` (rows, 6 · columns)."""
        check_is_fitted(self)
        out = np.empty((len(X), len(PARTS) * X.shape[1]))
        for index, name in enumerate(X.columns):
            out[:, len(PARTS) * index : len(PARTS) * (index + 1)] = _parts(X[name])
        return out

    def get_feature_names_out(self, input_features: Any = None) -> np.ndarray:
        """`column_year`, `column_month`, …"""
        check_is_fitted(self)
        return np.array([f"{name}_{part}" for name in self.feature_names_in_ for part in PARTS], dtype=object)


def _parts(column: pd.Series) -> np.ndarray:
    if column.dt.tz is not None:
        column = column.dt.tz_convert("UTC").dt.tz_localize(None)
    moments = column.to_numpy().astype("datetime64[us]")
    years, months, days = (moments.astype(f"datetime64[{unit}]") for unit in "YMD")
    day_number = days.astype(np.int64)
    clock = (moments - days).astype(np.int64)
    parts = np.column_stack(
        [
            years.astype(np.int64) + 1970.0,
            (months - years).astype(np.int64) + 1.0,
            (days - months.astype("datetime64[D]")).astype(np.int64) + 1.0,
            (day_number + 3.0) % 7,  # 1970-01-01 was a Thursday
            clock // 3_600_000_000,
            day_number + clock / 86_400_000_000,
        ]
    )
    parts[np.isnat(moments)] = np.nan
    return parts
