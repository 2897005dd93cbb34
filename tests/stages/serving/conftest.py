"""A trained model, and a way to serve it on a real socket."""

from __future__ import annotations

import http.client
import json
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import pytest
import uvicorn

from stages.export.export import export
from stages.model import answers, frames, persistence
from stages.model.metrics import Truth
from stages.serving.app import About, Service
from stages.serving.limits import Limits
from stages.serving.onnx_predictor import OnnxPredictor
from stages.serving.predictor import Predictor
from tests.stages import modelkit

ROW = {
    "delay": 12.5,
    "seats": 100,
    "carrier": "AA",
    "origin": "JFK",
    "windy": True,
    "when": "2024-06-01T12:00:00",
}


class Said(NamedTuple):
    status: int
    headers: dict[str, str]
    body: Any
    raw: bytes


class Live:
    """A service on an ephemeral port."""

    def __init__(self, service: Service, port: int) -> None:
        self.service = service
        self.port = port

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Said:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and "content-type" not in sent:
            sent["content-type"] = "application/json"
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            raw = answer.read()
            names = {name.lower(): value for name, value in answer.getheaders()}
        finally:
            connection.close()
        is_json = "json" in names.get("content-type", "")
        return Said(answer.status, names, json.loads(raw) if is_json and raw else None, raw)

    def predict(self, *rows: Any, **headers: str) -> Said:
        return self.ask("POST", "/predict", json.dumps({"rows": list(rows)}).encode(), **headers)


@contextmanager
def serving(service: Service) -> Iterator[Live]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(service, log_config=None, ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            deadline = time.monotonic() + 120
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.005)
            assert server.started
            yield Live(service, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join(120)
            assert not thread.is_alive()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return modelkit.project(tmp_path_factory.mktemp("model")).folder("train")


@pytest.fixture(scope="session")
def predictor(model_folder: Path) -> Predictor:
    return Predictor.load(model_folder)


@pytest.fixture(scope="session")
def onnx(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Predictor:
    """The same model, exported."""
    signature = json.loads((model_folder / "signature.json").read_text())
    pipeline = persistence.load(model_folder, signature)
    test = tmp_path_factory.mktemp("test") / "test.parquet"
    rows = modelkit.table(600, seed=2)
    pq.write_table(rows, test)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = answers.ask(pipeline, frames.frame(rows, signature["features"]), signature["classes"])
        truth = Truth.of(rows.column("late").to_numpy(), signature["classes"])
        found = export(pipeline, signature, test, truth, said)
    assert found.content is not None, found.record
    return OnnxPredictor(found.content, signature)


@pytest.fixture(scope="module")
def live(predictor: Predictor) -> Iterator[Live]:
    with serving(
        Service(predictor, About("demo", "abc", {"model.skops": "0"}, {"test": {"auc": float("nan")}}))
    ) as live:
        yield live


@pytest.fixture
def serve(predictor: Predictor) -> Iterator[Callable[..., Any]]:
    """Serve with other limits, another key, another predictor."""

    def start(using: Predictor | None = None, **options: Any) -> Any:
        limits = Limits(**{k: v for k, v in options.items() if k in Limits.__dataclass_fields__})
        others = {k: v for k, v in options.items() if k not in Limits.__dataclass_fields__}
        return serving(Service(using or predictor, About("demo", "abc"), limits, **others))

    return start  # type: ignore[return-value]
