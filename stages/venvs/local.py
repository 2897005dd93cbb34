"""Local packages that a requirements file names, by their content: the same name and version may hold other code.

Wheels and other archives, folders, editable folders, local git repositories, and folders that `--find-links` or an
index option names.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

_ARCHIVES = (".whl", ".zip", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
_OPTION = re.compile(r"^(-e|--editable|-f|--find-links|-i|--index-url|--extra-index-url)(?:\s*=\s*|\s*)(.+)$")
_KINDS = {"-e": "editable", "--editable": "editable", "-f": "links", "--find-links": "links"}
_NAMED = re.compile(r"^[A-Za-z0-9][\w.-]*\s*(?:\[[^\]]*\])?\s*@\s*(.+)$")
_VARIABLE = re.compile(r"\$\{([A-Z0-9_]+)\}")
#: What no package is built from.
_SKIPPED = {
    *(".git", ".hg", ".svn", ".mlci", "__pycache__", ".venv", "venv", ".tox", ".nox", "build", "dist"),
    *(".mypy_cache", ".pytest_cache", ".ruff_cache", ".ipynb_checkpoints", "node_modules"),
}
#: What an editable installation reads once: its other files are used where they lie.
_BUILD = (".toml", ".cfg", ".in", ".txt", ".pyx", ".pxd", ".c", ".cc", ".cpp", ".h", ".hpp", ".f", ".f90", ".rs")


def digests(lines: Iterable[str], folders: Sequence[Path], environment: Mapping[str, str]) -> list[str]:
    """One entry for each of `lines` that names something local: its kind and the digest of its content.

    `folders`: what relative paths may be relative to, in order.

    Raises:
        OSError: something cannot be read.
    """
    lines = list(lines)
    found = []
    for line in lines:
        one = _local(line, environment)
        if one is not None:
            kind, text = one
            place = next((path for path in (folder / text for folder in folders) if path.exists()), None)
            if place is not None:
                found.append(f"{line} {_digest(kind, place, lines)}")
            elif kind == "package":
                found.append(f"{line} missing")
    return found


def named(lines: Iterable[str], environment: Mapping[str, str]) -> bool:
    """Whether any of `lines` names something local."""
    return any(_local(line, environment) is not None for line in lines)


def where(lines: Iterable[str], folders: Sequence[Path], environment: Mapping[str, str]) -> Path:
    """The first of `folders` below which every relative path of `lines` exists; the first of all if there is none."""
    paths = [one[1] for one in (_local(line, environment) for line in lines) if one is not None]
    return next((folder for folder in folders if all((folder / text).exists() for text in paths)), folders[0])


def expanded(text: str, environment: Mapping[str, str]) -> str:
    """`text` with the variables that pip replaces."""
    return _VARIABLE.sub(lambda match: environment.get(match[1]) or match[0], text)


def path_of(text: str) -> str | None:
    """The path of a `file:` address; the text itself when it is no address; None for an address elsewhere."""
    if _is_file(text):
        return unquote(urlsplit(text).path)
    return None if "://" in text else text


def _is_file(text: str) -> bool:
    return text[:5].lower() == "file:"


def _local(line: str, environment: Mapping[str, str]) -> tuple[str, str] | None:
    """Kind and path of what a line names, where that is local."""
    text, kind = expanded(line, environment), "package"
    option = _OPTION.match(text)
    if option:
        kind = _KINDS.get(option[1], "index")
        text = option[2].strip()
        if kind == "index" and not _is_file(text):
            return None
        with suppress(ValueError):
            text = " ".join(shlex.split(text))
    elif text.startswith("-"):
        return None
    text = re.split(r"\s+--?[A-Za-z]|\s*;\s", text)[0].strip()
    named = _NAMED.match(text)
    text = (named[1] if named else text).strip()
    if text.startswith("git+file:"):
        return "repository", re.sub(r"@[^/@]*$", "", path_of(text[4:].partition("#")[0]) or "")
    address = _is_file(text)
    path = path_of(text)
    if path is None or not path:
        return None
    if not address:
        path = re.sub(r"\[[^\]]*\]$", "", path.rstrip()).partition("#")[0]
    is_path = address or kind != "package" or "/" in path or path.startswith(".") or path.lower().endswith(_ARCHIVES)
    return (kind, path) if is_path and "@" not in path.partition("/")[0] else None


def _digest(kind: str, place: Path, lines: Sequence[str]) -> str:
    whole = hashlib.sha256()
    if kind == "repository":
        home = place / ".git" if (place / ".git").is_dir() else place
        files: Iterator[Path] = iter([home / "HEAD", home / "packed-refs", *_files(home / "refs")])
    elif kind == "links":
        files = _archives(place, lines, whole)
    elif kind == "editable" and place.is_dir():
        whole.update(str(place.absolute()).encode("utf-8", "surrogateescape"))
        files = _built_from(place, whole)
    else:
        files = _files(place, _is_repository(place)) if place.is_dir() else iter([place])
    for path in files:
        _add(whole, path, place)
    return whole.hexdigest()


def _add(whole: hashlib._Hash, path: Path, place: Path) -> None:
    with suppress(FileNotFoundError):
        status = path.stat()
        whole.update(f"{os.path.relpath(path, place)}\0".encode("utf-8", "surrogateescape"))
        if stat.S_ISREG(status.st_mode):
            with path.open("rb") as stream:
                whole.update(hashlib.file_digest(stream, "sha256").digest())


def _files(place: Path, only_packages: bool = False) -> Iterator[Path]:
    """The files below a folder, in order. `only_packages`: of folders beside ml.yaml only those that hold modules; the
    others are data, stores and what stages leave."""
    seen: set[str] = set()
    for path, folders, files in os.walk(place, followlinks=True):
        real = os.path.realpath(path)
        top = Path(path) == place
        folders[:] = sorted(
            name
            for name in folders
            if name not in _SKIPPED
            and not name.endswith(".egg-info")
            and not Path(path, name, "pyvenv.cfg").exists()
            and not (top and only_packages and name != "src" and not any(Path(path, name).glob("*.py")))
        )
        if real in seen:
            folders[:] = []
            continue
        seen.add(real)
        yield from (Path(path, name) for name in sorted(files) if not name.endswith((".pyc", ".pyo")))


def _is_repository(place: Path) -> bool:
    return (place / "ml.yaml").is_file()


def _built_from(place: Path, whole: hashlib._Hash) -> Iterator[Path]:
    """What an editable installation depends on: how it is built, what is compiled, and which modules there are."""
    tops = sorted(path for folder in (place, place / "src") for path in folder.glob("*") if path.name not in _SKIPPED)
    names = [p for p in tops if p.suffix == ".py" or any(p.glob("*.py"))]
    whole.update("\0".join(os.path.relpath(path, place) for path in names).encode("utf-8", "surrogateescape"))
    for path in _files(place, only_packages=True):
        if path.suffix in _BUILD or path.name == "setup.py":
            yield path


def _archives(place: Path, lines: Sequence[str], whole: hashlib._Hash) -> Iterator[Path]:
    """Archives in a folder of links: those of the packages that `lines` ask for; of the others the names decide."""
    asked = {_normal(re.split(r"[^\w.-]", line)[0]) for line in lines}
    found = sorted(p for p in place.glob("*") if p.name.lower().endswith(_ARCHIVES)) if place.is_dir() else [place]
    whole.update("\0".join(path.name for path in found).encode("utf-8", "surrogateescape"))
    for path in found:
        parts = _normal(path.name).split("-")
        if path == place or any("-".join(parts[:count]) in asked for count in range(1, len(parts))):
            yield path


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
