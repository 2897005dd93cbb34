"""What an image has to install: the locked packages of serving, and what a model brought from its own repository."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from stages.errors import ArtefactError
from stages.model.policy import proved
from stages.records.digest import sha256_json
from stages.records.jsonfile import read_json

#: Lock of a service that answers with ONNX, and of one that answers with scikit-learn.
ONNX, SKLEARN = "onnx.txt", "sklearn.txt"

#: Names of everything that the stages install: recorded in training, and not needed to serve, unless the model's own
#: modules import it.
_TOOLING = "tooling.txt"


@dataclass(frozen=True)
class Requirements:
    """`locked`: a requirements file with hashes. `own`: pinned packages that it does not have, or has otherwise."""

    locked: str
    own: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        """The same for what installs the same."""
        return sha256_json([self.locked, self.own])

    @property
    def constraints(self) -> str:
        """The locked versions alone, so that installing `own` leaves them as they are."""
        return "".join(f"{name}=={version}\n" for name, version in pinned(self.locked).items())


def of_version(folder: Path, code: Path | None) -> Requirements:
    """What the version in `folder` needs inside an image.

    A model with a proved ONNX file needs the ONNX lock alone. Another one needs scikit-learn at the versions it was
    trained with, every library it was trained with that is not mlci's, and what its own modules in `code` import.
    """
    if by_onnx(folder):
        return Requirements(_lock(ONNX))
    locked = _lock(SKLEARN)
    versions = pinned(locked)
    trained = _trained_with(folder)
    tooling = frozenset((files("stages.images") / _TOOLING).read_text(encoding="utf-8").split())
    imported = _imported(code) if code is not None else frozenset()
    differing = {name for name, version in versions.items() if trained.get(name, version) != version}
    extra = {name for name in trained if name not in versions and (name not in tooling or name in imported)}
    own = tuple(f"{name}=={trained[name]}" for name in sorted(differing | extra))
    return Requirements(_without(locked, differing), own)


def by_onnx(folder: Path) -> bool:
    """Whether the version in `folder` is served by ONNX: its model was proved to answer alike."""
    return proved(read_json(folder / "signature.json"))


def pinned(text: str) -> dict[str, str]:
    """Package → version of a lock's text."""
    return dict(re.findall(r"^([a-z0-9][a-z0-9._-]*)==([^\s;]+)", text, flags=re.MULTILINE))


def _lock(name: str) -> str:
    text = (files("stages.images") / name).read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines(keepends=True) if not line.lstrip().startswith("#"))


def _without(text: str, names: set[str]) -> str:
    blocks = re.split(r"^(?=[a-z0-9])", text, flags=re.MULTILINE)
    return "".join(block for block in blocks if block.partition("==")[0] not in names)


def _trained_with(folder: Path) -> Mapping[str, str]:
    """Normalised distribution → version, as the version's record has them."""
    try:
        libraries = read_json(folder / "environment.json").get("libraries")
    except ArtefactError:
        libraries = None
    return {_normal(name): version for name, version in (libraries or {}).items()}


def _imported(code: Path) -> frozenset[str]:
    """Distributions that the modules in `code` import, as far as this Python knows them."""
    import importlib.metadata

    tops = set()
    for module in code.rglob("*.py"):
        for node in ast.walk(ast.parse(module.read_bytes())):
            if isinstance(node, ast.Import):
                tops |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                tops.add(node.module.split(".")[0])
    owners = importlib.metadata.packages_distributions()
    known = tops - sys.stdlib_module_names
    return frozenset(_normal(owner) for top in known for owner in owners.get(top, ()))


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
