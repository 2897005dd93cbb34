"""Deployment to a Docker Swarm: scheduling, health gating, going back; the routing mesh where the kernel has IPVS."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import pytest

from stages.deploy import deploy, would_run
from stages.errors import InfraError
from stages.images import probe
from stages.project import Project
from stages.rollback import rollback
from stages.targets import operate
from tests.docker import kit
from tests.docker.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


@pytest.fixture
def swarm(engine: Engine, client: docker.DockerClient) -> Iterator[None]:
    """A swarm of this one engine, unless it is in one."""
    mine = client.info()["Swarm"]["LocalNodeState"] == "inactive"
    if mine:
        client.swarm.init(advertise_addr="127.0.0.1", listen_addr=f"127.0.0.1:{kit.free_port()}")
    yield
    if mine:
        client.swarm.leave(force=True)


@pytest.fixture
def stopped(client: docker.DockerClient, swarm: None) -> Iterator[Any]:
    """Projects to be stopped at the end."""
    projects: list[Project] = []
    yield projects.append
    for made in projects:
        operate.stop(made)
        assert services(client) == []
        assert kit.left(client, made) == {}
        assert client.secrets.list() == []


def services(client: docker.DockerClient) -> list[Any]:
    return client.services.list(filters={"label": "mlci.name=houses"})


def states(client: docker.DockerClient, version: str) -> list[str]:
    """States of the wanted tasks that serve a version."""
    (service,) = services(client)
    tasks = service.tasks({"desired-state": "running"})
    return [t["Status"]["State"] for t in tasks if t["Spec"]["ContainerSpec"]["Labels"]["mlci.version"] == version]


def has_ipvs(client: docker.DockerClient, base: str) -> bool:
    code = ["-c", inspect.getsource(probe), "ipvs"]
    return bool(json.loads(client.containers.run(base, code, entrypoint=["python3"], remove=True)))


def test_deploy_replace_roll_back(client: docker.DockerClient, base_image: str, tmp_path: Path, stopped: Any) -> None:
    made = kit.project(tmp_path / "p", target="service", publish=False, port=None, replicas=2, api_key="s3cret-key")
    stopped(made)
    before = deploy(made).summary["version"]
    assert states(client, before) == ["running", "running"]
    assert deploy(made).status == "skipped"
    (service,) = services(client)
    assert "s3cret-key" not in json.dumps(service.attrs)
    container = service.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
    assert container["ReadOnly"]
    assert service.attrs["Spec"]["UpdateConfig"]["Order"] == "start-first"

    after = kit.retrain(made, 2)
    deploy(made)
    assert states(client, after) == ["running", "running"]
    assert states(client, before) == []
    assert rollback(made).summary["version"] == before
    assert states(client, before) == ["running", "running"]

    # One's own proxy reaches the tasks by name on the network.
    url = "http://mlci-houses-local:8080/predict"
    ask = f"import urllib.request as r; q = r.Request({url!r}, {kit.BODY!r}, {{'Content-Type': 'application/json', "
    ask += "'X-API-Key': 's3cret-key'}); print(r.urlopen(q, timeout=120).status)"
    said = client.containers.run(base_image, ["python3", "-c", ask], network="mlci-houses-local", remove=True)
    assert said.strip() == b"200"


def test_changed_settings_and_a_swarm_that_goes_back_by_itself(
    client: docker.DockerClient, base_image: str, tmp_path: Path, stopped: Any
) -> None:
    """The proof passes and the tasks do not get healthy: the model crashes where it finds the swarm's secret."""
    options: dict[str, Any] = {"target": "service", "publish": False, "port": None, "api_key": "s3cret-key"}
    made = kit.project(tmp_path / "p", **options)
    stopped(made)
    before = deploy(made).summary["version"]
    rotated = kit.with_options(made, api_key="an0ther-key", resources={"memory": "300m"})
    assert would_run(rotated) == ["local serves with other settings: resources, api_key"]
    assert deploy(rotated).status == "done"
    assert states(client, before) == ["running"]
    (service,) = services(client)
    assert service.attrs["UpdateStatus"]["State"] == "completed"
    assert (deploy(rotated).status, would_run(rotated)) == ("skipped", [])

    bad = 'import os\nif os.path.exists("/run/secrets/mlci-api-key"):\n    raise RuntimeError("no licence here")\n'
    kit.project(tmp_path / "p", features=bad + kit.FEATURES, **options)
    with pytest.raises(InfraError) as refused:
        deploy(Project.open(made.root / "ml.yaml"))
    assert refused.value.code == "DEP_ROLLED_BACK"
    assert "no licence here" in refused.value.what
    kit.until(lambda: states(client, before) == ["running"])
    assert operate.history(made)[-1]["to"] == before


def test_published_ports_need_ipvs(client: docker.DockerClient, base_image: str, tmp_path: Path, stopped: Any) -> None:
    made = kit.project(tmp_path / "p", target="service")
    stopped(made)
    if has_ipvs(client, base_image):
        deploy(made)
        kit.until(lambda: kit.version(made) is not None)
        return
    with pytest.raises(InfraError) as refused:
        deploy(made)
    assert refused.value.code == "DEP_IPVS"
    assert "publish: false" in refused.value.todo
    assert client.images.list(name="houses") == [] or services(client) == []
    assert services(client) == []


def test_no_swarm_is_said_and_none_is_made(
    engine: Engine, client: docker.DockerClient, base_image: str, tmp_path: Path
) -> None:
    if client.info()["Swarm"]["LocalNodeState"] != "inactive":
        pytest.skip("the engine is in a swarm")
    made = kit.project(tmp_path / "p", target="service", publish=False, port=None)
    with pytest.raises(InfraError) as refused:
        deploy(made)
    assert refused.value.code == "DEP_SWARM"
    assert client.info()["Swarm"]["LocalNodeState"] == "inactive"
