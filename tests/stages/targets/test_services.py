"""Processes: found, told, ended; never the wrong one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.targets import services
from stages.targets.services import Process

_SLEEP = "import sys,time; print(flush=True); time.sleep(60)"


@pytest.fixture
def child() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", _SLEEP], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        yield process
        process.kill()


def named(child: subprocess.Popen[bytes], tmp_path: Path) -> Process:
    return Process(child.pid, services._start_time(child.pid) or 0, "v", tmp_path / "state.json")


def test_a_process_is_ended(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process = named(child, tmp_path)
    assert process.alive()
    process.state_file.write_text("{}")
    process.end(10)
    assert not process.alive()
    assert child.wait() == -signal.SIGTERM
    assert not process.state_file.exists()


def test_another_process_with_the_same_id_is_left_alone(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    reused = Process(child.pid, services._start_time(child.pid) - 1, "v", tmp_path / "state.json")  # type: ignore[operator]
    assert not reused.alive()
    reused.end(1)
    assert child.poll() is None


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    deaf = "import signal,time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.read(1)
        named(child, tmp_path).end(0.1)
        assert child.wait() == -signal.SIGKILL


def test_a_zombie_is_not_alive(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process = named(child, tmp_path)
    os.kill(child.pid, signal.SIGKILL)
    assert process.gone_within(10), "dead, though nobody has collected it"
    assert child.poll() == -signal.SIGKILL


def test_a_state_of_another_process_is_not_believed(child: subprocess.Popen[bytes], tmp_path: Path) -> None:
    process = named(child, tmp_path)
    assert process.state() is None
    process.state_file.write_text(json.dumps({"pid": child.pid + 1, "state": "public"}))
    assert process.state() is None
    process.state_file.write_text(json.dumps({"pid": child.pid, "state": "public"}))
    assert process.state() == {"pid": child.pid, "state": "public"}


def test_identities_tell_stores_names_and_environments_apart() -> None:
    ids = {services.identity(*words) for words in (("s", "n", "e"), ("t", "n", "e"), ("s", "m", "e"), ("s", "n", "f"))}
    assert len(ids) == 4
    assert services.running(services.identity("no", "such", "service")) == []
