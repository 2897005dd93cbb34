"""The user's `data.transform`: a frame in, a frame out, a row at a time.

It sees one chunk after another and must not notice: a function that looks at other rows (means, shifts, ranks) would
leak test rows into training and give another answer in another chunk. That is tried on a part of the first chunk.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from stages.data.chunks import Chunk, Refusals
from stages.data.contract import Contract
from stages.data.convert import of_series
from stages.data.rawframe import RawFrames
from stages.data.reading import missing_columns
from stages.errors import DataError

#: Rows of the first chunk that the row-wise check repeats.
_SAMPLE = 1000


class Transform:
    """The function with what its chunks need.

    `name`: as configured, for messages. `where`: ` (features.py:12)` for an exception of the function.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[pd.DataFrame], Any],
        where: Callable[[BaseException], str],
        frames: RawFrames,
        contract: Contract,
    ) -> None:
        self._name, self._function, self._where = name, function, where
        self._frames, self._contract = frames, contract
        self._checked = False
        self.dropped = 0

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk that the contract is checked on.

        Raises:
            DataError: DAT_TRANSFORM: the function failed or gave no frame whose rows are known;
            DAT_TRANSFORM_NOT_ROWWISE;
                DAT_COLUMN_MISSING: a listed column is neither in the source nor made by the function.
        """
        if not len(chunk):
            return Chunk({n: pa.array([], pa.null()) for n in self._contract.columns}, chunk.rows, chunk.lost)
        frame, refused = self._frames.frame(chunk)
        again = None
        if not self._checked and len(frame) > 1:
            picked = np.unique(np.linspace(0, len(frame) - 1, min(_SAMPLE, max(1, len(frame) // 2)), dtype=np.int64))
            picked = picked[1:] if len(picked) == len(frame) else picked
            again = frame.iloc[picked].copy()
        made = self._made(self._call(frame), chunk.rows, chunk.lost, refused)
        if again is not None:
            rows = np.asarray(again.index, dtype=np.int64)
            self._compare(made, self._made(self._call(again), rows, [], refused), rows)
            self._checked = True
        self.dropped += len(chunk) - len(made)
        return made

    def _call(self, frame: pd.DataFrame) -> pd.DataFrame:
        index = frame.index
        try:
            found = self._function(frame)
        except (Exception, SystemExit) as error:
            raise DataError(
                "DAT_TRANSFORM",
                f"{self._name} failed{self._where(error)}: {type(error).__name__}: {error}".splitlines()[0],
                "correct the function; it gets rows of the source as a pandas frame (docs/data.md)",
            ) from error
        if not isinstance(found, pd.DataFrame):
            raise DataError(
                "DAT_TRANSFORM",
                f"{self._name} returned {type(found).__name__}, not a DataFrame",
                "return the frame",
            )
        if (
            len(found) == len(index)
            and isinstance(found.index, pd.RangeIndex)
            and found.index.equals(pd.RangeIndex(len(index)))
        ):
            found = found.set_axis(index)
        if not found.index.is_unique or not found.index.isin(index).all():
            raise DataError(
                "DAT_TRANSFORM",
                f"{self._name} returned {len(found):,} rows for {len(index):,} with another index: which ones?",
                "keep the index: drop rows with frame[mask] or dropna(), without reset_index(), merge() or explode()",
            )
        return found

    def _made(
        self, found: pd.DataFrame, rows: npt.NDArray[np.int64], lost: list[Refusals], refused: list[Refusals]
    ) -> Chunk:
        """The function's answer as a chunk in the order of the source."""
        wanted = list(self._contract.columns)
        missing_columns(wanted, [str(c) for c in found.columns], f"the answer of {self._name}")
        twice = [c for c in wanted if int((found.columns == c).sum()) > 1]
        if twice:
            raise DataError(
                "DAT_TRANSFORM", f"{self._name} returned the column {twice[0]!r} more than once", "keep one of them"
            )
        kept = np.asarray(found.index, dtype=np.int64)
        if (np.diff(kept) < 0).any():
            found, kept = found.loc[np.sort(kept)], np.sort(kept)
        cells = []
        for one in refused:
            at = np.searchsorted(kept, one.rows)
            there = (at < len(kept)) & (kept[np.minimum(at, max(len(kept) - 1, 0))] == one.rows) if len(kept) else []
            values = [v for v, stays in zip(one.values, there, strict=False) if stays]
            if values:
                cells.append(Refusals(one.column, one.code, at[there], values))
        return Chunk({n: of_series(found[n]) for n in wanted}, kept, lost, cells)

    def _compare(self, whole: Chunk, part: Chunk, rows: npt.NDArray[np.int64]) -> None:
        """Refuse a function that answers otherwise for some rows when it sees them without the others."""
        same = np.isin(whole.rows, rows)
        differing = "which rows it keeps"
        if np.array_equal(whole.rows[same], part.rows):
            all_rows, few = self._contract.check(whole), self._contract.check(part)
            expected = all_rows.table.filter(pa.array(same))
            unequal = [n for n in self._contract.columns if not _equal(expected.column(n), few.table.column(n))]
            if not unequal:
                return
            differing = f"column {unequal[0]!r}"
        raise DataError(
            "DAT_TRANSFORM_NOT_ROWWISE",
            f"{self._name} gives another answer for the same rows when it sees fewer of them ({differing} changes)",
            "a transform looks at one row at a time; means, ranks and encodings go into model.preprocess",
        )


def _equal(left: pa.ChunkedArray, right: pa.ChunkedArray) -> bool:
    if pa.types.is_dictionary(left.type):
        left, right = left.cast(pa.string()), right.cast(pa.string())
    return bool(left.equals(right))
