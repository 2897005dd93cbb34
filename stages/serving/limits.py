"""What a service takes on before it says no. Every limit is an environment variable, so that an image needs no
rebuild."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from stages.errors import UsageError


@dataclass(frozen=True)
class Limits:
    """Bounds of one service process.

    `max_body_bytes`, `max_rows`: of one request (413). `max_concurrency`: requests for predictions being read,
    queued or answered
    (429). `max_waiting_rows`: rows queued behind a running batch (503). `deadline_seconds`: from the first byte to
    the answer (504, or
    408 while the body is still coming). `max_batch_rows`: rows predicted in one call; a larger request runs alone.
    `drain_seconds`:
    how long connections are still taken after SIGTERM; `grace_seconds`: how long those taken may then need.
    """

    max_body_bytes: int = 16 * 2**20
    max_rows: int = 10_000
    max_concurrency: int = 256
    max_waiting_rows: int = 50_000
    max_batch_rows: int = 1_024
    deadline_seconds: float = 30.0
    drain_seconds: float = 1.0
    grace_seconds: float = 25.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Limits:
        """Defaults, replaced by `MLCI_SERVE_<NAME>` (for example MLCI_SERVE_MAX_ROWS).

        Raises:
            UsageError: CFG_LIMIT: a value is not a number, or not above zero.
        """
        environment = os.environ if environment is None else environment
        given: dict[str, float] = {}
        for limit in fields(cls):
            name = f"MLCI_SERVE_{limit.name.upper()}"
            text = environment.get(name)
            if text is None:
                continue
            try:
                value = float(text) if limit.type == "float" else int(text)
            except ValueError:
                value = -1
            least = 0 if limit.name == "drain_seconds" else 1e-9
            if not least <= value < float("inf"):
                raise UsageError(
                    "CFG_LIMIT",
                    f"{name}={text!r} is not a number above 0",
                    f"unset it for the default, {limit.default}",
                )
            given[limit.name] = value
        return cls(**given)  # type: ignore[arg-type]  # each value was made by its field's own type
