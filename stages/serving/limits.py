"""What a service takes on before it says no. Every limit is an environment variable, so that an image needs no
rebuild."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

from stages import variables


@dataclass(frozen=True)
class Limits:
    """Bounds of one service process.

    `max_body_bytes`, `max_rows`: of one request (413). `max_concurrency`: requests for predictions being read, queued
    or answered (429). `max_waiting_rows`: rows queued behind a running batch (503). `max_batch_rows`: rows predicted in
    one call; a larger request runs alone. `max_connections`: open at once; those that wait longest make room.
    `max_bytes_in_flight`: bodies longer than 32 KiB, over all connections, until they are answered (503).
    `deadline_seconds`: from the first byte to the answer (504, or 408 while the body is still coming).
    `drain_seconds`: how long connections are still taken after SIGTERM; `grace_seconds`: how long those taken may then
    need.
    """

    max_body_bytes: int = 16 * 2**20
    max_rows: int = 10_000
    max_concurrency: int = 256
    max_waiting_rows: int = 50_000
    max_batch_rows: int = 1_024
    max_connections: int = 512
    max_bytes_in_flight: int = 16 * 2**20
    deadline_seconds: float = 30.0
    drain_seconds: float = 1.0
    grace_seconds: float = 25.0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] | None = None) -> Limits:
        """Defaults, replaced by `MLCI_SERVE_<NAME>` (for example MLCI_SERVE_MAX_ROWS).

        Raises:
            UsageError: CFG_LIMIT: a value is not a number, or not above zero.
        """
        given: dict[str, float] = {}
        for limit in fields(cls):
            name, default = f"MLCI_SERVE_{limit.name.upper()}", limit.default
            if limit.type == "float":
                least = 0 if limit.name == "drain_seconds" else 1e-9
                given[limit.name] = variables.measure(name, default, least, environment)  # type: ignore[arg-type]
            else:
                given[limit.name] = variables.count(name, default, 1, environment)  # type: ignore[arg-type]
        return cls(**given)  # type: ignore[arg-type]  # each value was made by its field's own type
