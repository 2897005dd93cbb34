"""Accepted rows between the first pass, which sees each row, and the second, which knows where each goes: an
uncompressed arrow
stream on disk, so that memory holds one chunk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pyarrow as pa


class Spool:
    """Typed tables of one schema, written once, then read in the same order. Its file is removed in the end.

    A context manager. Raises: OSError.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._path = path
        self._schema = schema
        self._writer = pa.ipc.new_stream(str(path), schema)
        self._open = True

    def __enter__(self) -> Spool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()
        self._path.unlink(missing_ok=True)

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        for batch in table.combine_chunks().to_batches():
            self._writer.write_batch(batch)

    def read(self) -> Iterator[pa.RecordBatch]:
        """All rows, in the batches that they were written in. Nothing can be written afterwards."""
        self._close()
        with pa.OSFile(str(self._path)) as file, pa.ipc.open_stream(file) as reader:
            yield from reader

    def _close(self) -> None:
        if self._open:
            self._open = False
            self._writer.close()
