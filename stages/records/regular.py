"""Reading files that others may have exchanged: never a pipe, a device, or more than fits."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path, PurePosixPath


@contextmanager
def open_regular(path: Path) -> Iterator[BufferedReader]:
    """A regular file, open for reading. Raises: OSError: it is something else, or cannot be read."""
    # Not blocking: opening a pipe that nobody writes would never return.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "not a regular file", str(path))
    with os.fdopen(handle, "rb") as stream:
        yield stream


def read_regular(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file of at most `most` bytes, by default the machine's memory.

    Raises:
        OSError: it cannot be read, is no regular file, or larger.
    """
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if most is None else most
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size
        if size > limit:
            raise OSError(errno.EFBIG, f"file too large: {size:,} bytes, at most {limit:,}", str(path))
        return stream.read(size)  # memory for exactly this much, whatever is written meanwhile


def is_inside(name: object) -> bool:
    """Whether a recorded name is a relative path that stays in its folder, as files can be called."""
    if not isinstance(name, str) or "\\" in name or "\0" in name or len(name) > 1024:
        return False
    path = PurePosixPath(name)
    named = bool(path.parts) and not path.is_absolute() and path.as_posix() == name
    return named and ".." not in path.parts and all(len(os.fsencode(part)) <= 255 for part in path.parts)
