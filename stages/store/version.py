"""What a version is: which files of a project belong to it, and its digest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError
from stages.project import Project
from stages.records import result
from stages.records.digest import sha256_file, sha256_json
from stages.records.result import Result

#: The files that answers depend on. What else is kept with a model describes it.
_IDENTITY = ("model.skops", "model.joblib", "model.onnx", "signature.json", "golden.json")
#: Folder, within a version, of the repository's own modules that the model needs.
CODE = "code"


def model_digest(folder: Path) -> str:
    """Digest of the model in `.mlci/train` or in the store: SHA-256 over the names and SHA-256 of the model, its
    signature, its golden answers, and the repository's own modules that training imported.

    Raises:
        ArtefactError: MOD_RECORD: there is no model in `folder`.
    """
    files = {name: sha256_file(folder / name).sha256 for name in _IDENTITY if (folder / name).is_file()}
    if not any(name.startswith("model.") for name in files) or "signature.json" not in files:
        raise ArtefactError("MOD_RECORD", f"{folder}: there is no model here", "run: mlci train")
    trained = result.read(folder)
    own = _own_modules(trained) if trained is not None else {}
    return sha256_json(files | {f"{CODE}/{name}": digest for name, digest in own.items()})


def _own_modules(trained: Result) -> dict[str, str]:
    return dict(trained.key.get("user_files") or {})


def files_of(project: Project) -> dict[str, Path | bytes]:
    """All that is kept of the project's current model: name in the version → file or content.

    Raises:
        ArtefactError: MOD_NOT_TRAINED; MOD_RECORD when a module of the repository changed after training.
    """
    trained = result.read(project.folder("train"))
    if trained is None:
        raise ArtefactError("MOD_NOT_TRAINED", "there is no trained model here", "run: mlci train")
    folder = project.folder("train")
    kept: dict[str, Path | bytes] = {name: folder / name for name in trained.outputs}
    kept["result.json"] = folder / result.FILE
    for name, digest in _own_modules(trained).items():
        module = project.root / name
        if not module.is_file() or sha256_file(module).sha256 != digest:
            raise ArtefactError("MOD_RECORD", f"{project.show(module)}: changed after training", "run: mlci run")
        kept[f"{CODE}/{name}"] = module
    others = {
        "gate.json": ("validate", "gate.json"),
        "reference.json": ("validate", "reference.json"),
        "validate.json": ("validate", result.FILE),
        "test.json": ("test", result.FILE),
        "prepare.json": ("prepare", result.FILE),
        "schema.json": ("prepare", "schema.json"),
        "train.rows.npy": ("prepare", "train.rows.npy"),
    }
    for name, (stage, file) in others.items():
        path = project.folder(stage) / file
        if path.is_file():
            kept[name] = path
    kept["environment.json"] = _environment(trained)
    return kept


def _environment(trained: Result) -> bytes:
    """The installed versions that the model was trained with."""
    lock: dict[str, Any] = {"schema_version": 1, "python": trained.python, "libraries": dict(trained.libraries)}
    lock["platform"] = trained.key.get("platform")
    return (json.dumps(lock, indent=2) + "\n").encode()


def require_describing(files: Mapping[str, Any]) -> None:
    """Raises: ValueError: a file is one that the digest of a version covers."""
    for name in files:
        if name in _IDENTITY or name.startswith(f"{CODE}/"):
            raise ValueError(f"{name} is part of what a version is")


def content_digest(content: Path | bytes) -> str:
    """SHA-256 of a file or of bytes."""
    import hashlib

    return hashlib.sha256(content).hexdigest() if isinstance(content, bytes) else sha256_file(content).sha256


def digest_of_files(files: Mapping[str, Path | bytes]) -> str:
    """`model_digest` of a version that is not in one folder yet."""
    identity = {n: content_digest(c) for n, c in files.items() if n in _IDENTITY or n.startswith(f"{CODE}/")}
    return sha256_json(identity)
