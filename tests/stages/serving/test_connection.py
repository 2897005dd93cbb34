"""What comes before a request is one: bytes that are no HTTP, headers that never end."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def port(model_folder: Path) -> Iterator[int]:
    """A whole service process whose deadline is short."""
    words = [sys.executable, "-m", "stages.serving", "--folder", str(model_folder), "--port", "0"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MLCI_SERVE_DEADLINE_SECONDS": "0.5"}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as service:
        assert service.stderr is not None
        serving = re.search(r"http://127\.0\.0\.1:(\d+)", service.stderr.readline())
        assert serving is not None
        yield int(serving.group(1))
        service.terminate()
        assert service.stderr.read().splitlines()[1:] == [], "nothing but the end is logged"


def said(connection: socket.socket) -> tuple[bytes, Any]:
    """Everything until the service ends the connection: the head, and the decoded body."""
    content = b""
    while more := connection.recv(65536):
        content += more
    head, _, body = content.partition(b"\r\n\r\n")
    return head, json.loads(body) if body else None


def alive(connection: socket.socket) -> None:
    """Ask something, and take the whole answer."""
    connection.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
    content = b""
    while b"}" not in content:
        content += connection.recv(65536)
    assert content.startswith(b"HTTP/1.1 200 ")


def test_each_gets_its_answer_and_the_service_goes_on(port: int) -> None:
    def connection() -> socket.socket:
        return socket.create_connection(("127.0.0.1", port), 10)

    with connection() as garbled:
        garbled.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
        head, problem = said(garbled)
        assert head.startswith(b"HTTP/1.1 400 ")
        assert b"application/problem+json" in head
        assert (problem["status"], problem["code"]) == (400, "SRV_HTTP")
    with connection() as endless, connection() as silent:
        endless.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Later: ")
        head, problem = said(endless)
        assert head.startswith(b"HTTP/1.1 408 ")
        assert (problem["status"], problem["code"]) == (408, "SRV_SLOW_HEAD")
        assert said(silent) == (b"", None)
    with connection() as second:
        alive(second)
        second.sendall(b"GET /livez HTTP")
        assert said(second)[1]["code"] == "SRV_SLOW_HEAD"
    with connection() as idle:
        alive(idle)
        idle.settimeout(1.5)  # a kept connection may be silent for longer than a head may take
        with pytest.raises(TimeoutError):
            idle.recv(1)
