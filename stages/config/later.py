"""Keys of the contract that this version does not carry out: each is refused in one line, never accepted and
ignored."""

from __future__ import annotations

from typing import Any

from stages.config.yamlfile import Document, KeyPath
from stages.errors import ConfigError


def refuse(document: Document, data: Any) -> list[ConfigError]:
    """One error for each configured key that belongs to a later version."""
    if not isinstance(data, dict):
        return []
    found: list[tuple[KeyPath, str, str]] = []
    if isinstance(data.get("store"), str) and data["store"].startswith("s3://"):
        found.append(
            (
                ("store",),
                "an s3 store is not available in this version",
                "use a directory that all deploying machines see",
            )
        )
    return [ConfigError("CFG_NOT_AVAILABLE", f"{document.where(path)}: {what}", todo) for path, what, todo in found]
