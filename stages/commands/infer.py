"""What the columns of a data file hold, judged over all its rows, for `mlci init`.

The file is read as `mlci prepare` will read it, and the contract that comes out is tried on all rows.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from stages.commands import columntypes
from stages.config.schema import Column, ReadOptions
from stages.config.suffixes import Format
from stages.data.chunks import Chunk
from stages.data.contract import Contract
from stages.data.files import opened
from stages.data.formats import format_of
from stages.data.reading import Reader
from stages.errors import DataError

_COUNTS = "counts the rows"

Advance = Callable[[float, str], None]


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
    format: str | None = None

    def column(self, target: bool) -> Column:
        """Its contract; a target is never nullable."""
        return Column.model_validate(
            {
                "type": self.type,
                "nullable": self.nullable and not target,
                "timezone": self.timezone,
                "format": self.format,
                "feature": self.feature or target,
            }
        )


@dataclass(frozen=True)
class Table:
    """A file: number of rows, reading options that differ from the defaults, columns in order.

    `notes`: what a person should know of the columns. `refused`: share of the rows that the contract refuses.
    """

    rows: int
    read: dict[str, Any]
    columns: dict[str, Seen] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    refused: float = 0.0


@dataclass(frozen=True)
class _Content:
    """All rows of a file: how it was read, the columns as the reader gives them, rows that were no rows, and whether
    cells could not be decoded."""

    options: ReadOptions
    kind: Format
    columns: dict[str, Any]
    rows: int
    lost: int
    undecodable: bool


def look(path: Path, target: str, advance: Advance = lambda amount, note: None) -> Table:
    """Judge every column of a data file, and try the contract on all its rows. `target`: a column, if it is there.

    Raises:
        DataError: what reading raises: DAT_FORMAT, DAT_HEADER, DAT_ENCODING, DAT_EMPTY.
    """
    kind = format_of(path.name)
    content = _read(path, kind, _dialect(path) if kind == "csv" else {}, advance)
    found = _types(content, advance)
    if kind == "csv":
        content, found = _with_decimal_comma(content, found, advance)
        content, found = _with_markers(path, content, found, advance)
    notes = [f"{name}: {one.note}" for name, one in found.items() if one is not None and one.note]
    notes += [f"{name}: left out, no type of a column takes its values" for name, one in found.items() if one is None]
    columns = {
        name: _judge(one, content.columns[name], name == target) for name, one in found.items() if one is not None
    }
    if not any(seen.feature for name, seen in columns.items() if name != target):
        columns = {name: _as_feature(seen) if seen.why == _COUNTS else seen for name, seen in columns.items()}
    refused = _refused(content, columns, target)
    return Table(content.rows + content.lost, _differing(content.options), columns, notes, refused)


# ---- reading ------------------------------------------------------------------------------------------------------


def _dialect(path: Path) -> dict[str, str]:
    """The separator of a text file, and its encoding where its first bytes say it."""
    with opened(path, path.name) as stream:
        head = stream.read(1 << 16)
    read = {}
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        read["encoding"] = "utf-16"
    text = head.decode(read.get("encoding", "utf-8-sig"), "replace")
    first = text.splitlines()[0] if text.splitlines() else ""
    if first.strip('"').lower().startswith("sep=") and len(first.strip('"')) == 5:
        read["sep"] = first.strip('"')[-1]
        return read if read["sep"] != "," else {k: v for k, v in read.items() if k != "sep"}
    widths = {sep: len(next(csv.reader(io.StringIO(text), delimiter=sep), [])) for sep in ",;\t|"}
    best = max(widths, key=lambda sep: widths[sep])
    if widths[best] > 1 and best != ",":
        read["sep"] = best
    return read


def _read(path: Path, kind: Format, read: dict[str, Any], advance: Advance) -> _Content:
    """All rows; text that is not UTF-8 is read as Windows or Latin text."""
    encodings = [read["encoding"]] if "encoding" in read else ["utf-8", "cp1252", "latin-1"]
    for encoding in encodings:
        options = ReadOptions.model_validate({**read, "encoding": encoding})
        try:
            content = _all_rows(path, kind, options, advance)
        except DataError as error:
            if error.code != "DAT_ENCODING" or encoding == encodings[-1]:
                raise
            continue
        if not content.undecodable or kind != "csv":
            break
    if not content.rows:
        raise DataError("DAT_EMPTY", f"{path.name}: holds no rows", "give a file with data")
    return content


def _all_rows(path: Path, kind: Format, options: ReadOptions, advance: Advance) -> _Content:
    reader = Reader({path.name: path}, kind, options)
    names = reader.header
    parts: dict[str, list[Any]] = {name: [] for name in names}
    rows = lost = 0
    undecodable = False
    for chunk in reader.chunks(names):
        rows += len(chunk)
        lost += chunk.read - len(chunk)
        undecodable = undecodable or bool(chunk.cells)
        for name, held in parts.items():
            held.append(chunk.columns[name])
        advance(chunk.read, "rows read")
    return _Content(options, kind, {name: _joined(held) for name, held in parts.items()}, rows, lost, undecodable)


def _joined(parts: list[Any]) -> Any:
    if parts and all(isinstance(part, pa.Array) for part in parts):
        return pa.concat_arrays(parts)
    return [value for part in parts for value in part]


def _differing(options: ReadOptions) -> dict[str, Any]:
    default = ReadOptions()
    return {key: value for key, value in options.model_dump().items() if value != getattr(default, key)}


# ---- judging ------------------------------------------------------------------------------------------------------

Types = dict[str, columntypes.Found | None]


def _types(content: _Content, advance: Advance) -> Types:
    found = {}
    for name, raw in content.columns.items():
        advance(0, f"rows read; looking at column {name}")
        found[name] = columntypes.find(raw, content.options.decimal, content.kind == "csv")
    return found


def _numeric(types: Types) -> int:
    return sum(one is not None and one.type in ("number", "integer") for one in types.values())


def _with_decimal_comma(content: _Content, found: Types, advance: Advance) -> tuple[_Content, Types]:
    """The columns read with a decimal comma, if more of them are numbers then."""
    if content.options.sep == ",":
        return content, found
    other = replace(content, options=content.options.model_copy(update={"decimal": ","}))
    others = _types(other, advance)
    return (other, others) if _numeric(others) > _numeric(found) else (content, found)


def _with_markers(path: Path, content: _Content, found: Types, advance: Advance) -> tuple[_Content, Types]:
    """The columns read again with the texts that stand for a missing value, which hold for all columns."""
    words = {word: name for name, one in found.items() if one is not None for word in one.markers}
    if not words:
        return content, found
    options = content.options.model_copy(update={"na_values": [*content.options.na_values, *words]})
    again = _all_rows(path, content.kind, options, advance)
    types = _types(again, advance)
    for name, one in types.items():
        mine = [word for word, of in words.items() if of == name]
        if one is not None and mine:
            texts = ", ".join(map(repr, mine))
            types[name] = replace(one, note="; ".join(filter(None, [one.note, f"{texts} is read as missing"])))
    return again, types


def _judge(found: columntypes.Found, raw: Any, target: bool) -> Seen:
    values = found.values
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    present = values.drop_null()
    missing = len(values) - len(present)
    if not len(present):
        return Seen("text", True, 0, None, None, False, "empty", missing=missing)
    kind, distinct = found.type, int(pc.count_distinct(present).as_py())
    if target and kind == "number" and distinct <= 20 and pc.all(pc.equal(present, pc.floor(present))).as_py():
        kind, present = "integer", present.cast(pa.int64())  # classes that were saved as floats
    feature, why = True, ""
    if distinct == 1 and not missing:
        feature, why = False, "the same everywhere"
    elif kind == "category" and distinct > max(50, len(values) // 10):
        kind, feature, why = "text", False, "almost every value is unique"
    elif kind == "integer" and distinct == len(values) and len(values) > 50 and _counts_up(present):
        feature, why = False, _COUNTS
    example = present[0].as_py()
    if kind == "datetime":
        first = raw[int(np.flatnonzero(np.asarray(values.is_valid()))[0])]
        first = first.as_py() if isinstance(first, pa.Scalar) else first
        example = first if isinstance(first, str) else str(example)
    last = example if kind == "datetime" else max(pc.unique(present).to_pylist())
    return Seen(kind, missing > 0, distinct, last, example, feature, why, found.timezone, missing, found.format)


def _as_feature(seen: Seen) -> Seen:
    return replace(seen, feature=True, why="")


def _counts_up(values: pa.Array) -> bool:
    return bool((np.diff(values.to_numpy(zero_copy_only=False)) == 1).all())


# ---- trying -------------------------------------------------------------------------------------------------------


def _refused(content: _Content, columns: dict[str, Seen], target: str) -> float:
    """Share of the rows that the contract refuses."""
    contract = Contract(
        {name: seen.column(name == target) for name, seen in columns.items()},
        content.options.decimal if content.kind == "csv" else ".",
    )
    checked = contract.check(Chunk(content.columns, np.arange(1, content.rows + 1)))
    return (int((~checked.good).sum()) + content.lost) / (content.rows + content.lost)
