"""One connection of the service: HTTP whose heads, framing and pipelines are bounded, and whose every refusal is a
problem document.

What comes is counted in bytes as it is read, since the parser keeps an unfinished header to itself.
"""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import Any

import httptools
import orjson
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from stages.serving.patience import Patience

#: Bytes of a request line with its headers, of a request target alone, and how many headers; HAProxy's own bounds,
#: 15 KiB and 100 headers, lie beside these.
MAX_HEAD_BYTES, MAX_TARGET_BYTES, MAX_HEADERS = 16 * 1024, 8 * 1024, 100
#: Requests that wait behind one whose answer is still to come.
MAX_PIPELINED = 8

#: Bytes that are read from a connection at once, and unread bytes of a body beyond which reading pauses.
_READ, _UNREAD = 32 * 1024, 32 * 1024
#: Bytes beside the body up to which nothing is looked at more closely.
_USUAL = 2 * 1024
#: Bytes of framing that a byte of a body may bring; a chunk of one byte has five.
_FRAMING = 8
#: Parts of bodies that are usual in what is read at once.
_MANY_PARTS = 64
#: Unsent bytes beyond which a connection counts as one whose peer does not read.
_UNSENT = 16 * 1024
#: So long is read what a peer still sends after a refusal. A connection that is closed earlier is reset, and the
#: refusal is lost.
_LINGER_SECONDS = 2.0


