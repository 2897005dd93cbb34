"""Where models are kept, which one serves which environment, and who decided so.

models/<name>/<digest>/           immutable; `complete.json` last: a folder without it does not exist
aliases/<name>/<env>.json         which digest serves an environment; changed by compare-and-swap
aliases/<name>/promotions.jsonl   every change of an alias, append-only
"""

from __future__ import annotations

from stages.store.base import Alias, Move, Store
from stages.store.directory import DirectoryStore
from stages.store.version import model_digest

__all__ = ["Alias", "DirectoryStore", "Move", "Store", "model_digest"]
