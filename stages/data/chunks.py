"""What readers give and the contract takes: a run of rows, and what could not be put into it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

#: Longest text of a refused value that is kept.
SHOWN = 200

SCHEMA = pa.schema([("row", pa.int64()), ("column", pa.string()), ("code", pa.string()), ("value", pa.string())])
"""Columns of quarantine.parquet. `row`: 1-based number of the data row in the source, over all files in their
order."""


def shown(value: Any) -> str | None:
    """A refused value as text, cut; None for a missing one."""
    if value is None:
        return None
    if isinstance(value, bytes):
        value = value.decode(errors="backslashreplace")
    text = str(value)
    text = text if len(text) <= SHOWN else text[: SHOWN - 1] + "…"
    return text.encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class Refusals:
    """Bad cells of one column with one reason: source rows, and the values as text. `column` is empty for a whole
    row."""

    column: str
    code: str
    rows: npt.NDArray[np.int64]
    values: Sequence[str | None]

    def __len__(self) -> int:
        return len(self.rows)


def as_table(refusals: Iterable[Refusals], order: Sequence[str] = ()) -> pa.Table:
    """Entries of the quarantine, by row, then by column in `order`."""
    listed = list(refusals)
    place = {name: i for i, name in enumerate(order)}
    rows = np.concatenate([r.rows for r in listed]) if listed else np.empty(0, dtype=np.int64)
    places = [place.get(r.column, -1) for r in listed]
    columns = np.repeat(np.array(places, dtype=np.int64), [len(r) for r in listed])
    table = pa.table(
        [
            pa.array(rows, pa.int64()),
            pa.array([r.column for r in listed for _ in range(len(r))], pa.string()),
            pa.array([r.code for r in listed for _ in range(len(r))], pa.string()),
            pa.array([v for r in listed for v in r.values], pa.string()),
        ],
        schema=SCHEMA,
    )
    return table.take(pa.array(np.lexsort((columns, rows)))) if len(rows) else table


@dataclass
class Chunk:
    """A run of rows as read.

    `columns`: name → pyarrow Array, or list of Python values where types are mixed; all of one length. `rows`:
    their 1-based
    numbers in the source. `lost`: rows that could not be put into columns (`column` empty). `cells`: cells that the
    reader already
    refused, at positions of this chunk (`rows` holds positions here); they are null in `columns`.
    """

    columns: dict[str, Any]
    rows: npt.NDArray[np.int64]
    lost: list[Refusals] = field(default_factory=list)
    cells: list[Refusals] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def read(self) -> int:
        """Rows of the source that this chunk stands for."""
        return len(self.rows) + sum(len(r) for r in self.lost)
