"""Parquet, streamed by row batches; columns keep the types that the file gives them.

pandas writes an index that only counts (``RangeIndex``) into the file's metadata, not as a column. Where it has a name
it is a column here, the last one, as an index that does not count is in the file itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stages.data.chunks import Chunk, Refusals
from stages.data.convert import is_wide
from stages.data.formats import LOOK, check_content
from stages.errors import DataError
from stages.records import jsonfile

ROWS = 65_536

#: Bytes that a chunk of rows may take as far as the file's metadata and dictionaries tell: a page of repeated texts may
#: unpack to a million times its size.
_CHUNK = 64 << 20
#: Bytes of one batch beyond which it is no table that anybody means: 64 KB a row, of texts that are repeated.
_MOST = 4 << 30
#: Fewer bytes a value than this: texts that are repeated, since one that stands there itself has four for its length.
_REPEATED = 6
#: Packed so many times smaller, texts are repeated as well, whatever fills the space.
_PACKED = 50
#: In a row group of fewer values, looking costs nothing that could be measured.
_FEW = 100_000


@contextmanager
def _file(path: Path, name: str, dictionaries: Sequence[str] = (), int96: str = "us") -> Iterator[Any]:
    """`dictionaries`: columns read as such. `int96`: unit of INT96 timestamps. Arrow's default, nanoseconds, holds the
    years 1677 to 2262 and wraps around silently."""
    try:
        with pq.ParquetFile(
            path, read_dictionary=list(dictionaries) or None, coerce_int96_timestamp_unit=int96
        ) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        _check_start(path, name)
        raise DataError(
            "DAT_FORMAT",
            f"{name}: not readable as Parquet: {str(error).splitlines()[0]}",
            "make or fetch the file again",
        ) from error


def _check_start(path: Path, name: str) -> None:
    """Say what a file is that is no Parquet, where its first bytes tell.

    Raises: DataError: DAT_FORMAT.
    """
    try:
        with path.open("rb") as file:
            start = file.read(LOOK)
    except OSError:
        return
    if not start.startswith(b"PAR1"):
        check_content(start, name)


def schema(path: Path, name: str) -> pa.Schema:
    """Names and types of a file's columns.

    Raises: DataError: DAT_FORMAT, DAT_HEADER (a name stands twice), DAT_EMPTY.
    """
    with _file(path, name) as file:
        found, rows, counted = file.schema_arrow, file.metadata.num_rows, _counted_index(file)
    twice = sorted({n for n in found.names if found.names.count(n) > 1})
    if twice:
        raise DataError(
            "DAT_HEADER",
            f"{name}: has {', '.join(map(repr, twice))} more than once",
            "rename or remove the repeated column",
        )
    if not rows:
        raise DataError("DAT_EMPTY", f"{name}: holds no row", "give a file with rows")
    return found.append(pa.field(counted[0], pa.int64())) if counted else found


def _counted_index(file: Any) -> tuple[str, range] | None:
    """Name and values of a pandas index that stands in the metadata alone; None where it has no name."""
    try:
        indexes = jsonfile.parse(file.schema_arrow.metadata[b"pandas"])["index_columns"]
        (found,) = [one for one in indexes if isinstance(one, dict) and one["kind"] == "range"]
        name, values = found["name"], range(found["start"], found["stop"], found["step"])
    except (KeyError, TypeError, ValueError):  # no metadata, or another program's
        return None
    # Whoever took rows away and left the metadata there has left them wrong.
    fits = len(values) == file.metadata.num_rows and name not in file.schema_arrow.names
    return (name, values) if isinstance(name, str) and name and fits else None


def chunks(path: Path, name: str, columns: Sequence[str], rows: int = ROWS) -> Iterator[Chunk]:
    """Rows of a file, numbered from 1. `columns`: which to read. `rows`: of a chunk.

    Raises: DataError: DAT_FORMAT.
    """
    number = 1
    with _file(path, name) as file:
        most, repeated = _widths(file, columns)
    with ExitStack() as stack:
        file = stack.enter_context(_file(path, name, repeated))
        index, counted = _counted_index(file) or (None, range(0))
        stored = [n for n in columns if n != index]
        size = min(rows, most)
        old = [n for n in stored if n in _int96(file)]
        seconds = _Rows(stack.enter_context(_file(path, name, int96="s")), old, size) if old else None
        batches = file.iter_batches(batch_size=size, columns=stored, use_threads=False)
        for batch in (part for whole in batches for part in _unpacked(whole, repeated, name)):
            found = dict(zip(batch.schema.names, batch.columns, strict=True))
            _check_text(found, name)
            refused = _wrapped(found, seconds.take(len(batch))) if seconds is not None else []
            if index is not None:
                found[index] = pa.array(counted[number - 1 : number - 1 + len(batch)], pa.int64())
            numbers = np.arange(number, number + len(batch), dtype=np.int64)
            yield Chunk({n: found[n] for n in columns}, numbers, cells=refused)
            number += len(batch)


def _int96(file: Any) -> set[str]:
    """Columns of the timestamps that Spark and Impala write."""
    leaves = [file.metadata.schema.column(i) for i in range(file.metadata.num_columns)]
    return {leaf.path for leaf in leaves if leaf.physical_type == "INT96"}


def _wrapped(columns: dict[str, Any], seconds: pa.RecordBatch) -> list[Refusals]:
    """Take out of `columns` what microseconds cannot hold (from the year 294,247 on); seconds can, and say so."""
    refused = []
    for name, exact in zip(seconds.schema.names, seconds.columns, strict=True):
        wide = exact.cast(pa.int64()).fill_null(0).to_numpy()
        at = np.flatnonzero(columns[name].cast(pa.int64()).fill_null(0).to_numpy() // 1_000_000 != wide)
        if len(at):
            mask = np.zeros(len(wide), dtype=np.bool_)
            mask[at] = True
            columns[name] = pc.if_else(pa.array(mask), pa.scalar(None, columns[name].type), columns[name])
            refused.append(Refusals(name, "DAT_DATETIME", at, [f"{wide[i]} s since 1970" for i in at]))
    return refused


class _Rows:
    """The rows of some columns of a file in the order of their numbers, however the file divides them."""

    def __init__(self, file: Any, columns: Sequence[str], size: int) -> None:
        self._batches = file.iter_batches(batch_size=size, columns=list(columns), use_threads=False)
        self._held: list[pa.RecordBatch] = []

    def take(self, count: int) -> pa.RecordBatch:
        """The next `count` rows."""
        while sum(map(len, self._held)) < count:
            self._held.append(next(self._batches))
        held = pa.concat_batches(self._held)
        self._held = [held.slice(count)]
        return held.slice(0, count)


def _widths(file: Any, columns: Sequence[str]) -> tuple[int, list[str]]:
    """How many rows make a chunk, and the text columns whose values are repeated, by what the row groups say."""
    wanted, schema, widest, repeated = set(columns), file.schema_arrow, 0.0, set()
    for group in (file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)):
        held = [group.column(i) for i in range(group.num_columns)]
        held = [one for one in held if one.path_in_schema.split(".")[0] in wanted]
        widest = max(widest, sum(one.total_uncompressed_size for one in held) / max(1, group.num_rows))
        for one in held:
            texts = one.physical_type == "BYTE_ARRAY" and one.path_in_schema in schema.names
            size = one.total_uncompressed_size
            dense = size < _REPEATED * one.num_values or size > _PACKED * one.total_compressed_size
            if texts and one.has_dictionary_page and (dense or one.num_values < _FEW):
                repeated.add(one.path_in_schema)
    plain = (n for n in sorted(repeated) if not pa.types.is_dictionary(schema.field(n).type))
    return max(1, int(_CHUNK // max(1.0, widest))), list(plain)


def _unpacked(batch: pa.RecordBatch, repeated: Sequence[str], name: str) -> Iterator[pa.RecordBatch]:
    """`batch` with its repeated texts written out, in parts that fit into memory. Raises: DataError: DAT_FORMAT."""
    sizes = np.zeros(len(batch), dtype=np.int64)
    for column in (batch.column(n) for n in repeated):
        lengths = np.append(pc.binary_length(column.dictionary).fill_null(0).to_numpy(zero_copy_only=False), 0)
        sizes += lengths[column.indices.fill_null(-1).to_numpy(zero_copy_only=False)].astype(np.int64)
    ends = np.cumsum(sizes)
    if len(ends) and ends[-1] > _MOST:
        what = f"{name}: {len(batch):,} rows unpack to {ends[-1] / 2**30:.0f} GiB of text"
        raise DataError("DAT_FORMAT", what, "leave the column out, or shorten its texts")
    start = 0
    while start < len(batch):
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + _CHUNK, side="right")))
        part = batch.slice(start, stop - start)
        columns = [
            column.dictionary_decode() if n in repeated else column
            for n, column in zip(batch.schema.names, part.columns, strict=True)
        ]
        yield pa.record_batch(columns, names=batch.schema.names)
        start = stop


def _check_text(columns: dict[str, pa.Array], name: str) -> None:
    """Writers of Parquet do not check text, and everything that reads it trusts them."""
    for column, array in columns.items():
        kind = array.type.value_type if pa.types.is_dictionary(array.type) else array.type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
            try:
                array.validate(full=True)
            except pa.ArrowInvalid as error:
                raise DataError(
                    "DAT_ENCODING",
                    f"{name}: column {column!r} holds bytes that are not UTF-8 text",
                    "write the file again from text",
                ) from error


def with_nulls(path: Path, name: str, columns: Sequence[str]) -> set[str]:
    """Those of `columns` that hold a missing value, from the file's statistics where it has them.

    Raises: DataError: DAT_FORMAT.
    """
    found: set[str] = set()
    with _file(path, name) as file:
        place = {file.metadata.schema.column(i).path: i for i in range(file.metadata.num_columns)}
        index, _ = _counted_index(file) or (None, None)
        columns = [n for n in columns if n != index]
        unknown = [n for n in columns if n not in place]
        for column in columns:
            if column not in place:
                continue
            for group in range(file.metadata.num_row_groups):
                statistics = file.metadata.row_group(group).column(place[column]).statistics
                if statistics is None or not statistics.has_null_count:
                    unknown.append(column)
                    break
                if statistics.null_count:
                    found.add(column)
                    break
        if unknown:
            for batch in file.iter_batches(columns=unknown, use_threads=False):
                found.update(n for n, a in zip(batch.schema.names, batch.columns, strict=True) if a.null_count)
    return found


def with_wide_integers(path: Path, name: str, columns: Sequence[str]) -> set[str]:
    """Those of `columns` that hold integers of which float64 rounds some.

    Raises: DataError: DAT_FORMAT.
    """
    found: set[str] = set()
    with _file(path, name) as file:
        stored = [n for n in columns if n in file.schema_arrow.names]
        for batch in file.iter_batches(columns=stored, use_threads=False) if stored else ():
            found.update(n for n, a in zip(batch.schema.names, batch.columns, strict=True) if is_wide(a))
    return found
