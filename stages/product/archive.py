"""Zip archives of which the bytes depend on names and contents alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

#: What every entry is dated; a zip cannot hold an earlier year.
_TIME = (1980, 1, 1, 0, 0, 0)


def write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add an entry without owner or time of this machine, packed as the archive says."""
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    entry.compress_type = archive.compression
    archive.writestr(entry, content)


def stored(files: Mapping[str, bytes]) -> bytes:
    """An archive of `files`, in the order given. Not compressed: what zlib makes of it differs between machines."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_STORED) as archive:
        for name, content in files.items():
            write(archive, name, content)
    return whole.getvalue()
