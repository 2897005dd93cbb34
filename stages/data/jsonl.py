"""JSON lines, streamed: one object a line, values as they are, so that a column of mixed types keeps every one of
them."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
import orjson

from stages.config.schema import ReadOptions
from stages.data.chunks import Chunk, Refusals, shown
from stages.data.files import LONGEST_LINE, opened, too_long
from stages.errors import DataError

ROWS = 32_768

_Line = TypeVar("_Line", bytes, str)
#: So many significant digits that orjson may make a float of a number, which has lost its last digits.
_WIDE = re.compile(rb"[0-9]{19}|[1-9](?:\.?[0-9]){17}")
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
    (codecs.BOM_UTF8, "utf-8-sig"),
)
#: Where the zero bytes of the first two characters are, which are ASCII in JSON (RFC 4627, section 3).
_ZEROS: dict[tuple[bool, ...], str] = {
    (True, True, True, False): "utf-32-be",
    (False, True, True, True): "utf-32-le",
    (True, False, True, False): "utf-16-be",
    (False, True, False, True): "utf-16-le",
}


@dataclass
class _Rows:
    """Rows on their way into a chunk."""

    columns: dict[str, list[Any]]
    numbers: list[int] = field(default_factory=list)
    bad: list[tuple[int, str, str]] = field(default_factory=list)

    def chunk(self) -> Chunk:
        lost = []
        for code in ("DAT_JSON", "DAT_TEXT"):
            found = [(n, text) for n, c, text in self.bad if c == code]
            if found:
                lost.append(Refusals("", code, np.array([n for n, _ in found]), [shown(t) for _, t in found]))
        return Chunk(dict(self.columns), np.array(self.numbers, dtype=np.int64), lost)


def header(path: Path, name: str, options: ReadOptions) -> list[str]:
    """Names of all keys that stand in any row, in the order of their first appearance.

    Raises: DataError: DAT_EMPTY, DAT_FORMAT, DAT_ENCODING.
    """
    names: dict[str, None] = {}
    for _, row in _rows(path, name, options):
        if isinstance(row, dict):
            names.update(dict.fromkeys(row))
    return list(names)


def chunks(path: Path, name: str, options: ReadOptions, columns: Sequence[str], rows: int = ROWS) -> Iterator[Chunk]:
    """Rows of a file; a key that a row lacks is a missing value there. Rows are numbered from 1, blank lines left
    out.

    `columns`: the keys to read. `rows`: of a chunk.

    Raises: DataError: DAT_EMPTY, DAT_FORMAT (an array instead of lines), DAT_ENCODING.
    """
    held = _Rows({n: [] for n in columns})
    for number, row in _rows(path, name, options):
        if isinstance(row, dict):
            held.numbers.append(number)
            for column, values in held.columns.items():
                values.append(row.get(column))
        else:
            held.bad.append((number, *row))
        if len(held.numbers) + len(held.bad) >= rows:
            yield held.chunk()
            held = _Rows({n: [] for n in columns})
    if held.numbers or held.bad:
        yield held.chunk()


def _rows(path: Path, name: str, options: ReadOptions) -> Iterator[tuple[int, dict[str, Any] | tuple[str, str]]]:
    """Number, and the object or (code, text) of what is none."""
    number = 0
    with opened(path, name) as stream:
        for line in _lines(stream, name, options):
            if not line.strip():
                continue
            if not number and line.lstrip().startswith(b"["):
                raise DataError(
                    "DAT_FORMAT",
                    f"{name}: is a JSON array, not JSON lines",
                    "write one object a line (pandas: to_json(orient='records', lines=True))",
                )
            number += 1
            yield number, _parsed(line)
    if not number:
        raise DataError("DAT_EMPTY", f"{name}: holds no row", "give a file with one JSON object a line")


def _lines(stream: IO[bytes], name: str, options: ReadOptions) -> Iterator[bytes]:
    """Lines as UTF-8. JSON is UTF-8, or UTF-16 or UTF-32 by its first bytes (RFC 8259); `data.read.encoding`, which may
    be that of a CSV source, counts for lines that are none of these."""
    codec = _unicode(getattr(stream, "peek", lambda size: b"")(4)[:4])
    try:
        if codec not in ("utf-8", "utf-8-sig"):
            text = io.TextIOWrapper(stream, encoding=codec, newline="\n")
            try:
                yield from (line.encode("utf-8", "surrogatepass") for line in _pieces(text.readline, name))
            finally:
                text.detach()  # whoever opened the stream closes it
            return
        other = codecs.lookup(options.encoding).name
        for i, line in enumerate(_pieces(stream.readline, name)):
            line = line.removeprefix(codecs.BOM_UTF8) if not i else line
            yield line if other in ("utf-8", "utf-8-sig") or _is_utf8(line) else line.decode(other).encode()
    except UnicodeError as error:
        raise DataError(
            "DAT_ENCODING",
            f"{name}: is neither UTF-8 nor {options.encoding if codec == 'utf-8' else codec} text",
            "write the file as UTF-8, or set data.read.encoding to what wrote it",
        ) from error


def _pieces(readline: Callable[[int], _Line], name: str) -> Iterator[_Line]:
    """Line by line. Raises: DataError: DAT_FORMAT: a line beyond the limit, of which no more is read."""
    for number in itertools.count(1):
        line = readline(LONGEST_LINE + 1)
        if len(line) > LONGEST_LINE:
            raise too_long(name, f"line {number:,}", "write one JSON object a line")
        if not line:
            return
        yield line


def _unicode(start: bytes) -> str:
    for mark, codec in _BOMS:
        if start.startswith(mark):
            return codec
    return _ZEROS.get(tuple(byte == 0 for byte in start), "utf-8")


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _parsed(line: bytes) -> dict[str, Any] | tuple[str, str]:
    try:
        found = None if _WIDE.search(line) else orjson.loads(line)
    except orjson.JSONDecodeError:
        found = None
    if isinstance(found, dict):
        return found
    # NaN, Infinity and integers of any size are what Python's own writer makes, and orjson refuses.
    try:
        found = json.loads(line, parse_float=_fraction)
        json.dumps(found, ensure_ascii=False, default=float).encode()  # half of a surrogate pair is JSON, but no text
    except UnicodeError:
        return "DAT_TEXT", line.decode(errors="backslashreplace").strip()
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else ("DAT_JSON", line.decode(errors="backslashreplace").strip())


def _fraction(text: str) -> float | Decimal:
    """A number with a point or an exponent: a float, or its digits where a float64 does not hold all of them."""
    found = float(text)
    if not isfinite(found) or Decimal(text) == Decimal(repr(found)):
        return found
    return Decimal(text)
