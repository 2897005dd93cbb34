"""Which format a data file has by its name. Standard library only."""

from __future__ import annotations

from typing import Literal

Format = Literal["csv", "parquet", "jsonl"]

SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".csv.zip": "csv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
    ".ndjson": "jsonl",
    ".ndjson.gz": "jsonl",
}


def format_by_suffix(name: str) -> Format | None:
    """The format that the end of a file's name says, None where it says none."""
    return next((found for suffix, found in SUFFIXES.items() if name.lower().endswith(suffix)), None)
