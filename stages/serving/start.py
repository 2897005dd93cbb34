"""A service from a folder: `.mlci/train`, a version in the store, or the model's place in an image."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from stages.records.digest import sha256_file
from stages.records.jsonfile import read_json
from stages.serving.app import About, Service
from stages.serving.limits import Limits
from stages.serving.predictor import Predictor

#: Files whose digests /model tells.
_TOLD = ("model.skops", "model.joblib", "model.onnx", "signature.json", "golden.json")


def service_of(folder: Path, version: str, log_access: bool = False) -> Service:
    """Load what `folder` holds. Limits and the API key (MLCI_API_KEY) come from the environment.

    Raises:
        ArtefactError: the model cannot be loaded. UsageError: CFG_LIMIT.
    """
    limits = Limits.from_environment()
    predictor = Predictor.load(folder)
    about = About(
        name=predictor.signature["name"],
        version=version,
        files={name: sha256_file(folder / name).sha256 for name in _TOLD if (folder / name).is_file()},
        metrics=_metrics(folder),
    )
    return Service(predictor, about, limits, os.environ.get("MLCI_API_KEY") or None, log_access)


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
