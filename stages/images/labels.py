"""Labels on images, containers, networks and services: by them we know what is ours, and touch nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError
from stages.records import result
from stages.records.jsonfile import read_json

#: Name of the model.
NAME = "mlci.name"
#: Digest of the model.
VERSION = "mlci.version"
#: Tag of the runtime that an image was built on: the same tag means the same base, dependencies and serving modules.
RUNTIME = "mlci.runtime"
#: Which environment of which model and store an object belongs to.
IDENTITY = "mlci.identity"
#: What an object is for: model, trial, gateway, network, service.
ROLE = "mlci.role"
#: Digest of the settings that a container was made with.
SETTINGS = "mlci.settings"
#: The keys of `deploy` that an environment's model was deployed with, as JSON; secrets are not among them.
DEPLOYED = "mlci.deployed"

_OCI = "org.opencontainers.image"


def of_model(name: str, digest: str, folder: Path, base: str, base_digest: str) -> dict[str, str]:
    """Labels of a model's image: commit, digests and metrics; no time, so that the same model has the same labels.

    `folder`: the version's files. `base`, `base_digest`: the base image's name and digest.
    """
    labels = {
        NAME: name,
        VERSION: digest,
        f"{_OCI}.title": name,
        f"{_OCI}.version": digest[:12],
        f"{_OCI}.base.name": base,
        f"{_OCI}.base.digest": base_digest,
    }
    trained = result.read(folder)
    if trained is not None:
        if trained.git_commit:
            labels[f"{_OCI}.revision"] = trained.git_commit
        outputs = {path: digest["sha256"] for path, digest in sorted(trained.outputs.items())}
        labels["mlci.files"] = _compact(outputs)
    metrics = _test_metrics(folder)
    if metrics:
        labels["mlci.metrics"] = _compact(metrics)
    return labels


def _test_metrics(folder: Path) -> Mapping[str, Any]:
    try:
        found = read_json(folder / "metrics.json")
    except ArtefactError:
        return {}
    tested = found.get("test") if isinstance(found, dict) else None
    return tested if isinstance(tested, dict) else {}


def _compact(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))
