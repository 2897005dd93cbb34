"""Memory of a service and the latency of its `/livez` under one client that does its worst.

    python benchmarks/hostile_client.py [--seconds 10] [--mixed 60] [--attack NAME ...] [--tree FOLDER]

A model of flight-like rows is trained here and served twice on 127.0.0.1, with an API key. One of the services is
attacked, in one way after another and then in all ways at once; the other one is idle. Both are asked for `/livez` on a
new connection every 20 ms: what the idle one needs is what the machine and the attacker's own use of it cost. Growth is
the largest resident set of the attacked service during an attack, less the one after ordinary requests. Every attack
ends after its seconds; none leaves this machine. `--tree` serves another checkout, for comparison.

The last line is one JSON object: the largest growth against 64 MB, the 99th percentile of `/livez` against 50 ms, and
that against the idle service's.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import platform
import random
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path

import serving  # type: ignore[import-not-found]

KEY = "only-for-this-benchmark"
MOST_MB, MOST_MS = 64, 50
_ROOT = Path(__file__).resolve().parent.parent
_PROBE_SECONDS = 0.02

Attack = Callable[["Client"], None]


class Client:
    """What an attack has: where to connect, until when, and rows that the service takes."""

    def __init__(self, port: int, seconds: float, rows: list[dict[str, object]]) -> None:
        self.port = port
        self.end = time.monotonic() + seconds
        self.rows = rows

    @property
    def left(self) -> bool:
        """Whether there is time left."""
        return time.monotonic() < self.end

    @contextlib.contextmanager
    def connection(self) -> Iterator[socket.socket]:
        """A connection; a service that ends it is no error."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as connection:
            yield connection

    def head(self, *headers: str, key: bool = True, path: str = "/predict", method: str = "POST") -> bytes:
        """A request's head without its last line."""
        lines = [f"{method} {path} HTTP/1.1", "Host: x", *headers]
        return "\r\n".join([*lines, *([f"X-API-Key: {KEY}"] if key else []), ""]).encode()

    def post(self, body: bytes, key: bool = True) -> bytes:
        """A whole request."""
        return self.head("Content-Type: application/json", f"Content-Length: {len(body)}", key=key) + b"\r\n" + body

    def send_for_ever(self, first: bytes, again: bytes) -> None:
        """Send `first`, then `again` for as long as anybody takes it; then the same anew."""
        while self.left:
            with self.connection() as connection:
                connection.sendall(first)
                while self.left:
                    connection.sendall(again)

    def ask_for_ever(self, request: bytes) -> None:
        """Send `request` and read what comes, again and again."""
        while self.left:
            with self.connection() as connection:
                connection.sendall(request)
                while connection.recv(65536) and self.left:
                    pass

    def hold(self, number: int, first: bytes, more: bytes = b"") -> None:
        """Hold `number` connections on which `first` was sent, and send `more` from time to time; reopen what ends."""
        held: list[socket.socket] = []
        while self.left:
            for connection in list(held):
                try:
                    connection.send(more)
                except BlockingIOError:
                    continue
                except OSError:
                    held.remove(connection)
                    connection.close()
            for _ in range(min(50, number - len(held))):
                with contextlib.suppress(OSError):
                    connection = socket.create_connection(("127.0.0.1", self.port), 5)
                    held.append(connection)
                    connection.setblocking(False)
                    connection.send(first)
            time.sleep(0.02 if len(held) < number else 0.2)
        for connection in held:
            connection.close()

    def many(self, number: int, work: Callable[[], None]) -> None:
        """Do the same `number` times at once."""
        threads = [threading.Thread(target=work, daemon=True) for _ in range(number)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, self.end - time.monotonic()) + 10)


def long_header(client: Client) -> None:
    """A header that does not end, without a key."""
    client.send_for_ever(client.head(key=False) + b"X-Long: ", b"x" * 65536)


def many_headers(client: Client) -> None:
    """Headers that do not end, without a key."""
    client.send_for_ever(client.head(key=False), b"a:b\r\n" * 8192)


def long_target(client: Client) -> None:
    """A request target that does not end."""
    client.send_for_ever(b"GET /", b"x" * 65536)


def empty_rows(client: Client) -> None:
    """A million empty rows, and fewer of them in short bodies."""
    million = client.post(b'{"rows":[' + b"{}," * 999_999 + b"{}]}")
    short = client.post(b'{"rows":[' + b"{}," * 9_998 + b"{}]}")
    client.many(4, lambda: client.ask_for_ever(random.choice([million, short])))


