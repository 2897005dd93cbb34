"""Chunks as the pandas frames that a user's `transform` expects, of the same types in every chunk.

| column | in the frame |
|---|---|
| category, text, datetime of a text source | text |
| number, integer | int64 if the whole source holds integers without gaps, else float64, or Python integers where that
would round one; cells that are no numbers
are NaN there and their rows are refused afterwards with what was written; text if most cells are no numbers |
| boolean, and columns that are not listed | as `pandas.read_csv` infers them, over the whole source |
| any column of Parquet, SQL or Python sources | the type that the source gives it; integers with gaps are float64,
as in pandas, or Python integers where that would round one |

The types are found in a first pass over the source, so that a chunk cannot differ from the next.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from stages.config.schema import Column
from stages.data import parquetfile
from stages.data.cells import EXACT
from stages.data.chunks import Chunk, Refusals, shown
from stages.data.convert import convert, holds, is_wide
from stages.data.reading import Reader

Kind = Literal["int", "float", "wide", "bool", "object", "text", "typed"]

_NUMERIC = ("number", "integer")
_WORDS = frozenset({"True", "TRUE", "true", "False", "FALSE", "false"})


class RawFrames:
    """Makes frames of chunks.

    `columns`: the contract. Reading the source once is part of making this.

    Raises: DataError: whatever reading raises.
    """

    def __init__(self, reader: Reader, columns: Mapping[str, Column]) -> None:
        self._columns = columns
        self._decimal = reader.options.decimal if reader.format == "csv" else "."
        self.names = list(reader.header)
        self._types: dict[str, pa.DataType] = {}
        self._kinds: dict[str, Kind] = {}
        if reader.format == "parquet":
            self._typed(reader)
        else:
            self._inferred(reader)

    def frame(self, chunk: Chunk) -> tuple[pd.DataFrame, list[Refusals]]:
        """The frame, indexed by row numbers of the source, and the cells that were no numbers (by row number)."""
        made: dict[str, Any] = {}
        refused = [
            Refusals(c.column, c.code, chunk.rows[c.rows], c.values) for c in chunk.cells if c.column in self._columns
        ]
        for name in self.names:
            raw, kind = chunk.columns[name], self._kinds[name]
            if kind in ("int", "float"):
                made[name], bad = self._numbers(raw, kind)
                if len(bad) and name in self._columns:
                    values = [shown(_plain(raw[int(i)])) for i in bad]
                    refused.append(Refusals(name, "DAT_TYPE", chunk.rows[bad], values))
            else:
                made[name] = self._others(name, raw, kind)
        return pd.DataFrame(made, index=pd.Index(chunk.rows), copy=False), refused

    def _numbers(self, raw: Any, kind: Kind) -> tuple[Any, Any]:
        if kind == "int":
            return convert(raw, "integer").values.to_numpy(zero_copy_only=False), ()
        found = convert(raw, "number", decimal=self._decimal)
        values = found.values.to_numpy(zero_copy_only=False)
        infinite = found.bad.get("DAT_INFINITE", ())
        if len(infinite):
            values = values.copy()
            signs = [str(_plain(raw[int(i)])).strip().startswith("-") for i in infinite]
            values[infinite] = np.where(signs, -np.inf, np.inf)
        return values, found.bad.get("DAT_TYPE", ())

    def _others(self, name: str, raw: Any, kind: Kind) -> Any:
        """Values without an index: pandas would align a Series with the frame's."""
        if kind == "wide":
            raw = [int(v) if isinstance(v, str) else v for v in (raw if isinstance(raw, list) else raw.to_pylist())]
        if kind == "typed":
            return raw.cast(self._types[name]).to_pandas().array
        if kind == "text":
            array = raw if isinstance(raw, pa.Array) else pa.array(raw, pa.string())
            return array.to_pandas().astype("str").array
        listed = raw if isinstance(raw, list) else [_word(v) for v in raw.to_pylist()]
        values = np.empty(len(listed), dtype=object)
        values[:] = [np.nan if v is None else v for v in listed]
        return values.astype(bool) if kind == "bool" else values

    def _typed(self, reader: Reader) -> None:
        self._types = {field.name: field.type for field in reader.types()}
        gaps = [n for n, t in self._types.items() if pa.types.is_integer(t) or pa.types.is_boolean(t)]
        with_gaps: set[str] = set()
        for name, path in reader.files.items():
            with_gaps |= parquetfile.with_nulls(path, name, gaps)
        wide: set[str] = set()
        for name, path in reader.files.items():
            wide |= parquetfile.with_wide_integers(path, name, sorted(with_gaps - wide))
        for name, kind in self._types.items():
            self._kinds[name] = "typed"
            if name in with_gaps:
                self._kinds[name] = "wide" if name in wide else "float" if pa.types.is_integer(kind) else "object"

    def _inferred(self, reader: Reader) -> None:
        seen: dict[str, _Seen] = {}
        for name in self.names:
            declared = self._columns.get(name)
            text = reader.format == "csv" and declared is not None and declared.type in ("category", "text", "datetime")
            if text:
                self._kinds[name] = "text"
            else:
                seen[name] = _Seen(declared is not None and declared.type in _NUMERIC, self._decimal)
        if seen:
            for chunk in reader.chunks(list(seen)):
                for name, one in seen.items():
                    one.look(chunk.columns[name])
        self._kinds |= {name: one.kind() for name, one in seen.items()}


