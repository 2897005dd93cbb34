"""Images on a real engine and in a real registry."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import docker
import pytest

from stages.errors import InfraError
from stages.images import labels
from stages.images import registry as images_registry
from stages.images.build import Order, build, run
from stages.store import DirectoryStore
from stages.store.version import files_of
from tests.docker import kit, parts
from tests.docker.engine import Engine
from tests.docker.registry import PASSWORD, USER, Registry, running

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def orders(docker_engine: Engine, base_image: str, tmp_path_factory: pytest.TempPathFactory) -> list[Order]:
    """Two models of one project."""
    made = kit.project(tmp_path_factory.mktemp("images") / "p", name="pictures")
    store = DirectoryStore(made.root / "store")
    found = []
    for seed in (1, 2):
        kit.retrain(made, seed)
        digest = store.put("pictures", files_of(made))
        folder = store.get("pictures", digest)
        found.append(Order("pictures", digest, folder, None, "pictures", base_image))
    return found


@pytest.fixture
def forgotten(client: docker.DockerClient) -> Iterator[None]:
    """Images with a registry's name go at the end."""
    yield
    for image in client.images.list():
        for tag in image.tags:
            if tag.startswith("127.0.0.1:"):
                client.images.remove(tag, force=True)


def layers(client: docker.DockerClient, name: str) -> list[str]:
    return list(client.images.get(name).attrs["RootFS"]["Layers"])


def test_a_retrained_model_is_one_layer(client: docker.DockerClient, orders: list[Order]) -> None:
    first, second = (build(client, order) for order in orders)
    one, two = layers(client, first.reference), layers(client, second.reference)
    assert one[:-1] == two[:-1]
    assert one[-1] != two[-1]
    assert one[: len(layers(client, parts.BASE))] == layers(client, parts.BASE)
    assert build(client, orders[0]).id == first.id
    assert first.added < 200e6
    assert first.base_digest


def test_the_models_layer_is_reproducible(client: docker.DockerClient, orders: list[Order]) -> None:
    before = layers(client, build(client, orders[0]).reference)
    client.images.remove(orders[0].reference, force=True, noprune=True)
    client.images.prune(filters={"dangling": True})
    client.api.prune_builds()
    assert layers(client, build(client, orders[0]).reference) == before


def test_labels_and_history(client: docker.DockerClient, orders: list[Order], monkeypatch: pytest.MonkeyPatch) -> None:
    image = client.images.get(build(client, orders[0]).reference)
    assert image.labels[labels.VERSION] == orders[0].digest
    assert image.labels["org.opencontainers.image.base.name"] == parts.BASE
    assert json.loads(image.labels["mlci.metrics"])
    assert json.loads(image.labels["mlci.files"])["golden.json"]
    everything = json.dumps([image.attrs, image.history()])
    assert "PIP_" not in everything
    assert "certificates" not in everything
    assert image.attrs["Config"]["Healthcheck"]["Test"][0] == "CMD"
    assert image.attrs["Config"]["User"] == "10001:0"


def test_no_tools_are_inside(client: docker.DockerClient, orders: list[Order]) -> None:
    name = build(client, orders[0]).reference
    look = "import importlib.util as u, os, shutil\n"
    look += "names = ('sklearn', 'pandas', 'scipy', 'onnx', 'docker', 'pydantic', 'pytest')\n"
    look += "found = [n for n in names if u.find_spec(n)]\n"
    look += "found += [p for p in ('gcc', 'cc', 'g++', 'make') if shutil.which(p)]\n"
    look += "found += [n for n in ('train', 'prepare', 'deploy', 'targets') if u.find_spec('stages.' + n)]\n"
    look += "found += [f for f in os.listdir('/opt/mlci/model') if f.endswith(('.skops', '.joblib', '.npy'))]\n"
    look += "print(found)"
    assert client.containers.run(name, ["-c", look], entrypoint=["python3"], remove=True).strip() == b"[]"


def test_any_user_with_group_0_and_a_read_only_root(client: docker.DockerClient, orders: list[Order]) -> None:
    name = build(client, orders[0]).reference
    container = client.containers.run(name, detach=True, user="54321:0", read_only=True, network_mode="none")
    try:
        kit.until(lambda: container.exec_run(["python3", "-IS", kit.PROBE, "health"]).exit_code == 0)
        kit.until(lambda: client.api.inspect_container(str(container.id))["State"]["Health"]["Status"] == "healthy")
        container.stop(timeout=30)
        container.reload()
        assert container.attrs["State"]["ExitCode"] == 0
    finally:
        container.remove(force=True)


def test_a_failing_build_shows_the_end_of_its_log(client: docker.DockerClient, base_image: str) -> None:
    with pytest.raises(InfraError) as failed:
        run(client, f"FROM {base_image}\nRUN echo first >&2 && echo the cause && exit 7\n", {}, "mlci-tests/fails:1")
    assert failed.value.code == "DEP_BUILD"
    assert "the cause" in failed.value.what
    assert "\n" not in failed.value.what


