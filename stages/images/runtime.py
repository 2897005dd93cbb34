"""mlci's own part of an image: the serving modules and what they import, nothing of the stages."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import stages

#: The folder or the zipapp that holds the package.
_HOME = Path(stages.__file__).parent.parent

#: What runs inside: the service, and the probe that the health check and the proof call.
ENTRIES = ("stages.serving.__main__", "stages.images.probe")

#: Never inside, whatever imports them for the sake of one command: reading configurations, stages, targets.
_OUTSIDE = (
    *(
        "stages.cli",
        "stages.commands",
        "stages.config",
        "stages.deploy",
        "stages.gate",
        "stages.prepare",
        "stages.project",
    ),
    *(
        "stages.rollback",
        "stages.store",
        "stages.targets",
        "stages.test",
        "stages.train",
        "stages.trials",
        "stages.validate",
    ),
    *("stages.bootstrap", "stages.venvs", "stages.records.stage", "stages.export"),
)
#: Packages whose other files (pages, styles) the service reads.
_WITH_FILES = "stages/serving/"

_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+(stages[\w.]*)[ \t]+import[ \t]+(\([^)]*\)|[^\n#]+)|import[ \t]+([^\n#]+))", re.MULTILINE
)
_FOR_TYPES = re.compile(rb"^(?P<in>[ \t]*)if TYPE_CHECKING:\n(?:(?P=in)[ \t]+[^\n]*\n|[ \t]*\n)+", re.MULTILINE)


@cache
def runtime_files() -> dict[str, bytes]:
    """Path (`stages/…`) → content of every file that a service needs, found by following imports from `ENTRIES`."""
    return dict(sorted({**modules(ENTRIES, _OUTSIDE), **_others(_WITH_FILES)}.items()))


def modules(entries: Sequence[str], outside: tuple[str, ...]) -> dict[str, bytes]:
    """Path (`stages/…`) → source of `entries` and every module that they import, but for those that begin like one of
    `outside`."""
    found: dict[str, bytes] = {}
    waiting = [name for entry in entries for name in (entry, *_packages(entry))]
    while waiting:
        name = waiting.pop()
        path, source = _source(name)
        if source is None or path in found:
            continue
        found[path] = source
        for wanted in _imports(source):
            if not wanted.startswith(outside):
                waiting += [wanted, *_packages(wanted)]
    return dict(sorted(found.items()))


def _packages(name: str) -> list[str]:
    parts = name.split(".")
    return [".".join(parts[:i]) for i in range(1, len(parts))]


def _source(name: str) -> tuple[str, bytes | None]:
    """Where a module stands and its text; None where there is no such module."""
    place = name.replace(".", "/")
    package = _read(f"{place}/__init__.py")
    if package is not None:
        return f"{place}/__init__.py", package
    return f"{place}.py", _read(f"{place}.py")


def _read(path: str) -> bytes | None:
    """A file of mlci's own, from a folder or from the zipapp; None where there is no such file."""
    packed = _zipapp()
    if packed is not None:
        return packed.get(path)
    try:
        return (_HOME / path).read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


@cache
def _zipapp() -> dict[str, bytes] | None:
    """Everything in the zipapp that this runs from, read at once; None where mlci is a folder."""
    if _HOME.is_dir():
        return None
    with zipfile.ZipFile(_HOME) as archive:
        return {name: archive.read(name) for name in archive.namelist() if name.startswith("stages/")}


def _imports(source: bytes) -> set[str]:
    """Modules of stages that a module imports, anywhere but under `if TYPE_CHECKING`.

    Lines are enough for sources that one formatter wrote, and take a tenth of the time of syntax trees: this is done in
    each deployment. A line of prose that looks like an import adds a module, and leaves none out.
    """
    found = set()
    for line in _IMPORT.finditer(_FOR_TYPES.sub(b"", source)):
        module, names, whole = (part.decode() if part else "" for part in line.groups())
        if module:
            parts = names.strip("()").replace("\n", " ").split(",")
            found |= {module, *(f"{module}.{part.split()[0]}" for part in parts if part.split())}
        found |= {part.split()[0] for part in whole.split(",") if part.split()}
    return {wanted for wanted in found if wanted == "stages" or wanted.startswith("stages.")}


def _others(folder: str) -> dict[str, bytes]:
    """Files beside the modules of a package."""
    packed = _zipapp()
    names = [p.name for p in (_HOME / folder).iterdir() if p.is_file()] if packed is None else []
    names += [name.removeprefix(folder) for name in packed or () if name.startswith(folder)]
    wanted = [name for name in names if "/" not in name and not name.endswith((".py", ".pyc"))]
    return {folder + name: _read(folder + name) or b"" for name in wanted}
