"""The column contract, checked over all cells of a chunk in one pass of vectorised kernels.

Every bad cell is found, with one reason each: what cannot be read as the column's type first, then missing values,
then bounds, values and pattern. Masks are by position, so that repeated index labels of a user's frame cannot drop
the wrong rows.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from math import ceil, floor
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stages.config.schema import Column
from stages.data import cells
from stages.data.chunks import Chunk, Refusals, shown
from stages.data.convert import Converted, arrow_type, convert
from stages.data.levels import respelled
from stages.data.spelling import canonical, spelling_of

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Checked:
    """A chunk that was checked.

    `table`: all rows of the chunk with contract types, refused cells null. `good`: rows without a refused cell.
    `refusals`: the bad cells, `rows` being row numbers of the source.
    """

    table: pa.Table
    good: Mask
    refusals: list[Refusals]


class Contract:
    """Compiled column rules.

    `columns`: name → rule, in contract order. `decimal`: the decimal point of numbers that are text. `spellings`:
    column → spelling of its levels, None in models that were trained before there was one; without `spellings` the
    source is one that is learned from, and they are still to be found. `exact`: columns that tell rows apart, in which
    a number that float64 rounds is refused.
    """

    def __init__(
        self,
        columns: Mapping[str, Column],
        decimal: str = ".",
        spellings: Mapping[str, str | None] | None = None,
        exact: Iterable[str] = (),
    ) -> None:
        self.columns = dict(columns)
        known = {} if spellings is None else spellings
        self._rules = {
            name: _Rule(column, decimal, known.get(name) if spellings is not None else "open")
            for name, column in self.columns.items()
        }
        self._exact = [name for name in dict.fromkeys(exact) if self.columns[name].type == "number"]
        self.schema = pa.schema([(n, arrow_type(c.type, c.timezone is not None)) for n, c in self.columns.items()])

    def check(self, chunk: Chunk) -> Checked:
        """Convert and check every listed column of `chunk`.

        Raises: KeyError when a listed column is not in the chunk.
        """
        good = np.ones(len(chunk), dtype=np.bool_)
        arrays, refusals = [], []
        for name, rule in self._rules.items():
            raw = chunk.columns[name]
            found = rule.check(raw)
            if name in self._exact:
                _refuse_rounded(raw, found, rule.decimal)
            early = [r for r in chunk.cells if r.column == name]
            known = np.concatenate([r.rows for r in early]) if early else np.empty(0, dtype=np.int64)
            for refused in early:
                refusals.append(Refusals(name, refused.code, chunk.rows[refused.rows], refused.values))
                good[refused.rows] = False
            for code, at in found.bad.items():
                at = at[~np.isin(at, known)] if len(known) else at
                if len(at):
                    good[at] = False
                    refusals.append(Refusals(name, code, chunk.rows[at], [shown(_value(raw, int(i))) for i in at]))
            arrays.append(found.values)
        return Checked(pa.Table.from_arrays(arrays, schema=self.schema), good, refusals)


def _refuse_rounded(raw: Any, found: Converted, decimal: str) -> None:
    """Note cells whose number is not the one that was written: ids of too many digits would become one."""
    values = found.values.to_pylist()
    if isinstance(raw, pa.Array):
        if pa.types.is_floating(raw.type):
            return
        raw = raw.to_pylist()
    mask = np.zeros(len(values), dtype=np.bool_)
    for i, (written, number) in enumerate(zip(raw, values, strict=True)):
        if number is None or isinstance(written, float):
            continue
        if abs(number) < cells.EXACT and (isinstance(written, int) or len(str(written)) <= _SAFE_DIGITS):
            continue
        exact = Decimal(written.strip().replace(decimal, ".") if isinstance(written, str) else written)
        mask[i] = exact != Decimal(repr(number))
    _note(found.bad, "DAT_TYPE", mask)


#: So many digits of a number come back from float64 as they were.
_SAFE_DIGITS = 15


def _value(raw: Any, at: int) -> Any:
    value = raw[at]
    if not isinstance(value, pa.Scalar):
        return value
    try:
        return value.as_py()
    except (ValueError, OverflowError):  # a time out of Python's calendar
        return f"{value.value} ({value.type}, counted from 1970-01-01)"


class _Rule:
    """One column's rule, with what does not change from chunk to chunk worked out once."""

    def __init__(self, column: Column, decimal: str, spelling: str | None) -> None:
        self._column = column
        self.decimal = decimal
        self._spelling = spelling
        self._zone = ZoneInfo(column.timezone) if column.timezone is not None else None
        self._allowed = None if column.values is None else frozenset(cells.canonical(v) for v in column.values)
        if self._allowed is not None and spelling == "open" and column.type in ("category", "text"):
            # Levels are listed: what they are is known before any is seen.
            self._spelling = spelling_of(self._allowed)
        if self._allowed is not None and self._spelling == "canonical":
            self._allowed = frozenset(map(canonical, self._allowed))
        self._pattern = None if column.pattern is None else re.compile(column.pattern)

    def check(self, raw: Any) -> Converted:
        """Convert, then refuse what is missing, out of bounds, not among the values or unlike the pattern."""
        column = self._column
        found = convert(
            raw, column.type, decimal=self.decimal, zone=self._zone, layout=column.format, spelling=self._spelling
        )
        written = found.values
        if self._spelling == "canonical":
            found = Converted(respelled(written, self.decimal), found.bad)
        bad = {code: np.asarray(at, dtype=np.int64) for code, at in found.bad.items()}
        if not column.nullable and found.values.null_count:
            missing = np.asarray(found.values.is_null())
            missing[found.refused()] = False
            _note(bad, "DAT_NULL", missing)
        late = np.zeros(len(found.values), dtype=np.bool_)
        for code, mask in self._limits(found.values, written):
            _note(bad, code, mask & ~late)
            late |= mask
        if not late.any():
            return Converted(found.values, bad)
        return Converted(pc.if_else(pa.array(late), pa.scalar(None, found.values.type), found.values), bad)

    def _limits(self, values: pa.Array, written: pa.Array) -> Iterable[tuple[str, Mask]]:
        column = self._column
        if column.min is not None:
            yield "DAT_MIN", _true(pc.less(values, _bound(values.type, column.min, ceil)))
        if column.max is not None:
            yield "DAT_MAX", _true(pc.greater(values, _bound(values.type, column.max, floor)))
        if self._allowed is not None:
            allowed = self._allowed
            yield "DAT_VALUES", _by_text(values, lambda text: text not in allowed)
        if self._pattern is not None:
            pattern = self._pattern
            yield "DAT_PATTERN", _by_text(written, lambda text: pattern.fullmatch(text) is None)


def _bound(kind: pa.DataType, bound: float, whole: Callable[[float], int]) -> pa.Scalar:
    """A bound in the column's type: arrow refuses to compare integers above 2^53 with floats."""
    if not pa.types.is_integer(kind):
        return pa.scalar(bound, kind)
    return pa.scalar(min(max(whole(bound), cells.INT64.start), cells.INT64.stop - 1), kind)


def _note(bad: dict[str, npt.NDArray[np.int64]], code: str, mask: Mask) -> None:
    at = np.flatnonzero(mask).astype(np.int64)
    if len(at):
        bad[code] = np.union1d(bad[code], at) if code in bad else at


def _true(mask: pa.Array) -> Mask:
    return np.asarray(mask.fill_null(False))


def _by_text(values: pa.Array, refuse: Any) -> Mask:
    """True where `refuse` holds for the canonical text; asked once for each distinct value."""
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    refused = np.array([refuse(cells.canonical(v)) for v in encoded.dictionary.to_pylist()] + [False], dtype=np.bool_)
    return refused[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]  # type: ignore[no-any-return]
