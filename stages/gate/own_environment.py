"""A Python environment with the library versions that a stored model was trained with, made once and kept.

scikit-learn does not promise that a model of one version answers alike in another, so after an upgrade a champion
without an ONNX export is asked with what it had.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError
from stages.records.jsonfile import read_json
from stages.venvs import kept, make, place
from stages.venvs.wanted import Wanted


def python_of(folder: Path) -> Path:
    """The interpreter of the environment for the model in `folder`, which holds its `environment.json`.

    It lies beside mlci's own environments (`MLCI_CACHE`), under a name that is the digest of its versions.

    Raises:
        ArtefactError: MOD_VERSION: another Python is needed, or the record is missing. InfraError: it cannot be made.
    """
    recorded = read_json(folder / "environment.json")
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    there = ".".join(str(recorded.get("python", "")).split(".")[:2])
    if there != here:
        what = f"it was trained with Python {there or 'of an unknown version'}, here is {here}"
        raise ArtefactError("MOD_VERSION", what, "train it again, or validate with that Python")
    pins = _pins(recorded.get("libraries") or {})
    name = f"model-{hashlib.sha256(f'{here} {pins}'.encode()).hexdigest()[:16]}"
    venv = place.choose(os.environ, [name], kept.usable) / name

    def fill(folder: Path) -> None:
        asked = folder.with_name(f"{name}.txt")
        asked.write_text(pins, encoding="utf-8")
        make.make(folder, asked, asked, Wanted(None, "own"))

    return kept.provide(venv, "the environment of a stored model", fill) / "bin" / "python"


def _pins(libraries: Mapping[str, Any]) -> str:
    return "".join(f"{name}=={version}\n" for name, version in sorted(libraries.items()))
