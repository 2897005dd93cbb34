"""A small trained project whose environment is a container, and a look at what it left on the engine."""

from __future__ import annotations

import io
import json
import random
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import docker

from stages import images
from stages.images import dockerfile, labels
from stages.images.probe import PORT as PORT
from stages.project import Project
from stages.records import result
from stages.store import model_digest
from stages.targets import services
from stages.targets.client import Client
from stages.targets.environment import Environment
from tests.docker import parts
from tests.stages import modelkit

PROBE = dockerfile.PROBE

ROW = {"size": 90.5, "kind": "house", "rooms": 3}
BODY = json.dumps({"rows": [ROW]}).encode()

CONFIG = """
name: {name}
task: classification
data:
  source: data.csv
  target: sold
  key: [id]
  columns:
    id:    {{type: integer, feature: false}}
    size:  {{type: number, min: 0, nullable: true}}
    kind:  {{type: category, values: [flat, house, boat]}}
    rooms: {{type: integer, min: 1}}
    sold:  {{type: boolean}}
model:
  estimator: sklearn.linear_model.LogisticRegression
  preprocess: {preprocess}
  onnx: {onnx}
  trust: {trust}
deploy:
  local: {deploy}
store: store
"""

#: A preprocessor of the repository's own, which no ONNX model can hold.
FEATURES = """
import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin


class Sizes(TransformerMixin, BaseEstimator):
    def fit(self, X, y=None):
        self.fitted_ = True
        return self

    def transform(self, X):
        size = X["size"].to_numpy(float)
        return np.column_stack([np.nan_to_num(size), X["rooms"].to_numpy(float)])


def sizes():
    return Sizes()
"""


_TRAIN = """
from pathlib import Path
from stages.prepare import prepare
from stages.project import Project
from stages.train import train

project = Project.open(Path("ml.yaml"))
prepare(project)
train(project)
"""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def project(
    root: Path,
    *,
    seed: int = 1,
    target: str = "container",
    name: str = "houses",
    onnx: str = "auto",
    features: str | None = None,
    **options: Any,
) -> Project:
    """A trained, approved project whose environment `local` is a container (or `target`), with these `options`.

    Served by ONNX, unless `onnx` is never or `features` is the text of a module with a preprocessor `sizes`.
    """
    root.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"target": target, "base": parts.BASE, "port": free_port()}
    if target == "container":
        settings["gateway"] = parts.GATEWAY
    settings |= options
    settings = {key: value for key, value in settings.items() if value is not None}
    preprocess = "auto" if features is None else "features:sizes"
    trust = "[]" if features is None else "[features.Sizes]"
    if features is not None:
        (root / "features.py").write_text(features)
    text = CONFIG.format(name=name, deploy=json.dumps(settings), onnx=onnx, preprocess=preprocess, trust=trust)
    (root / "ml.yaml").write_text(text)
    made = Project.open(root / "ml.yaml")
    retrain(made, seed)
    return made


def with_options(made: Project, **options: Any) -> Project:
    """The same project with other options of its environment."""
    path = made.root / "ml.yaml"
    lines = path.read_text().splitlines()
    at = lines.index("deploy:") + 1
    settings = {**json.loads(lines[at].split(":", 1)[1]), **options}
    lines[at] = f"  local: {json.dumps(settings)}"
    path.write_text("\n".join(lines) + "\n")
    return Project.open(path)


def retrain(made: Project, seed: int) -> str:
    """Another model in the same project. Returns its digest."""
    from stages.prepare import prepare
    from stages.train import train

    chance = random.Random(seed)
    lines = ["id,size,kind,rooms,sold"]
    for number in range(300):
        size, rooms = round(chance.uniform(20, 200), 1), chance.randint(1, 9)
        sold = size + 5 * rooms + chance.gauss(0, 30) > 130
        kind = chance.choice(["flat", "house", "boat"])
        lines.append(f"{number},{'' if number % 29 == 0 else size},{kind},{rooms},{str(sold).lower()}")
    (made.root / "data.csv").write_text("\n".join(lines) + "\n")
    if (made.root / "features.py").exists():
        # In a process of its own: this one may have imported another project's module of that name.
        subprocess.run([sys.executable, "-c", _TRAIN], cwd=made.root, check=True, capture_output=True)
    else:
        prepare(made)
        train(made)
    _without_test_tools(made)
    modelkit.judge(made, True)
    return model_digest(made.folder("train"))


def _without_test_tools(made: Project) -> None:
    """Libraries that this process loaded for pytest are none that the model was trained with."""
    path = made.folder("train") / result.FILE
    record = json.loads(path.read_text())
    ours = set((Path(images.__file__).parent / "tooling.txt").read_text().split())
    known = {n: v for n, v in record["libraries"].items() if re.sub(r"[-_.]+", "-", n).lower() in ours}
    path.write_text(json.dumps({**record, "libraries": known}))


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


def until(done: Callable[[], bool], seconds: float = 300) -> None:
    """Wait for something that takes a moment."""
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.1)


def build(engine: docker.DockerClient, text: str, name: str) -> None:
    """An image of a Dockerfile without a context."""
    engine.images.build(fileobj=io.BytesIO(text.encode()), tag=name, rm=True)
