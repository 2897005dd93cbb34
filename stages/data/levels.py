"""What the levels of a source say about their spelling (see `spelling`), and columns brought into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from stages.config.schema import Column, Data
from stages.data import cells
from stages.data.convert import arrow_type
from stages.data.spelling import PLAIN, Spelling, canonical, is_code, spelling_of

_MAYBE = r"^(\s*[+-]?[.,]?[0-9].*|(?i:true|false))$"


@dataclass
class _Found:
    """`codes`: levels that are written as no program writes numbers. `changes`: levels with another canonical text.
    `typed`: some came as numbers or booleans. `listed`: the contract lists them, which decides."""

    codes: bool = False
    changes: bool = False
    typed: bool = False
    listed: bool = False


class Levels:
    """The categories of a source, and text that is a key or a group. The target keeps the names of its classes.

    `decimal`: the decimal point of text.
    """

    def __init__(self, data: Data, decimal: str) -> None:
        named = {*(data.key or ()), data.split.column}
        self._decimal = decimal
        self._found = {
            name: _found(column)
            for name, column in data.columns.items()
            if name != data.target and (column.type == "category" or (column.type == "text" and name in named))
        }

    def look(self, table: pa.Table, raw: Mapping[str, Any]) -> None:
        """Take a part into account: its typed columns, and how they came."""
        for name, found in self._found.items():
            found.typed = found.typed or not _is_text(raw[name])
            if found.codes or found.listed:  # those that are listed are in their text already
                continue
            for text in _candidates(table.column(name)):
                found.codes = found.codes or is_code(text, self._decimal)
                found.changes = found.changes or canonical(text, self._decimal) != text

    def spellings(self) -> dict[str, Spelling]:
        """Column → spelling. A column in which typed numbers stand beside codes has none."""
        return {
            name: "exact" if found.codes else "canonical"
            for name, found in self._found.items()
            if found.listed or not (found.codes and found.typed)
        }

    def changed(self) -> list[str]:
        """Columns that are not in their canonical text."""
        return [name for name, found in self._found.items() if found.changes and not found.codes]


def _found(column: Column) -> _Found:
    if column.values is None:
        return _Found()
    return _Found(codes=spelling_of(map(cells.canonical, column.values)) == "exact", listed=True)


def _is_text(raw: Any) -> bool:
    if isinstance(raw, list):
        return all(value is None or isinstance(value, str | bytes) for value in raw)
    kind = raw.type.value_type if pa.types.is_dictionary(raw.type) else raw.type
    return not (pa.types.is_primitive(kind) or pa.types.is_boolean(kind) or pa.types.is_decimal(kind))


def _candidates(column: pa.ChunkedArray) -> list[str]:
    """Distinct texts that may read as numbers or booleans, but for plain integers."""
    distinct = column.unique()
    if pa.types.is_dictionary(distinct.type):
        distinct = distinct.cast(pa.string())
    distinct = distinct.drop_null()
    maybe = distinct.filter(pc.match_substring_regex(distinct, _MAYBE))
    others: list[str] = maybe.filter(pc.invert(pc.match_substring_regex(maybe, PLAIN))).to_pylist()
    return others


def respelled(values: pa.Array, decimal: str = ".", mapping: Mapping[str, str] | None = None) -> pa.Array:
    """A category or text column in canonical text, or with the levels that `mapping` gives."""
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    before = encoded.dictionary.to_pylist()
    after = [canonical(one, decimal) if mapping is None else mapping.get(one, one) for one in before]
    if after == before:
        return values
    texts = pa.array(after, pa.string()).take(encoded.indices)
    return texts.cast(arrow_type("category")) if pa.types.is_dictionary(values.type) else texts


def respelled_table(
    table: pa.Table | pa.RecordBatch, names: Mapping[str, Mapping[str, str] | None], decimal: str = "."
) -> Any:
    """The table with columns brought into canonical text, or by their mapping. `names`: column → mapping or None."""
    for name, mapping in names.items():
        at = table.schema.get_field_index(name)
        column = table.column(at)
        if isinstance(column, pa.ChunkedArray):
            column = pa.chunked_array([respelled(one, decimal, mapping) for one in column.chunks], column.type)
        else:
            column = respelled(column, decimal, mapping)
        table = table.set_column(at, table.schema.field(at), column)
    return table
