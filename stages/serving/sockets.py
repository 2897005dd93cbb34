"""Listening sockets that two processes may hold at once, so that one can take over from the other.

Both set SO_REUSEPORT. New connections are steered to the newer socket (a one-instruction BPF program on the group),
so that nothing waits in the older one's queue when that is closed: the kernel would reset it.
`docs/decisions/0022-so-reuseport-hand-over.md`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import socket
from pathlib import Path

from stages.errors import InfraError
from stages.escaping import on_one_line

_SO_ATTACH_REUSEPORT_CBPF = 51
_BPF_RETURN = 0x06
_LISTENING = "0A"
_BACKLOG = 2048


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("jt", ctypes.c_uint8), ("jf", ctypes.c_uint8), ("k", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("filter", ctypes.POINTER(_Instruction)))


def private() -> socket.socket:
    """A socket on an ephemeral port of this machine's loopback, for the proof."""
    return _bound("127.0.0.1", 0, share=False)


def public(host: str, port: int, join: bool) -> socket.socket:
    """A listening socket on `host`:`port`.

    `join`: an older process of the same service still listens there, and connections go to this one from now on.
    Otherwise nobody else may.

    Raises:
        InfraError: DEP_PORT_IN_USE: another program has the port; DEP_PORT: the address cannot be used at all.
    """
    try:
        if not join:
            # With SO_REUSEPORT a second service of the same user would silently get half of the connections.
            _bound(host, port, share=False).close()
        taken = _bound(host, port, share=True)
        taken.listen(_BACKLOG)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise InfraError(
                "DEP_PORT_IN_USE",
                f"port {port} of {host} is taken by {holder(port) or 'another program'}",
                "end that program, or give the environment another port",
            ) from error
        raise InfraError(
            "DEP_PORT",
            f"cannot listen on {host}:{port}: {error.strerror or error}",
            "correct host and port of the environment; ports below 1024 need privileges",
        ) from error
    if join:
        _steer_here(taken)
    return taken


def _bound(host: str, port: int, share: bool) -> socket.socket:
    family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if share:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    made.setblocking(False)
    return made


def _steer_here(newest: socket.socket) -> None:
    """Send all new connections of the group to its newest member. Where the kernel cannot, they are spread by
    hash."""
    _steer(newest, _group(newest) - 1)


def steer_back(newest: socket.socket) -> None:
    """Send all new connections of the group to the member before its newest, which is about to be closed."""
    if _group(newest) > 1:
        _steer(newest, _group(newest) - 2)


def _group(member: socket.socket) -> int:
    """How many sockets listen on a socket's address."""
    inode = str(os.fstat(member.fileno()).st_ino)
    listening = _listening()
    here = [address for address, _, its_inode in listening if its_inode == inode]
    return sum(address in here for address, _, _ in listening)


def _steer(member: socket.socket, index: int) -> None:
    # The program answers with the index of a socket, in the order in which they began to listen. When older ones
    # are gone the index
    # may point behind the end; then the kernel falls back to its hash over what is left.
    instruction = _Instruction(_BPF_RETURN, 0, 0, max(index, 0))
    program = _Program(1, ctypes.pointer(instruction))
    with contextlib.suppress(OSError):
        member.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_REUSEPORT_CBPF, bytes(program))


def _listening() -> list[tuple[str, int, str]]:
    """Address with port as the kernel writes it, port, and inode of every listening TCP socket."""
    found = []
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            lines = Path(table).read_text().splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            parts = line.split()
            if parts[3] == _LISTENING:
                found.append((parts[1], int(parts[1].rpartition(":")[2], 16), parts[9]))
    return found


def _who(words: list[str]) -> str:
    """A program in words; a service of ours by its model and environment."""
    if "--identity" in words[:-1]:
        _, name, env, *_ = [*words[words.index("--identity") + 1].split(":"), "", "", ""]
        return on_one_line(f"mlci's model {name}, environment {env}: mlci stop ends it")
    return on_one_line(" ".join(words)[:80])


def holder(port: int) -> str | None:
    """Who listens on a port, in words, as far as this user may know."""
    inodes = {f"socket:[{inode}]" for _, its_port, inode in _listening() if its_port == port}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(descriptor.readlink()) in inodes for descriptor in (process / "fd").iterdir()):
                words = (process / "cmdline").read_bytes().decode(errors="replace").strip("\0").split("\0")
                return f"process {process.name} ({_who(words)})"
        except OSError:
            continue
    return None
