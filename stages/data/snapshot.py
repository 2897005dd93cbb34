"""Rows from SQL and Python as one Parquet file: the same rows give the same bytes.

Parts may disagree about a column's type (a first part of missing values, integers then decimals). So they are written
as they come, and again with types that fit all of them; where there is none, as canonical text.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from stages.data.convert import convert, one_type
from stages.errors import DataError
from stages.records.atomic import disk_errors


def table(columns: Mapping[str, Any], shown: str) -> pa.Table:
    """A part: name → arrow array, or list of Python values.

    Raises: DataError: DAT_SOURCE: values that are neither numbers, text, booleans nor times.
    """
    arrays = []
    for name, values in columns.items():
        array = values if isinstance(values, pa.Array | pa.ChunkedArray) else one_type(values, numbers=True)
        arrays.append(_text(values, name, shown) if array is None else array)
    return pa.table(arrays, names=list(columns))


def _text(values: Any, name: str, shown: str) -> pa.Array:
    found = convert(values, "text")
    if found.bad:
        at = int(next(iter(found.bad.values()))[0])
        raise DataError(
            "DAT_SOURCE",
            f"{shown}: column {name!r} holds {type(values[at]).__name__} objects",
            "give numbers, text, booleans or times",
        )
    return found.values


def write(parts: Iterable[pa.Table], path: Path, shown: str) -> None:
    """Write `parts` (with the same column names) to `path`, atomically.

    Raises:
        DataError: DAT_HEADER: a part has other columns; DAT_EMPTY: no part; InfraError: DEP_DISK.
    """
    raw, whole = path.with_suffix(".raw"), path.with_suffix(".part")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        schemas = _write_raw(parts, raw, shown)
        if not schemas:
            raise DataError("DAT_EMPTY", f"{shown}: gave no row", "check the query or the function")
        schema = pa.schema([(name, _common([s.field(name).type for s in schemas])) for name in schemas[0].names])
        with disk_errors(path):
            with pq.ParquetWriter(whole, schema, compression="zstd") as writer:
                for part in _read_raw(raw):
                    writer.write_table(_cast(part, schema, shown))
            os.replace(whole, path)
    finally:
        raw.unlink(missing_ok=True)
        whole.unlink(missing_ok=True)


def _write_raw(parts: Iterable[pa.Table], raw: Path, shown: str) -> list[pa.Schema]:
    schemas: list[pa.Schema] = []
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
            if part.schema not in schemas:
                schemas.append(part.schema)
            with disk_errors(raw), pa.ipc.new_stream(sink, part.schema) as writer:
                writer.write_table(part)
    return schemas


def _read_raw(raw: Path) -> Iterator[pa.Table]:
    """The parts: one arrow stream after another in one file."""
    with pa.OSFile(str(raw)) as file:
        size = file.size()
        while file.tell() < size:
            with pa.ipc.open_stream(file) as reader:
                yield reader.read_all()


def _common(types: list[pa.DataType]) -> pa.DataType:
    plain = [t.value_type if pa.types.is_dictionary(t) else t for t in types]
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
