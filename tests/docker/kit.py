"""A small trained project whose environment is a container, and a look at what it left on the engine."""

from __future__ import annotations

import json
import socket
from pathlib import Path
from typing import Any

import docker

from stages.images import labels
from stages.project import Project
from stages.records import result
from stages.targets import services
from stages.targets.client import Client
from stages.targets.environment import Environment
from tests.docker import parts
from tests.stages import modelkit

ROW = {"delay": 1, "seats": 9, "carrier": "AA", "origin": "JFK", "when": "2024-06-01T12:00:00"}
BODY = json.dumps({"rows": [ROW]}).encode()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def project(
    root: Path,
    *,
    port: int | None = None,
    seed: int = 1,
    target: str = "container",
    name: str = "demo",
    options: str = "",
) -> Project:
    """A project with a model that depends on `seed`, to be deployed to a container (or `target`) on `port`."""
    port = port or free_port()
    more = f", base: '{parts.BASE}'"
    if target == "container" and "gateway:" not in options:
        more += f", gateway: '{parts.GATEWAY}'"
    modelkit.project(root, port, seed=seed, name=name, options="")
    text = (root / "ml.yaml").read_text()
    text = text.replace("target: process", f"target: {target}").replace(f"port: {port}", f"port: {port}{more}{options}")
    (root / "ml.yaml").write_text(text)
    made = Project.open(root / "ml.yaml")
    _trained_with_the_lock(made)
    return made


def retrain(made: Project, seed: int) -> str:
    """Another model in the same project. Returns its digest."""
    from stages.store import model_digest

    modelkit.train(made, seed)
    _trained_with_the_lock(made)
    modelkit.judge(made, True)
    return model_digest(made.folder("train"))


def _trained_with_the_lock(made: Project) -> None:
    path = made.folder("train") / result.FILE
    record = json.loads(path.read_text())
    path.write_text(json.dumps({**record, "libraries": {}}))


def client(made: Project) -> Client:
    """Asks the environment's published port."""
    port = made.config.deploy["local"].port
    assert port is not None
    return Client("127.0.0.1", port)


def version(made: Project) -> str | None:
    """Which model answers on the published port; None when nothing does."""
    try:
        said = client(made).get("/model")
    except OSError:
        return None
    return str(said.body["version"]) if said.status == 200 else None


def identity(made: Project) -> str:
    environment = Environment.of(made)
    return services.identity(environment.store.known_as(), environment.model, environment.name)


def left(engine: docker.DockerClient, made: Project) -> dict[str, list[str]]:
    """Role → states of this environment's containers, running or not."""
    found: dict[str, list[str]] = {}
    for container in engine.containers.list(all=True, filters={"label": f"{labels.IDENTITY}={identity(made)}"}):
        found.setdefault(container.labels[labels.ROLE], []).append(container.status)
    return found


def described(engine: docker.DockerClient, made: Project, role: str = "model") -> Any:
    """The inspected containers of one role."""
    wanted = [f"{labels.IDENTITY}={identity(made)}", f"{labels.ROLE}={role}"]
    return [container.attrs for container in engine.containers.list(all=True, filters={"label": wanted})]