def large_bodies(client: Client) -> None:
    """Thirty bodies of 16 MB at once."""
    row = json.dumps({**client.rows[0], "note": "x" * 12_000})
    request = client.post(('{"rows":[' + ",".join([row] * 1_300) + "]}").encode())
    client.many(30, lambda: client.ask_for_ever(request))


def large_text(client: Client) -> None:
    """Bodies whose text takes four bytes a character."""
    row = json.dumps({**client.rows[0], "dest": "x" * 12_000 + "\N{GRINNING FACE}"}, ensure_ascii=False)
    request = client.post(('{"rows":[' + ",".join([row] * 1_200) + "]}").encode())
    client.many(8, lambda: client.ask_for_ever(request))


def large_rows(client: Client) -> None:
    """Rows of a million values."""
    request = client.post(b'{"rows":[{"a":[' + b"[]," * 4_000_000 + b"[]]}]}")
    client.many(4, lambda: client.ask_for_ever(request))


def full_requests(client: Client) -> None:
    """As many good rows as are taken at once."""
    rows = list(itertools.islice(itertools.cycle(client.rows), 10_000))
    request = client.post(json.dumps({"rows": rows}).encode())
    client.many(8, lambda: client.ask_for_ever(request))


def deep_json(client: Client) -> None:
    """JSON nested 200,000 deep, and numbers of 5,000 digits."""
    deep = client.post(b'{"rows":[' + b"[" * 200_000 + b"]" * 200_000 + b"]}")
    digits = client.post(b'{"rows":[{"dep_delay":' + b"1" * 5_000 + b"}]}")
    client.many(4, lambda: client.ask_for_ever(random.choice([deep, digits])))


def tiny_chunks(client: Client) -> None:
    """Chunks of one byte, chunk extensions and trailers that do not end."""
    first = client.head("Content-Type: application/json", "Transfer-Encoding: chunked") + b"\r\n"
    forms = [(first, b"1\r\n \r\n" * 8192), (first + b"1;x=", b"y" * 65536), (first + b"0\r\n", b"a: b\r\n" * 8192)]
    client.many(24, lambda: client.send_for_ever(*random.choice(forms)))


def pipelines(client: Client) -> None:
    """Requests one behind the other, whose answers nobody reads."""
    request = client.head(path="/openapi.json", method="GET") + b"\r\n"
    client.many(16, lambda: client.send_for_ever(request, request * 200))


def slow_readers(client: Client) -> None:
    """Long answers that nobody reads."""
    rows = list(itertools.islice(itertools.cycle(client.rows), 5_000))
    request = client.post(json.dumps({"rows": rows}).encode())

    def ask() -> None:
        while client.left:
            with client.connection() as connection:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                while client.left:
                    connection.sendall(request)

    client.many(30, ask)


def slow_bodies(client: Client) -> None:
    """Bodies of which a byte comes from time to time."""
    first = client.head("Content-Type: application/json", "Content-Length: 1000000") + b"\r\n" + b" " * 60_000
    client.hold(300, first, b" ")


def half_heads(client: Client) -> None:
    """Headers that stop just below the limit."""
    client.hold(600, client.head(key=False) + b"a: b\r\n" * 90 + b"X-Long: " + b"x" * 14_000)


def idle_connections(client: Client) -> None:
    """Connections on which nothing comes."""
    client.hold(2_000, b"")


def without_key(client: Client) -> None:
    """Bodies of 16 MB without a key."""
    request = client.post(b" " * 16_000_000, key=False)
    client.many(8, lambda: client.ask_for_ever(request))


ATTACKS: dict[str, Attack] = {
    attack.__name__: attack
    for attack in (
        long_header, many_headers, long_target, empty_rows, large_bodies, large_text, large_rows, full_requests,
        deep_json, tiny_chunks, pipelines, slow_readers, slow_bodies, half_heads, idle_connections, without_key,
    )
}  # fmt: skip


# ---- measuring


class Watch(threading.Thread):
    """Asks two services for /livez in turn, and looks at the memory of the first, until it is told to end."""

    def __init__(self, attacked: serving.Server, idle: serving.Server) -> None:
        super().__init__(daemon=True)
        self._servers = (attacked, idle)
        self.times: tuple[list[float], list[float]] = ([], [])
        self.failed = 0
        self.largest = 0.0
        self.done = threading.Event()

    def run(self) -> None:
        """Ask and look."""
        while not self.done.wait(_PROBE_SECONDS):
            for server, times in zip(self._servers, self.times, strict=True):
                begun = time.perf_counter()
                if not alive(server.port):
                    self.failed += 1
                times.append((time.perf_counter() - begun) * 1000)
            self.largest = max(self.largest, resident(self._servers[0]))


