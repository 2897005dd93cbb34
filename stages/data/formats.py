"""Which format a data file has. Standard library only: it is asked before a stage knows whether it has to run."""

from __future__ import annotations

from typing import Literal

from stages.errors import DataError

Format = Literal["csv", "parquet", "jsonl"]

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zip": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
}


def format_of(name: str, given: Format | None = None) -> Format:
    """The format of a file by its name, unless it is given.

    Raises: DataError: DAT_FORMAT.
    """
    if given is not None:
        return given
    for suffix, found in _SUFFIXES.items():
        if name.lower().endswith(suffix):
            return found
    raise DataError(
        "DAT_FORMAT",
        f"{name}: the name does not say which format it is",
        "set data.format: csv, parquet or jsonl (known suffixes: .csv, .csv.gz, .csv.zip, .parquet, .jsonl, .jsonl.gz)",
    )
