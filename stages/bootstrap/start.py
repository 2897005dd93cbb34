"""mlci.pyz: find or make the Python environment that this repository needs, then go on in it.

Imports the standard library alone. Three things are kept in the cache, each complete or absent:

    code/<digest of the pyz>/     the pyz unpacked, so that Python can keep its compiled files
    venv/<key>/                   an environment; the key holds the lock, the repository's requirements, the Python
                                  version and the platform

`MLCI_BOOTSTRAP=off` uses the interpreter as it is: for agent images that hold everything. Without it, that is found
out: an interpreter that has every locked package at its version, and the repository's, is used as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from stages.errors import InfraError, MlciError
from stages.venvs import make as venv_
from stages.venvs import place as place_
from stages.venvs.wanted import Wanted, effective, wanted

#: mlci.pyz is not the one that the library holds; the Jenkins step writes it again.
DAMAGED = 75
_LOCK, _NEEDS = "requirements.txt", "needs.txt"
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
    code = f"code/{digest[:16]}"
    want = Wanted(None)
    lines: list[str] = []
    if os.environ.get("MLCI_BOOTSTRAP") != "off":
        want = wanted(words, os.environ)
        lines = effective(want.requirements) if want.requirements else []
        locked = venv_.pins(lock)
        if want.versions == "locked" and venv_.adds_nothing(lines, locked):
            want, lines = Wanted(None), []
        if want.versions == "own" or not venv_.has_everything(locked, lines):
            folder = f"venv/{key(lock, want, lines)}"
            place = place_.choose(os.environ, [code, folder])
            _unpack(pyz, place / code)
            _make(place, folder, place / code, want)
            return place / folder / "bin" / "python", place / code
    place = place_.choose(os.environ, [code])
    _unpack(pyz, place / code)
    return Path(sys.executable), place / code


def key(lock: str, want: Wanted, lines: list[str]) -> str:
    """Name of the environment: everything that decides what is in it."""
    local = [line for line in lines if line.startswith(("-e", "--editable", ".", "/", "file:")) or "@ file:" in line]
    parts = [
        hashlib.sha256(lock.encode()).hexdigest(), want.versions, *lines,
        sys.implementation.cache_tag or "", sys.platform, os.uname().machine,
        getattr(sys.implementation, "_multiarch", ""),
        str(want.requirements) if local else "",
    ]  # fmt: skip
    return f"{sys.version_info[0]}.{sys.version_info[1]}-{hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]}"


def _unpack(pyz: Path, folder: Path) -> None:
    """Unpack the pyz. Two builds may do it at once: each into its own folder, the first to finish gives the name."""
    if (folder / place_.COMPLETE).is_file():
        return
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with place_.exclusive(folder.parent / f"{folder.name}.lock"):
            if (folder / place_.COMPLETE).is_file():
                return
            shutil.rmtree(folder, ignore_errors=True)
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            try:
                with zipfile.ZipFile(pyz) as archive:
                    archive.extractall(new)
                (new / place_.COMPLETE).touch()
                new.rename(folder)
            finally:
                shutil.rmtree(new, ignore_errors=True)
    except OSError as error:
        raise _disk(error, folder) from None


def _make(place: Path, folder: str, code: Path, want: Wanted) -> None:
    venv = place / folder
    if _whole(venv):
        return
    try:
        with place_.exclusive(place / f"{folder}.lock"):
            if _whole(venv):
                return
            shutil.rmtree(venv, ignore_errors=True)
            print(f"mlci: making a Python environment in {venv} (once; about a minute)", file=sys.stderr)
            try:
                venv_.make(venv, code / _LOCK, code / _NEEDS, want)
                (venv / place_.COMPLETE).touch()
            except BaseException:
                shutil.rmtree(venv, ignore_errors=True)
                raise
    except OSError as error:
        raise _disk(error, venv) from None


def _whole(venv: Path) -> bool:
    """Whether the environment was finished and its base interpreter is still installed."""
    return (venv / place_.COMPLETE).is_file() and os.access(venv / "bin" / "python", os.X_OK)


def _disk(error: OSError, place: Path) -> InfraError:
    import errno

    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return place_.full(place)
    return InfraError("DEP_CACHE", f"{place}: {error.strerror}", "set MLCI_CACHE to a folder that this user can write")


def _words() -> list[str]:
    """The command line, from the file that a Jenkins step wrote or as it was typed."""
    call = os.environ.get("MLCI_CALL")
    return list(json.loads(Path(call).read_bytes())["arguments"]) if call else sys.argv[1:]


def _command() -> int:
    if "MLCI_CALL" in os.environ:
        from stages.bootstrap.call import call

        return call()
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
