"""Latency and size of what will be deployed, and whether its export answers like the trained model."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.gate.outcome import Outcome, short
from stages.model.policy import Policy

#: Windows of single-row requests; the best counts, since other processes can only make one slower.
WINDOWS, REQUESTS, WARM_UP = 3, 300, 20
#: Seconds that a window may take; a slow model is asked less often.
_SECONDS = 5.0


def latency(ask: Callable[[dict[str, Any]], Any], requests: Sequence[dict[str, Any]], p99_ms: float) -> Outcome:
    """The 99th percentile of the time for one row, from its JSON values to its answer, in the best of three windows.

    `ask`: what the service does with a row, decoding included. `requests`: rows to ask for, in turn.
    """
    for i in range(WARM_UP):
        ask(requests[i % len(requests)])
    windows = [_window(ask, requests) for _ in range(WINDOWS)]
    percentiles = [float(np.percentile(window, 99)) for window in windows]
    best, n = min(percentiles), min(len(window) for window in windows)
    details = {"p99_ms": percentiles, "p50_ms": float(np.median(np.concatenate(windows)))}
    said = f"99 % of single rows are answered within {short(best)} ms (best of {WINDOWS} windows of {n} requests)"
    if best > p99_ms:
        sentence = f"{said}, allowed are {short(p99_ms)} ms"
        return Outcome("latency", "failed", sentence, "GATE_LATENCY", best, p99_ms, None, n, details)
    return Outcome("latency", "passed", f"{said}; allowed are {short(p99_ms)} ms", None, best, p99_ms, None, n, details)


def latency_of(folder: Path, p99_ms: float, policy: Policy | None = None) -> Outcome:
    """`latency` of the model in `folder`, as the service loads and asks it, for the rows of its golden requests."""
    from threadpoolctl import threadpool_limits

    from stages.records.jsonfile import read_json
    from stages.serving.predictor import Predictor

    predictor = Predictor.load(folder, policy)
    requests = [row for body in read_json(folder / "golden.json")["requests"] for row in body["rows"]]
    with threadpool_limits(1):  # as in the service
        return latency(lambda row: predictor.answer(predictor.decode([row])), requests, p99_ms)


def _window(ask: Callable[[dict[str, Any]], Any], requests: Sequence[dict[str, Any]]) -> np.ndarray:
    times: list[float] = []
    started = time.perf_counter()
    for i in range(REQUESTS):
        before = time.perf_counter()
        ask(requests[i % len(requests)])
        now = time.perf_counter()
        times.append(1000 * (now - before))
        if now - started > _SECONDS and i >= 20:
            break
    return np.array(times)


def size(folder: Path, max_mb: float) -> Outcome:
    """Megabytes (10⁶ bytes) of the model file that is served: the ONNX export where there is one."""
    onnx = folder / "model.onnx"
    served = onnx if onnx.is_file() else next(p for p in sorted(folder.glob("model.*")) if p.suffix != ".json")
    found = served.stat().st_size / 1e6
    said = f"{served.name} has {short(found)} MB, allowed are {short(max_mb)} MB"
    status, code = ("failed", "GATE_SIZE") if found > max_mb else ("passed", None)
    return Outcome("size", status, said, code, found, max_mb, details={"file": served.name})  # type: ignore[arg-type]


def parity(exported: Mapping[str, Any] | None, wanted: str) -> Outcome | None:
    """Whether the exported model was proved to answer like the trained one, as training recorded it.

    `exported`: `{"proved": bool, "reason": text}` of signature.json. `wanted`: `model.onnx` of the configuration.
    """
    if exported is None or wanted == "never":
        return None
    if exported.get("proved"):
        return Outcome("parity", "passed", "the ONNX export answers like the trained model", details=dict(exported))
    why = exported.get("reason") or "not proved"
    if wanted == "require":
        return Outcome("parity", "failed", f"no ONNX export that answers like the model: {why}", "GATE_PARITY")
    return Outcome("parity", "skipped", f"served by scikit-learn, without an ONNX export: {why}")
