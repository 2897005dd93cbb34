"""Files to be scored: the contract of a model's features, every row kept in its place, with what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.config.schema import Column, ReadOptions
from stages.config.suffixes import Format
from stages.data.chunks import Chunk
from stages.data.contract import Contract
from stages.data.formats import format_of
from stages.data.reading import Reader, missing_columns, partition
from stages.escaping import on_one_line

_RULES = ("type", "nullable", "min", "max", "values", "pattern", "timezone", "format")


class Rows(NamedTuple):
    """Rows of a file, in its order.

    `table`: the features with contract types; a refused cell, and every cell of a row that could not be read, is
    null. `errors`: what is wrong with each row, None for a good one. `numbers`: 1-based row numbers, shape (n,).
    """

    table: pa.Table
    errors: list[str | None]
    numbers: npt.NDArray[np.int64]


def contract_of(signature: Mapping[str, Any], decimal: str = ".") -> Contract:
    """The contract of the features of a `signature.json`."""
    columns = {
        feature["name"]: Column(**{rule: feature[rule] for rule in _RULES if feature.get(rule) is not None})
        for feature in signature["features"]
    }
    return Contract(columns, decimal, {feature["name"]: feature.get("spelling") for feature in signature["features"]})


def read_for_scoring(
    path: Path,
    signature: Mapping[str, Any],
    read: ReadOptions,
    *,
    format: Format | None = None,  # noqa: A002  the name that the configuration has
    size: int | None = None,
) -> Iterator[Rows]:
    """Rows of a CSV, Parquet or JSON lines file, chunk by chunk. Columns that are no features are not read.

    A nullable feature that the file lacks is missing in every row. `size`: of a chunk, as in `Reader`.

    Raises:
        DataError: DAT_COLUMN_MISSING for a feature that must not be missing; DAT_FORMAT, DAT_HEADER, DAT_EMPTY,
        DAT_ENCODING, DAT_SOURCE.
    """
    kind = format_of(path.name, format)
    contract = contract_of(signature, read.decimal if kind == "csv" else ".")
    reader = Reader({path.name: path}, kind, read, size, {path.name: partition(path.as_posix())})
    needed = list(contract.columns) if kind != "jsonl" else []
    missing_columns([n for n in needed if not contract.columns[n].nullable], reader.header, path.name)
    there = [n for n in contract.columns if n in set(reader.header)]
    for chunk in reader.chunks(there):
        yield check_features(chunk, contract)


def check_features(chunk: Chunk, contract: Contract) -> Rows:
    """A chunk against the contract of the features; a feature that it lacks is missing in every row."""
    lacking = {n: pa.nulls(len(chunk)) for n in contract.columns if n not in chunk.columns}
    checked = contract.check(Chunk({**chunk.columns, **lacking}, chunk.rows, [], chunk.cells))
    lost = np.concatenate([np.empty(0, dtype=np.int64), *(r.rows for r in chunk.lost)])
    numbers = np.sort(np.concatenate([chunk.rows, lost]))
    table = checked.table
    if len(lost):
        place = np.searchsorted(chunk.rows, numbers)
        gone = np.isin(numbers, lost)
        table = table.take(pa.array(np.where(gone, 0, place), mask=gone))
    errors: dict[int, list[str]] = {}
    for one in [*chunk.lost, *checked.refusals]:
        for row, value in zip(one.rows.tolist(), one.values, strict=True):
            said = "" if value is None else f" ({on_one_line(str(value))})"
            errors.setdefault(row, []).append(f"{one.column}: {one.code}{said}" if one.column else f"{one.code}{said}")
    return Rows(table, ["; ".join(errors[n]) if n in errors else None for n in numbers.tolist()], numbers)
