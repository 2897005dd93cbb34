"""The rows of a long body, parsed as it arrives: no more is held than a piece of it, and no step takes long.

A piece is cut at the commas between rows, which numpy finds; orjson parses what lies between. So JSON has one judge,
and a body with too many rows is refused before they are objects.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np

from stages.serving.decode import Problem
from stages.serving.http import Refused, not_json, parse, too_many_rows

#: Bytes beside the rows. A shorter body never comes here.
_MOST_OUTSIDE = 64 * 1024
#: Bytes of one row, and values in it: what can be parsed without keeping other requests waiting.
MAX_ROW_BYTES, MAX_ROW_VALUES = 4 * 2**20, 20_000

_DEEPER = np.zeros(256, dtype=np.int8)
_DEEPER[[ord("{"), ord("[")]] = 1
_DEEPER[[ord("}"), ord("]")]] = -1
_QUOTE, _COMMA, _OPENS = ord('"'), ord(","), ord("[")
#: The document is at depth 1, its rows at 2.
_ROWS_DEPTH = 2
#: The end of what stands before the rows; `\"rows"` is no key of that name.
_KEY = re.compile(rb'(?<!\\)"rows"[ \t\r\n]*:[ \t\r\n]*\[\Z')
_KEY_REACH = 64
#: orjson's own bound.
_MOST_DEEP = 1024
_SURROGATE = re.compile(rb"\\u[dD][89abAB]")


class _Piece:
    """A piece of a body with what numpy sees in it: `depth` after each byte, which of the bytes are quoted."""

    def __init__(self, content: bytes, quoted: bool, depth: int) -> None:
        self.content = content
        plain = content
        if b"\\" in content:  # from the left, so that an escaped backslash escapes nothing
            plain = content.replace(b"\\\\", b"__").replace(b'\\"', b"__")
        self.codes = np.frombuffer(plain, dtype=np.uint8)
        self.quoted = np.logical_xor.accumulate(self.codes == _QUOTE)
        if quoted:
            self.quoted = ~self.quoted
        steps = _DEEPER[self.codes]
        steps[self.quoted] = 0
        self.deeper = steps > 0
        self.depth = np.cumsum(steps, dtype=np.int32)
        self.depth += depth

    def find(self, code: int, start: int, end: int) -> np.ndarray:
        """Where `code` stands between the rows' brackets, outside of text and of the rows themselves."""
        part = slice(start, end)
        hits = (self.codes[part] == code) & ~self.quoted[part] & (self.depth[part] == _ROWS_DEPTH)
        return np.flatnonzero(hits) + start

    def values(self, start: int, end: int) -> int:
        """At least how many values begin there."""
        part = slice(start, end)
        return int(np.count_nonzero(((self.codes[part] == _COMMA) & ~self.quoted[part]) | self.deeper[part]))

    @property
    def weight(self) -> int:
        """Bytes that its text takes at most as Python text: one to four for a character, as the widest needs."""
        widest = int(self.codes.max(initial=0))
        escapes = b"\\u" in self.content
        if widest >= 0xF0 or (escapes and _SURROGATE.search(self.content)):
            return 4 * len(self.content)
        return (2 if widest > 0xC3 or escapes else 1) * len(self.content)