def _plain(value: Any) -> Any:
    return value.as_py() if isinstance(value, pa.Scalar) else value


def _word(value: Any) -> Any:
    return value.lower() == "true" if isinstance(value, str) and value in _WORDS else value


@dataclass
class _Seen:
    """What one column holds so far. `number`: it is declared to be one, so that single bad cells do not make it
    text."""

    number: bool
    decimal: str
    present: int = 0
    missing: bool = False
    whole: bool = True
    bad: int = 0
    wide: bool = False
    digits: bool = True
    words: bool = True
    text: bool = True

    def look(self, raw: Any) -> None:
        """Take another part of the column into account."""
        if isinstance(raw, list):
            self._look_at_values(raw)
            return
        self.missing = self.missing or raw.null_count > 0
        self.present += len(raw) - raw.null_count
        self.whole = self.whole and _whole(raw)
        self.wide = self.wide or not self.whole or is_wide(raw.cast(pa.int64()))
        self.digits = self.digits and pc.all(pc.match_substring_regex(raw, r"^\s*[+-]?[0-9]+\s*$")).as_py() is not False
        if not self.whole and (self.number or not self.bad):
            self.bad += len(convert(raw, "number", decimal=self.decimal).bad.get("DAT_TYPE", ()))
        if self.bad and self.words:
            self.words = not self.number and all(v is None or v in _WORDS for v in raw.unique().to_pylist())

    def _look_at_values(self, raw: list[Any]) -> None:
        kinds = {type(v) for v in raw}
        self.missing = self.missing or type(None) in kinds
        kinds.discard(type(None))
        self.present += sum(v is not None for v in raw)
        self.digits = self.digits and kinds <= {int}
        self.wide = self.wide or any(type(v) is int and abs(v) >= EXACT for v in raw)
        self.whole = self.whole and kinds <= {int} and all(-(2**63) <= v < 2**63 for v in raw if v is not None)
        self.words = self.words and kinds <= {bool}
        self.text = self.text and kinds <= {str}
        if not kinds <= {int, float}:
            self.bad += len(convert(raw, "number").bad.get("DAT_TYPE", ())) if self.number else 1

    def kind(self) -> Kind:
        """The type that all chunks of the column have."""
        if not self.present:
            return "float"
        if self.digits and self.wide and not self.bad and not (self.whole and not self.missing):
            return "wide"
        if self.number and 2 * self.bad <= self.present:
            return "int" if self.whole and not self.missing and not self.bad else "float"
        if not self.bad:
            return "int" if self.whole and not self.missing else "float"
        if self.words:
            return "object" if self.missing else "bool"
        return "text" if self.text else "object"


def _whole(raw: pa.Array) -> bool:
    """Whether pandas would take all of it for integers: 5.0 and 5e0, which the contract takes too, are none."""
    try:
        raw.cast(pa.int64())
    except pa.ArrowInvalid:
        return False
    return not holds(raw, b"xX")
