"""The interpreter and the code that a command goes on with, made first if they are not in the cache.

Imported only where they are needed: `mlci --help` costs nothing of it.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.errors import ConfigError, InfraError
from stages.venvs import kept, local
from stages.venvs import make as venv_
from stages.venvs import place as place_
from stages.venvs.wanted import Requirements, Wanted, read, wanted

_LOCK, _NEEDS, _DIGESTS = "requirements.txt", "needs.txt", "digests.json"
#: Part of each environment's key: releases that record them in different ways share none.
_GENERATION = "manifest 1"


def prepare(pyz: Path, digest: str, words: Sequence[str]) -> tuple[Path, Path]:
    """The interpreter and the unpacked code to go on with, made first if they are not there.

    Raises:
        MlciError: ConfigError for the repository's requirements, InfraError for the machine.
    """
    with zipfile.ZipFile(pyz) as archive:
        lock = archive.read(_LOCK).decode()
        sources = json.loads(archive.read(_DIGESTS))
    code = f"code/{digest[:16]}-{sys.implementation.cache_tag}"
    want = Wanted(None)
    lines: list[str] = []
    needed = [code]
    if os.environ.get("MLCI_BOOTSTRAP") != "off":
        want = wanted(words, os.environ)
        asked = read(want.requirements) if want.requirements else None
        lines = asked.lines if asked else []
        locked = venv_.pins(lock)
        if want.versions == "locked" and venv_.adds_nothing(lines, locked):
            want, lines = Wanted(None), []
        if want.versions == "own" or not venv_.has_everything(locked, lines):
            needed.append(f"venv/{key(lock, want, lines, _content(want, asked))}")
    checked: set[Path] = set()

    def complete(folder: Path) -> bool:
        if kept.usable(folder, sources if folder.parent.name == "code" else None):
            checked.add(folder)
        return folder in checked

    place = place_.choose(os.environ, needed, complete)
    folders = [place / name for name in needed]
    if folders[0] not in checked:
        _unpack(pyz, folders[0], sources)
    if len(folders) == 1:
        return Path(sys.executable), folders[0]
    if folders[1] not in checked:
        _make(folders[1], folders[0], want)
    return folders[1] / "bin" / "python", folders[0]


def key(lock: str, want: Wanted, lines: list[str], content: Sequence[str] = ()) -> str:
    """Name of the environment: everything that decides what is in it. `content`: digests of local packages."""
    parts = [
        hashlib.sha256(lock.encode()).hexdigest(), want.versions, *lines, *content,
        sys.implementation.cache_tag or "", sys.platform, os.uname().machine,
        getattr(sys.implementation, "_multiarch", ""), _GENERATION,
    ]  # fmt: skip
    return f"{sys.version_info[0]}.{sys.version_info[1]}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def _content(want: Wanted, asked: Requirements | None) -> list[str]:
    if asked is None or want.requirements is None:
        return []
    try:
        folders = [want.folder, Path.cwd(), *(file.parent for file in asked.files)]
        return local.digests(asked.lines, folders, os.environ)
    except OSError as error:
        what = f"{want.requirements.name}: {error.filename}: {error.strerror}"
        raise ConfigError("CFG_REQUIREMENTS", what, "correct the requirements file") from None


def _unpack(pyz: Path, folder: Path, sources: Mapping[str, str]) -> None:
    """Unpack and compile the pyz. `sources`: the digests of what is in it."""

    def make(new: Path) -> None:
        import compileall

        with zipfile.ZipFile(pyz) as archive:
            archive.extractall(new, members=sources)
        # All at once: what Python compiled later would not be in the manifest.
        compileall.compile_dir(new, quiet=2)

    try:
        kept.provide(folder, "mlci's own code", make, sources)
    except OSError as error:
        raise _disk(error, folder) from None


def _make(venv: Path, code: Path, want: Wanted) -> None:
    def make(folder: Path) -> None:
        print(f"mlci: making a Python environment in {folder} (once; one minute to ten)", file=sys.stderr, flush=True)
        venv_.make(folder, code / _LOCK, code / _NEEDS, want)

    try:
        kept.provide(venv, "the same Python environment", make)
    except OSError as error:
        raise _disk(error, venv) from None


def _disk(error: OSError, place: Path) -> InfraError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return place_.full(place)
    return InfraError("DEP_CACHE", f"{place}: {error.strerror}", "set MLCI_CACHE to a folder that this user can write")