class RowStream:
    """`{"rows": [...]}`, fed piece by piece.

    `array` numbers the arrays of rows that began, from 1: of a key given twice the last value counts.
    """

    def __init__(self, max_rows: int) -> None:
        self._max_rows = max_rows
        self._held = b""  # a backslash whose character is still to come
        self._quoted, self._depth = False, 0
        self._outside = bytearray()  # the document without its rows
        self._row = bytearray()  # what follows the last comma between rows
        self._in_rows = False
        self._values = 0
        self._seen = 0  # bytes before the piece
        self._row_at = 0
        self._commas = 0
        self.array = 0
        self.weight = 0

    def feed(self, content: bytes) -> Iterator[list[Any]]:
        """Take the next piece; the rows that are complete with it, in lists.

        Raises:
            Refused: DAT_JSON, SRV_TOO_MANY_ROWS, SRV_BODY_TOO_LARGE.
        """
        content = self._held + content
        backslashes = len(content) - len(content.rstrip(b"\\"))
        self._held = b"\\" if backslashes % 2 else b""
        if self._held:
            content = content[:-1]
        if not content:
            return
        piece = _Piece(content, self._quoted, self._depth)
        self._quoted, self._depth = bool(piece.quoted[-1]), int(piece.depth[-1])
        self.weight += piece.weight
        if int(piece.depth.max()) > _MOST_DEEP:
            raise not_json(f"arrays and objects more than {_MOST_DEEP} deep")
        place = 0
        while place < len(content):
            if not self._in_rows:
                place = self._skip(piece, place)
                continue
            ends = np.flatnonzero(piece.depth[place:] < _ROWS_DEPTH)
            end = place + int(ends[0]) if len(ends) else len(content)
            yield from self._take(piece, place, end, closed=len(ends) > 0)
            place = end
        self._seen += len(content)

    def finish(self) -> Any:
        """The document, with an empty array in place of each array of rows. Raises: Refused: DAT_JSON."""
        rest = self._held if not self._in_rows else self._held + bytes(self._row)
        return parse(bytes(self._outside) + rest, self._seen - len(self._outside) - len(rest))

    def _skip(self, piece: _Piece, place: int) -> int:
        """Keep what is no row; where the rows begin, or the end of the piece."""
        for bracket in piece.find(_OPENS, place, len(piece.content)).tolist():
            self._outside += piece.content[place : bracket + 1]
            place = bracket + 1
            if _KEY.search(self._outside[-_KEY_REACH:]):
                self._in_rows, self._commas, self._row_at = True, 0, self._seen + place
                self.array += 1
                break
        else:
            self._outside += piece.content[place:]
            place = len(piece.content)
        if len(self._outside) > _MOST_OUTSIDE:
            raise _too_large("", f'beside "rows", a body may have {_MOST_OUTSIDE} bytes')
        return place

    def _take(self, piece: _Piece, start: int, end: int, closed: bool) -> Iterator[list[Any]]:
        """The rows that end between two places of a piece."""
        commas = piece.find(_COMMA, start, end)
        before, self._commas = self._commas, self._commas + len(commas)
        if self._commas >= self._max_rows:
            raise too_many_rows(self._max_rows)
        if len(commas):
            last = int(commas[-1])
            yield self._parsed(piece.content[start:last], len(commas))
            start, self._values = last + 1, 0
            self._row_at = self._seen + start
        self._values += piece.values(start, end)
        self._row += piece.content[start:end]
        if len(self._row) > MAX_ROW_BYTES or self._values > MAX_ROW_VALUES:
            limits = f"{MAX_ROW_BYTES} bytes and {MAX_ROW_VALUES} values"
            raise _too_large(f"/rows/{self._commas}", f"a row of a long body may have {limits}")
        if closed:
            self._in_rows = False
            rows = self._parsed(b"", 1 if self._commas or before else None)
            if rows:
                yield rows

    def _parsed(self, content: bytes, number: int | None) -> list[Any]:
        """What is between two commas, or before the bracket, of `number` rows; None: of one or none."""
        text = bytes(self._row) + content
        self._row.clear()
        rows: list[Any] = parse(b"[" + text + b"]", self._row_at - 1)
        if number is not None and len(rows) != number:  # a comma without a value
            raise not_json(f"an error at byte {self._row_at}")
        return rows


def _too_large(pointer: str, expected: str) -> Refused:
    problem = Problem(pointer, "SRV_BODY_TOO_LARGE", expected, "more")
    return Refused(413, "SRV_BODY_TOO_LARGE", expected, [problem])
