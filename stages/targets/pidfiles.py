"""Which processes of this machine are services that this user started: a file of this user's for each of them.

What a process says of itself proves nothing, as anybody may start one with any command line. A file that only this
user can have written does: it names the process by its id, its start time and the boot of the machine. The files lie
apart from `.mlci`, so that a service is found when that was removed, or from another checkout.
"""

from __future__ import annotations

import hashlib
import json
import os
import pwd
import stat
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import InfraError
from stages.records.atomic import write_json
from stages.venvs import ownership

#: A file beyond this size is none of ours, in bytes.
_MOST = 65_536


@dataclass(frozen=True)
class PidFile:
    """One service process as it was started. `started`: clock ticks since boot. `host`: the address it listens on."""

    path: Path
    pid: int
    started: int
    version: str
    state_file: Path
    host: str | None


def write(identity: str, pid: int, started: int, version: str, state_file: Path, host: str | None) -> Path | None:
    """Record a service that was just started. None where this user has no folder for it."""
    told = {
        "schema_version": 1,
        "identity": identity,
        "pid": pid,
        "started": started,
        **_machine(),
        "version": version,
        "state_file": str(state_file),
        "host": host,
    }
    for folder in _folders():
        path = folder / f"{_prefix(identity)}{pid}-{started}.json"
        with suppress(OSError, InfraError):
            ownership.make(folder)
            if ownership.problem(folder) is None:
                write_json(path, told)
                path.chmod(0o600)
                return path
    return None


def of(identity: str) -> list[PidFile]:
    """The processes that were recorded under `identity` since this machine booted, running or not.

    Files from before the boot are removed; those of other machines and containers that share the folder stay.
    """
    found: dict[tuple[int, int], PidFile] = {}
    here = _machine()
    for path in (path for folder in _folders() for path in _private(folder, identity)):
        told = read_own(path)
        try:
            if told is None or told["identity"] != identity or told["machine"] != here["machine"]:
                continue
            if told["boot"] != here["boot"]:
                path.unlink(missing_ok=True)
            elif told["processes"] == here["processes"]:
                one = PidFile(
                    path,
                    int(told["pid"]),
                    int(told["started"]),
                    str(told["version"]),
                    Path(told["state_file"]),
                    told["host"],
                )
                found.setdefault((one.pid, one.started), one)
        except (KeyError, TypeError, ValueError, OverflowError, OSError):
            continue
    return list(found.values())


def read_own(path: Path) -> dict[str, Any] | None:
    """A JSON object in a file that nobody but this user or root can have written; else None."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid() or ownership.of_file(path, status):
                return None
            told = json.loads(stream.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return None
    return told if isinstance(told, dict) else None


def remove(path: Path) -> None:
    """Remove a file of this user's; what is no file, or another user's, stays."""
    with suppress(OSError):
        status = path.lstat()
        if stat.S_ISREG(status.st_mode) and status.st_uid == os.geteuid():
            path.unlink()


def _folders() -> list[Path]:
    """Where the files lie, the first that can be used; the others are read, as builds may have other variables."""
    roots = []
    if os.environ.get("XDG_STATE_HOME"):
        roots.append(Path(os.environ["XDG_STATE_HOME"]))
    homes = [os.environ.get("HOME", "")]
    with suppress(KeyError):
        homes.append(pwd.getpwuid(os.geteuid()).pw_dir)
    roots += [Path(home) / ".local" / "state" for home in homes if Path(home).is_absolute() and home != "/"]
    folders = [root / "mlci" / "services" for root in roots if root.is_absolute()]
    temporary = dict.fromkeys([tempfile.gettempdir(), "/tmp"])  # noqa: S108  owners and modes are checked
    return [*dict.fromkeys(folders), *(Path(place) / f"mlci-{os.geteuid()}" / "services" for place in temporary)]


def _private(folder: Path, identity: str) -> Iterator[Path]:
    with suppress(OSError):
        if ownership.problem(folder) is None:
            yield from sorted(folder.glob(f"{_prefix(identity)}*.json"))


def _prefix(identity: str) -> str:
    return f"{hashlib.sha256(identity.encode()).hexdigest()[:32]}-"


def _machine() -> dict[str, str]:
    """This machine, its boot, and which process ids are meant: those of a container are its own."""
    told = {"machine": os.uname().nodename, "boot": "", "processes": ""}
    with suppress(OSError):
        told["boot"] = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with suppress(OSError):
        told["processes"] = str(Path("/proc/self/ns/pid").readlink())
    return told
