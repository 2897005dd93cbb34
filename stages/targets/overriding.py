"""An override belongs to the version: its model card and its service say so wherever it serves."""

from __future__ import annotations

import dataclasses
import json

from stages.model.card import text
from stages.serving import OVERRIDE_FILE
from stages.store import Move
from stages.targets.base import Version
from stages.targets.environment import Environment

_CARD, _HEADING = "MODEL_CARD.md", "## Gate overridden"


def described(environment: Environment, move: Move, new: bool) -> Version:
    """The version that `move` is about, told why it serves although the gate did not approve it, if so.

    `new`: the move's own override, which is written into the version's card in the store.

    Raises:
        ArtefactError: STO_DIGEST. InfraError: STO_READONLY, STO_WRITE.
    """
    version = environment.version(move.digest)
    if not new:
        return version
    said = {"reason": move.override, "by": move.by, "when": move.when, "env": move.env}
    files = {OVERRIDE_FILE: (json.dumps(said, indent=2, ensure_ascii=False) + "\n").encode()}
    card = version.folder / _CARD
    if card.is_file():
        files[_CARD] = _with_override(card.read_text(encoding="utf-8"), move).encode()
    environment.store.describe(environment.model, move.digest, files)
    return dataclasses.replace(environment.version(move.digest), override=said)


def _with_override(card: str, move: Move) -> str:
    """The card with one more line under its last heading."""
    line = f"- {text(move.override)} ({text(move.by)}, {text(move.when)}, for {text(move.env)})"
    before, _, lines = card.partition(f"\n{_HEADING}\n")
    return f"{before.rstrip()}\n\n{_HEADING}\n\n" + "\n".join([*lines.strip().splitlines(), line]) + "\n"
