"""CSV as text columns, streamed.

Arrow's reader splits the lines (quotes, line breaks inside them, CRLF) and leaves every cell as text, so that the
contract sees what was written and a column cannot change its type half way. See docs/decisions/0011.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from stages.config.schema import ReadOptions
from stages.data import cells, quotes
from stages.data.chunks import Chunk, Refusals, shown
from stages.data.files import LONGEST_LINE, opened, too_long
from stages.errors import DataError

SIZE = 2 << 20
#: Bytes parsed at a time. Arrow reads up to 32 of these ahead.
_READ = 1 << 18
#: So many rows of another length than the header, without a good one between them, are no table any more.
_MOST_RAGGED = 500_000
#: The line above the header by which Excel is told the separator; it wins over data.read.sep.
_SEP_LINE = re.compile(r'"?sep=(.)"?\r?\n?', re.IGNORECASE)
_BOMS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


def header(path: Path, name: str, options: ReadOptions) -> list[str]:
    """Column names of a file.

    Raises:
        DataError: DAT_EMPTY, DAT_ENCODING, DAT_HEADER (a name stands twice), DAT_FORMAT.
    """
    return _head(path, name, options).names


@dataclass(frozen=True)
class _Head:
    """How a file begins: column names, the separator, and how many lines stand above the header."""

    names: list[str]
    sep: str
    skipped: int = 0


def _head(path: Path, name: str, options: ReadOptions) -> _Head:
    try:
        found = _first_row(path, name, options, "strict")
    except UnicodeError as error:
        found = _first_row(path, name, options, "replace")
        if any("\ufffd" in cell for cell in found.names):  # else it is a cell below, which is refused by itself
            raise _encoding(name, options, error) from error
    _check_names(found.names, name, options)
    return found


def _first_row(path: Path, name: str, options: ReadOptions, errors: str) -> _Head:
    with opened(path, name) as stream:
        start = stream.peek(4)
        if not start:
            raise DataError("DAT_EMPTY", f"{name}: the file is empty", "give a file with a header line and rows")
        encoding = _codec(options.encoding)
        if start[:2] in _BOMS and not encoding.startswith("utf-16"):
            raise DataError(
                "DAT_ENCODING", f"{name}: is UTF-16, not {options.encoding}", "set data.read.encoding: utf-16"
            )
        bounded = io.BufferedReader(_Bounded(stream, name), 1 << 16)
        text = io.TextIOWrapper(bounded, encoding=encoding, errors=errors, newline="")
        first = text.readline()
        excel = _SEP_LINE.fullmatch(first)
        sep = excel[1] if excel else options.sep
        csv.field_size_limit(2**31 - 1)
        try:
            for row in csv.reader(text if excel else chain([first], text), delimiter=sep, escapechar=options.escape):
                if row:
                    return _Head(row, sep, 1 if excel else 0)
        except csv.Error as error:
            raise DataError("DAT_FORMAT", f"{name}: the header cannot be read: {error}", "correct the file") from error
    raise DataError("DAT_EMPTY", f"{name}: holds blank lines only", "give a file with a header line and rows")


class _Bounded(io.RawIOBase):
    """The bytes of a file up to `LONGEST_LINE`; reading on raises DataError: DAT_FORMAT: the header has no end."""

    def __init__(self, stream: io.BufferedReader, name: str) -> None:
        self._stream, self._name, self._left = stream, name, LONGEST_LINE

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left < 0:
            raise too_long(self._name, "the header", "check data.read.sep and the file")
        size = self._stream.readinto1(buffer)
        self._left -= size
        return size


def _codec(encoding: str) -> str:
    """Codec for the header. A BOM of UTF-8 is not a part of the first name."""
    normal = codecs.lookup(encoding).name
    return "utf-8-sig" if normal == "utf-8" else normal


def _for_arrow(encoding: str) -> str:
    """The name under which arrow reads UTF-8 without a detour through Python."""
    return "utf8" if _codec(encoding) == "utf-8-sig" else encoding


def _check_names(names: list[str], shown_name: str, options: ReadOptions) -> None:
    seen: set[str] = set()
    twice = [n for n in names if n and (n in seen or seen.add(n))]  # type: ignore[func-returns-value]
    if twice:
        raise DataError(
            "DAT_HEADER",
            f"{shown_name}: the header has {', '.join(map(repr, dict.fromkeys(twice)))} more than once",
            "rename or remove the repeated column in the file",
        )
    if any("\0" in n for n in names):
        raise DataError(
            "DAT_ENCODING",
            f"{shown_name}: the header holds NUL characters, so it is not {options.encoding} text",
            "set data.read.encoding (utf-16?), or make the file again",
        )


def _encoding(name: str, options: ReadOptions, error: Exception) -> DataError:
    place = ""
    if isinstance(error, UnicodeDecodeError):
        around = bytes(error.object[max(0, error.start - 20) : error.start]).decode(options.encoding, "replace")
        before = around.splitlines()[-1] if around.splitlines() else ""
        place = f": the byte 0x{error.object[error.start]:02x} stands after {before!r}"
    return DataError(
        "DAT_ENCODING",
        f"{name}: is not {options.encoding} text{place}",
        "set data.read.encoding to what wrote it: utf-8, cp1252 (Windows), latin-1, utf-16",
    )


@dataclass
class _Reading:
    """How far a file was read, and with what: it is opened again when a line is longer than a block or not decodable.

    `escaped`: a quote behind a backslash was seen. `lenient`: bytes that cannot be decoded become U+FFFD and cells with
    it are refused. `row`: number of the next row that was not given out. `ragged`: rows with another number of cells
    than the header, not yet given out. `quotes`: how many were read.
    """

    block: int
    head: _Head
    escaped: bool = False
    lenient: bool = False
    row: int = 1
    ragged: list[tuple[int, str]] = field(default_factory=list)
    quotes: int = 0


def chunks(
    path: Path, name: str, options: ReadOptions, columns: Sequence[str] | None, size: int = SIZE
) -> Iterator[Chunk]:
    """Rows of a file as text columns, missing cells null; rows are numbered from 1.

    `columns`: which to read, None for all with a name. `block`: bytes parsed at a time, which the size of a chunk
    follows from.

    Raises:
        DataError: DAT_FORMAT, and what `header` raises.
    """
    head = _head(path, name, options)
    wanted = [n for n in head.names if n] if columns is None else [n for n in columns if n in set(head.names)]
    state = _Reading(min(size, _READ), head)
    while True:
        try:
            yield from _read(path, name, options, wanted, state, size)
            break
        except pa.ArrowException as error:
            if not _adapt(state, name, error):
                break
        except UnicodeError as error:
            if state.lenient:
                raise _encoding(name, options, error) from error
            state.lenient = True
    if state.quotes % 2 and columns is not None:
        _refuse_open_quote(path, name, options)


def _adapt(state: _Reading, name: str, error: pa.ArrowException) -> bool:
    """Do something about it after arrow gave up, True to try again; False when there is nothing to read.

    A block that is shorter than a line is a straddling object; one that is shorter than the header is an empty file.
    """
    message = str(error)
    empty = "mpty CSV file or block" in message
    if (empty or "straddl" in message or "skip initial" in message) and state.block < LONGEST_LINE:
        state.block = min(state.block * 16, LONGEST_LINE)
        return True
    if empty:
        return False
    if "straddl" in message:
        todo = "look there for a quote that is never closed; a file that holds this needs another format"
        raise too_long(name, f"row {state.row:,} or one soon after it", todo) from error
    raise DataError(
        "DAT_FORMAT", f"{name}: not readable as CSV: {message}", "check data.read.sep and the file"
    ) from error


def _read(
    path: Path, name: str, options: ReadOptions, wanted: list[str], state: _Reading, size: int
) -> Iterator[Chunk]:
    """Rows from `state.row` on."""
    first, row, checked = state.row, 1, False
    state.ragged, state.quotes = [], 0

    def ragged(found: Any) -> str:
        state.ragged.append((found.number - 1 - state.head.skipped, shown(found.text) or ""))
        return "skip" if len(state.ragged) < _MOST_RAGGED else "error"

    with opened(path, name) as stream, _open(stream, options, wanted, state, ragged) as reader:
        for batch in _gathered(reader, size):
            if state.escaped and not checked:
                _refuse_escaped(path, name, options, state.head)
                checked = True
            numbers, row = _number(batch.num_rows, row, [n for n, _ in state.ragged])
            new = batch.slice(int(np.searchsorted(numbers, first)))
            yield _chunk(new, numbers[len(numbers) - len(new) :], state, first, row)
            state.row = row
    if state.ragged:
        if state.escaped and not checked:  # no row had as many cells as the header
            _refuse_escaped(path, name, options, state.head)
        row = state.ragged[-1][0] + 1
        yield _chunk(
            pa.record_batch([pa.array([], pa.string())] * len(wanted), names=wanted),
            np.empty(0, np.int64),
            state,
            first,
            row,
        )
        state.row = row


def _refuse_escaped(path: Path, name: str, options: ReadOptions, head: _Head) -> None:
    if options.escape is None:
        quotes.refuse_escaped(path, name, _codec(options.encoding), head.sep, head.skipped)


def _gathered(reader: Any, size: int) -> Iterator[pa.RecordBatch]:
    """Batches joined up to `size` bytes, so that the work done once a chunk and column stays small in wide files."""
    held: list[pa.RecordBatch] = []
    for batch in reader:
        held.append(batch)
        if sum(b.nbytes for b in held) >= size:
            yield pa.concat_batches(held)
            held = []
    if held:
        yield pa.concat_batches(held)


@contextmanager
def _open(stream: Any, options: ReadOptions, wanted: list[str], state: _Reading, ragged: Any) -> Iterator[Any]:
    source = _Source(stream, state, options.encoding)
    try:
        with pacsv.open_csv(
            pa.PythonFile(source, mode="r"),
            read_options=pacsv.ReadOptions(
                block_size=state.block,
                use_threads=False,
                skip_rows=state.head.skipped,
                encoding="utf8" if state.lenient else _for_arrow(options.encoding),
            ),
            parse_options=pacsv.ParseOptions(
                delimiter=state.head.sep,
                escape_char=options.escape or False,
                newlines_in_values=True,
                invalid_row_handler=ragged,
            ),
            convert_options=pacsv.ConvertOptions(
                check_utf8=False,
                include_columns=wanted,
                column_types={n: pa.string() for n in wanted},
                strings_can_be_null=True,
                null_values=[cells.canonical(v) for v in options.na_values],
            ),
        ) as reader:
            yield reader
    finally:
        source.stop()


class _Source:
    """A stream that counts quotes. UTF-8 is checked in passing; when `lenient`, what cannot be decoded is
    replaced."""

    closed = False

    def __init__(self, stream: Any, state: _Reading, encoding: str) -> None:
        self._stream, self._state = stream, state
        codec = _codec(encoding)
        strict = codec == "utf-8-sig" and not state.lenient
        decoder = codecs.getincrementaldecoder("utf-8" if strict else codec)
        self._check = decoder() if strict else None
        self._replace = decoder(errors="replace") if state.lenient else None
        self._reading, self._stopped = threading.Lock(), False

    def stop(self) -> None:
        """Give out nothing more: arrow's thread reads ahead, and would go on after whoever wanted the rows has left."""
        with self._reading:
            self._stopped = True

    def read(self, size: int = -1) -> bytes:
        with self._reading:
            return b"" if self._stopped else self._read(size)

    def _read(self, size: int) -> bytes:
        piece: bytes = self._stream.read(size)
        if self._check is not None:
            self._check.decode(piece, final=not piece)
        while self._replace is not None:
            more = bool(piece)
            text = self._replace.decode(piece, final=not more).encode()
            if text or not more:
                piece = text
                break
            piece = self._stream.read(size)
        self._state.quotes += piece.count(b'"')
        self._state.escaped = self._state.escaped or b'\\"' in piece
        return piece

    def close(self) -> None:
        self.closed = True


