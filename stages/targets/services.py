"""Service processes of this machine: starting, finding, telling, ending.

A service is known by the file that was written when it was started (`pidfiles`), never by what it says of itself.
Process id and start time together name a process: ids are used again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stages
from stages.errors import InfraError
from stages.records import jsonfile
from stages.records.atomic import disk_errors
from stages.records.digest import sha256_json
from stages.targets import pidfiles

#: How often a process is looked at while something is awaited, in seconds.
_GLANCE = 0.02
#: A log beyond this size is put aside when a service starts.
_LOG_BYTES = 10 * 2**20
#: What the variables begin with by which a service itself is set: its limits, its access log.
LIMITS = ("MLCI_SERVE_", "MLCI_ACCESS_LOG")
#: What a service inherits of the environment. Build credentials stay out of a process that outlives the build; the
#: last four are how Jenkins finds what a build has left running.
_INHERITED = (
    *("PATH", "HOME", "USER", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TZDIR", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV"),
    *("BUILD_ID", "JENKINS_NODE_COOKIE", "JENKINS_SERVER_COOKIE", "HUDSON_COOKIE"),
)
_INHERITED_PREFIXES = (*LIMITS, "OMP_", "OPENBLAS_", "MKL_", "PYTHONHASHSEED", "PYTHONWARNINGS", "COVERAGE_")

# A Popen object that goes away while its process runs warns; a service is meant to outlive whoever started it.
_children: dict[int, subprocess.Popen[bytes]] = {}


@dataclass(frozen=True)
class Process:
    """A service process: its id and start time (clock ticks since boot), and what it was started with."""

    pid: int
    started: int
    version: str
    state_file: Path
    host: str | None = None
    pid_file: Path | None = None

    def alive(self) -> bool:
        """Whether it still runs; one that ended and was not collected yet does not."""
        if _start_time(self.pid) == self.started:
            return True
        child = _children.pop(self.pid, None)
        if child is not None:
            child.wait()  # it has ended; collecting it leaves no zombie
        return False

    def state(self) -> Mapping[str, Any] | None:
        """What it says it does; None before it says anything, or when its file is gone."""
        try:
            state = jsonfile.parse(jsonfile.content(self.state_file))
            return state if state["pid"] == self.pid else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def limits(self) -> dict[str, str] | None:
        """The variables of `LIMITS` that it was started with; None when it ended, or is somebody else's."""
        try:
            found = Path(f"/proc/{self.pid}/environ").read_bytes().decode(errors="surrogateescape").split("\0")
        except OSError:
            return None
        return limits_of(dict(entry.split("=", 1) for entry in found if "=" in entry))

    def tell(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(self.pid)
            try:
                if self.alive():  # the handle names this process from before the look
                    signal.pidfd_send_signal(handle, number)
            finally:
                os.close(handle)

    def end(self, seconds: float) -> None:
        """SIGTERM; SIGKILL if it has not ended after `seconds`."""
        self.tell(signal.SIGTERM)
        if not self.gone_within(seconds):
            self.tell(signal.SIGKILL)
            self.gone_within(10)
        for path in (self.state_file, self.pid_file):
            if path is not None:
                pidfiles.remove(path)

    def gone_within(self, seconds: float) -> bool:
        """Wait for its end."""
        until = time.monotonic() + seconds
        while self.alive():
            if time.monotonic() > until:
                return False
            time.sleep(_GLANCE)
        return True


def identity(store: str, name: str, env: str) -> str:
    """The name under which a service of an environment is found: one for one store, model and environment."""
    return f"mlci:{name}:{env}:{sha256_json(store)[:16]}"


def running(wanted: str) -> list[Process]:
    """All live services of this user with this identity, the oldest first."""
    found = {}
    for one in pidfiles.of(wanted):
        if _start_time(one.pid) == one.started:
            found[one.pid] = Process(one.pid, one.started, one.version, one.state_file, one.host, one.path)
        else:
            pidfiles.remove(one.path)
    for process in _said(wanted):
        if process.pid not in found and (pidfiles.read_own(process.state_file) or {}).get("pid") == process.pid:
            found[process.pid] = process  # started by a release that wrote no such file
    return sorted(found.values(), key=lambda process: (process.started, process.pid))


def unproven(wanted: str) -> list[int]:
    """Ids of this user's processes that say they are this service, with no file to prove it: they are left alone."""
    known = {process.pid for process in running(wanted)}
    return sorted(process.pid for process in _said(wanted) if process.pid not in known)


def _said(wanted: str) -> list[Process]:
    """What processes of this user say on their command lines."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if folder.stat().st_uid != os.geteuid():
                continue
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "stages.serving" not in words or _after(words, "--identity") != wanted:
            continue
        pid = int(folder.name)
        started = _start_time(pid)
        if started is not None:
            version, state = _after(words, "--version") or "", _after(words, "--state") or os.devnull
            found.append(Process(pid, started, version, Path(state), _after(words, "--host")))
    return found


def limits_of(environment: Mapping[str, str]) -> dict[str, str]:
    """What a service takes of an environment besides what every program needs."""
    return {name: value for name, value in environment.items() if name.startswith(LIMITS)}


def _after(words: list[str], option: str) -> str | None:
    return words[words.index(option) + 1] if option in words[:-1] else None


def _start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; None when there is none, or it is a zombie."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else int(fields[19])


@dataclass
class Started:
    """A service that was just started, and the pipe that ends with us."""

    process: Process
    lifeline: int
    log: Path
    log_from: int

    def keep(self) -> None:
        """Let it live on without us."""
        if self.lifeline >= 0:
            with contextlib.suppress(BrokenPipeError):
                os.write(self.lifeline, b"k")
            self.release()

    def release(self) -> None:
        """Close our end; a service that is not kept ends."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1

    def last_lines(self, most: int = 5) -> str:
        """The end of what it logged, on one line."""
        try:
            with self.log.open("rb") as stream:
                stream.seek(self.log_from)
                lines = [line.strip() for line in stream.read()[-8192:].decode(errors="replace").splitlines()]
        except OSError:
            return "no log"
        return " | ".join([line for line in lines if line][-most:]) or "it logged nothing"

    def await_state(self, seconds: float, wanted: str) -> Mapping[str, Any]:
        """Wait until it says where it listens (`wanted`: private_port or public) or that it may not.

        Raises:
            InfraError: DEP_CRASHED, DEP_NOT_READY; what the service says of its port.
        """
        until = time.monotonic() + seconds
        while True:
            alive = self.process.alive()
            state = self.process.state()
            if state is not None and state.get("refused"):
                refused = state["refused"]
                raise InfraError(refused["code"], refused["what"], refused["todo"])
            if state is not None and state.get(wanted):
                return state
            if not alive:
                raise InfraError(
                    "DEP_CRASHED",
                    f"the new service ended while it started; the end of its log: {self.last_lines()}",
                    f"see {self.log}; what served before still does",
                )
            if time.monotonic() > until:
                raise InfraError(
                    "DEP_NOT_READY",
                    f"the new service was not ready within {seconds:g} s; the end of its log: {self.last_lines()}",
                    "allow more with MLCI_READY_SECONDS; what served before still does",
                )
            time.sleep(_GLANCE)


def start(
    *,
    version: str,
    folder: Path,
    code: Path | None,
    state_folder: Path,
    log: Path,
    words: list[str],
    environment: Mapping[str, str],
) -> Started:
    """Start a service process: a session of its own, nothing inherited but its log and the pipe.

    `words`: further arguments of `python -m stages.serving`. `environment`: on top of what a service inherits.

    Raises:
        InfraError: DEP_DISK, DEP_START.
    """
    with disk_errors(state_folder):
        state_folder.mkdir(parents=True, exist_ok=True)
        log.parent.mkdir(parents=True, exist_ok=True)
        if log.exists() and log.stat().st_size > _LOG_BYTES:
            log.replace(log.with_name(f"{log.name}.1"))
    state = state_folder / f"{version[:12]}-{uuid.uuid4().hex[:8]}.json"
    theirs, ours = os.pipe()
    command = [sys.executable, "-P", "-m", "stages.serving", "--folder", str(folder), "--version", version]
    command += ["--state", str(state), "--lifeline", str(theirs), *words]
    if code is not None:
        command += ["--code", str(code)]
    try:
        with disk_errors(log), log.open("ab") as stream:
            log_from = stream.tell()
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                cwd="/",
                env={**_environment(), **environment},
                start_new_session=True,
                pass_fds=(theirs,),
            )
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    _children[child.pid] = child
    started, identified, host = _start_time(child.pid) or -1, _after(words, "--identity"), _after(words, "--host")
    pid_file = pidfiles.write(identified, child.pid, started, version, state, host) if identified else None
    process = Process(child.pid, started, version, state, host, pid_file)
    return Started(process, ours, log, log_from)


def _environment() -> dict[str, str]:
    kept = {n: v for n, v in os.environ.items() if n in _INHERITED or n.startswith(_INHERITED_PREFIXES)}
    ours = str(Path(stages.__file__).parent.parent)
    return {**kept, "PYTHONPATH": ours, "PYTHONUNBUFFERED": "1"}


def forget_dead(state_folder: Path, live: list[Process]) -> None:
    """Remove state files that no live service writes any more."""
    kept = {process.state_file for process in live}
    for path in state_folder.glob("*.json"):
        if path not in kept:
            pidfiles.remove(path)
