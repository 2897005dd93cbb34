"""What may go wrong in a deployment to containers: the old version answers, nothing is left, the next one works."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from stages.deploy import deploy
from stages.errors import InfraError
from stages.project import Project
from stages.targets import operate
from tests.docker import kit, parts
from tests.docker.engine import Engine
from tests.docker.kit import until
from tests.docker.registry import start as start_registry

pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

ONE = {"model": ["running"], "gateway": ["running"]}

#: The environment that only an image has.
INSIDE = 'INSIDE = "PYTHONUSERBASE" in __import__("os").environ\n'
CRASH = "\nif INSIDE:\n    raise RuntimeError('no licence here')\n"
SLOW = "\nif INSIDE:\n    __import__('time').sleep(2)\n"
NEVER = "\nif INSIDE:\n    __import__('time').sleep(600)\n"
HUNGRY = "\nif INSIDE:\n    ballast = bytearray(b'x') * 2**30\n"
WRONG = kit.FEATURES.replace("np.nan_to_num(size)", "np.nan_to_num(size) * (0 if INSIDE else 1)")


@pytest.fixture(scope="module")
def good(docker_engine: Engine, gateway_image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Project]:
    """A project with a version that serves."""
    made = kit.project(tmp_path_factory.mktemp("faults") / "p")
    deploy(made)
    yield made
    operate.stop(made)


def same_place(good: Project, folder: Path, **more) -> Project:
    """Another checkout of the project, with the same store and port."""
    port = good.config.deploy["local"].port
    kit.project(folder, port=port, **more)
    text = (folder / "ml.yaml").read_text().replace("store: store", f"store: {good.root}/store")
    (folder / "ml.yaml").write_text(text)
    return Project.open(folder / "ml.yaml")


@pytest.mark.parametrize(
    ("features", "code", "says", "resources"),
    [
        (INSIDE + kit.FEATURES + CRASH, "DEP_CRASHED", "no licence here", None),
        (INSIDE + WRONG, "DEP_PROOF", "failed its proof", None),
        (INSIDE + kit.FEATURES + NEVER, "DEP_NOT_READY", "not ready within 4 s", None),
        (INSIDE + kit.FEATURES + HUNGRY, "DEP_CRASHED", "more than its 300 MB of memory", {"memory": "300m"}),
    ],
    ids=["crash", "wrong", "never", "memory"],
)
def test_a_bad_model_never_serves(
    client: docker.DockerClient,
    good: Project,
    features: str,
    code: str,
    says: str,
    resources: dict[str, str] | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = kit.version(good)
    assert before is not None
    bad = same_place(good, tmp_path / "bad", features=features, resources=resources)
    if code == "DEP_NOT_READY":
        monkeypatch.setenv("MLCI_READY_SECONDS", "4")
    with pytest.raises(InfraError) as refused:
        deploy(bad)
    assert refused.value.code == code
    assert says in refused.value.what
    assert refused.value.todo
    assert kit.version(good) == before
    assert kit.left(client, good) == ONE
    monkeypatch.delenv("MLCI_READY_SECONDS", raising=False)
    assert deploy(same_place(good, tmp_path / "next", seed=len(says))).status == "done"
    assert kit.left(client, good) == ONE


def test_a_slow_model_is_waited_for(client: docker.DockerClient, good: Project, tmp_path: Path) -> None:
    slow = same_place(good, tmp_path / "slow", features=INSIDE + kit.FEATURES + SLOW)
    done = deploy(slow)
    assert kit.version(good) == done.summary["version"]
    assert kit.left(client, good) == ONE


def test_a_connection_that_takes_too_long_costs_no_request(client: docker.DockerClient, good: Project) -> None:
    """As on a busy machine: the packets that open a connection from the gateway to its only model are lost."""
    (model,) = kit.described(client, good)
    iptables = ["nsenter", "-t", str(model["State"]["Pid"]), "-n", parts.program("iptables", "iptables")]
    opening = ["-p", "tcp", "--dport", str(kit.PORT), "--syn", "-m", "quota", "--quota", "150", "-j", "DROP"]
    subprocess.run([*iptables, "-I", "INPUT", *opening], check=True, capture_output=True)
    try:
        assert [kit.client(good).get("/model").status for _ in range(5)] == [200] * 5
        counted = subprocess.run([*iptables, "-nvxL", "INPUT"], check=True, capture_output=True, text=True).stdout
        assert int(counted.splitlines()[2].split()[0]) > 0, "none was lost"
    finally:
        subprocess.run([*iptables, "-F", "INPUT"], check=True, capture_output=True)


def test_a_registry_that_is_gone_in_the_push(client: docker.DockerClient, good: Project, tmp_path: Path) -> None:
    registry = start_registry(tmp_path / "registry")
    registry.stop()
    before = kit.version(good)
    pushed = same_place(good, tmp_path / "p", seed=40, image=f"{registry.address}/ml/houses")
    with pytest.raises(InfraError) as refused:
        deploy(pushed)
    assert refused.value.code == "DEP_REGISTRY"
    assert "could not be" in refused.value.what
    assert kit.version(good) == before
    assert kit.left(client, good) == ONE
    assert deploy(same_place(good, tmp_path / "next", seed=41)).status == "done"


@pytest.mark.parametrize("step", ["starting", "proving", "goes over", "switched"])
def test_a_deployment_that_is_killed(client: docker.DockerClient, good: Project, step: str, tmp_path: Path) -> None:
    before = kit.version(good)
    new = same_place(good, tmp_path / "p", seed=50 + len(step))
    command = [sys.executable, "-m", "stages", "deploy"]
    with subprocess.Popen(command, cwd=new.root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if re.search(step, line):
                os.kill(process.pid, signal.SIGKILL)
                break
        assert process.wait() == -signal.SIGKILL
    until(lambda: kit.version(good) is not None)
    if step in ("starting", "proving"):
        assert kit.version(good) == before
    assert deploy(new).status in ("done", "skipped")
    assert kit.version(good) == operate.status(new)[0]["version"]
    assert kit.left(client, good) == ONE


def test_a_deployment_that_is_interrupted_cleans_up(client: docker.DockerClient, good: Project, tmp_path: Path) -> None:
    before = kit.version(good)
    new = same_place(good, tmp_path / "p", seed=70)
    command = [sys.executable, "-m", "stages", "deploy"]
    with subprocess.Popen(command, cwd=new.root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "proving" in line:
                process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    assert kit.version(good) == before
    assert kit.left(client, good) == ONE


def test_two_deployments_at_once(client: docker.DockerClient, good: Project, tmp_path: Path) -> None:
    new = same_place(good, tmp_path / "one", seed=80)
    other = same_place(good, tmp_path / "two", seed=81)
    command = [sys.executable, "-m", "stages", "deploy"]
    with subprocess.Popen(command, cwd=new.root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "starting" in next(line for line in process.stderr if "starting" in line)
        with pytest.raises(InfraError) as refused:
            deploy(other)
        assert refused.value.code == "DEP_BUSY"
        process.stderr.read()
        assert process.wait() == 0
    assert kit.left(client, good) == ONE


def test_the_engine_starts_again_in_a_build(
    engine: Engine, client: docker.DockerClient, good: Project, tmp_path: Path
) -> None:
    if not engine.ours:
        pytest.skip("DOCKER TESTS DO NOT RUN: the engine is somebody else's and is not stopped")
    before = kit.version(good)
    other_base = "mlci-tests/other:1"
    kit.build(client, f"FROM {parts.BASE}\nLABEL other=1\n", other_base)
    new = same_place(good, tmp_path / "p", seed=90, base=other_base)
    command = [sys.executable, "-m", "stages", "deploy"]
    with subprocess.Popen(command, cwd=new.root, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if "build: Collecting" in line:
                engine.stop()
                break
        said = process.stderr.read()
        assert process.wait() == 5
    assert "DEP_DOCKER" in said or "DEP_BUILD" in said
    engine.start()
    until(lambda: kit.version(good) == before)
    again = same_place(good, tmp_path / "again", seed=90)
    assert deploy(again).status == "done"
    assert kit.left(client, good) == ONE
