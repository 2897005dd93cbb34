"""A service from a folder: `.mlci/train`, a version in the store, or the model's place in an image."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from stages.errors import UsageError
from stages.model.policy import Policy
from stages.records.digest import sha256_file
from stages.records.jsonfile import read_json
from stages.serving import OVERRIDE, OVERRIDE_FILE
from stages.serving.app import About, Service
from stages.serving.limits import Limits
from stages.serving.predictor import Predictor

#: Files whose digests /model tells.
_TOLD = ("model.skops", "model.joblib", "model.onnx", "signature.json", "golden.json")


def service_of(folder: Path, version: str, log_access: bool = False, policy: Policy | None = None) -> Service:
    """Load what `folder` holds, if `policy` allows it. Limits and the API key (MLCI_API_KEY, MLCI_API_KEY_FILE) come
    from the environment.

    Raises:
        ArtefactError: the model cannot be loaded. UsageError: CFG_LIMIT.
    """
    limits = Limits.from_environment()
    predictor = Predictor.load(folder, policy)
    about = About(
        name=predictor.signature["name"],
        version=version,
        files={name: sha256_file(folder / name).sha256 for name in _TOLD if (folder / name).is_file()},
        metrics=_metrics(folder),
        override=_override(folder),
    )
    return Service(predictor, about, limits, _api_key(), log_access)


def _api_key() -> str | None:
    """MLCI_API_KEY, or what the file MLCI_API_KEY_FILE holds, as a swarm gives its secrets.

    Raises:
        UsageError: CFG_API_KEY: there is no such file, or it is empty: the service must not open itself to all.
    """
    place = os.environ.get("MLCI_API_KEY_FILE")
    if not place:
        return os.environ.get("MLCI_API_KEY") or None
    try:
        key = Path(place).read_text(encoding="utf-8").strip()
    except OSError as error:
        raise UsageError("CFG_API_KEY", f"{place}: {error.strerror}", "correct MLCI_API_KEY_FILE") from error
    if not key:
        raise UsageError("CFG_API_KEY", f"{place}: the file is empty", "write the key into it")
    return key


def _override(folder: Path) -> dict[str, Any] | None:
    """What the deployment said, else what was kept with the version."""
    path, given = folder / OVERRIDE_FILE, os.environ.get(OVERRIDE)
    try:
        found = json.loads(given) if given else read_json(path) if path.is_file() else None
    except (ValueError, RecursionError):
        return {"reason": given}
    return found if isinstance(found, dict) else None


def _metrics(folder: Path) -> dict[str, Any]:
    path = folder / "metrics.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}