def _number(count: int, start: int, ragged: list[int]) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Numbers of `count` rows from `start` on, leaving out ragged ones, and the number after them."""
    between = [n for n in ragged if n >= start]
    numbers = np.arange(start, start + count + len(between), dtype=np.int64)
    if between:
        numbers = numbers[~np.isin(numbers, between)][:count]
    return numbers, int(numbers[-1]) + 1 if count else start


def _chunk(batch: pa.RecordBatch, numbers: Any, state: _Reading, first: int, row: int) -> Chunk:
    """`batch` with the ragged rows before `row`, which leave the state."""
    due = [(n, text) for n, text in state.ragged if first <= n < row]
    state.ragged = [(n, text) for n, text in state.ragged if n >= row]
    lost = [
        Refusals("", "DAT_ROW_SHAPE", np.array([n for n, _ in due], dtype=np.int64), [shown(text) for _, text in due])
    ]
    columns: dict[str, Any] = dict(zip(batch.schema.names, batch.columns, strict=True))
    refused = [r for name, array in columns.items() for r in _undecodable(name, array)] if state.lenient else []
    for cell in refused:
        mask = np.zeros(len(batch), dtype=np.bool_)
        mask[cell.rows] = True
        columns[cell.column] = pc.if_else(pa.array(mask), pa.scalar(None, pa.string()), columns[cell.column])
    return Chunk(columns, numbers, lost if due else [], refused)


def _undecodable(name: str, array: pa.Array) -> Iterator[Refusals]:
    at = np.flatnonzero(pc.match_substring(array, "\ufffd").fill_null(False).to_numpy(zero_copy_only=False))
    if len(at):
        yield Refusals(name, "DAT_TEXT", at.astype(np.int64), [shown(array[int(i)].as_py()) for i in at])


def _refuse_open_quote(path: Path, name: str, options: ReadOptions) -> None:
    """Refuse a file whose last row swallowed the rest of the file: an odd number of quotes, and a line break in
    that row.

    Raises: DataError: DAT_FORMAT.
    """
    last: Chunk | None = None
    for last in chunks(path, name, options, None):  # noqa: B007
        pass
    if last is None:
        return
    number, cells_ = 0, []
    if len(last):
        number, cells_ = int(last.rows[-1]), [column[-1].as_py() for column in last.columns.values()]
    for lost in last.lost:
        if lost.rows[-1] > number:
            number, cells_ = int(lost.rows[-1]), list(lost.values)
    if any("\n" in cell or "\r" in cell for cell in cells_ if cell):
        raise DataError(
            "DAT_FORMAT",
            f"{name}: a quote opened in row {number:,} is never closed, so all lines after it are one cell",
            "close or double the quote in the file",
        )
