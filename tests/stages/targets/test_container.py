"""Deployment to containers behind a gateway: a real engine, real images."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from stages.config import load
from stages.config.schema import Resources
from stages.deploy import deploy, would_run
from stages.errors import ConfigError, InfraError
from stages.images import prune
from stages.project import Project
from stages.rollback import rollback
from stages.targets import operate
from stages.targets.client import Client
from stages.targets.containers import Setting
from tests.docker import kit, parts
from tests.docker.engine import Engine

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

ONE = {"model": ["running"], "gateway": ["running"]}


@pytest.fixture
def stopped(client: docker.DockerClient):
    """Projects to be stopped at the end."""
    projects: list[Project] = []
    yield projects.append
    for project in projects:
        operate.stop(project)
        assert kit.left(client, project) == {}


def test_deploy_replace_rollback_stop(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path
) -> None:
    made = kit.project(tmp_path / "p")
    first = deploy(made)
    before = first.summary["version"]
    assert kit.version(made) == before
    assert kit.client(made).post("/predict", kit.BODY).status == 200
    assert deploy(made).status == "skipped"

    after = kit.retrain(made, 2)
    assert deploy(made).summary["previous"] == before
    assert kit.version(made) == after
    assert kit.left(client, made) == ONE

    assert rollback(made).summary["version"] == before
    assert kit.version(made) == before
    assert rollback(made, to=after[:8]).summary["version"] == after
    assert kit.version(made) == after
    (status,) = operate.status(made)
    assert status["answers"]
    assert status["url"] == kit.client(made).url

    ended = operate.stop(made)
    assert [e["version"] for e in ended] == [after]
    assert kit.left(client, made) == {}
    assert kit.version(made) is None
    assert client.networks.list(filters={"label": f"mlci.identity={kit.identity(made)}"}) == []


def test_old_images_of_this_model_alone_are_removed(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped, monkeypatch
) -> None:
    monkeypatch.setattr(prune, "YOUNG_SECONDS", -1)
    monkeypatch.setenv("MLCI_KEEP_IMAGES", "1")
    made = kit.project(tmp_path / "p", name="old-houses")
    other = kit.project(tmp_path / "other", name="other-houses")
    for project in (made, other):
        stopped(project)
    versions = [deploy(made).summary["version"]]
    deploy(other)
    for seed in (2, 3):
        versions.append(kit.retrain(made, seed))
        deploy(made)

    def images(name: str) -> list[str]:
        return sorted(tag for image in client.images.list(name) for tag in image.tags)

    assert images("old-houses") == sorted(f"old-houses:{version[:12]}" for version in versions[1:])
    assert len(images("other-houses")) == 1
    assert rollback(made, to=versions[0]).summary["version"] == versions[0]  # built again, from the store


def test_what_runs_is_confined(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped, monkeypatch
) -> None:
    monkeypatch.setenv("HOUSES_KEY", "s3cret-key")
    before = volumes(client)
    made = kit.project(tmp_path / "p", api_key="${HOUSES_KEY}", resources={"cpus": 0.5, "memory": "200m"})
    stopped(made)
    deploy(made)
    (model,) = kit.described(client, made)
    assert model["Config"]["User"] == "10001:0"
    host = model["HostConfig"]
    assert host["ReadonlyRootfs"]
    assert host["CapDrop"] == ["ALL"]
    assert host["NanoCpus"] == 500_000_000
    assert host["Memory"] == 200 * 2**20
    assert not host["Binds"]
    assert not host["PortBindings"]
    assert host["RestartPolicy"]["Name"] == "unless-stopped"
    (front,) = kit.described(client, made, "gateway")
    assert front["HostConfig"]["ReadonlyRootfs"]
    assert front["HostConfig"]["CapDrop"] == ["ALL"]
    assert 0 < front["HostConfig"]["Memory"] <= 512 * 2**20
    assert front["Config"]["User"].split(":")[0] not in ("", "0", "root")
    image = client.images.get(model["Image"])
    assert "s3cret-key" not in json.dumps([image.attrs, image.history(), model["Config"]["Labels"]])
    assert kit.client(made).get("/model").status == 401
    record = json.loads((made.folder("deploy") / "local" / "deployment.json").read_text())
    assert record["serving"]["image_id"] == model["Image"]
    assert record["serving"]["built"]["base_digest"]
    assert "s3cret-key" not in json.dumps(record)

    monkeypatch.delenv("HOUSES_KEY")
    assert len(operate.stop(Project.open(made.loaded.path))) == 1, "whoever ends it needs no secret"
    assert [volume for volume in volumes(client) if volume not in before] == []


def volumes(client: docker.DockerClient) -> list[str]:
    return [volume.name for volume in client.volumes.list()]


def test_a_model_without_a_limit_of_its_own_gets_one_that_fits_its_files(tmp_path: Path) -> None:
    setting = Setting("houses", "local", "identity")
    (tmp_path / "model.skops").write_bytes(b"small")
    assert setting.for_model(tmp_path).resources.memory == str(2 * 2**30)
    with (tmp_path / "model.onnx").open("wb") as large:
        large.truncate(2**30)
    assert int(setting.for_model(tmp_path).resources.memory or 0) > 6 * 2**30
    for given in ("200m", "0"):
        own = Setting("houses", "local", "identity", Resources(memory=given))
        assert own.for_model(tmp_path).resources.memory == given, "0: no limit, which is a choice as well"


def test_a_port_that_is_taken_is_refused_and_nothing_is_left(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path
) -> None:
    port = kit.free_port()
    made = kit.project(tmp_path / "p", port=port)
    taken = client.containers.run(
        base_image,
        ["sleep", "600"],
        detach=True,
        ports={"80/tcp": ("127.0.0.1", port)},
        labels={"mlci.test": "1"},
    )
    try:
        with pytest.raises(InfraError) as refused:
            deploy(made)
        assert refused.value.code == "DEP_PORT_IN_USE"
        assert kit.left(client, made) == {}
        taken.reload()
        assert taken.status == "running"
    finally:
        operate.stop(made)
        taken.remove(force=True)


def test_a_port_to_move_to_that_is_taken_leaves_what_served_before(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    made = kit.project(tmp_path / "p")
    stopped(made)
    version = deploy(made).summary["version"]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InfraError) as refused:
            deploy(kit.with_options(made, port=taken.getsockname()[1]))
        assert refused.value.code == "DEP_PORT_IN_USE"
    assert kit.version(made) == version
    assert kit.left(client, made) == ONE
    moved = kit.with_options(made, port=kit.free_port())
    (status,) = operate.status(moved)
    assert (status["url"], "port" in status["note"]) == (kit.client(made).url, True)
    assert deploy(moved).status == "done"
    assert (kit.version(moved), kit.version(made)) == (version, None)
    assert kit.left(client, made) == ONE


def test_a_gateway_of_an_image_that_has_none_leaves_the_one_before(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    made = kit.project(tmp_path / "p")
    stopped(made)
    version = deploy(made).summary["version"]
    with pytest.raises(InfraError):
        deploy(kit.with_options(made, gateway=base_image))  # on the port of the one that runs
    kit.until(lambda: kit.version(made) == version)
    assert kit.left(client, made) == ONE
    assert deploy(made).status == "skipped"


def test_changed_settings_of_the_same_model_are_deployed(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped, monkeypatch, caplog
) -> None:
    made = kit.project(tmp_path / "p", resources={"memory": "200m"})
    stopped(made)
    deploy(made)
    other = kit.with_options(made, resources={"memory": "300m"}, api_key="first-key")
    assert would_run(other) == ["local serves with other settings: resources, api_key"]
    assert operate.status(other)[0]["note"].startswith("it serves with other settings: resources, api_key; run:")
    assert deploy(other).status == "done"
    (model,) = kit.described(client, made)
    assert model["HostConfig"]["Memory"] == 300 * 2**20
    assert kit.client(made).get("/model").status == 401
    assert (deploy(other).status, would_run(other)) == ("skipped", [])

    monkeypatch.setenv("MLCI_SERVE_MAX_ROWS", "50")
    assert would_run(other) == ["local serves with other settings: MLCI_SERVE_MAX_ROWS"]
    rotated = kit.with_options(other, api_key="second-key")
    assert deploy(rotated).status == "done"
    host, port = kit.client(made).host, kit.client(made).port
    assert [Client(host, port, key).get("/model").status for key in ("first-key", "second-key")] == [401, 200]
    assert "first-key" not in caplog.text


def test_a_gateway_whose_name_the_engine_forgot_is_found(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    """As an engine does that joins a swarm and leaves it."""
    made = kit.project(tmp_path / "p")
    stopped(made)
    deploy(made)
    (network,) = client.networks.list(filters={"label": f"mlci.identity={kit.identity(made)}"})
    (behind,) = kit.described(client, made, "gateway")
    network.disconnect(behind["Id"])
    network.connect(behind["Id"])
    after = kit.retrain(made, 2)
    assert deploy(made).status == "done"
    assert kit.version(made) == after
    assert operate.status(made)[0]["answers"]


def test_what_a_killed_deployment_left_does_not_count_against_what_serves(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    made = kit.project(tmp_path / "p")
    stopped(made)
    deploy(made)
    told = {"mlci.identity": kit.identity(made), "mlci.role": "trial", "mlci.version": "0" * 64}
    client.containers.create(base_image, ["true"], labels=told)
    assert operate.status(made)[0]["answers"]


def test_without_a_gateway_it_is_published_directly(
    client: docker.DockerClient, base_image: str, tmp_path: Path, stopped, caplog: pytest.LogCaptureFixture
) -> None:
    made = kit.project(tmp_path / "p", gateway=False)
    stopped(made)
    deploy(made)
    after = kit.retrain(made, 2)
    with caplog.at_level("WARNING", logger="mlci"):
        deploy(made)
    assert "nothing answered for" in caplog.text
    assert kit.version(made) == after
    assert kit.left(client, made) == {"model": ["running"]}
    assert deploy(made).status == "skipped"


def test_the_watch_window_puts_the_old_model_back(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    """The new model fails once traffic reaches it: its process ends while it is watched."""
    made = kit.project(tmp_path / "p")
    stopped(made)
    before = deploy(made).summary["version"]
    kit.project(tmp_path / "p", seed=2, watch_seconds=600, port=made.config.deploy["local"].port)
    command = [sys.executable, "-m", "stages", "deploy"]
    with subprocess.Popen(command, cwd=made.root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "watching" in line:
                ours = ["mlci.role=model", f"mlci.identity={kit.identity(made)}"]  # on an engine with others'
                for container in client.containers.list(filters={"label": ours}):
                    if container.labels["mlci.version"] != before:
                        container.kill()
        assert process.wait() == 5
    assert kit.version(made) == before
    assert kit.left(client, made) == ONE
    assert operate.history(made)[-1]["action"] == "restore"


def test_it_works_from_a_container_without_any_route_to_the_candidate(
    engine: Engine, client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    """As on an agent that is a container with the host's socket: here even without a network."""
    if not engine.address.startswith("unix://"):
        pytest.skip("the engine is on another machine")
    made = kit.project(tmp_path / "p")
    stopped(made)
    socket = engine.address.removeprefix("unix://")
    said = client.containers.run(
        base_image,
        [
            *("chroot", "/host", "env", f"DOCKER_HOST=unix://{socket}", f"PYTHONPATH={parts.ROOT}"),
            *(sys.executable, "-m", "stages", "-C", str(made.root), "deploy"),
        ],
        volumes={"/": {"bind": "/host", "mode": "rw"}},
        network_mode="none",
        remove=True,
        stderr=True,
    )
    assert b"switched" in said
    assert kit.version(made) is not None


