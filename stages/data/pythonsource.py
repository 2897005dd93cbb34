"""Rows of a user's function: `python:module:function` without arguments gives a DataFrame, or DataFrames one after
another."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Container, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from stages.data import snapshot as snapshots
from stages.data.convert import of_series
from stages.errors import DataError, MlciError
from stages.project import Project

log = logging.getLogger("mlci")


def snapshot(project: Project, name: str, cache: Path, reuse: bool) -> Path:
    """The function's rows as a Parquet file below `cache`. `name`: module:function.

    Raises:
        ConfigError: CFG_IMPORT. DataError: DAT_SOURCE: it failed or gave no frames; DAT_EMPTY; DAT_HEADER.
        InfraError: DEP_DISK.
    """
    path = cache / hashlib.sha256(name.encode()).hexdigest()[:16] / "rows.parquet"
    if not (reuse and path.is_file()):
        snapshots.write(_tables(project, name), path, f"python:{name}")
    return path


def _tables(project: Project, name: str) -> Iterator[pa.Table]:
    function = project.function(name)
    left_out: set[str] = set()
    try:
        found = function()
        for frame in found if isinstance(found, Iterator) else [found]:
            yield _table(frame, name, project.config.data.columns, left_out)
    except MlciError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(
            "DAT_SOURCE",
            f"python:{name} failed{project.where(error)}: {type(error).__name__}: {error}".splitlines()[0],
            "correct the function; it takes no arguments and returns a DataFrame or yields DataFrames",
        ) from error


def _table(frame: Any, name: str, listed: Container[str], left_out: set[str]) -> pa.Table:
    """One frame. What no column can hold is missing where nobody lists it; `left_out` names those that were told."""
    if not isinstance(frame, pd.DataFrame):
        raise DataError(
            "DAT_SOURCE", f"python:{name} gave {type(frame).__name__}, not a DataFrame", "return or yield DataFrames"
        )
    frame = frame.reset_index([n for n in frame.index.names if n is not None and n not in frame.columns])
    names = [str(c) for c in frame.columns]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise DataError(
            "DAT_HEADER", f"python:{name} gave the column {twice[0]!r} more than once", "name each column once"
        )
    arrays = {}
    for i, column in enumerate(names):
        try:
            held = snapshots.table({column: _values(frame.iloc[:, i])}, f"python:{name}")
        except DataError as error:
            if column in listed:
                raise
            held = pa.table({column: pa.nulls(len(frame))})
            if column not in left_out:
                log.warning("%s; it is not listed, and left out", error.what)
                left_out.add(column)
        arrays[column] = held.column(0)
    return pa.table(arrays)


def _values(series: pd.Series) -> Any:
    """The column for arrow; periods and intervals, which it would keep as numbers and pairs, as their text."""
    dtype = series.dtype
    inner = dtype.categories.dtype if isinstance(dtype, pd.CategoricalDtype) else dtype
    if isinstance(inner, pd.PeriodDtype | pd.IntervalDtype):
        series = series.astype(object)
    if series.dtype == object:
        special = series.map(lambda value: isinstance(value, pd.Period | pd.Interval))
        if special.any():
            series = series.where(~special, series[special].map(str)).where(series.notna(), None)
    return of_series(series)
