"""Two processes on one port: who gets the connections."""

from __future__ import annotations

import socket

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