def test_no_engine_is_said_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    made = kit.project(tmp_path / "p")
    with pytest.raises(InfraError) as refused:
        deploy(made)
    assert refused.value.code == "DEP_DOCKER"
    assert "nothing.sock" in refused.value.what


def test_keys_of_other_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="replicas does not fit target container"):
        load(kit.project(tmp_path / "p", replicas=2).loaded.path)


def test_an_image_whose_name_has_an_empty_part_is_refused_where_it_is_deployed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'/houses' is no name of an image"):
        deploy(kit.project(tmp_path / "p", image="/houses"))


def test_a_published_service_needs_a_port(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="a service target needs a port"):
        load(kit.project(tmp_path / "p", target="service", port=None).loaded.path)


def test_the_same_model_from_another_store_is_left_alone(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    one, other = kit.project(tmp_path / "one"), kit.project(tmp_path / "other", seed=2)
    stopped(one)
    deploy(one)
    deploy(other)
    assert kit.version(one) != kit.version(other)
    operate.stop(other)
    assert kit.left(client, one) == ONE
    assert deploy(one).status == "skipped"


def test_with_and_without_a_gateway_do_not_mix(
    client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path, stopped
) -> None:
    made = kit.project(tmp_path / "p", gateway=False)
    stopped(made)
    before = deploy(made).summary["version"]
    changed = kit.project(tmp_path / "p", seed=2, port=made.config.deploy["local"].port)
    with pytest.raises(InfraError) as refused:
        deploy(changed)
    assert refused.value.code == "DEP_GATEWAY"
    assert "mlci stop" in refused.value.todo
    assert kit.version(made) == before
    assert kit.left(client, made) == {"model": ["running"]}
