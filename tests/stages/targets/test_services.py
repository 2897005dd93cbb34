"""Processes: found, told, ended; never the wrong one."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.targets import pidfiles, services
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


# ---- which process is a service of one's own


@pytest.fixture
def known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An identity; the files of processes lie in a folder of the test."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return services.identity(str(tmp_path), "model", "production")


@contextlib.contextmanager
def pretending(identity: str, state: Path, user: int | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose command line says that it is that service."""
    python = sys.executable if user is None else "/usr/bin/python3"
    words = ["stages.serving", "--identity", identity, "--version", "v", "--state", str(state)]
    with subprocess.Popen([python, "-c", _SLEEP, *words], stdout=subprocess.PIPE, user=user) as process:
        assert process.stdout is not None
        process.stdout.read(1)
        try:
            yield process
        finally:
            process.kill()


def recorded(identity: str, process: subprocess.Popen[bytes], state: Path) -> Path:
    started = services._start_time(process.pid) or 0
    path = pidfiles.write(identity, process.pid, started, "v", state, "127.0.0.1")
    assert path is not None
    return path


def test_a_recorded_process_is_found_and_ended(known: str, tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    state = tmp_path / "state.json"
    state.write_text(json.dumps({"pid": child.pid}))
    path = recorded(known, child, state)
    assert path.is_relative_to(tmp_path)
    assert path.stat().st_mode & 0o077 == 0
    (process,) = services.running(known)
    assert (process.pid, process.state_file, process.host) == (child.pid, state, "127.0.0.1")
    assert services.running(known + "2") == []
    process.end(10)
    assert (services.running(known), path.exists(), state.exists()) == ([], False, False)


def test_a_file_whose_process_ended_is_removed(known: str, tmp_path: Path, child: subprocess.Popen[bytes]) -> None:
    path = recorded(known, child, tmp_path / "state.json")
    child.kill()
    child.wait()
    assert (services.running(known), path.exists()) == ([], False)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        ({"boot": "another"}, False),
        ({"boot": "another", "machine": "another"}, True),
        ({"processes": "pid:[1]"}, True),
        ({"pid": "x"}, True),
        ({"pid": float("inf")}, True),
        ({"started": float("inf")}, True),
        ({"identity": "another"}, True),
    ],
)
def test_processes_of_other_machines_and_boots_are_others(
    change: dict[str, str], kept: bool, known: str, tmp_path: Path, child: subprocess.Popen[bytes]
) -> None:
    path = recorded(known, child, tmp_path / "state.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    assert (services.running(known), path.exists()) == ([], kept)


def test_what_a_process_says_of_itself_proves_nothing(known: str, tmp_path: Path) -> None:
    """Neither a file that it names, nor one that somebody else wrote, nor a link to one."""
    precious = tmp_path / "precious.json"
    for content in ("keep", json.dumps({"pid": 1}), json.dumps([1]), "[" * 100_000):
        precious.write_text(content)
        with pretending(known, precious) as process:
            assert services.running(known) == []
            assert services.unproven(known) == [process.pid]
            services.Process(process.pid, 0, "v", precious).alive()
    with pretending(known, tmp_path / "link.json") as process:
        precious.write_text(json.dumps({"pid": process.pid}))
        (tmp_path / "link.json").symlink_to(precious)
        assert services.running(known) == []
    assert precious.exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: other users need root, as CI has it")
def test_processes_of_other_users_are_not_looked_at(known: str, tmp_path: Path) -> None:
    precious = tmp_path / "precious.json"
    with pretending(known, precious, user=54321) as process:
        precious.write_text(json.dumps({"pid": process.pid}))
        os.chown(precious, 54321, 54321)
        assert (services.running(known), services.unproven(known)) == ([], [])
        os.chown(precious, 0, 0)
        assert (services.running(known), services.unproven(known)) == ([], [])
    folder = recorded(known, process, precious).parent
    os.chown(folder, 54321, 54321)
    assert pidfiles.of(known) == []
    services.forget_dead(tmp_path, [])
    assert not precious.exists()
    precious.write_text("theirs")
    os.chown(precious, 54321, 54321)
    services.forget_dead(tmp_path, [])
    assert precious.exists()


def test_a_service_of_an_earlier_release_is_known_by_its_state_file(known: str, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    with pretending(known, state) as process:
        state.write_text(json.dumps({"pid": process.pid, "state": "public"}))
        (found,) = services.running(known)
        assert (found.pid, found.state_file, services.unproven(known)) == (process.pid, state, [])
        state.chmod(0o666)
        assert (services.running(known), services.unproven(known)) == ([], [process.pid])
        state.chmod(0o644)
        found.end(10)
        assert process.wait() == -signal.SIGTERM
    assert not state.exists()
