"""Other users of the machine: user ids that nobody has here. Only root can be them."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable

import pytest

MALLORY, OTHER = 54321, 54322


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: other users need root, as CI has it")


def as_user(uid: int, function: Callable[[], str]) -> str:
    """What `function` returns in a process of that user; an error fails the test."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(reading)
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            os.write(writing, function().encode())
            os._exit(0)
        except BaseException:  # noqa: BLE001  a child must never return into pytest
            traceback.print_exc()
            os._exit(1)
    os.close(writing)
    with open(reading, "rb") as stream:  # noqa: PTH123  a descriptor
        told = stream.read().decode()
    assert os.waitpid(child, 0)[1] == 0
    return told
