"""Bodies that are long, or arrive in several pieces: bounded together, decoded in steps, the longest of them while they
arrive."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stages.serving.decode import MAX_PROBLEMS, Decoded, Decoder, Problem
from stages.serving.http import Disconnected, Message, Receive, Refused, parse, rows_of, too_long
from stages.serving.limits import Limits
from stages.serving.rowstream import RowStream
from stages.serving.turns import ROUND, Turns

#: A body up to this long is decoded as soon as it is there; with those of all connections that may come at once, that
#: takes some milliseconds.
AT_ONCE_BYTES = 4 * 1024
#: So many rows are decoded with their body, however short it is.
FEW_ROWS = 128
#: A body up to this long is parsed as a whole, in one step.
WHOLE_BYTES = 32 * 1024
#: Bytes that have to be there for the next step of a longer one.
_PIECE_BYTES = 16 * 1024
#: Bytes that a value takes, as a float in a list.
_CELL_BYTES = 32
#: Cells that are decoded in one step, about a millisecond's worth.
_STEP_CELLS = 8192

_RETRY = [(b"retry-after", b"1")]


class Uploads:
    """What the uploads of one service share. `in_flight`: bytes of those longer than `WHOLE_BYTES`, from their arrival
    to the answer."""

    def __init__(self, decoder: Decoder, limits: Limits) -> None:
        self.decoder = decoder
        self.limits = limits
        self.turns = Turns()
        self.in_flight = 0
        # A body that is allowed at all must not be too long on its own.
        self.most = max(limits.max_bytes_in_flight, limits.max_body_bytes)
        self.step_rows = max(1, _STEP_CELLS // max(1, len(decoder.names)))


class Upload:
    """One body. `arrived`: all of it is there."""

    def __init__(self, shared: Uploads) -> None:
        self._shared = shared
        self._size = 0
        self._charged = 0
        self.arrived = False

    async def decode(self, message: Message, receive: Receive) -> Decoded:
        """Read the rest of a request's body, whose first part is in `message`, and check all values of all rows.

        Raises:
            Refused: as `rows_of`, `parse` and `RowStream`; 413, it is too long; 503, it and others are. Disconnected.
        """
        shared = self._shared
        first = await self._gather([self._piece(message)], receive, WHOLE_BYTES)
        if self.arrived and len(first) <= WHOLE_BYTES:
            await shared.turns.take(len(first))
            rows = rows_of(parse(first), shared.limits.max_rows)
            return shared.decoder.decode(rows) if len(rows) <= FEW_ROWS else await self.decode_rows(rows)
        return await self._stream(first, receive)

    async def decode_rows(self, rows: Sequence[Any]) -> Decoded:
        """Check all values of all rows, in steps."""
        shared = self._shared
        if len(rows) > shared.step_rows:
            return (await self._collect(rows, _Collected(shared.decoder.names))).decoded()
        await shared.turns.take(len(rows) * ROUND // shared.step_rows)
        return shared.decoder.decode(rows)

    def end(self) -> None:
        """The request is answered: count its bytes no more."""
        self._shared.in_flight -= self._charged
        self._charged = 0

    async def _stream(self, content: bytes, receive: Receive) -> Decoded:
        """Parse the body while it arrives."""
        shared = self._shared
        stream = RowStream(shared.limits.max_rows)
        array, collected = 0, _Collected(shared.decoder.names)
        while True:
            await shared.turns.take()
            for rows in stream.feed(content):
                if array != stream.array:
                    array, collected = stream.array, _Collected(shared.decoder.names)
                await self._collect(rows, collected)
            self._charge(stream.weight, collected.rows)
            if self.arrived:
                break
            content = await self._gather([], receive, _PIECE_BYTES)
        rows = rows_of(stream.finish(), shared.limits.max_rows)
        if rows or array != stream.array:  # its key is written with escapes, or it is empty
            collected = await self._collect(rows, _Collected(shared.decoder.names))
        return collected.decoded()

    async def _collect(self, rows: Sequence[Any], collected: _Collected) -> _Collected:
        """Decode rows, a step at a time."""
        step = self._shared.step_rows
        for start in range(0, len(rows), step):
            most = MAX_PROBLEMS - len(collected.problems)
            collected.add(self._shared.decoder.decode(rows[start : start + step], collected.rows, most))
            await self._shared.turns.take()
        return collected

    async def _gather(self, pieces: list[bytes], receive: Receive, least: int) -> bytes:
        """Wait for more than `least` bytes, or the end of the body."""
        size = sum(map(len, pieces))
        while size <= least and not self.arrived:
            pieces.append(self._piece(await receive()))
            size += len(pieces[-1])
        return b"".join(pieces)

    def _piece(self, message: Message) -> bytes:
        if message["type"] == "http.disconnect":
            raise Disconnected
        piece: bytes = message.get("body", b"")
        self._size += len(piece)
        if self._size > self._shared.limits.max_body_bytes:
            raise too_long(self._shared.limits.max_body_bytes)
        self.arrived = not message.get("more_body")
        return piece

    def _charge(self, text: int, rows: int) -> None:
        """Count what this body takes: its text, or its values if those take more."""
        shared = self._shared
        if text > shared.most:
            detail = f"the text of this body takes more than {shared.most} bytes of memory; send fewer rows at once"
            raise Refused(413, "SRV_BODY_TOO_LARGE", detail)
        others = shared.in_flight - self._charged
        charged = max(text, rows * len(shared.decoder.names) * _CELL_BYTES)
        if others and others + charged > shared.most:
            raise Refused(503, "SRV_OVERLOADED", "too many long bodies at once; try again", headers=_RETRY)
        shared.in_flight, self._charged = others + charged, charged


class _Collected:
    """Decoded parts of one request, in order."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = names
        self._columns: dict[str, list[Any]] = {name: [] for name in names}
        self.problems: list[Problem] = []
        self._refused = self._ignored = self._unknown = 0
        self._unseen: dict[str, int] = {}
        self.rows = 0

    def add(self, part: Decoded) -> None:
        """Take the next part; values are kept while all are good."""
        self.rows += part.rows
        self._refused += part.refused
        self._ignored += part.ignored
        self._unknown += part.unknown
        self.problems += part.problems
        if self._refused:
            self._columns = {}
            return
        for name, values in part.columns.items():
            self._columns[name] += values
        for name, count in part.unseen.items():
            self._unseen[name] = self._unseen.get(name, 0) + count

    def decoded(self) -> Decoded:
        """All of them as one."""
        whole = Decoded(self._names, self.rows, self._columns)
        whole.problems, whole.refused = self.problems, self._refused
        whole.ignored, whole.unknown, whole.unseen = self._ignored, self._unknown, self._unseen
        return whole
