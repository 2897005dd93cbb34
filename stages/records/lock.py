"""One writer at a time in a `.mlci` folder."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from stages import variables
from stages.errors import InfraError
from stages.records.atomic import disk_errors

if TYPE_CHECKING:
    from filelock import BaseFileLock

log = logging.getLogger("mlci")

#: How long a second run waits for the first, in seconds; MLCI_LOCK_TIMEOUT overrides it.
TIMEOUT = 3600.0

_held: dict[Path, int] = {}


@contextmanager
def exclusive(work: Path) -> Iterator[None]:
    """Hold the lock of `work` (a `.mlci` folder); re-entrant within a process. On first entry, clears what a killed
    run left.

    Raises:
        InfraError: DEP_LOCKED when another process still holds it after the timeout; DEP_DISK. UsageError: CFG_LIMIT.
    """
    if _held.get(work, 0):
        _held[work] += 1
        try:
            yield
        finally:
            _held[work] -= 1
        return
    from filelock import FileLock

    if work.is_file():
        raise InfraError("DEP_DISK", f"{work}: is a file, and mlci keeps a folder there", "move it away")
    with disk_errors(work):
        work.mkdir(parents=True, exist_ok=True)
    timeout = variables.measure("MLCI_LOCK_TIMEOUT", TIMEOUT, 0)
    lock = FileLock(work / "lock")
    holder = work / "lock.holder"
    with disk_errors(work):
        free = _acquire(lock, 0)
        if not free:
            who = holder.read_text() if holder.is_file() else "unknown"
            log.warning("waiting for another mlci in this folder (%s) to finish", who)
            free = _acquire(lock, timeout)
    if not free:
        raise InfraError("DEP_LOCKED", f"{work}: another mlci is still running there ({who})", "wait for it, or end it")
    _held[work] = 1
    try:
        with disk_errors(work):
            holder.unlink(missing_ok=True)  # whatever it is, such as a pipe that nobody reads
            holder.write_text(f"process {os.getpid()}")
            recover(work)
        yield
    finally:
        _held[work] = 0
        with contextlib.suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _acquire(lock: BaseFileLock, timeout: float) -> bool:
    from filelock import Timeout

    try:
        lock.acquire(timeout=timeout)
    except Timeout:
        return False
    return True


def recover(work: Path) -> None:
    """Undo what a killed run left: a folder swapped out but not in comes back, temporary folders go."""
    temporary = work / ".tmp"
    if not temporary.exists():
        return
    for old in sorted(temporary.glob("old-*")):
        home = work / old.name.removeprefix("old-")
        if not home.exists():
            os.replace(old, home)
    shutil.rmtree(temporary, ignore_errors=True)
