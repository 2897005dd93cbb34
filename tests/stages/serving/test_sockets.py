"""Two processes on one port: who gets the connections."""

from __future__ import annotations

import contextlib
import select
import socket
import threading
import time

import pytest

from stages.errors import InfraError
from stages.serving import sockets


@pytest.fixture
def port() -> int:
    """A port that is free now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def accepted(listener: socket.socket) -> int:
    count = 0
    while True:
        try:
            listener.accept()[0].close()
        except BlockingIOError:
            return count
        count += 1


def test_the_newest_of_a_group_gets_every_connection(port: int) -> None:
    opened: list[socket.socket] = []
    with sockets.public("127.0.0.1", port, join=False) as first, sockets.public("127.0.0.1", port, join=True) as second:
        try:
            opened += [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
            assert (accepted(first), accepted(second)) == (0, 50)
            with sockets.public("127.0.0.1", port, join=True) as third:
                opened += [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
                assert (accepted(first), accepted(second), accepted(third)) == (0, 0, 50)
            first.close()
            opened += [socket.create_connection(("127.0.0.1", port)) for _ in range(50)]
            assert accepted(second) == 50, "whoever is left gets them"
        finally:
            for connection in opened:
                connection.close()


@pytest.mark.parametrize("join", [False, True])
def test_a_port_of_another_program_is_refused_and_named(join: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as foreign:
        number = foreign.getsockname()[1]
        with pytest.raises(InfraError) as refused:
            sockets.public("127.0.0.1", number, join=join)
    assert refused.value.code == "DEP_PORT_IN_USE"
    assert f"port {number} " in refused.value.what
    assert "process" in refused.value.what
    assert "pytest" in refused.value.what


def test_a_second_service_of_the_same_user_cannot_creep_in(port: int) -> None:
    with sockets.public("127.0.0.1", port, join=False), pytest.raises(InfraError) as refused:
        sockets.public("127.0.0.1", port, join=False)
    assert refused.value.code == "DEP_PORT_IN_USE"


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(InfraError) as refused:
        sockets.public("192.0.2.1", 8080, join=False)
    assert refused.value.code == "DEP_PORT"


def replacements(port: int, steered: bool, rounds: int = 15) -> tuple[int, list[str]]:
    """Replace a listener again and again under load; connections made, and those that failed."""
    made: list[int] = []
    failed: list[str] = []
    over = threading.Event()

    def call() -> None:
        while not over.is_set():
            made.append(1)
            try:
                with socket.create_connection(("127.0.0.1", port), 10) as connection:
                    connection.sendall(b"hi")
                    if connection.recv(2) != b"ok":
                        failed.append("closed")
            except OSError as error:
                failed.append(repr(error))

    with contextlib.ExitStack() as at_the_end:
        now = Accepting(sockets.public("127.0.0.1", port, join=False))
        at_the_end.callback(lambda: now.close())
        callers = [threading.Thread(target=call) for _ in range(4)]
        for caller in callers:
            caller.start()
        for _ in range(rounds):
            old, before = now, len(made)
            if steered:
                now = Accepting(sockets.public("127.0.0.1", port, join=True))
            else:
                spread = sockets._bound("127.0.0.1", port, share=True)
                spread.listen(100)
                now = Accepting(spread)
            while len(made) < before + 40:
                time.sleep(0.001)
            old.close()
        over.set()
        for caller in callers:
            caller.join()
    return len(made), failed


class Accepting:
    """A listener that answers each connection, in a thread."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._answer)
        self._thread.start()

    def _answer(self) -> None:
        while not self._over.is_set():
            if select.select([self._listener], [], [], 0.001)[0]:
                with contextlib.suppress(OSError), self._listener.accept()[0] as connection:
                    connection.setblocking(True)
                    connection.recv(2)
                    connection.sendall(b"ok")

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._listener.close()


def test_no_connection_is_lost_in_a_hand_over(port: int) -> None:
    """The control run, in which the kernel spreads connections over both sockets, loses some."""
    connections, failed = replacements(port, steered=True)
    assert connections > 500
    assert failed == []
    assert replacements(port, steered=False)[1]


def test_what_another_program_is_called_does_not_reach_a_terminal_as_it_is() -> None:
    said = sockets._who(["python", "--identity", "m:x\x1b[31m:y\r"]) + sockets._who(["a\x1b[2J\n", "\x9b"])
    assert said.isprintable()
