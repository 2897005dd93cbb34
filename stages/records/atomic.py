"""Files that are either the old or the new one, whatever happens in between."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import InfraError


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turns OSError of the block into InfraError DEP_DISK (exit 5), naming `path`."""
    try:
        yield
    except OSError as error:
        raise InfraError(
            "DEP_DISK",
            f"{error.filename or path}: {error.strerror or error}",
            "free space or correct the permissions there; nothing half-written was left, run the command again",
        ) from error


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file under a temporary name and rename it into place. Raises: InfraError: DEP_DISK."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            os.chmod(temporary, file_mode())
            os.replace(temporary, path)
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically, keys in the order given. Raises: InfraError: DEP_DISK."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n").encode())


def file_mode() -> int:
    """Mode of a file that others of this machine may not read: 0640, or less where the umask says so."""
    mask = os.umask(0o077)
    os.umask(mask)
    return 0o640 & ~mask
