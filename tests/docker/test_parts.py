"""The fixtures themselves: a real engine, base image, gateway image and registry."""

from __future__ import annotations

import urllib.error
import urllib.request

import docker
import pytest

from tests.docker.engine import Engine
from tests.docker.registry import PASSWORD, USER, Registry, running

pytestmark = pytest.mark.docker


def test_the_base_image_has_python_and_pip(client: docker.DockerClient, base_image: str) -> None:
    said = client.containers.run(base_image, ["python", "-m", "pip", "--version"], remove=True)
    assert b"(python 3.11)" in said


def test_the_gateway_image_has_haproxy(client: docker.DockerClient, gateway_image: str) -> None:
    assert b"HAProxy version" in client.containers.run(gateway_image, ["haproxy", "-v"], remove=True)


def test_the_registry_takes_an_image(client: docker.DockerClient, base_image: str, registry: Registry) -> None:
    name = f"{registry.address}/probe"
    client.images.get(base_image).tag(name, "1")
    assert "error" not in str(client.images.push(name, "1"))
    client.images.remove(f"{name}:1")


def test_a_registry_with_a_password_refuses_a_stranger(engine: Engine, tmp_path) -> None:
    with running(tmp_path, password=True) as registry:
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://{registry.address}/v2/")
        manager = urllib.request.HTTPPasswordMgrWithDefaultRealm()
        manager.add_password(None, f"http://{registry.address}", USER, PASSWORD)
        opener = urllib.request.build_opener(urllib.request.HTTPBasicAuthHandler(manager))
        assert opener.open(f"http://{registry.address}/v2/").status == 200
