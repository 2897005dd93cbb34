"""A server between client and S3 server that does what networks and other servers do."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Front:
    """What it does. `strip`: headers that it leaves out. `answer`: from method and path to a status and the code of an
    S3 error, instead of asking. `lose`: of a request that was carried out the answer is lost, while it says so.
    `cut`: of an answer's body only a half is passed on, while it says so. `hasty`: conditions are looked at first and
    kept to afterwards, as servers do that hold no lock meanwhile. `seen`: method and path of all requests."""

    endpoint: str = ""
    strip: frozenset[str] = frozenset()
    answer: Callable[[str, str], tuple[int, str] | None] = lambda *_: None
    lose: Callable[[str, str], bool] = lambda *_: False
    cut: Callable[[str, str], bool] = lambda *_: False
    hasty: bool = False
    seen: list[tuple[str, str]] = field(default_factory=list)
    _two: threading.Barrier = field(default_factory=lambda: threading.Barrier(2))

    def meet(self) -> None:
        """Wait for another request of the kind, not for long."""
        try:
            self._two.wait(0.3)
        except threading.BrokenBarrierError:
            self._two.reset()


MOVED = b"<Error><Code>PreconditionFailed</Code><Message>no</Message></Error>"


def once(method: str, part: str) -> Callable[[str, str], bool]:
    """True for the first request with this method whose path holds `part`."""
    left = [True]

    def asked(asked_method: str, path: str) -> bool:
        if left and asked_method == method and part in path:
            left.clear()
            return True
        return False

    return asked


class _Server(http.server.ThreadingHTTPServer):
    front: Front
    upstream: str


class _Handler(http.server.BaseHTTPRequestHandler):
    server: _Server

    @property
    def front(self) -> Front:
        return self.server.front

    def log_message(self, *_: object) -> None:
        pass

    def pass_on(self) -> None:
        self.front.seen.append((self.command, self.path))
        if self.headers.get("Expect"):
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        said = self.front.answer(self.command, self.path)
        if said is not None:
            text = f"<Error><Code>{said[1]}</Code><Message>no</Message></Error>".encode()
            self.respond(said[0], {"Content-Type": "application/xml"}, text, len(text))
            return
        if self.front.hasty and not self.holds():
            self.respond(412, {"Content-Type": "application/xml"}, MOVED, len(MOVED))
            return
        status, headers, content = self.ask(self.command, body)
        if self.front.lose(self.command, self.path):
            return
        kept = content[: len(content) // 2] if self.front.cut(self.command, self.path) else content
        self.respond(status, headers, kept, len(content))

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

    def holds(self) -> bool:
        """Whether the request's condition holds now. From then on it is no condition any more."""
        if not {"if-match", "if-none-match"} & {name.lower() for name in self.headers}:
            return True
        wanted, absent = self.headers.get("If-Match"), self.headers.get("If-None-Match")
        status, headers, _ = self.ask("HEAD", b"")
        del self.headers["If-Match"], self.headers["If-None-Match"]
        self.front.meet()
        return status == 404 if absent else headers.get("ETag") == wanted

    def ask(self, method: str, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
        connection = http.client.HTTPConnection(self.server.upstream, timeout=120)
        left_out = {
            *self.front.strip,
            "expect",
            *(["if-match", "if-none-match", "content-length"] * (method == "HEAD")),
        }
        kept = {name: value for name, value in self.headers.items() if name.lower() not in left_out}
        connection.request(method, self.path, body or None, kept)
        answer = connection.getresponse()
        content = answer.read()
        connection.close()
        return answer.status, dict(answer.getheaders()), content

    def respond(self, status: int, headers: Mapping[str, str], content: bytes, length: int) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            if name.lower() not in ("content-length", "transfer-encoding", "connection"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(length))
        self.end_headers()
        self.wfile.write(content)


@contextmanager
def fronted(upstream: str) -> Iterator[Front]:
    """A front of the server at `upstream`."""
    server = _Server(("127.0.0.1", 0), _Handler)
    server.front = front = Front(f"http://127.0.0.1:{server.server_port}")
    server.upstream = urlsplit(upstream).netloc
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
