"""What the columns of a data file hold, judged over all its rows, for `mlci init`."""

from __future__ import annotations

import csv
import gzip
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from stages.errors import DataError

NULLS = ["", "NA", "N/A", "NaN", "nan", "null", "NULL"]
_TRUTH = [{"true", "false"}, {"t", "f"}, {"yes", "no"}, {"y", "n"}]


@dataclass(frozen=True)
class Seen:
    """One column: its contract type, whether values are missing, number of distinct values, the largest, an example.

    `missing`: number of rows without a value.
    """

    type: str
    nullable: bool
    distinct: int
    last: Any
    example: Any
    feature: bool = True
    why: str = ""
    timezone: str | None = None
    missing: int = 0


@dataclass(frozen=True)
class Table:
    """A file: number of rows, reading options that differ from the defaults, columns in order."""

    rows: int
    read: dict[str, str]
    columns: dict[str, Seen] = field(default_factory=dict)


def look(path: Path) -> Table:
    """Judge every column of a csv, parquet or jsonl file (csv and jsonl may be gzipped, csv zipped).

    Raises:
        DataError: DAT_FORMAT: not readable as its suffix says; DAT_EMPTY: no rows or no columns.
    """
    try:
        frame, read = _frame(path)
    except (ValueError, OSError, zipfile.BadZipFile, csv.Error) as error:
        line = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(
            "DAT_FORMAT", f"{path.name}: cannot be read: {line}", "give a csv, parquet or jsonl file"
        ) from error
    if frame.empty:
        raise DataError("DAT_EMPTY", f"{path.name}: holds no rows", "give a file with data")
    decimal = read.get("decimal", ".")
    return Table(len(frame), read, {str(name): _judge(frame[name], decimal) for name in frame.columns})


def _frame(path: Path) -> tuple[pd.DataFrame, dict[str, str]]:
    suffixes = [s.lower() for s in path.suffixes]
    if ".parquet" in suffixes:
        frame = pd.read_parquet(path, coerce_int96_timestamp_unit="us")  # nanoseconds wrap around
        return frame.reset_index([n for n in frame.index.names if n is not None and n not in frame.columns]), {}
    if {".jsonl", ".ndjson"} & set(suffixes):
        lines = _content(path).splitlines()
        return pd.DataFrame([orjson.loads(line) for line in lines if line.strip()]), {}
    read = _dialect(path)
    sep, encoding = read.get("sep", ","), read.get("encoding", "utf-8-sig")
    top = _content(path, 1 << 20).decode(encoding, "replace")
    header = next(csv.reader(top.splitlines(), delimiter=sep), [])
    twice = next((name for name in header if name and header.count(name) > 1), None)
    if twice is not None:
        raise DataError("DAT_HEADER", f"{path.name}: the header has {twice!r} more than once", "give each its own name")
    frame = pd.read_csv(
        path, sep=sep, encoding=encoding, dtype=str, keep_default_na=False, na_values=NULLS, index_col=False
    )
    # a column without a name cannot be listed
    frame = frame.iloc[:, [number for number, name in enumerate(header) if name.strip()]]
    if "sep" in read and read["sep"] == ";" and _decimal_comma(frame):
        read["decimal"] = ","
    return frame, read


def _content(path: Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file, or all, unpacked."""
    if path.suffix == ".gz":
        with gzip.open(path) as stream:
            return stream.read(size)
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive, archive.open(archive.namelist()[0]) as entry:
            return entry.read(size)
    with path.open("rb") as plain:
        return plain.read(size)


def _dialect(path: Path) -> dict[str, str]:
    """Reading options of a text file that differ from the defaults."""
    head = _content(path, 1 << 16)
    read = {}
    for encoding in ("utf-8-sig", "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "cp1252", "latin-1"):
        try:
            text = (
                head[: head.rfind(b"\n") + 1 or None].decode(encoding)
                if encoding != "utf-16"
                else head.decode(encoding, "ignore")
            )
        except UnicodeDecodeError:
            continue
        if encoding != "utf-8-sig":
            read["encoding"] = encoding
        break
    header = text.splitlines()[0] if text.splitlines() else ""
    best = max(",;\t|", key=header.count)
    if header.count(best) and best != ",":
        read["sep"] = best
    return read


def _decimal_comma(frame: pd.DataFrame) -> bool:
    sample = frame.head(1000)
    return any(sample[name].dropna().str.fullmatch(r"[-+]?\d+,\d+").any() for name in sample.columns)


def _judge(values: pd.Series, decimal: str) -> Seen:
    present = values.dropna()
    nullable = len(present) < len(values)
    distinct = int(present.nunique())
    if distinct == 0:
        return Seen("text", True, 0, None, None, False, "empty")
    kind, typed, timezone = _type(present, decimal)
    example, last = typed.iloc[0], max(typed.unique())
    example = example.item() if hasattr(example, "item") else example
    feature, why = True, ""
    if distinct == 1 and not nullable:
        feature, why = False, "the same everywhere"
    elif kind == "category" and distinct > max(50, len(values) // 10):
        kind = "text"
        feature, why = False, "nearly every row has its own"
    elif kind == "integer" and distinct == len(values) and len(values) > 50 and _counts_up(typed):
        feature, why = False, "counts the rows"
    if kind == "datetime":
        example = str(example)
    last = last.item() if hasattr(last, "item") else last
    return Seen(kind, nullable, distinct, last, example, feature, why, timezone, len(values) - len(present))


def _counts_up(values: pd.Series) -> bool:
    steps = values.diff().dropna()
    return bool((steps == 1).all())


def _type(present: pd.Series, decimal: str) -> tuple[str, pd.Series, str | None]:
    if pd.api.types.is_bool_dtype(present):
        return "boolean", present.astype(bool), None
    if pd.api.types.is_datetime64_any_dtype(present):
        return "datetime", present.astype(str), "UTC" if present.dt.tz is not None else None
    if pd.api.types.is_integer_dtype(present):
        return "integer", present, None
    if pd.api.types.is_float_dtype(present):
        return "number", present.astype(float), None
    text = present.astype(str)
    if any(set(text.str.lower().unique()) <= truth for truth in _TRUTH):
        return "boolean", text.str.lower().isin(["true", "t", "yes", "y"]), None
    numbers = pd.to_numeric(text.str.replace(decimal, ".", regex=False) if decimal != "." else text, errors="coerce")
    if numbers.notna().all() and not text.str.fullmatch(r"0\d+").any():
        whole = text.str.fullmatch(r"[-+]?\d+").all()
        return (
            ("integer", numbers.astype("int64"), None)
            if whole and numbers.abs().max() < 2**62
            else ("number", numbers.astype(float), None)
        )
    if text.str.match(r"\d{4}-\d{2}-\d{2}").all():
        zoned = text.str.contains(r"(?:Z|[+-]\d{2}:?\d{2})$", regex=True)
        if pd.to_datetime(text, errors="coerce", utc=True, format="ISO8601").notna().all() and zoned.nunique() == 1:
            return "datetime", text, "UTC" if zoned.iloc[0] else None
    return "category", text, None
