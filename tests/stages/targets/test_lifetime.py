"""A service that Jenkins ends with its build: the deployment and `mlci status` say so, and say what lets it stay."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages.commands.operate import status
from stages.deploy import deploy
from stages.project import Project
from stages.targets import operate
from tests.stages import modelkit

BUILD = "https://jenkins.example.com/job/flights/7/"
REMEDY = "set deploy.local.keep: true to let it stay"


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.setenv("JENKINS_URL", "https://jenkins.example.com/")
    monkeypatch.setenv("BUILD_URL", BUILD)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = int(taken.getsockname()[1])
    made = modelkit.project(tmp_path / "demo", port, options=", watch_seconds: 0")
    modelkit.train(made, 1)
    modelkit.judge(made, True)
    yield made
    operate.stop(made)


def test_what_a_build_takes_with_it_is_said(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    done = deploy(project)
    assert str(done.summary["text"]).endswith(f" until this build ends ({REMEDY})")
    assert status(project).lines[-1].strip() == f"it ends with the build {BUILD} that started it; {REMEDY}"
    monkeypatch.setenv("BUILD_URL", "https://jenkins.example.com/job/flights/8/")
    assert f"until this build ends ({REMEDY})" in str(deploy(project).summary["text"]), "nothing was started"
    assert BUILD in status(project).lines[-1]
    operate.stop(project)  # as Jenkins does
    line = status(project).lines[-1].strip()
    assert line == f"it ended with the build {BUILD} that started it; {REMEDY}, then run: mlci deploy --env local"


def test_what_stays_is_not(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    path = project.root / "ml.yaml"
    path.write_text(path.read_text().replace("watch_seconds: 0", "watch_seconds: 0, keep: true"))
    kept = Project.open(path)
    assert "until" not in str(deploy(kept).summary["text"])
    assert len(status(kept).lines) == 2
    operate.stop(kept)
    assert "it does not run" in status(kept).lines[-1]


def test_outside_of_jenkins_nothing_ends_it(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JENKINS_URL")
    assert "until" not in str(deploy(project).summary["text"])
    assert len(status(project).lines) == 2
