"""What one caller can make the service hold: heads, pipelines, connections, answers that nobody reads."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.serving.connection import MAX_HEAD_BYTES, MAX_HEADERS, MAX_PIPELINED, MAX_TARGET_BYTES
from stages.serving.patience import Patience

ROOT = Path(__file__).resolve().parents[3]
MOST = 12
GET = b"GET /livez HTTP/1.1\r\nHost: x\r\n"
CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nX-API-Key: k\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture(scope="module")
def port(model_folder: Path) -> Iterator[int]:
    """A whole service process that asks for a key and takes few connections."""
    words = [sys.executable, "-m", "stages.serving", "--folder", str(model_folder), "--port", "0"]
    limits = {"MLCI_SERVE_MAX_CONNECTIONS": str(MOST), "MLCI_API_KEY": "k"}
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **limits}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        serving = re.search(r"http://127\.0\.0\.1:(\d+)", service.stderr.readline())
        assert serving is not None
        yield int(serving.group(1))
        service.terminate()
        assert service.stderr.read().splitlines()[1:] == [], "what callers do wrong is not logged"


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), 20)


def until_end(connection: socket.socket) -> bytes:
    content = b""
    while more := connection.recv(65536):
        content += more
    return content


def headers(number: int) -> bytes:
    return b"".join(b"a%d: b\r\n" % i for i in range(number))


@pytest.mark.parametrize(
    ("request_", "status", "code"),
    [
        (GET + b"X: " + b"x" * MAX_HEAD_BYTES + b"\r\n\r\n", 431, "SRV_HEADERS_TOO_LARGE"),
        (GET + b"X: " + b"x" * MAX_HEAD_BYTES, 431, "SRV_HEADERS_TOO_LARGE"),
        (GET + b"x" * MAX_HEAD_BYTES, 431, "SRV_HEADERS_TOO_LARGE"),
        (GET + headers(MAX_HEADERS) + b"\r\n", 431, "SRV_HEADERS_TOO_LARGE"),
        (GET + headers(1000), 431, "SRV_HEADERS_TOO_LARGE"),
        (b"\r\n" * MAX_HEAD_BYTES, 431, "SRV_HEADERS_TOO_LARGE"),
        (b"GET /" + b"x" * MAX_TARGET_BYTES + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "SRV_URI_TOO_LONG"),
        (b"GET /livez?" + b"x" * MAX_HEAD_BYTES, 414, "SRV_URI_TOO_LONG"),
        (CHUNKED + b"0\r\n" + headers(2000), 431, "SRV_HEADERS_TOO_LARGE"),
        (CHUNKED + b"0\r\nX: " + b"x" * 5 * MAX_HEAD_BYTES, 431, "SRV_HEADERS_TOO_LARGE"),
        (CHUNKED + b"1;" + b"x" * 5 * MAX_HEAD_BYTES, 431, "SRV_HEADERS_TOO_LARGE"),
    ],
)
def test_what_is_too_large_is_refused_before_it_is_whole(port: int, request_: bytes, status: int, code: str) -> None:
    with connect(port) as connection:
        connection.sendall(request_)
        head, _, body = until_end(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert json.loads(body)["code"] == code


@pytest.mark.parametrize(
    "request_",
    [
        GET + b"X: " + b"x" * (MAX_HEAD_BYTES - 200) + b"\r\n\r\n",
        GET + headers(MAX_HEADERS - 1) + b"\r\n",
        b"GET /livez?" + b"x" * (MAX_TARGET_BYTES - 20) + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\r\n\r\n" + GET + b"\r\n",
    ],
)
def test_what_is_just_not_too_large_is_answered(port: int, request_: bytes) -> None:
    with connect(port) as connection:
        connection.sendall(request_)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_chunks_of_one_byte_are_a_body(port: int) -> None:
    with connect(port) as connection:
        body = b"".join(b"1\r\n%c\r\n" % byte for byte in b'{"rows": []}' + b" " * 5000)
        connection.sendall(CHUNKED + body + b"0\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")


def test_a_trailer_is_no_header(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(CHUNKED.replace(b"X-API-Key: k\r\n", b"") + b"2\r\n{}\r\n0\r\nX-API-Key: k\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")


def test_without_a_key_no_body_is_waited_for_and_the_refusal_arrives(port: int) -> None:
    head = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\n\r\n"
    with connect(port) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 401 ")
    with connect(port) as connection:
        connection.sendall(head + b" " * 3_000_000)
        assert until_end(connection).startswith(b"HTTP/1.1 401 "), "it is not lost in a reset"


def test_a_pipeline_is_answered_as_far_as_it_may_go(port: int) -> None:
    with connect(port) as connection:
        connection.sendall((GET + b"\r\n") * 200)
        answers = until_end(connection).split(b"HTTP/1.1 ")[1:]
    assert len(answers) == MAX_PIPELINED + 1
    assert all(answer.startswith(b"200 ") for answer in answers)
    assert b"connection: close" in answers[-1]


def test_an_error_behind_a_good_request_does_not_take_its_answer(port: int) -> None:
    with connect(port) as connection:
        connection.sendall(GET + b"\r\n" + b"\x16\x03\x01\r\n\r\n")
        assert until_end(connection).startswith(b"HTTP/1.1 200 ")


def test_new_connections_take_the_place_of_idle_ones(port: int) -> None:
    idle = [connect(port) for _ in range(3 * MOST)]
    with connect(port) as connection:
        connection.sendall(GET + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    for ended in idle[:MOST]:
        assert ended.recv(1) == b""
    for one in idle:
        one.close()


class Peer:
    """A connection as Patience sees it."""

    def __init__(self, waits_since: float | None = 0.0, unsent: int = 0) -> None:
        self.waits_since, self.unsent = waits_since, unsent
        self.cycle: object = None
        self.awaits_head = self.begun = self.is_closing = False
        self.refused: list[int] = []
        self.aborted = False

    def refuse(self, status: int, code: str, detail: str, at_once: bool = False) -> None:
        self.refused.append(status)

    def abort(self) -> None:
        self.aborted = True


def in_loop(work: Callable[[], Any]) -> None:
    async def run() -> None:
        work()

    asyncio.run(run())


def test_those_that_wait_longest_make_room_and_busy_ones_never() -> None:
    patience = Patience(30, 3)
    peers = [Peer(None), Peer(5.0), Peer(2.0), Peer(9.0), Peer(None), Peer(None)]
    for peer in peers:
        patience.joined(peer)
    assert [peer.aborted for peer in peers] == [False, True, True, True, False, False]
    assert all(peer.refused == [] for peer in peers)
    last = Peer()
    patience.joined(last)
    assert (last.refused, len(patience)) == ([503], 3)


def test_answers_that_nobody_reads_are_bounded_in_bytes() -> None:
    def work() -> None:
        patience = Patience(30, 99, max_unsent=100)
        peers = [Peer(unsent=40) for _ in range(4)]
        for peer in peers:
            patience.joined(peer)
            patience.stalled(peer)
        assert [peer.aborted for peer in peers] == [True, True, False, False]
        patience.stalled(huge := Peer(unsent=500))
        assert not huge.aborted, "an answer that is longer than all may be is given, alone"
        assert [peer.aborted for peer in peers] == [True] * 4

    in_loop(work)


def test_a_peer_that_reads_nothing_is_not_waited_for() -> None:
    def work() -> None:
        patience = Patience(0.0, 99)
        slow, dead, quick = Peer(unsent=400), Peer(unsent=400), Peer(unsent=400)
        for peer in (slow, dead, quick):
            patience.joined(peer)
            patience.stalled(peer)
        patience.flowing(quick)
        slow.unsent = 300
        patience.look()
        patience.end()
        assert [peer.aborted for peer in (slow, dead, quick)] == [False, True, False]

    in_loop(work)
