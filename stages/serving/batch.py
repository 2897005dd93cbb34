"""A file scored row by row: as many rows out as in, in their order, with what is wrong with each."""

from __future__ import annotations

import gzip
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Protocol, cast

import orjson
import pyarrow as pa

from stages.config.schema import ReadOptions
from stages.data.cells import canonical
from stages.data.scoring import Rows, read_for_scoring
from stages.errors import DataError, InfraError, UsageError
from stages.records.atomic import disk_errors, file_mode
from stages.serving.predictor import Answers, Predictor, RowsRefused

#: Suffixes of what can be written.
SUFFIXES = (".csv", ".csv.gz", ".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".parquet")


class Scored(NamedTuple):
    """How many rows there were, and how many of them have an error instead of a prediction."""

    rows: int
    refused: int


def score(
    predictor: Predictor,
    path: Path,
    output: Path | None,
    read: ReadOptions,
    advance: Callable[[float, str], None] = lambda amount, note: None,
    reject: Callable[[int, str], None] = lambda row, error: None,
) -> Scored:
    """Predict every row of a CSV, Parquet or JSON lines file into `output`, or as CSV on standard output.

    Columns: `prediction`, `probability_<class>` for each class where the model has probabilities, `error`. The file
    appears whole or not at all.

    Raises:
        UsageError: CFG_USAGE: a suffix that cannot be written, or the input itself. DataError: the input cannot be
        read; DAT_ALL_REFUSED: no row could be predicted (the output is there, and says why). InfraError: DEP_DISK.
    """
    suffix = check_output(path, output)
    rows = refused = 0
    with _opened(output) as raw, _packed(raw, suffix) as stream:
        writer: _Writer | None = None
        for part in read_for_scoring(path, predictor.signature, read):
            table = _answered(predictor, part)
            if writer is None:
                writer = _WRITERS[suffix.removesuffix(".gz")](stream, table.schema)
            writer.write(table)
            for row, error in zip(part.numbers.tolist(), table["error"].to_pylist(), strict=True):
                if error is not None:
                    reject(row, error)
            rows += table.num_rows
            refused += table.num_rows - table["error"].null_count
            advance(table.num_rows, f"{refused} refused")
        if writer is None:
            raise DataError("DAT_EMPTY", f"{path.name}: there are no rows", "give a file with rows to score")
        writer.close()
    if refused == rows:
        where = "standard output" if output is None else str(output)
        raise DataError(
            "DAT_ALL_REFUSED",
            f"{path.name}: none of {rows} rows could be predicted",
            f"see the error column in {where}",
        )
    return Scored(rows, refused)


def check_output(path: Path, output: Path | None) -> str:
    """Suffix of the output's format. Raises: UsageError: CFG_USAGE."""
    if output is None:
        return ".csv"
    if output.is_dir():
        raise UsageError("CFG_USAGE", f"-o {output}: is a folder", "name a file in it, for example predictions.csv")
    suffix = next((known for known in reversed(SUFFIXES) if output.name.lower().endswith(known)), None)
    if suffix is None:
        what = f"-o {output.name}: the name does not say in which format to write"
        raise UsageError("CFG_USAGE", what, f"let it end in one of: {', '.join(SUFFIXES)}")
    if not output.parent.is_dir():
        raise UsageError("CFG_USAGE", f"-o {output}: there is no folder {output.parent}", "make it first")
    if output.exists() and path.exists() and output.samefile(path):
        raise UsageError("CFG_USAGE", f"-o {output}: that is the input", "name another file")
    return suffix


def _answered(predictor: Predictor, part: Rows) -> pa.Table:
    """One table row for each row of the input."""
    errors = list(part.errors)
    good = [i for i, error in enumerate(errors) if error is None]
    found, good = _predicted(predictor, part.table, good, errors)
    classes = predictor.signature.get("classes")
    columns = {"prediction": _spread(found.predictions, good, len(errors), _type_of(classes))}
    if classes is not None and (found.probabilities is not None or predictor.gives_probabilities):
        chances = found.probabilities or []
        for name in map(canonical, classes):
            values = [row[name] for row in chances]
            columns[f"probability_{name}"] = _spread(values, good, len(errors), pa.float64())
    columns["error"] = pa.array(errors, pa.string())
    return pa.table(columns)


def _predicted(
    predictor: Predictor, table: pa.Table, good: list[int], errors: list[str | None]
) -> tuple[Answers, list[int]]:
    """Answers to the rows `good` of `table`; rows that the model itself refuses are taken out and noted in
    `errors`."""
    while good:
        try:
            return predictor.predict_table(table.take(pa.array(good, pa.int64()))), good
        except RowsRefused as refused:
            for i in refused.rows:
                errors[good[i]] = "MOD_NO_ANSWER: the model has no answer for this row"
            left = set(refused.rows)
            good = [row for i, row in enumerate(good) if i not in left]
    return Answers([], None), good


def _type_of(classes: list[Any] | None) -> pa.DataType:
    if classes is None:
        return pa.float64()
    kinds = {bool: pa.bool_(), int: pa.int64(), float: pa.float64()}
    return kinds.get(type(classes[0]), pa.string())


def _spread(values: list[Any], at: list[int], rows: int, kind: pa.DataType) -> pa.Array:
    whole: list[Any] = [None] * rows
    for place, value in zip(at, values, strict=True):
        whole[place] = value
    return pa.array(whole, kind)


# ---- writing -----------------------------------------------------------------------------------------------


class _Writer(Protocol):
    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None: ...

    def write(self, table: pa.Table) -> None: ...

    def close(self) -> None: ...


class _Csv:
    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        import csv
        import io

        from pyarrow import csv as arrow_csv

        head = io.StringIO()
        csv.writer(head, lineterminator="\n").writerow(schema.names)
        stream.write(head.getvalue().encode())
        options = arrow_csv.WriteOptions(include_header=False, quoting_style="needed")
        self._stream = stream
        self._writer = arrow_csv.CSVWriter(stream, schema, write_options=options)

    def write(self, table: pa.Table) -> None:
        self._writer.write(table)
        self._stream.flush()

    def close(self) -> None:
        self._writer.close()


class _JsonLines:
    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        self._stream = stream

    def write(self, table: pa.Table) -> None:
        self._stream.writelines(orjson.dumps(row) + b"\n" for row in table.to_pylist())

    def close(self) -> None:
        self._stream.flush()


class _Parquet:
    def __init__(self, stream: BinaryIO, schema: pa.Schema) -> None:
        import pyarrow.parquet as pq

        self._writer = pq.ParquetWriter(stream, schema)

    def write(self, table: pa.Table) -> None:
        self._writer.write_table(table)

    def close(self) -> None:
        self._writer.close()


_WRITERS: dict[str, type[_Writer]] = {
    ".csv": _Csv,
    ".jsonl": _JsonLines,
    ".ndjson": _JsonLines,
    ".parquet": _Parquet,
}


@contextmanager
def _packed(stream: BinaryIO, suffix: str) -> Iterator[BinaryIO]:
    """`stream`, or what packs into it: the same rows give the same bytes, so no time and no name stand in it."""
    if not suffix.endswith(".gz"):
        yield stream
        return
    with gzip.GzipFile("", "wb", compresslevel=6, fileobj=stream, mtime=0) as packed:
        yield cast(BinaryIO, packed)


@contextmanager
def _printing() -> Iterator[None]:
    """A full disk behind standard output is one; nobody reading on is the caller's to take as an end."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        raise InfraError("DEP_DISK", f"standard output: {error.strerror or error}", "free space there") from error


@contextmanager
def _opened(output: Path | None) -> Iterator[BinaryIO]:
    """A stream that becomes `output` when the block ends well; standard output if it is None."""
    if output is None:
        # A descriptor of its own: arrow closes what it is given.
        with _printing(), os.fdopen(os.dup(sys.stdout.fileno()), "wb") as stream:
            sys.stdout.flush()
            yield stream
        return
    with disk_errors(output):
        handle, temporary = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                yield stream
                if not stream.closed:
                    stream.flush()
                    os.fsync(stream.fileno())
            os.chmod(temporary, file_mode())
            os.replace(temporary, output)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise
