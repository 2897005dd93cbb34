"""SHA-256 of files, trees and plain data."""

from __future__ import annotations

import hashlib
import json
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from stages.records.regular import is_inside, open_regular


class Digest(NamedTuple):
    """Content of a file: hexadecimal SHA-256 and size in bytes."""

    sha256: str
    size: int


def sha256_file(path: Path) -> Digest:
    """Digest of a regular file's bytes. Raises: OSError: it is something else, or cannot be read."""
    with open_regular(path) as stream:
        digest = hashlib.file_digest(stream, "sha256")
        return Digest(digest.hexdigest(), stream.tell())


def damaged(folder: Path, recorded: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Names of the files that are missing from `folder` or differ from the record: name → `sha256` and `size`. A name
    that leads out of the folder is one of them, and is not looked at."""
    found = []
    for name, known in recorded.items():
        path = folder / name
        if not is_inside(name):
            found.append(name)
            continue
        try:
            status = path.stat()
            same = stat.S_ISREG(status.st_mode) and status.st_size == known["size"]  # a pipe would never end
            if not same or sha256_file(path).sha256 != known["sha256"]:
                found.append(name)
        except OSError:
            found.append(name)
    return found


def canonical_json(value: Any) -> bytes:
    """One text for equal data: sorted keys, no spaces, UTF-8. NaN is allowed, because a record may hold one."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=str).encode()


def sha256_json(value: Any) -> str:
    """Hexadecimal SHA-256 of `canonical_json`."""
    return hashlib.sha256(canonical_json(value)).hexdigest()


def sha256_tree(files: dict[str, bytes]) -> str:
    """Hexadecimal SHA-256 over names and contents, independent of their order."""
    whole = hashlib.sha256()
    for name in sorted(files):
        whole.update(f"{name}\0{len(files[name])}\0".encode())
        whole.update(files[name])
    return whole.hexdigest()