class _Refusal(Exception):
    """A request that no application sees."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


class _NotRead:
    """A transport for a request whose body has not arrived as a whole: it lingers where it would be closed."""

    __slots__ = ("_connection", "is_closing", "write")

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.write = connection.transport.write
        self.is_closing = connection.transport.is_closing

    def close(self) -> None:
        """End the connection, after what the peer is still sending if it is."""
        if self._connection.cycle.more_body:
            self._connection.linger()
        else:
            self._connection.transport.close()


class Connection(HttpToolsProtocol):
    """uvicorn's, with bounds, and mlci's words for what no application sees."""

    def __init__(self, config: Config, server_state: ServerState, patience: Patience) -> None:
        super().__init__(config, server_state, app_state={})
        self._patience = patience
        self.url = b""
        self._piece = 0  # length of what is being parsed
        self._framing = 0  # bytes of the message so far that are no body
        self._parts = 0  # of a body, in what is being parsed
        self._deaf = False  # whatever comes is dropped
        self._begun_at = self.loop.time()

    # ---- what asyncio calls ----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Bound what the transport reads and holds; make room for it where there are too many."""
        super().connection_made(transport)
        self._read_at_once(_READ)
        transport.set_write_buffer_limits(high=_UNSENT)
        self._patience.joined(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        super().connection_lost(exc)
        self._patience.left(self)

    def pause_writing(self) -> None:
        """The peer does not read."""
        super().pause_writing()
        self._patience.stalled(self)

    def resume_writing(self) -> None:
        """It has read."""
        super().resume_writing()
        self._patience.flowing(self)

    def data_received(self, data: bytes) -> None:
        """Parse what came."""
        if self._deaf:
            return
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        self._piece = size = len(data)
        self._framing += size
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._end_with(cause if isinstance(cause, _Refusal) else _Refusal(400, "SRV_HTTP", "not an HTTP request"))
            return
        except httptools.HttpParserUpgrade:
            pass  # no other protocol is spoken here: the request is answered as any other
        if self._framing > _USUAL:
            self._examine()
        if self._parts:
            if self._parts > _MANY_PARTS:
                # Tiny chunks cost much more than they bring: not many of them at once, lest other connections wait.
                self._read_at_once(_READ // 16)
            self._parts = 0
        cycle: Any = self.cycle
        if cycle is not None and cycle.more_body:
            self._await_more(cycle)

    # ---- what the parser calls -------------------------------------------------------------------------------------

    def on_headers_complete(self) -> None:
        """Hand the request to the application, unless its head is too large."""
        if self._framing > MAX_HEAD_BYTES or self._piece > MAX_HEAD_BYTES:
            self._check_head(len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers))
        elif len(self.headers) > MAX_HEADERS or len(self.url) > MAX_TARGET_BYTES:
            self._check_head(0)
        if len(self.pipeline) >= MAX_PIPELINED:
            raise _Refusal(429, "SRV_BUSY", f"more than {MAX_PIPELINED} requests wait on one connection")
        super().on_headers_complete()
        self._framing = 0
        self.headers = []  # where the trailers go: they are no headers of the request

    def on_body(self, body: bytes) -> None:
        """Keep a piece of the body for the application."""
        self._parts += 1
        framing = self._framing - _FRAMING * len(body)
        self._framing = max(0, framing)
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > _UNREAD:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        """Tell the application that the body is complete."""
        self._framing = 0
        if self.headers:
            self.headers = []
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.more_body = False
        cycle.message_event.set()

    # ---- bounds ----------------------------------------------------------------------------------------------------

    def _check_head(self, size: int) -> None:
        if len(self.url) > MAX_TARGET_BYTES:
            raise _Refusal(414, "SRV_URI_TOO_LONG", f"a request target may have {MAX_TARGET_BYTES} bytes")
        headers: Any = self.headers  # None before the first request
        if headers is not None and len(headers) > MAX_HEADERS:
            raise _Refusal(431, "SRV_HEADERS_TOO_LARGE", f"a request may have {MAX_HEADERS} headers")
        if size > MAX_HEAD_BYTES:
            raise _Refusal(431, "SRV_HEADERS_TOO_LARGE", f"request line and headers may have {MAX_HEAD_BYTES} bytes")

    def _examine(self) -> None:
        """Look at a message that has brought more than the usual number of bytes beside its body, and is not over."""
        cycle: Any = self.cycle
        try:
            if cycle is None or cycle.scope is not self.scope:
                self._check_head(self._framing)
            elif self._framing > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADERS:
                raise _Refusal(431, "SRV_HEADERS_TOO_LARGE", "too many trailers or chunk extensions")
        except _Refusal as refusal:
            self._end_with(refusal)

    def _await_more(self, cycle: Any) -> None:
        """The body has not arrived as a whole yet."""
        if cycle.transport is self.transport:
            cycle.transport = _NotRead(self)
        if len(self.headers) > MAX_HEADERS and cycle.scope is self.scope:
            self._end_with(_Refusal(431, "SRV_HEADERS_TOO_LARGE", "too many trailers"))

    def _end_with(self, refusal: _Refusal) -> None:
        """Refuse what came last; requests before it get their answers first."""
        if self.pipeline and self.pipeline[0][0].more_body:
            self.pipeline.popleft()
        last: Any = self.pipeline[0][0] if self.pipeline else self.cycle
        if last is not None and not last.more_body and not last.response_complete:
            self._deaf, last.keep_alive = True, False
        elif last is not None and last.more_body and last.response_started:
            self.transport.close()
        else:
            self.refuse(refusal.status, refusal.code, refusal.detail)

    def _read_at_once(self, size: int) -> None:
        transport: Any = self.transport
        if hasattr(transport, "max_size"):  # asyncio's; without it, pieces are larger
            transport.max_size = size

    # ---- ends ------------------------------------------------------------------------------------------------------

    def refuse(self, status: int, code: str, detail: str, at_once: bool = False) -> None:
        """Send a problem document (RFC 9457) and end the connection; `at_once`: without waiting for the peer."""
        cycle: Any = self.cycle
        if cycle is not None and not cycle.response_complete:  # its application need not answer any more
            cycle.disconnected = True
            cycle.message_event.set()
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
        body = orjson.dumps(problem)
        again = "retry-after: 1\r\n" if status in (429, 503) else ""
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
            f"{again}connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        if at_once:
            self.transport.close()
        else:
            self.linger()

    def linger(self) -> None:
        """End the connection once the peer has read the answer, or after a moment."""
        self._deaf = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self.loop.call_later(_LINGER_SECONDS, self.transport.abort)

    # ---- what Patience asks ----------------------------------------------------------------------------------------

    @property
    def awaits_head(self) -> bool:
        """Whether the next request's head is still to come, or half there. After an answer, uvicorn's own timer runs
        until something comes."""
        cycle: Any = self.cycle  # None before the first request
        answered = cycle is None or cycle.response_complete
        return answered and self.timeout_keep_alive_task is None and not self._deaf

    @property
    def begun(self) -> bool:
        """Whether anything of a request has come yet, on a connection that was answered nothing so far."""
        headers: Any = self.headers
        return headers is not None

    @property
    def is_closing(self) -> bool:
        """Whether it ends once what is unsent has been read."""
        return self.transport.is_closing()

    @property
    def unsent(self) -> int:
        """Bytes that wait for the peer to read."""
        return self.transport.get_write_buffer_size()

    @property
    def waits_since(self) -> float | None:
        """Since when, on the loop's clock, it waits for its peer; None while a request is being answered."""
        cycle: Any = self.cycle
        if not (cycle is None or cycle.response_complete or cycle.more_body or self.flow.write_paused):
            return None
        timer = self.timeout_keep_alive_task
        return self._begun_at if timer is None else timer.when() - self.timeout_keep_alive

    def abort(self) -> None:
        """End it at once."""
        self.transport.abort()
