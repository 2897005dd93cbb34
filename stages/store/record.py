"""`complete.json`: what belongs to a version. Written last; a version without it does not exist."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError
from stages.records import jsonfile
from stages.records.regular import is_inside

COMPLETE = "complete.json"


@dataclass(frozen=True)
class Record:
    """`files`: relative name → `sha256`, `size` and what else the store knows of it. `when`: seconds since 1970."""

    files: dict[str, dict[str, Any]]
    when: float

    @classmethod
    def now(cls, files: dict[str, dict[str, Any]]) -> Record:
        """The record of a version that was just written."""
        return cls(files, time.time())

    @classmethod
    def of(cls, content: bytes) -> Record | None:
        """What a `complete.json` says; None for one that is none, or names files outside of its folder."""
        try:
            data = jsonfile.parse(content)
            files, when = data["files"], data["when"]
            sound = isinstance(files, dict) and isinstance(when, float)
            sound = sound and all(is_inside(name) and _is_file(file) for name, file in files.items())
        except (ValueError, KeyError, TypeError):
            return None
        return cls(files, when) if sound else None

    def content(self) -> bytes:
        """The reverse of `of`."""
        return json_bytes({"schema_version": 1, "files": self.files, "when": self.when})


def read(home: Path) -> Record | None:
    """The record in a folder; None where the version is not complete."""
    try:
        return Record.of(jsonfile.content(home / COMPLETE))
    except (OSError, ValueError):
        return None


def mismatch(place: str, file: str | None) -> ArtefactError:
    """The error of a version whose `file`, or what it is as a whole, is not as recorded."""
    return ArtefactError(
        "STO_DIGEST",
        f"{place}: {file or 'the model'} does not match its record",
        "it is not loaded; deploy the model again, or restore the store from a backup",
    )


def json_bytes(value: Any) -> bytes:
    """Readable JSON."""
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _is_file(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("sha256"), str) and type(value.get("size")) is int
