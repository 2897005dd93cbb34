"""What a command says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stages.errors import MlciError


@dataclass
class Answer:
    """Lines for people on standard output, data for `--json`, and an exit code.

    `error`: why the command ended before it was done; the rest says how far it came.
    """

    lines: list[str] = field(default_factory=list)
    data: dict[str, Any] = field(default_factory=dict)
    exit_code: int = 0
    error: MlciError | None = None
