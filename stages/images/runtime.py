"""mlci's own part of an image: the serving modules and what they import, nothing of the stages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

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
    *("stages.bootstrap", "stages.records.stage", "stages.export"),
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
    return dict(sorted({**modules(ENTRIES, _OUTSIDE), **_others(files("stages") / "serving")}.items()))


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
    parts = name.split(".")[1:]
    place: Traversable = files("stages")
    for part in parts:
        place = place / part
    if (place / "__init__.py").is_file():
        return "/".join(["stages", *parts, "__init__.py"]), (place / "__init__.py").read_bytes()
    if not parts:
        return "", None
    module = files("stages")
    for part in [*parts[:-1], f"{parts[-1]}.py"]:
        module = module / part
    return "/".join(["stages", *parts]) + ".py", module.read_bytes() if module.is_file() else None


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


def _others(folder: Traversable) -> dict[str, bytes]:
    wanted = [entry for entry in folder.iterdir() if entry.is_file() and not entry.name.endswith((".py", ".pyc"))]
    return {_WITH_FILES + entry.name: entry.read_bytes() for entry in wanted}