def test_a_base_that_is_nowhere(client: docker.DockerClient, orders: list[Order]) -> None:
    with pytest.raises(InfraError) as failed:
        build(client, replace(orders[0], base="127.0.0.1:9/no/such:1", repository="elsewhere"))
    assert failed.value.code == "DEP_BASE"


def test_a_base_without_a_supported_python(client: docker.DockerClient, orders: list[Order]) -> None:
    kit.build(
        client, f"FROM {parts.BASE}\nRUN printf '#!/bin/sh\\nexit 3\\n' >/usr/bin/python3\n", "mlci-tests/no-python:1"
    )
    with pytest.raises(InfraError) as failed:
        build(client, replace(orders[0], base="mlci-tests/no-python:1", repository="elsewhere"))
    assert failed.value.code == "DEP_BUILD"


@pytest.fixture
def small(client: docker.DockerClient) -> Iterator[Callable[[str], str]]:
    """Makes a small image in a repository. Returns its id."""
    made = []

    def make(repository: str) -> str:
        run(client, "FROM scratch\nCOPY root /\n", {"root/content": repository.encode()}, f"{repository}:1")
        made.append(f"{repository}:1")
        return str(client.images.get(f"{repository}:1").id)

    yield make
    for name in made:
        client.images.remove(name, force=True)


def test_push_and_pull(client: docker.DockerClient, registry: Registry, small: Callable[[str], str]) -> None:
    repository = f"{registry.address}/ml/small"
    wanted = small(repository)
    assert images_registry.push(client, repository, "1", None).startswith("sha256:")
    client.images.remove(f"{repository}:1", force=True)
    assert images_registry.pull(client, repository, "1", None)
    assert client.images.get(f"{repository}:1").id == wanted
    assert not images_registry.pull(client, repository, "no-such-tag", None)


@pytest.mark.parametrize("tls", [False, True])
def test_a_registry_with_a_password(
    client: docker.DockerClient, small: Callable[[str], str], tls: bool, tmp_path: Path
) -> None:
    with running(tmp_path, tls=tls, password=True) as guarded:
        repository = f"{guarded.address}/ml/small"
        small(repository)
        for credentials in (None, {"username": USER, "password": "not this one"}):
            with pytest.raises(InfraError) as refused:
                images_registry.push(client, repository, "1", credentials)
            assert refused.value.code == "DEP_REGISTRY"
            assert "registry: {user, password}" in refused.value.todo
        credentials = {"username": USER, "password": PASSWORD}
        assert images_registry.push(client, repository, "1", credentials)
        assert images_registry.pull(client, repository, "1", credentials)


def _forget_all_but_the_base(client: docker.DockerClient, registry: Registry) -> None:
    for image in client.images.list():
        for tag in image.tags:
            if tag.startswith(("mlci-runtime", "mlci-dependencies", "pictures", registry.address)):
                client.images.remove(tag, force=True)
    client.images.prune(filters={"dangling": True})


def test_a_fresh_engine_takes_the_runtime_that_a_deployment_pushed(
    client: docker.DockerClient,
    orders: list[Order],
    registry: Registry,
    forgotten: None,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    digests = DirectoryStore(tmp_path / "store")
    order = replace(orders[0], repository=f"{registry.address}/ml/pictures", digests=digests)
    build(client, order)
    _forget_all_but_the_base(client, registry)
    with caplog.at_level("DEBUG", logger="mlci"):
        built = build(client, replace(orders[1], repository=order.repository, digests=digests))
    assert built.pushed
    assert "Collecting" not in caplog.text


def test_a_runtime_that_somebody_else_pushed_is_not_built_on(
    client: docker.DockerClient, orders: list[Order], registry: Registry, forgotten: None, tmp_path: Path
) -> None:
    """Whoever may write to the registry may move a tag, but not what the store says is behind it."""
    digests = DirectoryStore(tmp_path / "store")
    order = replace(orders[0], repository=f"{registry.address}/ml/pictures", digests=digests)
    runtime = client.images.get(build(client, order).id).labels[labels.RUNTIME]
    forged = f"{order.repository}:runtime-{runtime}"
    run(client, f"FROM mlci-runtime:{runtime}\nUSER 0\nRUN touch /forged\n", {}, forged)
    images_registry.push(client, order.repository, f"runtime-{runtime}", None)
    _forget_all_but_the_base(client, registry)
    for known in (digests, DirectoryStore(tmp_path / "another-store"), None):
        built = build(client, replace(orders[1], repository=order.repository, digests=known))
        said = client.containers.run(built.id, entrypoint=["ls", "/"], remove=True)
        assert b"forged" not in said
        _forget_all_but_the_base(client, registry)


def test_names_of_registries() -> None:
    assert images_registry.host_of("registry.example.com/ml/flights") == "registry.example.com"
    assert images_registry.host_of("localhost/flights") == "localhost"
    assert images_registry.host_of("team/flights") is None
    assert images_registry.host_of("flights") is None
    assert images_registry.split("127.0.0.1:5000/a/b") == ("127.0.0.1:5000/a/b", "latest")
    assert images_registry.split("127.0.0.1:5000/a/b:1") == ("127.0.0.1:5000/a/b", "1")
