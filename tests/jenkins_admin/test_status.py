"""The table of the models: a line each, whatever one of them does, at a cost a line that does not grow."""

from __future__ import annotations

import json
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from jenkins_admin import Admin
from tests.jenkins_admin.conftest import Open
from tests.jenkins_admin.double.server import Double, Reply, Request
from tests.jenkins_admin.double.state import Script
from tests.jenkins_admin.test_slips import run

HEAD = 'server: {url: "${JENKINS_URL}", user: "${JENKINS_USER}", token: "${JENKINS_TOKEN}", retries: 0, workers: 1}\n'
CLIENT = Path(__file__).resolve().parents[2] / "jenkins_admin"
PAGE = b"<!DOCTYPE html><html><body>Sign in</body></html>"


def instead(jenkins: Double, path: str, reply: Reply) -> None:
    """What is asked below `path` gets another answer."""
    route = jenkins._route
    jenkins._route = lambda request: reply if path in request.path else route(request)  # type: ignore[method-assign]


def waiting(admin: Admin, jenkins: Double) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n"], question={"id": "Q", "message": "Deploy?", "inputs": []}))
    admin.trigger("nightly")
    "".join(admin.logs(admin.build("nightly")))


@pytest.mark.parametrize(
    "body",
    [
        PAGE,
        b"{}",
        b'{"status": "error"}',
        b"[1]",
        b'[{"message": "x"}]',
        b'[{"id": 1, "inputs": [2]}]',
        b'[{"id": 1, "inputs": [{"name": "A", "definition": [2]}]}]',
        b'[{"id": 1, "inputs": [{"name": "A", "definition": {"choices": 2}}]}]',
        b"",
        b"[" * 100_000,
    ],
)
def test_questions_that_cannot_be_read_hide_nothing(admin: Admin, jenkins: Double, body: bytes) -> None:
    admin.apply()
    waiting(admin, jenkins)
    assert [one.note for one in admin.status()][1] == "waits for an answer: Deploy?"
    instead(jenkins, "wfapi", Reply(200, body, "text/html"))
    delays, nightly = admin.status()
    assert (delays.state, nightly.state, nightly.build) == ("NEVER BUILT", "RUNNING", 1)
    assert "cannot be read" in nightly.note


@pytest.mark.parametrize(
    "answer",
    [
        '{"lastBuild": {"number": "x", "result": "SUCCESS"}}',
        '{"lastBuild": {"result": "SUCCESS", "timestamp": 1}}',
        '{"lastBuild": {"number": 1, "result": "SUCCESS", "timestamp": 1e300}}',
        '{"lastBuild": {"number": 1, "result": "SUCCESS", "timestamp": "soon"}}',
        '{"lastBuild": {"number": 1, "artifacts": [{}]}}',
        '{"lastBuild": [1]}',
        '{"lastBuild": 7}',
        "[]",
        "{" + '"a": {' * 50_000,
        PAGE.decode(),
    ],
)
def test_one_odd_job_hides_no_other(admin: Admin, jenkins: Double, answer: str) -> None:
    admin.apply()
    instead(jenkins, "/job/nightly/", Reply(200, answer.encode(), "application/json"))
    assert [one.state for one in admin.status()] == ["NEVER BUILT", "?"]


def test_odd_artifacts(tmp_path: Path, admin: Admin, jenkins: Double) -> None:
    admin.apply()
    files = {"validate/gate.json": b"[" * 200_000, "deploy/p/deployment.json": b'{"version": 5}', "x/gate.json": b"[]"}
    jenkins.script("ml/nightly", Script(artifacts=files))
    admin.trigger("nightly")
    "".join(admin.logs(admin.build("nightly")))
    "".join(admin.logs(admin.build("nightly")))
    (nightly,) = admin.status("nightly")
    assert (nightly.gate, nightly.champion) == (None, {})
    code, out, _ = run(tmp_path, jenkins, "status", "--json")
    assert code == 0
    assert len(json.loads(out.splitlines()[-1])["models"]) == 2


def test_half_a_character_reaches_the_terminal_escaped(tmp_path: Path, admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.script("ml/nightly", Script(log=["a\n"], question={"id": "Q", "message": "x\ud83d", "inputs": []}))
    admin.trigger("nightly")
    "".join(admin.logs(admin.build("nightly")))
    for words in (["status"], ["status", "--json"]):
        code, out, _ = run(tmp_path, jenkins, *words)
        assert (code, "x\\ud83d" in out) == (0, True)


def test_a_question_of_two_lines_begins_no_line(tmp_path: Path, admin: Admin, jenkins: Double) -> None:
    admin.apply()
    question = {"id": "Q", "message": "ok?\nnightly  #9  SUCCESS", "inputs": []}
    jenkins.script("ml/nightly", Script(log=["a\n"], question=question))
    admin.trigger("nightly")
    "".join(admin.logs(admin.build("nightly")))
    for words in (["status"], ["approve", "nightly"]):
        code, out, _ = run(tmp_path, jenkins, *words)
        assert (code, "ok?\\nnightly  #9  SUCCESS" in out) == (0, True)


def work(open_admin: Open, jenkins: Double, models: int) -> tuple[int, int]:
    """Calls of functions of the client for a table of so many models, and requests."""
    lines = "".join(f"  - {{name: m{i}, git: g, kind: pipeline, folder: f{i % 7}}}\n" for i in range(models))
    admin = open_admin(f"{HEAD}folder: ml\nmodels:\n{lines}")
    jenkins.forget()
    calls = 0

    def count(frame: FrameType, event: str, argument: Any) -> None:
        nonlocal calls
        calls += (
            event == "call" and "jenkins_admin" in frame.f_code.co_filename and "tests" not in frame.f_code.co_filename
        )

    threading.setprofile(count)
    sys.setprofile(count)
    try:
        assert len(admin.status()) == models
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    return calls, len(jenkins.requests)


def test_ten_times_the_models_is_ten_times_the_work(open_admin: Open, jenkins: Double) -> None:
    jenkins._route = _missing  # type: ignore[method-assign]
    few, many = work(open_admin, jenkins, 30), work(open_admin, jenkins, 300)
    assert many[0] <= 11 * few[0]
    assert many[1] <= 11 * few[1]


def _missing(request: Request) -> Reply:
    return Reply(200, b'{"anonymous": false}', "application/json") if "/job/ml/" not in request.path else Reply(404)
