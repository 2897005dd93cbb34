"""`result.json`: what a stage did, from what, into what."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages.records import jsonfile
from stages.records.atomic import write_json
from stages.records.digest import Digest, damaged, sha256_file
from stages.records.regular import is_inside

SCHEMA_VERSION = 1
FILE = "result.json"

_KINDS: dict[str, type | tuple[type, ...]] = {
    **dict.fromkeys(("stage", "status", "started", "python"), str),
    **dict.fromkeys(("exit_code", "peak_rss_bytes"), int),
    "seconds": (int, float),
    **dict.fromkeys(("inputs", "outputs", "config", "libraries", "summary"), dict),
}


@dataclass
class Result:
    """One stage's record. `inputs` and `outputs`: path → {sha256, size}; `config`: the text before replacement."""

    stage: str
    status: str
    exit_code: int
    started: str
    seconds: float
    peak_rss_bytes: int
    inputs: dict[str, dict[str, Any]]
    outputs: dict[str, dict[str, Any]]
    config: dict[str, Any]
    python: str
    libraries: dict[str, str]
    git_commit: str | None
    summary: dict[str, Any]
    key: dict[str, Any] = field(default_factory=dict)
    error: dict[str, str] | None = None
    schema_version: int = SCHEMA_VERSION

    def write(self, folder: Path) -> None:
        """Write into `folder`, atomically. Raises: InfraError: DEP_DISK."""
        data = asdict(self)
        write_json(folder / FILE, {"schema_version": data.pop("schema_version"), **data})

    def output(self, name: str) -> Digest:
        """Recorded digest of an output. Raises: KeyError."""
        return Digest(self.outputs[name]["sha256"], self.outputs[name]["size"])

    def changed_outputs(self, folder: Path) -> list[str]:
        """Names of recorded outputs that are missing from `folder` or differ from the record."""
        return damaged(folder, self.outputs)


def read(folder: Path) -> Result | None:
    """The record in `folder`; None where there is no valid one: such a folder does not exist for mlci."""
    try:
        data = jsonfile.parse(jsonfile.content(folder / FILE))
        return Result(**data) if _is_record(data) else None
    except (OSError, ValueError, TypeError):
        return None


def _is_record(data: Any) -> bool:
    """Whether every part that is relied on has its shape. Names of outputs and of modules stay in their folders."""
    if not isinstance(data, dict) or data.get("schema_version") != SCHEMA_VERSION:
        return False
    kinds = all(isinstance(data.get(name), kind) and type(data[name]) is not bool for name, kind in _KINDS.items())
    if not kinds or data["status"] not in ("done", "skipped", "failed"):
        return False
    key, error = data.get("key", {}), data.get("error")
    shaped = _are_digests(data["inputs"]) and _are_digests(data["outputs"]) and all(map(is_inside, data["outputs"]))
    shaped = shaped and _are_texts(data["libraries"]) and isinstance(data.get("git_commit"), str | None)
    if not shaped or not isinstance(key, dict) or not _are_digests(key.get("inputs") or {}):
        return False
    files = key.get("user_files") or {}
    if not (_are_texts(files) and all(map(is_inside, files)) and _are_texts(key.get("libraries") or {})):
        return False
    return error is None or (_are_texts(error) and error.keys() >= {"code", "what", "todo"})


def _are_digests(value: Any) -> bool:
    return isinstance(value, dict) and all(
        isinstance(one, dict) and isinstance(one.get("sha256"), str) and type(one.get("size")) is int
        for one in value.values()
    )


def _are_texts(value: Any) -> bool:
    return isinstance(value, dict) and all(name and isinstance(one, str) for name, one in value.items())


def digests_of(folder: Path) -> dict[str, dict[str, Any]]:
    """path → {sha256, size} of every file below `folder` but the record itself, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE)
    return {p.relative_to(folder).as_posix(): sha256_file(p)._asdict() for p in files}
