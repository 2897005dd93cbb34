"""The proof that an artefact must give before it serves: recorded answers to recorded requests, and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from stages.errors import InfraError
from stages.serving.golden import compare
from stages.targets.client import Client

#: Bodies that every service must answer with 4xx, whatever its signature.
MALFORMED = (b'{"rows": [', b'{"rows": 7}', b'{"rows": ["no row"]}')


def prove(client: Client, golden: Mapping[str, Any]) -> None:
    """Compare the service's answers with the recorded ones.

    Raises:
        InfraError: DEP_PROOF: an answer differs, or a malformed request is not refused; DEP_PROOF_LOST: the service
        stopped answering.
    """
    try:
        wrong = differences(client, golden) or _taken(client)
    except OSError as error:
        raise InfraError(
            "DEP_PROOF_LOST",
            f"the new service stopped answering during its proof: {error}",
            "see its log; what served before still does",
        ) from error
    if wrong:
        more = f" (and {len(wrong) - 3} more)" if wrong[3:] else ""
        raise InfraError(
            "DEP_PROOF",
            f"the new service failed its proof: {'; '.join(wrong[:3])}{more}",
            "what served before still does; train again, and look for state, time or files that the model depends on",
        )


def differences(client: Client, golden: Mapping[str, Any]) -> list[str]:
    """Where the service's answers differ from the recorded ones. Raises: OSError."""

    def ask(body: dict[str, Any]) -> Mapping[str, Any]:
        said = client.post("/predict", json.dumps(body).encode())
        if said.status != 200 or not isinstance(said.body, dict):
            return {"predictions": None, "status": said.status}
        return said.body

    return compare(golden, ask)


def _taken(client: Client) -> list[str]:
    statuses = [client.post("/predict", body).status for body in MALFORMED]
    return [
        f"malformed request {i + 1} was answered with {status}, not refused"
        for i, status in enumerate(statuses)
        if not 400 <= status < 500
    ]
