"""Where mlci.pyz keeps its code and its environments on an agent, and how parallel builds share that place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO

from stages.errors import InfraError, UsageError
from stages.escaping import printable
from stages.venvs import manifest, ownership

#: Written last; a folder without it is half-made.
COMPLETE = manifest.COMPLETE
#: Seconds between two lines about something that takes long, on a terminal and in a log.
ON_TERMINAL, IN_LOG = 4.0, 25.0
#: Seconds until a build says that it waits.
PATIENCE = 2.0
_DOMAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def candidates(environment: Mapping[str, str]) -> list[Path]:
    """Places in the order in which they are tried. MLCI_CACHE, once given, is the only one.

    Builds of one MLCI_CACHE_DOMAIN share a folder of their own in them, and nothing with other builds.

    Raises:
        UsageError: CFG_CACHE_DOMAIN: it is no name.
    """
    domain = environment.get("MLCI_CACHE_DOMAIN", "")
    if domain and not _DOMAIN.fullmatch(domain):
        raise UsageError(
            "CFG_CACHE_DOMAIN",
            f"MLCI_CACHE_DOMAIN is {domain!r}",
            "use letters, digits, '.', '_' and '-', at most 64, such as: branches",
        )
    below = Path("domains", domain) if domain else Path()
    return [_own_part(place) / below for place in _roots(environment)]


def _own_part(place: Path) -> Path:
    """`place`, or this user's folder in it where everybody may make one, as in /tmp."""
    with contextlib.suppress(OSError):
        mode = place.stat().st_mode
        if mode & stat.S_ISVTX and mode & (stat.S_IWOTH | stat.S_IWGRP):
            return place / f"mlci-{os.getuid()}"
    return place


def _roots(environment: Mapping[str, str]) -> list[Path]:
    if environment.get("MLCI_CACHE"):
        return [Path(environment["MLCI_CACHE"]).expanduser().absolute()]
    found = []
    if environment.get("XDG_CACHE_HOME"):
        found.append(Path(environment["XDG_CACHE_HOME"]) / "mlci")
    home = os.path.expanduser("~")  # noqa: PTH111  stays "~" for a user that has no home; pathlib would raise
    if Path(home).is_absolute() and home != "/":
        found.append(Path(home) / ".cache" / "mlci")
    if environment.get("WORKSPACE_TMP"):
        found.append(Path(environment["WORKSPACE_TMP"]) / "mlci-cache")
    return [*found, Path(tempfile.gettempdir()) / f"mlci-{os.getuid()}"]


def unsafe(place: Path) -> str | None:
    """Why nothing in `place` can be believed: another user can change it, or it cannot be looked at."""
    try:
        return ownership.problem(place)
    except OSError as error:
        return error.strerror or str(error)


def usable(place: Path) -> str | None:
    """Make the folder and try it. None when it is private and can be written and locked, else why not."""
    try:
        why = ownership.problem(place)
        if why is not None:
            return why
        ownership.make(place)
        with tempfile.TemporaryFile(dir=place) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(b"mlci" * 1024)
            file.flush()
        return ownership.problem(place)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise full(place) from None
        return error.strerror or str(error)


def is_complete(folder: Path) -> bool:
    """Whether `folder` was finished."""
    return (folder / COMPLETE).is_file()


def choose(environment: Mapping[str, str], needed: list[str], complete: Callable[[Path], bool] = is_complete) -> Path:
    """The first private place where everything `needed` (relative folders) is `complete`, else the first that can be
    used.

    Raises:
        InfraError: DEP_CACHE: none can be used; DEP_DISK: the disk is full. UsageError: CFG_CACHE_DOMAIN.
    """
    places = candidates(environment)
    for place in places:
        if unsafe(place) is None and all(complete(place / folder) for folder in needed):
            return place
    reasons = []
    for place in places:
        reason = usable(place)
        if reason is None:
            return place
        reasons.append(f"{place}: {reason}")
    raise InfraError(
        "DEP_CACHE",
        f"no place for mlci's Python environment ({'; '.join(reasons)})",
        "set MLCI_CACHE to a folder that this user owns, that nobody else can write, on a file system with locks",
    )


def full(place: Path) -> InfraError:
    """The error of a full disk."""
    return InfraError(
        "DEP_DISK",
        f"no space left on the disk of {place}; a Python environment of mlci takes about 1.2 GB",
        "free some, or set MLCI_CACHE to a folder on another disk",
    )


@contextlib.contextmanager
def exclusive(file: Path, what: str = "the same folder") -> Iterator[None]:
    """Hold a lock that ends with the process, saying whom it waits for when it has to. Raises: OSError.

    `what`: what is made meanwhile, for the others.
    """
    ownership.make(file.parent)
    with file.open("a+") as held:
        started = time.monotonic()
        next_line = started + PATIENCE
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                now = time.monotonic()
                if now > next_line:
                    print(
                        printable(f"mlci: waiting for {_holder(held)} ({now - started:.0f} s)"),
                        file=sys.stderr,
                        flush=True,
                    )
                    next_line = now + between_lines()
                time.sleep(0.1)
        held.truncate(0)
        held.write(json.dumps({"pid": os.getpid(), "who": _who(), "what": what}))
        held.flush()
        yield
        held.truncate(0)


def between_lines() -> float:
    """Seconds between two lines about something that takes long."""
    return ON_TERMINAL if sys.stderr.isatty() else IN_LOG


def _who() -> str:
    """This build or command, as people know it."""
    build = os.environ.get("BUILD_TAG") or os.environ.get("BUILD_URL")
    with contextlib.suppress(OSError):
        return f"build {build}" if build else f"started in {Path.cwd()}"
    return "started in a folder that is gone"


def _holder(held: IO[str]) -> str:
    try:
        held.seek(0)
        told = json.loads(held.read(4096))
        return f"process {int(told['pid'])} ({str(told['who'])[:200]!r}), which makes {str(told['what'])[:200]!r}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another build that makes the same Python environment"
