"""Reading a whole file that somebody else may have put there: never a pipe, a device or more than fits."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

#: The largest JSON file of a stage, in bytes: the levels and profiles of thousands of columns take a tenth of it.
JSON_BYTES = 256 * 2**20


def read_regular(path: Path, most: int | None = None) -> bytes:
    """The content of a regular file of at most `most` bytes, by default the machine's memory.

    Raises:
        OSError: it cannot be read, is no regular file, or larger.
    """
    limit = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if most is None else most
    # Not blocking: opening a pipe that nobody writes would wait for ever.
    with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
        status = os.fstat(stream.fileno())
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        if status.st_size > limit:
            raise OSError(errno.EFBIG, f"file too large: {status.st_size:,} bytes, at most {limit:,}", str(path))
        return stream.read(status.st_size)  # memory for exactly this much, whatever is written meanwhile