def alive(port: int) -> bool:
    """Whether the service says that it is alive, asked on a new connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/livez")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def resident(server: serving.Server) -> float:
    """MB of the resident set."""
    assert server.process is not None
    text = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(text.partition("VmRSS:")[2].split()[0]) / 1024


def percentile(times: list[float], share: float) -> float:
    """The value below which a share of them lies."""
    return sorted(times)[min(len(times) - 1, int(len(times) * share))]


def measure(names: list[str], seconds: float, servers: list[serving.Server], rows: Path) -> dict[str, float]:
    """Attack the first of two services in some ways at once, each from a process of its own."""
    attacked, idle = servers
    before = resident(attacked)
    watch = Watch(attacked, idle)
    watch.start()
    words = [sys.executable, __file__, "--port", str(attacked.port), "--rows", str(rows), "--seconds", str(seconds)]
    clients = [subprocess.Popen([*words, "--attack", name], env=serving.environment()) for name in names]
    for client in clients:
        client.wait(seconds + 120)
    watch.done.set()
    watch.join(60)
    if watch.failed:
        print(f"{watch.failed} of {len(watch.times[0]) * 2} probes failed")
    figures = {
        "growth": watch.largest - before,
        "p99": percentile(watch.times[0], 0.99),
        "max": max(watch.times[0]),
        "idle_p99": percentile(watch.times[1], 0.99),
    }
    label = names[0] if len(names) == 1 else f"all {len(names)} at once"
    shown = "{growth:>9.0f}{p99:>14.1f}{max:>10.1f}{idle_p99:>15.1f}".format(**figures)
    print(f"{label:18}{shown}", flush=True)
    return figures


def trained(folder: Path) -> Path:
    """Train with mlci; write some rows that the model takes. Returns the model's folder."""
    import gzip

    text, rows = serving.flights(20_000)
    (folder / "flights.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (folder / "ml.yaml").write_text(serving.CONFIG)
    for stage in ("prepare", "train"):
        serving.run([serving.PYTHON, "-m", "stages", stage, "-C", folder], cwd=_ROOT)
    model = folder / ".mlci" / "train"
    shutil.copy(folder / ".mlci" / "prepare" / "schema.json", model)
    (folder / "rows.json").write_text(json.dumps(rows))
    return model


def main() -> None:
    """Measure, print the table, end with one JSON object. With `--port`: be the attacker."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--seconds", type=float, default=10.0, help="of each attack alone")
    parser.add_argument("--mixed", type=float, default=60.0, help="seconds of all attacks at once")
    parser.add_argument("--attack", action="append", choices=list(ATTACKS), help="only these")
    parser.add_argument("--tree", type=Path, default=_ROOT, help="checkout whose service is attacked")
    parser.add_argument("--port", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--rows", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.port:
        rows = json.loads(options.rows.read_text())
        ATTACKS[options.attack[0]](Client(options.port, options.seconds, rows))
        return
    names = options.attack or list(ATTACKS)
    with tempfile.TemporaryDirectory(prefix="mlci-bench-") as name:
        folder = Path(name)
        model = trained(folder)
        environment = {"PYTHONPATH": str(options.tree), "MLCI_API_KEY": KEY}
        command = [sys.executable, "-m", "stages.serving", "--port", "PORT", "--folder", str(model)]
        rows = json.loads((folder / "rows.json").read_text())
        bodies = {n: json.dumps({"rows": rows[:n]}).encode() for n in (1, 100)}
        servers = [serving.Server(f"service {i}", command, "/predict", bodies, environment) for i in (1, 2)]
        print(f"{'':18}{'growth, MB':>9}{'/livez p99, ms':>15}{'max':>8}{'idle p99':>15}")
        found = []
        try:
            for server in servers:
                server.headers = {"X-API-Key": KEY}
                server.start(folder)
                server.ask(100)
            found = [measure([one], options.seconds, servers, folder / "rows.json") for one in names]
            if options.mixed:
                found.append(measure(names, options.mixed, servers, folder / "rows.json"))
        finally:
            for server in servers:
                server.stop()
    growth, p99 = (max(figures[key] for figures in found) for key in ("growth", "p99"))
    ratios = {
        "growth_vs_64mb": round(growth / MOST_MB, 3),
        "livez_p99_vs_50ms": round(p99 / MOST_MS, 3),
        "livez_p99_vs_idle": round(max(one["p99"] / one["idle_p99"] for one in found), 3),
    }
    versions = {package: version(package) for package in ("mlci", "onnxruntime", "uvicorn", "httptools", "orjson")}
    versions["python"] = platform.python_version()
    print("\n" + json.dumps({"name": "hostile_client", "ratios": ratios, "versions": versions}))


if __name__ == "__main__":
    main()
