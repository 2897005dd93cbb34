"""Replacing a model while it is asked 300 times a second. RUN_SLOW=1: a minute around each change, not seconds."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import docker
import pytest

from stages.deploy import deploy
from stages.project import Project
from stages.targets import operate
from tests.docker import kit
from tests.docker.load import Load

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

SECONDS = 60.0 if os.environ.get("RUN_SLOW") else 3.0


def run(made: Project, *words: str) -> None:
    """A command in a process of its own, so that it takes no time from the load."""
    done = subprocess.run(
        [sys.executable, "-m", "stages", *words], cwd=made.root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def load_on(made: Project) -> Load:
    port = made.config.deploy["local"].port
    assert port is not None
    return Load(port, kit.BODY)


def test_no_request_is_lost(client: docker.DockerClient, base_image: str, gateway_image: str, tmp_path: Path) -> None:
    made = kit.project(tmp_path / "p", watch_seconds=2)
    try:
        before = deploy(made).summary["version"]
        after = kit.retrain(made, 2)
        with load_on(made) as load:
            load.go_on(SECONDS)
            run(made, "deploy")
            assert kit.version(made) == after
            load.go_on(SECONDS)
            run(made, "rollback")
            assert kit.version(made) == before
            load.go_on(SECONDS)
        print(f"{load.counted.sent} requests, the slowest took {load.counted.slowest:.2f} s")
        assert load.counted.failed == {}
        assert load.counted.sent > 3 * SECONDS * 250
        assert load.counted.slowest < 5
    finally:
        operate.stop(made)


def test_without_the_gateway_requests_are_lost(client: docker.DockerClient, base_image: str, tmp_path: Path) -> None:
    """The control: the same load sees a replacement that has a gap."""
    made = kit.project(tmp_path / "p", gateway=False)
    try:
        deploy(made)
        kit.retrain(made, 2)
        with load_on(made) as load:
            load.go_on(1)
            assert load.counted.failed == {}
            run(made, "deploy")
            load.go_on(1)
        assert sum(load.counted.failed.values()) > 50
    finally:
        operate.stop(made)
