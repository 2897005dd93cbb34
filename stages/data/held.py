"""What is kept in memory of accepted rows between the two passes: row numbers, 8-byte hashes, codes of the target."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.config.schema import Data
from stages.data import hashing
from stages.data.hashing import Hashes
from stages.errors import DataError

Part = Literal["rows", "whole", "features", "keys", "groups", "moments", "targets"]


class Held:
    """Arrays over the accepted rows, in their order.

    | part | of each row |
    |---|---|
    | rows | its number in the source |
    | whole, features, keys, groups | hashes over all listed columns, the features, the key, the group column |
    | moments | the value that a split by time goes by |
    | targets | the code of its class in `classes` |

    `by`: how rows are split, in full.
    """

    def __init__(self, data: Data, task: str, by: str) -> None:
        self._data = data
        self._parts: dict[str, list[npt.NDArray[Any]]] = {"rows": [], "whole": [], "features": []}
        if data.key:
            self._parts["keys"] = []
        if by in ("group", "time"):
            self._parts["groups" if by == "group" else "moments"] = []
        if task == "classification":
            self._parts["targets"] = []
        self._unique = [name for name, column in data.columns.items() if column.unique]
        self._parts |= {_of(name): [] for name in self._unique}
        self._codes: dict[Any, int] = {}

    @property
    def classes(self) -> list[Any]:
        """Values of the target, in the order of their codes."""
        return list(self._codes)

    def __len__(self) -> int:
        return sum(map(len, self._parts["rows"]))

    def add(self, table: pa.Table, rows: npt.NDArray[np.int64]) -> None:
        """Take a typed table of accepted rows; `rows`: their numbers.

        Raises: DataError: DAT_SPLIT: a row has no value in the column that a split by time goes by.
        """
        data, n = self._data, table.num_rows
        hashes = hashing.columns_of(table, data.columns)

        def over(names: Iterable[str]) -> Hashes:
            return hashing.combine((hashes[name] for name in names), n)

        made: dict[str, Any] = {"rows": rows, "whole": over(data.columns), "features": over(data.features)}
        for name in self._unique:
            # Missing values are not repeated ones: each gets a number of its own, its row.
            missing = np.asarray(table.column(name).is_null())
            made[_of(name)] = np.where(missing, hashing.mix(rows.astype(np.uint64)), hashes[name])
        for part in self._parts.keys() - made.keys():
            if part == "keys":
                made[part] = over(data.key or ())
            elif part == "groups":
                made[part] = over([str(data.split.column)])
            elif part == "moments":
                made[part] = _moments(table.column(data.split.column), str(data.split.column))
            elif part == "targets":
                made[part] = self._coded(table.column(data.target))
        for part, values in made.items():
            self._parts[part].append(values)

    def _coded(self, column: pa.ChunkedArray) -> npt.NDArray[np.int32]:
        array = column.combine_chunks()
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        own = [self._codes.setdefault(v, len(self._codes)) for v in encoded.dictionary.to_pylist()]
        codes: npt.NDArray[np.int32] = np.array(own, dtype=np.int32)[encoded.indices.to_numpy(zero_copy_only=False)]
        return codes

    def has(self, part: Part) -> bool:
        """Whether the part is kept at all."""
        return part in self._parts

    def array(self, part: Part) -> npt.NDArray[Any]:
        """A part as one array. Shape (n,)."""
        return self._joined(part)

    def unique(self) -> dict[str, Hashes]:
        """Hashes of the columns that are declared unique."""
        return {name: self._joined(_of(name)) for name in self._unique}

    def select(self, keep: npt.NDArray[np.bool_]) -> None:
        """Forget the other rows, and what is only needed to find them."""
        for name in ["rows", *map(_of, self._unique)]:
            del self._parts[name]
        if not keep.all():
            for name in list(self._parts):
                self._parts[name] = [self._joined(name)[keep]]

    def _joined(self, name: str) -> npt.NDArray[Any]:
        parts = self._parts[name]
        if len(parts) != 1:
            # The list then holds the one array, so that memory is not used twice.
            kind = np.int64 if name in ("rows", "moments") else np.int32 if name == "targets" else np.uint64
            parts[:] = [np.concatenate(parts) if parts else np.empty(0, dtype=kind)]
        return parts[0]


def _of(column: str) -> str:
    return f"unique {column}"


def _moments(column: pa.ChunkedArray, name: str) -> npt.NDArray[Any]:
    if column.null_count:
        raise DataError(
            "DAT_SPLIT",
            f"split by time: {column.null_count:,} accepted rows have no {name}",
            "remove nullable: true from the column, so that such rows go to quarantine, or split by another one",
        )
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return np.asarray(column.to_numpy())
