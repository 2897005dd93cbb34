"""Which format a data file has. Standard library only: it is asked before a stage knows whether it has to run."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stages.errors import DataError, UsageError

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
    found = given or _by_suffix(name)
    if found is not None:
        return found
    raise DataError(
        "DAT_FORMAT",
        f"{name}: the name does not say which format it is",
        "set data.format: csv, parquet or jsonl (known suffixes: .csv, .csv.gz, .csv.zip, .parquet, .jsonl, .jsonl.gz)",
    )


def _by_suffix(name: str) -> Format | None:
    return next((found for suffix, found in _SUFFIXES.items() if name.lower().endswith(suffix)), None)


def check_given(path: Path, shown: str) -> None:
    """Refuse what is no data file, before anything is loaded. `path`: as given on the command line.

    Raises: UsageError: CFG_FILE. DataError: DAT_FORMAT.
    """
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if _by_suffix(p.name) is not None)
        todo = f"name one of its files, for example {Path(shown) / inside[0]}" if inside else "name a file"
        raise UsageError("CFG_FILE", f"{shown}: is a folder", todo)
    if not path.is_file():
        import difflib

        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(path.name, [name for name in there if _by_suffix(name) is not None], n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError("CFG_FILE", f"{shown}: there is no such file", f"{hint}give a csv, parquet or jsonl file")
    if _by_suffix(path.name) is None:
        what = f"{shown}: the name does not say which format it is"
        raise DataError("DAT_FORMAT", what, f"give it a name that ends in one of: {', '.join(_SUFFIXES)}")
