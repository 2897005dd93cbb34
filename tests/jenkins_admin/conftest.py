"""A double, and an Admin over it that does not wait between retries."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from jenkins_admin import Admin, credentials
from jenkins_admin.config import parse
from jenkins_admin.schema import JenkinsYaml
from stages.config import yamlfile
from tests.jenkins_admin.double.server import TOKEN, USER, Double

COST = credentials._COST
RECORDED = Path(__file__).parent / "recorded"

YAML = """
server: {url: "${JENKINS_URL}", user: "${JENKINS_USER}", token: "${JENKINS_TOKEN}", retries: 3}
folder: ml
library: {name: mlci, git: "https://git.example.com/ml/mlci.git", version: v1.0.0, credential: git-token}
credentials:
  - {id: git-token, kind: username_password, username: robot, password: "${GIT_TOKEN}"}
  - {id: api-key, kind: secret_text, secret: "${API_KEY}", description: for the service}
models:
  - {name: flight-delays, git: "https://git.example.com/ml/flights.git", credential: git-token, scan: 1h}
  - name: nightly
    kind: pipeline
    git: "https://git.example.com/ml/flights.git"
    branch: main
    cron: "H 2 * * *"
    discard: {builds: 20}
    parameters: [{name: ENV, choices: [staging, production]}, {name: WHY, description: why}]
"""


def environment(jenkins: Double | None = None, **more: str) -> dict[str, str]:
    """What the variables of `YAML` stand for."""
    url = jenkins.url if jenkins else "http://127.0.0.1:1"
    return {
        "JENKINS_URL": url,
        "JENKINS_USER": USER,
        "JENKINS_TOKEN": TOKEN,
        "GIT_TOKEN": "git-secret-1",
        "API_KEY": "api-secret-1",
        **more,
    }


def settings(text: str = YAML, jenkins: Double | None = None, *assignments: str, **more: str) -> JenkinsYaml:
    return parse(yamlfile.parse(text, "jenkins.yaml"), assignments, environment(jenkins, **more))


@pytest.fixture(autouse=True)
def _cheap_fingerprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fingerprint is slow on purpose; what is tested is what becomes of it."""
    monkeypatch.setattr(credentials, "_COST", 4)


@pytest.fixture
def jenkins() -> Iterator[Double]:
    with Double() as running:
        yield running


Open = Callable[..., Admin]


@pytest.fixture
def open_admin(jenkins: Double) -> Iterator[Open]:
    """`open_admin(text, "key=value", VARIABLE="…")`: an Admin over the double. Its naps are counted, not slept."""
    opened: list[Admin] = []

    def opener(text: str = YAML, *assignments: str, **more: Any) -> Admin:
        naps: list[float] = []
        admin = Admin(settings(text, jenkins, *assignments, **more), sleep=naps.append)
        admin.naps = naps  # type: ignore[attr-defined]
        opened.append(admin)
        return admin

    yield opener
    for admin in opened:
        admin.close()


@pytest.fixture
def admin(open_admin: Open) -> Admin:
    return open_admin()
