"""What of the configuration and the environment each stage depends on: once for its own key, and for the later stages
that ask whether its result still holds."""

from __future__ import annotations

import os
from typing import Any

from stages.project import Project

#: Top-level sections of ml.yaml in each stage's key.
_SECTIONS = {
    "prepare": ("task", "data"),
    "train": ("name", "task", "model", "card", "golden", "data"),
    "test": ("test",),
    "validate": ("validate", "task"),
}
#: Keys of `data` that training looks at; the rest has had its effect on the files.
_DATA_OF_TRAIN = ("target", "positive", "weight", "columns", "split", "key")


def is_keyed(stage: str, name: str) -> bool:
    """Whether a top-level section of ml.yaml is part of the key of `stage`."""
    return name in _SECTIONS[stage]


def config_of(project: Project, stage: str) -> dict[str, Any]:
    """The part of ml.yaml, as of now, that `stage` depends on."""
    values = project.loaded.keyed(*_SECTIONS[stage])
    if stage == "train":
        values["data"] = {key: values["data"][key] for key in _DATA_OF_TRAIN if key in values["data"]}
    if stage == "validate":
        values["weight"] = project.config.data.weight
    return values


def variables_of(project: Project, stage: str) -> dict[str, str | None]:
    """The variables of `environment.variables` with their values, where `stage` runs code of the repository; None: not
    set."""
    if not _runs_own_code(project, stage):
        return {}
    return {name: os.environ.get(name) for name in project.config.environment.variables}


def _runs_own_code(project: Project, stage: str) -> bool:
    config = project.config
    if stage == "prepare":
        return config.data.transform is not None or str(config.data.source).startswith("python:")
    if stage == "test":
        return config.test.unit is not None or config.test.integration is not None
    top = config.model.estimator.split(".")[0]
    own_model = config.model.preprocess != "auto" or any((project.root / name).exists() for name in (top, f"{top}.py"))
    return own_model or (stage == "validate" and any(":" in name for name in config.validation.metrics))
