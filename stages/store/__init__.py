"""Where models are kept, which one serves which environment, and who decided so.

models/<name>/<digest>/           immutable; `complete.json` last: a folder without it does not exist
aliases/<name>/<env>.json         which digest serves an environment; changed by compare-and-swap
aliases/<name>/promotions.jsonl   every change of an alias, append-only
"""

from __future__ import annotations

from pathlib import Path

from stages.store.base import Alias, Move, Store
from stages.store.directory import DirectoryStore
from stages.store.version import model_digest

__all__ = ["Alias", "DirectoryStore", "Move", "Store", "at", "model_digest"]


def at(address: str, root: Path) -> Store:
    """The store at an address of the configuration: a directory, relative to `root`, or s3://bucket/prefix."""
    if address.startswith("s3://"):
        from stages.store.s3 import S3Store

        return S3Store(address)
    return DirectoryStore((root / Path(address).expanduser()).absolute())
