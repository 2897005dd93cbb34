"""What serves with other settings than ml.yaml has is named as that, not as a model that answers wrongly."""

from __future__ import annotations

import socket
from pathlib import Path

from stages.deploy import deploy
from stages.images import labels
from stages.project import Project
from stages.targets import operate, swarm
from stages.targets.containers import Setting
from tests.stages import modelkit


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def test_another_port_explains_why_nobody_answers_there(tmp_path: Path) -> None:
    first, second = _free_port(), _free_port()
    made = modelkit.project(tmp_path / "demo", first)
    try:
        deploy(made)
        path = made.root / "ml.yaml"
        path.write_text(path.read_text().replace(f"port: {first}", f"port: {second}"))
        moved = Project.open(path)
        (said,) = operate.status(moved)
        assert (said["answers"], said["url"]) == (False, f"http://127.0.0.1:{first}")
        assert said["note"] == "it serves with other settings: port; run: mlci deploy --env local"
        deploy(moved)
        (said,) = operate.status(moved)
        assert (said["answers"], said["note"], said["url"]) == (True, None, f"http://127.0.0.1:{second}")
    finally:
        operate.stop(made)


def test_labels_and_variables_tell_what_changed() -> None:
    before = Setting("m", "e", "id", None, {"MLCI_API_KEY": "a", "MLCI_SERVE_MAX_ROWS": "5"}, {"base": "x", "port": 1})
    told = before.of_model("v")
    given = ["PATH=/bin", "MLCI_API_KEY=a", "MLCI_SERVE_MAX_ROWS=5", "MLCI_READY=1"]
    assert before.changed(told, given) == []
    after = Setting("m", "e", "id", None, {"MLCI_API_KEY": "b"}, {"base": "y", "port": 1, "new key": 2})
    assert after.changed(told, given) == ["base", "api_key", "MLCI_SERVE_MAX_ROWS"]
    assert after.changed({labels.VERSION: "v"}, given) == [], "an mlci that left no such label is not known"


def test_a_mark_tells_one_key_from_another_and_not_the_key() -> None:
    mark = swarm._fingerprint("s3cret", "0123")
    assert mark == swarm._fingerprint("s3cret", "0123")
    assert mark != swarm._fingerprint("s3cres", "0123")
    assert "s3cret" not in mark
