"""Runs inside an image, with the standard library alone: the health check, and the hands of whoever proves the image.

    probe.py health                       exit 0 when the service is ready
    probe.py ready SECONDS                wait until it is; prints true or false
    probe.py ask HOST PORT SECONDS TEXT…  send requests, print the answers as JSON
    probe.py facts                        print who runs here and what may be written
    probe.py serves HOST PORT VERSION SECONDS   wait until that address answers with this version
    probe.py ipvs                         print whether this kernel can balance a swarm's published ports

Reaching the service from inside needs no published port, no route to the container and no program but Python.
"""

from __future__ import annotations

import base64
import json
import os
import socket
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Sequence

#: Where a service listens inside its container.
PORT = 8080

#: A kernel takes no single argument longer than 128 KiB.
_PIECE = 100_000


def packed(requests: Sequence[tuple[str, str, str | None]]) -> list[str]:
    """Requests (method, path, body) as arguments of `ask`."""
    text = base64.b85encode(zlib.compress(json.dumps(requests).encode())).decode()
    return [text[i : i + _PIECE] for i in range(0, len(text), _PIECE)]


def _unpacked(pieces: list[str]) -> list[tuple[str, str, str | None]]:
    requests: list[tuple[str, str, str | None]] = json.loads(zlib.decompress(base64.b85decode("".join(pieces))))
    return requests


def _health() -> int:
    try:
        with socket.create_connection(("127.0.0.1", PORT), timeout=4) as connection:
            connection.sendall(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            return int(connection.recv(64).split(b" ")[1:2] != [b"200"])
    except OSError:
        return 1


def _ready(seconds: float) -> bool:
    until = time.monotonic() + seconds
    while _health() != 0:
        if time.monotonic() > until:
            return False
        time.sleep(0.02)
    return True


def _key() -> str | None:
    place = os.environ.get("MLCI_API_KEY_FILE")
    if place:
        with open(place, encoding="utf-8") as stream:  # noqa: PTH123  pathlib takes longer to import
            return stream.read().strip() or None
    return os.environ.get("MLCI_API_KEY") or None


def _answers(
    host: str, port: int, seconds: float, requests: list[tuple[str, str, str | None]]
) -> list[tuple[int, str]]:
    """`[status, body]` for each request; `[0, why]` where no HTTP answer came."""
    import http.client

    key = _key()
    answers: list[tuple[int, str]] = []
    for method, path, body in requests:
        headers = {"Connection": "close"}
        if body is not None:
            headers["Content-Type"] = "application/json"
        if key:
            headers["Authorization"] = f"Bearer {key}"
        connection = http.client.HTTPConnection(host, port, timeout=seconds)
        try:
            connection.request(method, path, None if body is None else body.encode(), headers)
            answer = connection.getresponse()
            answers.append((answer.status, answer.read().decode("utf-8", "replace")))
        except (OSError, http.client.HTTPException) as error:
            answers.append((0, f"{type(error).__name__}: {error}"))
        finally:
            connection.close()
    return answers


def _facts() -> dict[str, object]:
    """User and group ids, and which places can be written that must not be."""
    writable = []
    for place in ("/", "/opt/mlci", "/etc", "."):
        try:
            with tempfile.NamedTemporaryFile(dir=place):
                writable.append(place)
        except OSError:
            continue
    return {"uid": os.getuid(), "gid": os.getgid(), "writable": writable}


def _serves(host: str, port: int, version: str, seconds: float) -> str | None:
    """Wait for this version at that address; what came instead, None when it came."""
    until = time.monotonic() + seconds
    got = "no answer"
    while time.monotonic() < until:
        status, body = _answers(host, port, 5, [("GET", "/model", None)])[0]
        if status == 200:
            got = str(json.loads(body).get("version"))
            if got == version:
                return None
        else:
            got = f"{status} {body[:100]}"
        time.sleep(0.02)
    return got


def _ipvs() -> bool:
    """Ask the kernel's generic netlink for the family IPVS; asking loads the module where there is one."""
    name = b"IPVS\0"
    attribute = struct.pack("=HH", 4 + len(name), 2) + name.ljust(8, b"\0")
    message = struct.pack("=BBH", 3, 1, 0) + attribute
    header = struct.pack("=IHHII", 16 + len(message), 16, 1, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 16) as netlink:
        netlink.bind((0, 0))
        netlink.settimeout(5)
        netlink.send(header + message)
        kind = int(struct.unpack_from("=H", netlink.recv(4096), 4)[0])
    return kind != 2  # NLMSG_ERROR: there is no such family


def main(words: list[str]) -> int:
    """Carry out one verb. Returns the exit code."""
    verb, *rest = words or ["health"]
    if verb == "health":
        return _health()
    if verb == "ready":
        print(json.dumps(_ready(float(rest[0]))))
        return 0
    if verb == "ask":
        print(json.dumps(_answers(rest[0], int(rest[1]), float(rest[2]), _unpacked(rest[3:]))))
        return 0
    if verb == "facts":
        print(json.dumps(_facts()))
        return 0
    if verb == "serves":
        got = _serves(rest[0], int(rest[1]), rest[2], float(rest[3]))
        print(json.dumps(got))
        return 0
    if verb == "ipvs":
        print(json.dumps(_ipvs()))
        return 0
    print(f"no such verb: {verb}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
