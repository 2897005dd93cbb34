"""A Docker engine for tests: the one that answers, else one of their own that is ended by its process id."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
from filelock import FileLock

from tests.docker.parts import Missing, announce, program, unmount_below

_READY_SECONDS = 300


@dataclass
class Engine:
    """An engine. `folder`: where our own keeps its things, None when somebody else's answered."""

    address: str
    folder: Path | None
    log: Path | None = None

    def client(self) -> docker.DockerClient:
        """A new client, for the caller to close."""
        return docker.DockerClient(base_url=self.address, timeout=120)

    @property
    def ours(self) -> bool:
        """Whether it may be stopped and started."""
        return self.folder is not None

    def start(self) -> None:
        """Start our own and wait until it answers. Raises: Missing."""
        assert self.folder is not None
        dockerd = program("dockerd", "docker.io")
        self.log = self.folder / "engine.log"
        words = [dockerd, "--host", self.address, "--data-root", str(self.folder / "data")]
        words += ["--exec-root", str(self.folder / "exec"), "--pidfile", str(self._pid_file)]
        with self.log.open("ab") as stream:
            process = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=stream, stderr=stream, start_new_session=True
            )
        until = time.monotonic() + _READY_SECONDS
        while not self.answers():
            if process.poll() is not None or time.monotonic() > until:
                end = self.log.read_text(errors="replace").strip().splitlines()[-3:]
                raise Missing(f"dockerd does not start: {' | '.join(end)}")
            time.sleep(0.1)
        _started[process.pid] = process

    def stop(self) -> None:
        """End our own by its process id and wait for its end."""
        try:
            pid = int(self._pid_file.read_text())
        except (OSError, ValueError):
            return
        os.kill(pid, signal.SIGTERM)
        process = _started.pop(pid, None)
        until = time.monotonic() + 300
        while (process.poll() is None if process else Path(f"/proc/{pid}").exists()) and time.monotonic() < until:
            time.sleep(0.05)

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            client = docker.DockerClient(base_url=self.address, timeout=60)
        except docker.errors.DockerException:
            return False
        try:
            return bool(client.ping())
        except (docker.errors.DockerException, OSError):
            return False
        finally:
            client.close()

    @property
    def _pid_file(self) -> Path:
        assert self.folder is not None
        return self.folder / "engine.pid"


_started: dict[int, subprocess.Popen[bytes]] = {}


def acquire(shared: Path) -> Engine:
    """The engine of this test run. Worker processes of one run share it through files in `shared`.

    Raises:
        Missing: none answers and none can be started.
    """
    for address in filter(None, [os.environ.get("DOCKER_HOST"), "unix:///var/run/docker.sock"]):
        engine = Engine(address, None)
        if engine.answers():
            return engine
    with FileLock(shared / "engine.lock"):
        state = _read(shared)
        if state is None:
            if os.geteuid() != 0:
                raise Missing("no Docker engine answers, and starting one needs root")
            folder = Path(tempfile.mkdtemp(prefix="mlci-engine-"))
            engine = Engine(f"unix://{folder}/engine.sock", folder)
            announce("starting a Docker engine for the tests")
            try:
                engine.start()
            except BaseException:
                engine.stop()
                unmount_below(folder)
                shutil.rmtree(folder, ignore_errors=True)
                raise
            state = {"folder": str(folder), "users": 0}
        _write(shared, {**state, "users": state["users"] + 1})
        folder = Path(state["folder"])
        return Engine(f"unix://{folder}/engine.sock", folder, folder / "engine.log")


def release(engine: Engine, shared: Path) -> None:
    """Give the engine back; the last one ends it and removes what it kept."""
    if engine.folder is None:
        return
    with FileLock(shared / "engine.lock"):
        state = _read(shared)
        if state is None:
            return
        if state["users"] > 1:
            _write(shared, {**state, "users": state["users"] - 1})
            return
        (shared / "engine.json").unlink()
        _remove_containers(engine)
        engine.stop()
        unmount_below(engine.folder)
        # Gigabytes in many small files: nobody has to wait until they are gone.
        subprocess.run(["sh", "-c", 'rm -rf "$0" >/dev/null 2>&1 &', str(engine.folder)], check=False)


def _remove_containers(engine: Engine) -> None:
    client = engine.client()
    try:
        for container in client.containers.list(all=True):
            container.remove(force=True)
    except docker.errors.DockerException:
        pass  # it is ended in any case
    finally:
        client.close()


def _read(shared: Path) -> dict[str, Any] | None:
    try:
        return json.loads((shared / "engine.json").read_text())
    except FileNotFoundError:
        return None


def _write(shared: Path, state: dict[str, Any]) -> None:
    (shared / "engine.json").write_text(json.dumps(state))
