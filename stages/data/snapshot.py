"""Rows from SQL and Python as one Parquet file: the same rows give the same bytes.

Parts may disagree about a column's type (a first part of missing values, integers then decimals). So they are written
as they come, and again with types that fit all of them; where there is none, or where it would round a value, as
canonical text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.cells import EXACT, INT64
from stages.data.convert import convert, is_wide, one_type
from stages.errors import DataError
from stages.records.atomic import disk_errors


def table(columns: Mapping[str, Any], shown: str) -> pa.Table:
    """A part: name → arrow array, or list of Python values.

    Raises: DataError: DAT_SOURCE: values that are neither numbers, text, booleans nor times.
    """
    arrays = []
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else _typed(values)
        arrays.append(_text(values, name, shown) if array is None else array)
    return pa.table(arrays, names=list(columns))


def _typed(values: list[Any]) -> pa.Array | None:
    """Values as one array; None where text alone keeps all of them exactly."""
    kinds = set(map(type, values))
    if Decimal in kinds:
        values = [_number(value) if type(value) is Decimal else value for value in values]
        kinds = set(map(type, values))
        if Decimal in kinds:
            return None
    if {int, float} <= kinds and any(type(v) is int and abs(v) >= EXACT for v in values):
        if any(type(v) is float and not v.is_integer() for v in values):
            return None
        values = [int(v) if type(v) is float else v for v in values]
    return one_type(values, numbers=True)


def _number(value: Decimal) -> float | int | Decimal:
    """A decimal as the float that is written the same, else as the integer that it is; else as it is."""
    found = float(value)
    if not value.is_finite() or (abs(found) < EXACT and Decimal(repr(found)) == value):
        return found
    return int(value) if value == value.to_integral_value() and int(value) in INT64 else value


def _text(values: Any, name: str, shown: str) -> pa.Array:
    values = [_moment(v) if isinstance(v, datetime) else v for v in values] if isinstance(values, list) else values
    found = convert(values, "text")
    if found.bad:
        at = int(next(iter(found.bad.values()))[0])
        raise DataError(
            "DAT_SOURCE",
            f"{shown}: column {name!r} holds {type(values[at]).__name__} objects",
            "give numbers, text, booleans or times",
        )
    return found.values


def _moment(value: datetime) -> str:
    """A time among texts, which keeps whether it has an offset."""
    return value.isoformat()


def write(parts: Iterable[pa.Table], path: Path, shown: str) -> None:
    """Write `parts` (with the same column names) to `path`, atomically.

    Raises:
        DataError: DAT_HEADER: a part has other columns; DAT_EMPTY: no part; InfraError: DEP_DISK.
    """
    raw, whole = path.with_suffix(".raw"), path.with_suffix(".part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        schemas, wide = _write_raw(parts, raw, shown)
        if not schemas:
            raise DataError("DAT_EMPTY", f"{shown}: gave no row", "check the query or the function")
        schema = pa.schema(
            [(name, _common([s.field(name).type for s in schemas], name in wide)) for name in schemas[0].names]
        )
        with disk_errors(path):
            with pq.ParquetWriter(whole, schema, compression="zstd") as writer:
                for part in _read_raw(raw):
                    writer.write_table(_cast(part, schema, shown))
            os.replace(whole, path)
    finally:
        raw.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)


def _write_raw(parts: Iterable[pa.Table], raw: Path, shown: str) -> tuple[list[pa.Schema], set[str]]:
    """Types of the parts, and the columns with integers that no float holds."""
    schemas: list[pa.Schema] = []
    wide: set[str] = set()
    with disk_errors(raw):
        sink = pa.OSFile(str(raw), "wb")
    with sink:
        for part in parts:
            part = part.replace_schema_metadata(None)
            if schemas and part.schema.names != schemas[0].names:
                raise DataError(
                    "DAT_HEADER",
                    f"{shown}: a later part has columns {part.schema.names}, the first one {schemas[0].names}",
                    "give the same columns in each part",
                )
            if not schemas:
                twice = sorted({n for n in part.schema.names if part.schema.names.count(n) > 1})
                if twice:
                    raise DataError(
                        "DAT_HEADER",
                        f"{shown}: has {', '.join(map(repr, twice))} more than once",
                        "name each column once",
                    )
            wide |= {name for name in part.schema.names if name not in wide and is_wide(part.column(name))}
            if part.schema not in schemas:
                schemas.append(part.schema)
            with disk_errors(raw), pa.ipc.new_stream(sink, part.schema) as writer:
                writer.write_table(part)
    return schemas, wide


def _read_raw(raw: Path) -> Iterator[pa.Table]:
    """The parts: one arrow stream after another in one file."""
    with pa.OSFile(str(raw)) as file:
        size = file.size()
        while file.tell() < size:
            with pa.ipc.open_stream(file) as reader:
                yield reader.read_all()


def _common(types: list[pa.DataType], wide: bool) -> pa.DataType:
    plain = [t.value_type if pa.types.is_dictionary(t) else t for t in types]
    rounded = [t for t in plain if pa.types.is_floating(t)]
    if rounded and (wide or any(pa.types.is_decimal(t) for t in plain)):
        return rounded[0] if len(set(plain)) == 1 else pa.string()
    try:
        found = pa.unify_schemas([pa.schema([("c", t)]) for t in plain], promote_options="permissive").field("c").type
    except pa.ArrowException:
        return pa.string()
    # A column without any value: its type is not known, and text takes every missing value.
    return pa.string() if pa.types.is_null(found) else found


def _cast(part: pa.Table, schema: pa.Schema, shown: str) -> pa.Table:
    columns = []
    for field in schema:
        column = part.column(field.name)
        if pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        try:
            columns.append(column.cast(field.type))
        except pa.ArrowException:
            columns.append(_text(column.to_pylist(), field.name, shown).cast(field.type))
    return pa.Table.from_arrays(columns, schema=schema)
