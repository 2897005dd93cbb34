"""Build contexts: the same files give the same bytes, whoever packs them, wherever and whenever."""

from __future__ import annotations

import io
import tarfile
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import IO

#: 1980-01-01, the earliest time that every archive format can hold.
_MOMENT = 315_532_800
#: Contexts beyond this size are packed on disk, in bytes.
_IN_MEMORY = 64 * 2**20

#: Folder of a context that is copied to `/` whole: folders then have our times in the layer, not those of the build.
ROOT = "root"
#: Folders of the base image on the way, which keep their mode.
_SYSTEM = (ROOT, f"{ROOT}/opt")


def archive(files: Mapping[str, Path | bytes]) -> IO[bytes]:
    """A tar of `files` (name → file or content): sorted, owned by root and group 0, which may write what it owns.

    Returns:
        An open file at its beginning, for the caller to close.

    Raises:
        OSError: a file cannot be read.
    """
    packed = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115  the caller closes it
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for folder in _folders(files):
            archive.addfile(_entry(folder, tarfile.DIRTYPE, 0o755 if folder in _SYSTEM else 0o775))
        for name in sorted(files):
            content = files[name]
            entry = _entry(name, tarfile.REGTYPE, 0o664)
            if isinstance(content, bytes):
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            else:
                with content.open("rb") as stream:
                    entry.size = stream.seek(0, io.SEEK_END)
                    stream.seek(0)
                    archive.addfile(entry, stream)
    packed.seek(0)
    return packed


def _folders(files: Mapping[str, Path | bytes]) -> list[str]:
    return sorted({str(parent) for name in files for parent in PurePosixPath(name).parents if str(parent) != "."})


def _entry(name: str, kind: bytes, mode: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.mtime = kind, mode, _MOMENT
    return entry
