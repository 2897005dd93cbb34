"""The proof that an artefact must give before it serves: recorded answers to recorded requests, and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from stages.errors import InfraError
from stages.serving.golden import compare
from stages.targets.client import Client

#: Bodies that every service must answer with 4xx, whatever its signature.
MALFORMED = (b'{"rows": [', b'{"rows": 7}', b'{"rows": ["no row"]}')
#: Statuses of a service that has less room than the recorded requests need.
_LIMITS = {408, 413, 429, 503, 504}


def prove(client: Client, golden: Mapping[str, Any]) -> None:
    """Compare the service's answers with the recorded ones.

    Raises:
        InfraError: DEP_PROOF: an answer differs, or a malformed request is not refused; DEP_PROOF_LOST: the service
        stopped answering.
    """
    try:
        wrong, refused = _asked(client, golden)
        wrong = wrong or _taken(client)
    except OSError as error:
        raise InfraError(
            "DEP_PROOF_LOST",
            f"the new service stopped answering during its proof: {error}",
            "correct what its log says; what served before still does",
        ) from error
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if wrong[3:] else ""
        limited = bool(refused & _LIMITS)
        depends = "train again, and look for state, time or files that the model depends on"
        raise InfraError(
            "DEP_PROOF",
            f"the new service failed its proof: {'; '.join(wrong[:3])}{more}",
            f"what served before still does; {'raise that limit (MLCI_SERVE_…)' if limited else depends}",
        )


def differences(client: Client, golden: Mapping[str, Any]) -> list[str]:
    """Where the service's answers differ from the recorded ones. Raises: OSError."""
    return _asked(client, golden)[0]


def _asked(client: Client, golden: Mapping[str, Any]) -> tuple[list[str], set[int]]:
    """Where answers differ, and the statuses of those that were no answers."""
    refused: dict[int, str] = {}

    def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        said = client.post("/predict", json.dumps(body).encode())
        if said.status == 200 and isinstance(said.body, dict):
            return said.body
        problem = said.body if isinstance(said.body, dict) else {}
        told = [str(problem[key]) for key in ("code", "detail") if problem.get(key)]  # neither holds a caller's value
        refused[said.status] = ": ".join([f"{said.status} {HTTPStatus(said.status).phrase}", *told])
        return {"predictions": None}

    wrong = compare(golden, ask)
    return [f"a recorded request was answered with {text}" for text in refused.values()] or wrong, set(refused)


def _taken(client: Client) -> list[str]:
    statuses = [client.post("/predict", body).status for body in MALFORMED]
    return [
        f"malformed request {i + 1} was answered with {status}, not refused"
        for i, status in enumerate(statuses)
        if not 400 <= status < 500
    ]
