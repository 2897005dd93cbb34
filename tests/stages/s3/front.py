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
    `cut`: of an answer's body only a half is passed on, while it says so. `seen`: method and path of all requests."""

    endpoint: str = ""
    strip: frozenset[str] = frozenset()
    answer: Callable[[str, str], tuple[int, str] | None] = lambda *_: None
    lose: Callable[[str, str], bool] = lambda *_: False
    cut: Callable[[str, str], bool] = lambda *_: False
    seen: list[tuple[str, str]] = field(default_factory=list)


def once(method: str, part: str) -> Callable[[str, str], bool]:
    """True for the first request with this method whose path holds `part`."""
    left = [True]

    def asked(asked_method: str, path: str) -> bool:
        if left and asked_method == method and part in path:
            left.clear()
            return True
        return False

    return asked


@contextmanager
def fronted(upstream: str) -> Iterator[Front]:
    """A front of the server at `upstream`."""
    front = Front()
    host = urlsplit(upstream).netloc

    class Handler(http.server.BaseHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

        def pass_on(self) -> None:
            front.seen.append((self.command, self.path))
            if self.headers.get("Expect"):
                self.send_response_only(100)
                self.end_headers()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            said = front.answer(self.command, self.path)
            if said is not None:
                text = f"<Error><Code>{said[1]}</Code><Message>no</Message></Error>".encode()
                self.respond(said[0], {"Content-Type": "application/xml"}, text, len(text))
                return
            status, headers, content = self.ask(body)
            if front.lose(self.command, self.path):
                return
            kept = content[: len(content) // 2] if front.cut(self.command, self.path) else content
            self.respond(status, headers, kept, len(content))

        do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = pass_on

        def ask(self, body: bytes) -> tuple[int, Mapping[str, str], bytes]:
            connection = http.client.HTTPConnection(host, timeout=30)
            kept = {n: v for n, v in self.headers.items() if n.lower() not in front.strip | {"expect"}}
            connection.request(self.command, self.path, body, kept)
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

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    front.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield front
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
