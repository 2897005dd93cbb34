"""What a command says."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

    from stages.errors import MlciError


class Answer:
    """Lines for people, data for `--json`, an exit code, and the error behind it if there is one.

    No dataclass: importing that module takes as long as the rest of `mlci --help`.
    """

    def __init__(
        self,
        lines: list[str] | None = None,
        data: dict[str, Any] | None = None,
        exit_code: int = 0,
        error: MlciError | None = None,
    ) -> None:
        self.lines = lines or []
        self.data = data or {}
        self.exit_code = exit_code
        self.error = error
