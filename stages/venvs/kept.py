"""Folders of the cache that are made once, checked at each use, and made again when they are not what was made."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from stages.escaping import printable
from stages.venvs import manifest, place


def usable(folder: Path, sources: Mapping[str, str] | None = None) -> bool:
    """Whether `folder` is complete and as it was made, and its Python, if it holds one, can be started.

    `sources`: see `manifest.problem`.
    """
    return _problem(folder, sources) is None


def provide(folder: Path, what: str, make: Callable[[Path], None], sources: Mapping[str, str] | None = None) -> Path:
    """`folder`, made by `make` unless it is there and as it was made. Builds that need it at once wait for the first.

    `what`: what it is, for those who wait. `sources`: see `manifest.problem`.

    Raises:
        MlciError: of `make`. OSError: the folder cannot be written.
    """
    if _problem(folder, sources) is None:
        return folder
    with place.exclusive(folder.with_name(f"{folder.name}.lock"), what):
        why = _problem(folder, sources)
        if why is None:
            return folder
        if (folder / manifest.COMPLETE).is_file():
            print(printable(f"mlci: {folder} is not used and made again: {why}"), file=sys.stderr)
        _clear(folder)
        try:
            make(folder)
            manifest.record(folder)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
    return folder


def _problem(folder: Path, sources: Mapping[str, str] | None) -> str | None:
    why = manifest.problem(folder, sources)
    if why is None and (folder / "bin").is_dir() and not os.access(folder / "bin" / "python", os.X_OK):
        return "its Python is gone"
    return why


def _clear(folder: Path) -> None:
    """Raises: OSError: something in it cannot be removed."""
    if folder.is_symlink():
        folder.unlink()
    elif folder.exists():
        shutil.rmtree(folder)
