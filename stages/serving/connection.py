"""Connections of a service: what is no HTTP gets a problem document as everything else does, and nobody holds a
connection for ever by never ending its headers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any

import orjson
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

#: How many looks at all connections a deadline is cut into.
_LOOKS = 10


class Connection(HttpToolsProtocol):
    """uvicorn's, with mlci's words for what no application sees."""

    def send_400_response(self, msg: str) -> None:
        """The answer to what cannot be parsed; then the connection ends."""
        self.refuse(400, "SRV_HTTP", "this is no HTTP request")

    def refuse(self, status: int, code: str, detail: str) -> None:
        """Send a problem document (RFC 9457) and end the connection."""
        title = HTTPStatus(status).phrase
        problem = {"type": "about:blank", "title": title, "status": status, "code": code, "detail": detail}
        body = orjson.dumps(problem)
        head = (
            f"HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\ncontent-length: {len(body)}\r\n"
            "connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    @property
    def awaits_head(self) -> bool:
        """Whether the next request's head is still to come, or half there. After an answer, uvicorn's own timer runs
        until something comes."""
        cycle: Any = self.cycle  # None before the first request
        answered = cycle is None or cycle.response_complete
        return answered and self.timeout_keep_alive_task is None and not self.transport.is_closing()

    @property
    def begun(self) -> bool:
        """Whether anything of a request has come yet, on a connection that was answered nothing so far."""
        headers: Any = self.headers
        return headers is not None


class Patience:
    """Ends connections of `all_of_them` on which the head of a request does not arrive within `seconds`.

    All are looked at from time to time, so that a request that arrives whole costs nothing.
    """

    def __init__(self, all_of_them: Iterable[asyncio.Protocol], seconds: float) -> None:
        self._all = all_of_them
        self._seconds = seconds
        self._since: dict[Connection, tuple[object, float]] = {}
        self._next: asyncio.TimerHandle | None = None

    def look(self) -> None:
        """Look now, and again every tenth of the time."""
        loop = asyncio.get_running_loop()
        now, since = loop.time(), self._since
        waiting = [c for c in self._all if isinstance(c, Connection) and c.awaits_head]
        # A connection that has answered another request meanwhile waits anew.
        self._since = {c: since[c] if c in since and since[c][0] is c.cycle else (c.cycle, now) for c in waiting}
        for connection, (_, begin) in self._since.items():
            if now - begin >= self._seconds:
                if connection.begun:
                    connection.refuse(408, "SRV_SLOW_HEAD", f"the headers did not arrive within {self._seconds:g} s")
                else:
                    connection.transport.close()
        self._next = loop.call_later(self._seconds / _LOOKS, self.look)

    def end(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()
