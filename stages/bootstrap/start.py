"""mlci.pyz: find or make the Python environment that this repository needs, then go on in it.

Imports the standard library alone. Two things are kept in the cache, each complete or absent:

    code/<digest of the pyz>-<Python>/    the pyz unpacked and compiled
    venv/<key>/                           an environment; the key holds the lock, the repository's requirements and the
                                          content of local packages, the Python version and the platform

Both are believed only where no other user can write, and when they are what their manifest says.

`MLCI_BOOTSTRAP=off` uses the interpreter as it is: for agent images that hold everything. Without it, that is found
out: an interpreter that has every locked package at its version, and the repository's, is used as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.bootstrap import call as call_
from stages.errors import ConfigError, InfraError, MlciError
from stages.venvs import kept, local
from stages.venvs import make as venv_
from stages.venvs import place as place_
from stages.venvs.wanted import Requirements, Wanted, read, wanted

#: mlci.pyz is not the one that the library holds; the Jenkins step writes it again.
DAMAGED = 75
_LOCK, _NEEDS, _DIGESTS = "requirements.txt", "needs.txt", "digests.json"
#: Part of each environment's key: releases that record them in different ways share none.
_GENERATION = "manifest 1"
_PLAIN = ("-h", "--help", "--version")


def main() -> int:
    """Run the command line in the right environment. Returns the exit code when that needs no other process."""
    pyz = Path(sys.argv[0]).absolute()
    if pyz.is_dir():  # unpacked, and started by the lines below
        return _command()
    try:
        expected = os.environ.get("MLCI_PYZ_SHA256")
        digest = hashlib.sha256(pyz.read_bytes()).hexdigest()
        if expected and digest != expected:
            pyz.unlink()
            print("mlci: mlci.pyz is damaged; it is written again", file=sys.stderr)
            return DAMAGED
        words = _words()
        if not words or (len(words) == 1 and words[0] in _PLAIN):
            return _command()
        os.umask(os.umask(0o077) | 0o027)  # the cache is nobody else's, and what runs from here on keeps this
        python, code = prepare(pyz, digest, words)
    except MlciError as error:
        return _refused(error)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left behind", file=sys.stderr)
        return 130
    sys.stderr.flush()
    return os.execv(python, [str(python), str(code), *sys.argv[1:]])  # noqa: S606


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


def _words() -> list[str]:
    """The command line, as a Jenkins step gave it or as it was typed."""
    call = os.environ.get("MLCI_CALL")
    return call_.words(call) if call else sys.argv[1:]


def _command() -> int:
    if "MLCI_CALL" in os.environ:
        return call_.call()
    from stages.cli import main as cli

    return cli(sys.argv[1:])


def _refused(error: MlciError) -> int:
    from stages import console

    console.show_error(error, console.format_of(_words()))
    answer: Mapping[str, object] = {
        "exit_code": error.exit_code,
        "error": {"code": error.code, "what": error.what, "todo": error.todo},
    }
    if os.environ.get("MLCI_ANSWER"):
        Path(os.environ["MLCI_ANSWER"]).write_text(json.dumps(answer), encoding="utf-8")
    return error.exit_code
