"""Credentials that are files: kept byte by byte, read only where they are needed, shown nowhere."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from jenkins_admin import Admin
from stages.errors import ConfigError
from tests.jenkins_admin.conftest import environment
from tests.jenkins_admin.double.server import Double

TEXT = """
server: {url: "${JENKINS_URL}", user: "${JENKINS_USER}", token: "${JENKINS_TOKEN}"}
folder: ml
credentials:
  - {id: kube, kind: secret_file, file: keys/kubeconfig}
"""
CONTENT = b"\x00apiVersion: v1\r\n\xff"


def opened(tmp_path: Path, jenkins: Double, **options: str) -> Admin:
    (tmp_path / "jenkins.yaml").write_text(TEXT)
    return Admin.from_file(tmp_path / "jenkins.yaml", environment=environment(jenkins), **options)  # type: ignore[arg-type]


def written(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "keys").mkdir(exist_ok=True)
    (tmp_path / "keys/kubeconfig").write_bytes(content)


def test_a_file_is_stored_as_it_is(tmp_path: Path, jenkins: Double) -> None:
    written(tmp_path, CONTENT)
    with opened(tmp_path, jenkins) as admin:
        admin.apply()
        assert not admin.plan().pending
    stored = jenkins.state.item("ml").credentials["kube"]
    assert base64.b64decode(stored.findtext("secretBytes") or "") == CONTENT
    assert stored.findtext("fileName") == "kubeconfig"
    written(tmp_path, CONTENT + b"2")
    with opened(tmp_path, jenkins) as admin:
        (action,) = admin.plan().actions
        assert [str(change) for change in action.changes] == ["~ secret: (another) -> (from the file)"]
        admin.apply()
        assert not admin.plan().pending


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (None, "keys/kubeconfig: No such file"),
        (b"", "the secret file is empty"),
        (b"x" * (2**20 + 1), "more than 1 MiB"),
    ],
)
def test_a_file_that_cannot_be_one(tmp_path: Path, jenkins: Double, content: bytes | None, what: str) -> None:
    if content is not None:
        written(tmp_path, content)
    with pytest.raises(ConfigError, match=what) as caught:
        opened(tmp_path, jenkins)
    assert "jenkins.yaml:5: credentials[0].file" in caught.value.what
    opened(tmp_path, jenkins, needs="server").close()
