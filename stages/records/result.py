"""`result.json`: what a stage did, from what, into what."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from stages.records import jsonfile
from stages.records.atomic import write_json
from stages.records.digest import Digest, damaged, sha256_file

SCHEMA_VERSION = 1
FILE = "result.json"


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
        if data["schema_version"] != SCHEMA_VERSION or data["status"] not in ("done", "skipped", "failed"):
            return None
        found = Result(**data)
        return found if _sound(found) else None
    except (OSError, ValueError, TypeError, KeyError):
        return None


def _sound(found: Result) -> bool:
    """Whether everything that is looked into has the shape that `Result` says."""
    mappings = (found.inputs, found.outputs, found.config, found.libraries, found.summary, found.key)
    if not all(isinstance(one, dict) for one in mappings) or not isinstance(found.exit_code, int):
        return False
    if not all(isinstance(one, dict) for one in found.inputs.values()):
        return False
    known = found.error is None or (isinstance(found.error, dict) and {"code", "what", "todo"} <= found.error.keys())
    seconds = isinstance(found.seconds, int | float) and isinstance(found.stage, str)
    return (
        known
        and seconds
        and all(isinstance(one, dict) and {"sha256", "size"} <= one.keys() for one in found.outputs.values())
    )


def digests_of(folder: Path) -> dict[str, dict[str, Any]]:
    """path → {sha256, size} of every file below `folder` but the record itself, sorted by path."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != FILE)
    return {p.relative_to(folder).as_posix(): sha256_file(p)._asdict() for p in files}
