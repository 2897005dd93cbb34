"""`python -m PACKAGE`: request bodies as lines of JSON in, the service's answers as lines out."""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from stages.product.embedded import Embedded, Refused


def main(model: Embedded, lines: TextIO | None = None, out: TextIO | None = None) -> int:
    """Answer `{"rows": [...]}` line by line; a refusal is a line as well. Returns the exit code."""
    out = out or sys.stdout
    for line in lines or sys.stdin:
        if line.strip():
            print(json.dumps(answer(model, line), ensure_ascii=True), file=out, flush=True)
    return 0


def answer(model: Embedded, body: str) -> dict[str, Any]:
    """What the service answers to a body, without what is of HTTP alone."""
    try:
        rows = json.loads(body, parse_constant=_no_constant)
    except ValueError:
        return _refusal(400, "DAT_JSON", "the body is not JSON")
    if not isinstance(rows, dict) or not isinstance(rows.get("rows"), list):
        return _refusal(422, "DAT_REFUSED", 'expected an object: {"rows": [...]}')
    try:
        said = model.predict(rows["rows"])
    except Refused as refused:
        found = _refusal(422, refused.code, refused.detail)
        return found | {"problems_total": refused.total, "problems": refused.problems}
    answers: dict[str, Any] = {"predictions": said.predictions}
    return answers if said.probabilities is None else answers | {"probabilities": said.probabilities}


def _refusal(status: int, code: str, detail: str) -> dict[str, Any]:
    return {"status": status, "code": code, "detail": detail}


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is not JSON")
