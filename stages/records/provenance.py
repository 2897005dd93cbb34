"""What a stage ran with: mlci's code, the user's files, libraries, Python, platform, commit."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import stages
from stages.records.digest import sha256_file, sha256_tree

#: What counts as mlci's code.
_SOURCES = (".py", ".html", ".css", ".js")


@cache
def code_digest() -> str:
    """Digest of mlci's own sources, the same from a checkout, a wheel and the zipapp."""
    package = Path(stages.__file__).parent
    if package.is_dir():
        names = [p for p in package.rglob("*") if p.suffix in _SOURCES and "__pycache__" not in p.parts]
        return sha256_tree({p.relative_to(package).as_posix(): p.read_bytes() for p in names})
    with zipfile.ZipFile(package.parent) as archive:
        names_in = [n for n in archive.namelist() if n.startswith("stages/") and n.endswith(_SOURCES)]
        return sha256_tree({n.removeprefix("stages/"): archive.read(n) for n in names_in})


def python_version() -> str:
    """Minor version of Python, `3.11`."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"


def platform_tag() -> str:
    """Operating system and machine, `linux-x86_64`."""
    return f"{sys.platform}-{platform.machine()}"


def user_modules(root: Path) -> dict[str, Path]:
    """Loaded modules whose source stands under `root`, by name; installed packages do not count."""
    found = {}
    for name, module in sys.modules.copy().items():
        file = getattr(module, "__file__", None)
        if not file or name == "__main__" or name.split(".")[0] == "stages":
            continue
        path = Path(file)
        if path.is_relative_to(root) and not {"site-packages", ".venv", ".mlci"} & set(path.relative_to(root).parts):
            found[name] = path
    return found


def forget_user_modules(root: Path) -> None:
    """Unload the user's modules, so that each stage records exactly the files that it imported itself."""
    for name in user_modules(root):
        del sys.modules[name]


def user_files(root: Path) -> dict[str, str]:
    """Path under `root` → SHA-256 of every user module that is loaded now."""
    files = set(user_modules(root).values())
    return {p.relative_to(root).as_posix(): sha256_file(p).sha256 for p in sorted(files) if p.suffix == ".py"}


def loaded_libraries() -> dict[str, str]:
    """Distribution → version for every installed distribution that has a module loaded now."""
    owners = _owners()
    tops = {name.split(".")[0] for name in list(sys.modules)}
    names = {owner for top in tops for owner in owners.get(top, ())} - {"mlci", "pip", "setuptools"}
    return {name: importlib.metadata.version(name) for name in sorted(names, key=str.lower)}


def own_files(folder: Path) -> Iterator[Path]:
    """Files below `folder` that a person wrote: nothing in hidden folders, environments or caches."""
    for place, folders, names in os.walk(folder):
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and name not in ("__pycache__", "node_modules", "venv", "site-packages")
        )
        for name in names:
            path = Path(place) / name
            if path.is_file():
                yield path


@cache
def _owners() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def installed_version(name: str) -> str | None:
    """Version of an installed distribution, None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


@cache
def git_commit(root: Path) -> str | None:
    """Commit of the repository around `root`, with `-dirty` when tracked files differ from it; None outside a
    repository."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}

    def git(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(root), *arguments],
                capture_output=True,
                text=True,
                timeout=30,
                env=environment,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    commit = git("rev-parse", "HEAD")
    if commit is None:
        return None
    return commit + ("-dirty" if git("status", "--porcelain", "--untracked-files=no") else "")
