"""Rows of a user's function: `python:module:function` without arguments gives a DataFrame, or DataFrames one after
another."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from stages.data import snapshot as snapshots
from stages.data.convert import of_series
from stages.errors import DataError, MlciError
from stages.project import Project


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
    try:
        found = function()
        for frame in found if isinstance(found, Iterator) else [found]:
            yield _table(frame, name)
    except MlciError:
        raise
    except (Exception, SystemExit) as error:
        raise DataError(
            "DAT_SOURCE",
            f"python:{name} failed{project.where(error)}: {type(error).__name__}: {error}".splitlines()[0],
            "correct the function; it takes no arguments and returns a DataFrame or yields DataFrames",
        ) from error


def _table(frame: Any, name: str) -> pa.Table:
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
    return snapshots.table({n: of_series(frame.iloc[:, i]) for i, n in enumerate(names)}, f"python:{name}")
