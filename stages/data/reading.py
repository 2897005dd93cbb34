"""The files of a source as one stream of chunks, whatever their format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pyarrow as pa

from stages.config.problems import nearest
from stages.config.schema import ReadOptions
from stages.config.suffixes import Format
from stages.data import csvfile, jsonl, parquetfile
from stages.data.chunks import Chunk, Refusals
from stages.errors import DataError


@dataclass(frozen=True)
class Reader:
    """Files with the same columns, read in their order.

    `files`: name for messages → path. `size`: bytes (CSV) or rows (others) of a chunk; None for the readers' own.
    `partitions`: name of a file → columns that its folders give (`year=2024/month=01/`), as text.
    """

    files: dict[str, Path]
    format: Format
    options: ReadOptions
    size: int | None = None
    partitions: Mapping[str, Mapping[str, str | None]] = field(default_factory=dict)

    @cached_property
    def header(self) -> list[str]:
        """Column names, in the order of the first file, and behind them those of its folders.

        Raises: DataError: DAT_HEADER when the files differ, and what the formats raise.
        """
        return [*self._own, *self._of_folders]

    @cached_property
    def _of_folders(self) -> list[str]:
        """Columns that only the folders give: where a file has one of the name, it counts."""
        given = [(name, list(self.partitions.get(name, ()))) for name in self.files]
        first, names = given[0]
        for other, found in given[1:]:
            if set(found) != set(names):
                raise DataError(
                    "DAT_HEADER",
                    f"{other}: its folders give the columns {found}, those of {first} give {names}",
                    "put all files below folders of the same names (key=value), or narrow data.source",
                )
        return [n for n in names if n not in self._own]

    @cached_property
    def _own(self) -> list[str]:
        """Column names of the files themselves.

        Raises: DataError: DAT_HEADER when the files differ (JSON lines may: a missing key is a missing value), and
        what the formats raise.
        """
        (first, names), *others = [(name, self._names(name, path)) for name, path in self.files.items()]
        if self.format == "jsonl":
            return list(dict.fromkeys([*names, *(n for _, more in others for n in more)]))
        for other, found in others:
            if set(found) != set(names):
                differing = sorted(set(found) ^ set(names))
                raise DataError(
                    "DAT_HEADER",
                    f"{other}: has other columns than {first}: {', '.join(map(repr, differing[:5]))}",
                    "all files of a glob need the same columns (their order may differ)",
                )
        return [n for n in names if n]

    def _names(self, name: str, path: Path) -> list[str]:
        if self.format == "csv":
            return csvfile.header(path, name, self.options)
        if self.format == "jsonl":
            return jsonl.header(path, name, self.options)
        return list(parquetfile.schema(path, name).names)

    def types(self) -> pa.Schema:
        """Types of Parquet columns, over all files.

        Raises: DataError: DAT_HEADER when a column has types that cannot be brought together.
        """
        schemas = [parquetfile.schema(path, name).remove_metadata() for name, path in self.files.items()]
        try:
            found = pa.unify_schemas(schemas, promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(
                "DAT_HEADER", f"the files differ in a column's type: {error}", "write them with the same types"
            ) from error
        return pa.schema([*found, *(pa.field(name, pa.string()) for name in self._of_folders)])

    def require(self, columns: Sequence[str], where: str = "the source") -> None:
        """Refuse a source that lacks listed columns.

        Raises: DataError: DAT_COLUMN_MISSING.
        """
        missing_columns(columns, self.header, where)

    def chunks(self, columns: Sequence[str]) -> Iterator[Chunk]:
        """All rows, numbered from 1 over all files, restricted to `columns` (each of them in `header`)."""
        before = 0
        of_folders = [n for n in columns if n in self._of_folders]
        columns = [n for n in columns if n not in of_folders]
        for name, path in self.files.items():
            last = 0
            for chunk in self._chunks(name, path, columns):
                for n in of_folders:
                    value = pa.scalar(self.partitions[name][n], pa.string())
                    chunk.columns[n] = pa.repeat(value, len(chunk))
                last = max([last, *(int(r.rows[-1]) for r in chunk.lost), *chunk.rows[-1:].tolist()])
                yield _moved(chunk, before) if before else chunk
            before += last

    def _chunks(self, name: str, path: Path, columns: Sequence[str]) -> Iterator[Chunk]:
        if self.format == "csv":
            return csvfile.chunks(path, name, self.options, columns, self.size or csvfile.SIZE)
        if self.format == "jsonl":
            return jsonl.chunks(path, name, self.options, columns, self.size or jsonl.ROWS)
        return parquetfile.chunks(path, name, columns, self.size or parquetfile.ROWS)


def partition(name: str) -> dict[str, str | None]:
    """Columns that the folders of a path give, as Hive and Spark name them: `year=2024/month=01/part.parquet`."""
    found: dict[str, str | None] = {}
    for folder in name.split("/")[:-1]:
        key, equals, value = folder.partition("=")
        if key and equals:
            found[unquote(key)] = None if value == "__HIVE_DEFAULT_PARTITION__" else unquote(value)
    return found


def _moved(chunk: Chunk, by: int) -> Chunk:
    lost = [Refusals(r.column, r.code, r.rows + by, r.values) for r in chunk.lost]
    return replace(chunk, rows=np.asarray(chunk.rows + by), lost=lost)


def missing_columns(columns: Sequence[str], present: Sequence[str], where: str) -> None:
    """Refuse what lacks listed columns, naming all of them and the nearest known one of the first.

    Raises: DataError: DAT_COLUMN_MISSING.
    """
    known = set(present)
    missing = [name for name in columns if name not in known]
    if missing:
        raise DataError(
            "DAT_COLUMN_MISSING",
            f"{where} has no column {', '.join(map(repr, missing[:8]))}" + (" …" if missing[8:] else ""),
            _hint(missing[0], [str(n) for n in present]),
        )


def _hint(missing: str, present: Sequence[str]) -> str:
    """What to do about a missing column: a header of one long name was read with the wrong separator."""
    only = present[0] if len(present) == 1 else ""
    for sep, shown in ((";", '";"'), ("\t", '"\\t"'), ("|", '"|"'), (",", '","')):
        if missing in only.split(sep) and sep in only:
            return f"the header is one column, {only[:60]!r}: set data.read: {{sep: {shown}}}"
    return nearest(missing, list(present)[:200]) + " (columns are listed under data.columns)"
