"""Where mlci.pyz keeps its code and its environments on an agent, and how parallel builds share that place."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

from stages.errors import InfraError

#: Written last; a folder without it is half-made.
COMPLETE = ".complete"


def candidates(environment: Mapping[str, str]) -> list[Path]:
    """Places in the order in which they are tried. MLCI_CACHE, once given, is the only one."""
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


def usable(place: Path) -> str | None:
    """Make the folder and try it. None when it can be written and locked, else why it cannot."""
    try:
        place.mkdir(parents=True, exist_ok=True, mode=0o700)
        if place.stat().st_uid not in (os.getuid(), 0):
            return "it belongs to somebody else"
        with tempfile.TemporaryFile(dir=place) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            file.write(b"mlci" * 1024)
            file.flush()
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise full(place) from None
        return error.strerror or str(error)
    return None


def choose(environment: Mapping[str, str], needed: list[str]) -> Path:
    """The first place where everything `needed` (relative folders) is complete, else the first that can be used.

    Raises:
        InfraError: DEP_CACHE: none can be used; DEP_DISK: the disk is full.
    """
    places = candidates(environment)
    for place in places:
        if all((place / folder / COMPLETE).is_file() for folder in needed):
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
        "set MLCI_CACHE to a folder that this user can write, on a file system with locks",
    )


def full(place: Path) -> InfraError:
    """The error of a full disk."""
    return InfraError(
        "DEP_DISK",
        f"no space left on the disk of {place}; a Python environment of mlci takes about 1.2 GB",
        "free some, or set MLCI_CACHE to a folder on another disk",
    )


@contextlib.contextmanager
def exclusive(file: Path) -> Iterator[None]:
    """Hold a lock that ends with the process, saying when it has to wait. Raises: OSError."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a") as held:
        said = time.monotonic() + 2
        while True:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if said and time.monotonic() > said:
                    print("mlci: waiting for another build that makes the same Python environment", file=sys.stderr)
                    said = 0.0
                time.sleep(0.1)
        yield
