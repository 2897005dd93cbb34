"""What a folder of the cache holds, recorded when it is complete and compared before anything in it is used.

`MANIFEST` lists every file with its digest and what the file system says about it: size, times of content and of
status, file number. Nobody can set the time of status, so equal figures mean the content of that moment, and reading
a gigabyte at each start is not needed. `COMPLETE` is written last: it holds the digest of the manifest, one digest
over all figures, and the digests of the files that Python runs before any other, which are read each time.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.venvs import ownership

#: Written last; a folder without it is half-made.
COMPLETE = ".complete"
MANIFEST = ".manifest.json"
_FORMAT = 1
#: Bytes to compare beyond which a line says that it takes a moment.
_LARGE = 200 * 2**20

_Files = dict[str, str]


class _NotOurs(Exception):
    """A file that another user may have written, or that is no file."""


def record(folder: Path) -> None:
    """Write the manifest of a finished folder, after taking write permission from everybody but its owner.

    Raises:
        OSError: a file cannot be read, or the disk is full.
    """
    _tighten(folder)
    try:
        files = _listed(folder)
    except _NotOurs as error:
        raise OSError(None, str(error)) from None
    _seal(folder, files, {name: _digest(f"{folder}/{name}") for name in files})


def problem(folder: Path, sources: Mapping[str, str] | None = None) -> str | None:
    """Why `folder` is not, or cannot be known to be, what was recorded; None when it is.

    What is not in the manifest, such as compiled modules that a program left, is removed. `sources`: name → SHA-256 of
    all the files that were put into the folder, where somebody else than the manifest knows.
    """
    try:
        why = ownership.problem(folder)
        if why is not None:
            return why
        sealed = json.loads((folder / COMPLETE).read_bytes())
        if sealed["format"] != _FORMAT:
            return "it was recorded by another version of mlci"
        if sources is not None and sources != _uncompiled(sealed["first"]):
            return "its files are not those of this version of mlci"
        files = _listed(folder)
        if _summary(files) != sealed["figures"]:
            return _compared(folder, files, sealed)
        return _changed(folder, sealed["first"])
    except FileNotFoundError:
        return "it is not complete"
    except _NotOurs as error:
        return str(error)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        return f"its manifest cannot be used: {error}"


def _listed(folder: Path) -> _Files:
    """Name → figures of everything in `folder` but the manifest itself. What goes away meanwhile is left out.

    Raises:
        _NotOurs: see there. OSError.
    """
    found: _Files = {}
    trusted = (0, os.geteuid())
    pending = [(str(folder), "")]
    while pending:
        path, prefix = pending.pop()
        with contextlib.suppress(FileNotFoundError), os.scandir(path) as entries:
            for entry in entries:
                try:
                    status = entry.stat(follow_symlinks=False)
                except FileNotFoundError:
                    continue
                mode = status.st_mode
                kind = stat.S_IFMT(mode)
                if status.st_uid not in trusted or (mode & 0o022 and kind != stat.S_IFLNK):
                    why = ownership.of_file(Path(entry.path), status)
                    if why is not None:
                        raise _NotOurs(why)
                if kind == stat.S_IFDIR:
                    pending.append((entry.path, f"{prefix}{entry.name}/"))
                    found[f"{prefix}{entry.name}"] = "folder"
                elif kind in (stat.S_IFREG, stat.S_IFLNK):
                    found[f"{prefix}{entry.name}"] = (
                        f"{mode} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns} {status.st_ino}"
                    )
                else:
                    raise _NotOurs(f"{entry.path} is neither a file nor a folder")
    found.pop(COMPLETE, None)
    found.pop(MANIFEST, None)
    return found


def _compared(folder: Path, files: _Files, sealed: dict[str, Any]) -> str | None:
    """The same by the digests of the files whose figures changed: all of them after a copy to another disk."""
    content = (folder / MANIFEST).read_bytes()
    if hashlib.sha256(content).hexdigest() != sealed["manifest"]:
        return "its manifest was changed"
    recorded: dict[str, list[str]] = json.loads(content)["files"]
    for name in sorted(files.keys() - recorded.keys()):
        _remove(folder / name)
        del files[name]
    missing = recorded.keys() - files.keys()
    if missing:
        return f"{min(missing)} is missing"
    moved = {name: digest for name, (figures, digest) in recorded.items() if figures != files[name]}
    if sum((folder / name).lstat().st_size for name in moved) > _LARGE:
        print(f"mlci: comparing {folder} with its manifest (its files were moved)", file=sys.stderr)
    why = _changed(folder, moved) or _changed(folder, sealed["first"])
    if why is None and moved and os.access(folder, os.W_OK):
        _seal(folder, files, {name: digest for name, (_, digest) in recorded.items()})
    return why


def _uncompiled(digests: Mapping[str, str]) -> dict[str, str]:
    return {n: d for n, d in digests.items() if d != "folder" and not n.endswith(".pyc")}


def _changed(folder: Path, digests: dict[str, str]) -> str | None:
    for name, digest in digests.items():
        if _digest(f"{folder}/{name}") != digest:
            return f"{name} was changed"
    return None


def _digest(path: str) -> str:
    kind = stat.S_IFMT(os.lstat(path).st_mode)
    if kind == stat.S_IFDIR:
        return "folder"
    if kind == stat.S_IFLNK:
        return f"link to {os.readlink(path)}"  # noqa: PTH115  pathlib would double the time of each start
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as stream:  # noqa: PTH123
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _first(name: str) -> bool:
    """Whether a file is read each time: in an environment what Python runs before any import, elsewhere all."""
    if not name.startswith(("lib/", "share/", "include/")):
        return True
    return name.endswith(".pth") or name.rpartition("/")[2].startswith(("sitecustomize", "usercustomize"))


def _summary(files: _Files) -> str:
    text = "\n".join(sorted([f"{name} {figures}" for name, figures in files.items()]))
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=32).hexdigest()


def _seal(folder: Path, files: _Files, digests: dict[str, str]) -> None:
    entries = {name: [files[name], digests[name]] for name in sorted(files)}
    content = json.dumps({"format": _FORMAT, "files": entries}).encode()
    sealed = {
        "format": _FORMAT,
        "manifest": hashlib.sha256(content).hexdigest(),
        "figures": _summary(files),
        "first": {name: digests[name] for name in sorted(files) if _first(name)},
    }
    _write(folder / MANIFEST, content)
    _write(folder / COMPLETE, json.dumps(sealed).encode())


def _write(path: Path, content: bytes) -> None:
    """Replace a file at once. The new one is written beside the folder: in it, others would take it for a stranger."""
    aside = path.parent.with_name(f".{path.parent.name}{path.name}.{os.getpid()}")
    try:
        with open(os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as stream:  # noqa: PTH123
            stream.write(content)
        os.replace(aside, path)
    finally:
        aside.unlink(missing_ok=True)


def _remove(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _tighten(folder: Path) -> None:
    for path, _, files in os.walk(folder):
        for entry in (Path(path), *(Path(path, name) for name in files)):
            mode = entry.lstat().st_mode
            if mode & 0o022 and not stat.S_ISLNK(mode):
                entry.chmod(stat.S_IMODE(mode) & ~0o022)
