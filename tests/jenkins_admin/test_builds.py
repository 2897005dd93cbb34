"""From a trigger to the end of a build: parameters, queue, log, restarts, questions, artifacts."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from jenkins_admin import Admin
from jenkins_admin.connection import Away, JenkinsError
from jenkins_admin.follow import Build, Patience
from stages.errors import ArtefactError, UsageError
from tests.jenkins_admin.conftest import YAML, Open
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.double.state import Script


class Clock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0
        self.naps: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds

    def patience(self, **options: Any) -> Patience:
        return Patience(sleep=self.sleep, clock=lambda: self.now, **options)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def applied(admin: Admin, jenkins: Double) -> Admin:
    admin.apply()
    jenkins.forget()
    return admin


def run(admin: Admin, clock: Clock, says: list[str] | None = None, **options: Any) -> tuple[str, str]:
    """Trigger nightly, follow it to its end: the log and the result."""
    follower = admin.follower(clock.patience(**options), (says if says is not None else []).append)
    build = follower.started(*admin.trigger("nightly"))
    text = "".join(follower.log(build))
    return text, follower.result(build).result


# ---- trigger -----------------------------------------------------------------------------------------------------


@examples(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_any_character_arrives(applied: Admin, jenkins: Double, value: str) -> None:
    applied.trigger("nightly", {"WHY": value})
    assert dict(jenkins.state.item("ml/nightly").builds[-1].parameters)["WHY"] == value


def test_any_length_arrives_in_the_body(applied: Admin, jenkins: Double) -> None:
    value = "é☃𝄞 &=%+#\n\r\n\x1b" * 9000
    applied.trigger("nightly", {"WHY": value})
    assert dict(jenkins.state.item("ml/nightly").builds[0].parameters) == {"ENV": "staging", "WHY": value}
    assert max(len(path) for _, path in jenkins.requests) < 200, "nothing of it in an address"


def test_what_the_caller_passed_is_left_alone(applied: Admin) -> None:
    given = {"WHY": "x"}
    applied.trigger("nightly", given)
    assert given == {"WHY": "x"}


@pytest.mark.parametrize(
    ("parameters", "what", "todo"),
    [
        ({"WHYY": "x"}, "nightly has no parameter 'WHYY'", "did you mean 'WHY'?"),
        ({"ENV": "stagging"}, "'stagging' is no choice of ENV", "did you mean 'staging'?"),
        ({"WHY": "\ud800"}, "the value of WHY is not Unicode text", "UTF-8"),
    ],
)
def test_what_jenkins_would_drop_or_choke_on_is_said(
    applied: Admin, jenkins: Double, parameters: dict[str, str], what: str, todo: str
) -> None:
    with pytest.raises(UsageError) as caught:
        applied.trigger("nightly", parameters)
    assert caught.value.code == "JEN_PARAMETER"
    assert what in caught.value.what
    assert todo in caught.value.todo
    assert jenkins.writes == []


def test_a_job_without_parameters_is_built_without(applied: Admin, jenkins: Double) -> None:
    jenkins.branch("ml/flight-delays", "main")
    job, _ = applied.trigger("flight-delays")
    assert (job.path, job.label) == ("ml/flight-delays/main", "flight-delays/main")
    assert jenkins.writes == [("POST", "/job/ml/job/flight-delays/job/main/build?delay=0sec")]
    with pytest.raises(UsageError, match="has no parameter"):
        applied.trigger("flight-delays", {"X": "1"})


def test_branches(applied: Admin, jenkins: Double) -> None:
    with pytest.raises(UsageError) as caught:
        applied.trigger("flight-delays")
    assert caught.value.code == "JEN_NO_BRANCH"
    jenkins.branch("ml/flight-delays", "feature/a b")
    assert applied.job("flight-delays").path == "ml/flight-delays/feature%2Fa b"
    applied.trigger("flight-delays", branch="feature/a b")
    assert jenkins.writes == [("POST", "/job/ml/job/flight-delays/job/feature%252Fa%20b/build?delay=0sec")]
    jenkins.branch("ml/flight-delays", "other")
    with pytest.raises(UsageError, match="2 branches") as caught:
        applied.job("flight-delays")
    assert "feature/a b, other" in caught.value.todo
    with pytest.raises(UsageError, match="a pipeline of one branch"):
        applied.job("nightly", "main")


def test_models_by_name_and_by_path(open_admin: Open) -> None:
    admin = open_admin(
        YAML + "  - {name: x, folder: a, kind: pipeline, git: x}\n  - {name: x, folder: b, kind: pipeline, git: x}\n"
    )
    admin.apply()
    assert admin.job("a/x").path == admin.job("ml/a/x").path == "ml/a/x"
    with pytest.raises(UsageError, match="the name of 2 models"):
        admin.job("x")
    with pytest.raises(UsageError) as caught:
        admin.job("nighty")
    assert caught.value.todo == "did you mean 'nightly'?"


def test_a_job_that_is_not_there_or_disabled(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(YAML + "    disabled: true\n")
    with pytest.raises(JenkinsError) as caught:
        admin.trigger("nightly")
    assert (caught.value.code, caught.value.exit_code) == ("JEN_NOT_FOUND", 5)
    admin.apply()
    with pytest.raises(JenkinsError) as caught:
        admin.trigger("nightly")
    assert caught.value.code == "JEN_DISABLED"
    assert jenkins.state.queue == {}


# ---- queue -------------------------------------------------------------------------------------------------------


def test_the_reason_for_waiting_is_said_once(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(looks_in_queue=3, why="Waiting for an executor with label ‘gpu’"))
    says: list[str] = []
    _, result = run(applied, clock, says)
    assert result == "SUCCESS"
    assert says == ["in the queue: Waiting for an executor with label ‘gpu’"]


def test_a_cancelled_item(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(looks_in_queue=1, cancelled=True))
    with pytest.raises(JenkinsError) as caught:
        run(applied, clock)
    assert (caught.value.code, caught.value.exit_code) == ("JEN_CANCELLED", 5)


def test_an_expired_item_is_found_again_by_its_build(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n"]))
    job, item = applied.trigger("nightly")
    applied.trigger("nightly")
    del jenkins.state.queue[item]
    build = applied.follower(clock.patience()).started(job, item)
    assert build.number == 1
    with pytest.raises(JenkinsError) as caught:
        applied.follower(clock.patience()).started(job, 9999)
    assert caught.value.code == "JEN_QUEUE_LOST"


# ---- log ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("result", "exit_code"), [("SUCCESS", 0), ("UNSTABLE", 4), ("FAILURE", 4), ("ABORTED", 130), ("NOT_BUILT", 5)]
)
def test_the_result_is_an_exit_code(applied: Admin, jenkins: Double, clock: Clock, result: str, exit_code: int) -> None:
    jenkins.script("ml/nightly", Script(result=result))
    build = applied.start("nightly", patience=clock.patience())
    ended = applied.wait(build, clock.patience()) if list(applied.follow(build, clock.patience())) else None
    assert ended is not None
    assert (ended.result, ended.exit_code, ended.seconds) == (result, exit_code, 3.153)


def test_the_log_arrives_whole_and_once(applied: Admin, jenkins: Double, clock: Clock) -> None:
    pieces = [f"line {i} é☃𝄞\r\n" for i in range(30)]
    jenkins.script("ml/nightly", Script(log=pieces))
    text, _ = run(applied, clock)
    assert text == "".join(pieces).replace("\r\n", "\n")


def test_a_character_cut_in_two_between_looks(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(log=["a", "b"], hidden=0))
    build = applied.start("nightly", patience=clock.patience())
    state = jenkins.state.item("ml/nightly").builds[0]
    data = "xé☃y\n".encode()
    state.text = lambda start: data[start : min(len(data), 2 + 2 * state.shown)]  # type: ignore[method-assign]
    state.size = lambda pieces: min(len(data), 2 + 2 * pieces)  # type: ignore[method-assign]
    state.script.log = ["?"] * 6
    assert "".join(applied.follow(build, clock.patience())) == "xé☃y\n"


def test_it_ends_when_the_last_look_brings_nothing(applied: Admin, jenkins: Double, clock: Clock) -> None:
    """No new byte and no X-More-Data: other clients look for ever."""
    jenkins.script("ml/nightly", Script(log=["only\n", ""], quiet_end=True, hidden=0))
    text, result = run(applied, clock)
    assert (text, result) == ("only\n", "SUCCESS")
    assert len(jenkins.requests) < 15


def test_looking_grows_rarer_while_nothing_happens(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n", *[""] * 30]))
    run(applied, clock)
    assert clock.naps[0] < 0.5
    assert clock.naps[-2] == 5.0
    assert clock.naps == sorted(clock.naps)


def test_a_timeout_leaves_the_build_running(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(never_ends=True))
    with pytest.raises(JenkinsError) as caught:
        run(applied, clock, timeout=60)
    assert (caught.value.code, caught.value.exit_code) == ("JEN_TIMEOUT", 5)
    assert "mlci-admin follow" in caught.value.todo
    assert 60 <= clock.now < 66
    assert jenkins.state.item("ml/nightly").builds[0].building


@pytest.mark.parametrize("kind", ["drop", 503, 502])
@pytest.mark.parametrize("path", ["queue/item", "progressiveText", r"/\d+/api/json"])
def test_a_restart_of_the_controller_is_waited_for(
    applied: Admin, jenkins: Double, clock: Clock, kind: int | str, path: str
) -> None:
    pieces = [f"line {i}\n" for i in range(6)]
    jenkins.script("ml/nightly", Script(log=pieces, looks_in_queue=1))
    jenkins.fail(kind, path=path, times=40)
    says: list[str] = []
    text, result = run(applied, clock, says)
    assert (text, result) == ("".join(pieces), "SUCCESS")
    assert sum("waiting for it to come back" in line for line in says) == 1
    assert "Jenkins is back" in says


def test_a_controller_that_stays_away(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.fail("drop", path="progressiveText", times=10_000)
    with pytest.raises(Away):
        run(applied, clock, restart=120)
    assert 120 <= clock.now < 140


def test_a_deleted_build(applied: Admin, jenkins: Double, clock: Clock) -> None:
    build = applied.start("nightly", patience=clock.patience())
    jenkins.state.item("ml/nightly").builds.clear()
    with pytest.raises(JenkinsError) as caught:
        list(applied.follow(build, clock.patience()))
    assert caught.value.code == "JEN_BUILD_GONE"


def test_logs_of_a_build_that_goes_on(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n", "b\n"], never_ends=True))
    applied.start("nightly", patience=clock.patience())
    build = applied.build("nightly")
    assert "".join(applied.logs(build)) == "a\nb\n"
    with pytest.raises(JenkinsError, match="has no build 7"):
        applied.build("nightly", 7)
    with pytest.raises(UsageError):
        applied.build("flight-delays")


# ---- questions ---------------------------------------------------------------------------------------------------

PLAIN = {"id": "Approve", "message": "Deploy?", "inputs": []}
ASKING = {"id": "Override", "message": "Why?", "inputs": [{"name": "REASON"}, {"name": "TICKET"}]}


def waiting(admin: Admin, jenkins: Double, question: dict[str, Any]) -> Build:
    jenkins.script("ml/nightly", Script(log=["a\n"], question=question))
    admin.trigger("nightly")
    build = admin.build("nightly")
    "".join(admin.logs(build))
    return build


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "from-the-page"])
def test_approve_a_plain_question(applied: Admin, jenkins: Double, listed: bool) -> None:
    if not listed:
        del jenkins.plugins["pipeline-rest-api"]
    build = waiting(applied, jenkins, PLAIN)
    assert applied.approve(build, "looks right").id == "Approve"
    found = jenkins.state.item("ml/nightly").builds[0]
    assert found.answers == [{"verb": "proceedEmpty"}]
    assert found.description == "approved: looks right"
    with pytest.raises(UsageError) as caught:
        applied.approve(build)
    assert caught.value.code == "JEN_NO_INPUT"


@pytest.mark.parametrize("listed", [True, False], ids=["listed", "from-the-page"])
def test_approve_with_a_reason_that_is_asked_for(applied: Admin, jenkins: Double, listed: bool) -> None:
    if not listed:
        del jenkins.plugins["pipeline-rest-api"]
    build = waiting(applied, jenkins, ASKING)
    with pytest.raises(UsageError, match="asks for a reason"):
        applied.approve(build)
    with pytest.raises(UsageError) as caught:
        applied.approve(build, "x", values={"TICKT": "1"})
    assert "did you mean 'TICKET'?" in caught.value.todo or "TICKET" in caught.value.todo
    applied.approve(build, 'because "é"', values={"TICKET": "M-1"})
    found = jenkins.state.item("ml/nightly").builds[0]
    assert found.answers == [{"verb": "submit", "values": {"REASON": 'because "é"', "TICKET": "M-1"}}]


def test_reject(applied: Admin, jenkins: Double, clock: Clock) -> None:
    build = waiting(applied, jenkins, ASKING)
    with pytest.raises(UsageError, match="no question 'Overide'"):
        applied.reject(build, question="Overide")
    applied.reject(build, "too slow", "Override")
    found = jenkins.state.item("ml/nightly").builds[0]
    assert found.description == "rejected: too slow"
    assert applied.wait(build, clock.patience()).result == "ABORTED"


def test_following_says_that_somebody_has_to_answer(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n"], question=PLAIN))
    says: list[str] = []
    with pytest.raises(JenkinsError, match="still runs"):
        run(applied, clock, says, timeout=120)
    assert says == ["waits for an answer: Deploy? (mlci-admin approve nightly 1, or reject)"]


def test_stop(applied: Admin, jenkins: Double, clock: Clock) -> None:
    jenkins.script("ml/nightly", Script(never_ends=True))
    build = applied.start("nightly", patience=clock.patience())
    applied.stop(build)
    assert applied.wait(build, clock.patience()).exit_code == 130


# ---- artifacts and status ----------------------------------------------------------------------------------------


def archived(admin: Admin, jenkins: Double, files: dict[str, bytes]) -> Build:
    jenkins.script("ml/nightly", Script(artifacts=files))
    admin.trigger("nightly")
    build = admin.build("nightly")
    "".join(admin.follow(build, Patience(sleep=lambda _: None)))
    return build


def record(files: dict[str, bytes]) -> bytes:
    outputs = {name: {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)} for name, data in files.items()}
    return json.dumps({"outputs": outputs}).encode()


def test_artifacts_arrive_and_are_compared(applied: Admin, jenkins: Double, tmp_path: Path) -> None:
    model = b"\x00model\xff" * 100_000
    files = {
        ".mlci/train/model.skops": model,
        ".mlci/train/result.json": record({"model.skops": model}),
        "a b/é.txt": b"",
    }
    build = archived(applied, jenkins, files)
    got = applied.artifacts(build, tmp_path)
    assert {str(p.relative_to(tmp_path)): p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()} == files
    assert [one.checked for one in got] == [("fingerprint", "record"), ("fingerprint",), ("fingerprint",)]
    assert [one.artifact.path for one in applied.artifacts(build, tmp_path / "x", ["*.txt"])] == ["a b/é.txt"]


def test_a_file_that_is_not_the_recorded_one_is_not_kept(applied: Admin, jenkins: Double, tmp_path: Path) -> None:
    files = {".mlci/train/m": b"changed", ".mlci/train/result.json": record({"m": b"as it was"})}
    build = archived(applied, jenkins, files)
    with pytest.raises(ArtefactError) as caught:
        applied.artifacts(build, tmp_path)
    assert (caught.value.code, caught.value.exit_code) == ("JEN_DIGEST", 3)
    assert not (tmp_path / ".mlci/train/m").exists()


def test_a_file_that_arrives_otherwise_than_jenkins_recorded(
    applied: Admin, jenkins: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = archived(applied, jenkins, {"m": b"right"})
    monkeypatch.setattr("tests.jenkins_admin.double.server._md5", lambda content: "0" * 32)
    with pytest.raises(ArtefactError, match="recorded 000"):
        applied.artifacts(build, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil"])
def test_no_file_is_written_outside(applied: Admin, jenkins: Double, tmp_path: Path, path: str) -> None:
    build = archived(applied, jenkins, {path: b"x"})
    with pytest.raises(UsageError, match="outside the target folder"):
        applied.artifacts(build, tmp_path / "in")
    assert list(tmp_path.iterdir()) == []


def test_status_is_a_line_a_model(applied: Admin, jenkins: Double) -> None:
    gate = {"approved": True, "verdict": "approved", "sentence": "approved: roc_auc 0.9", "model": "abc", "rules": []}
    files = {
        ".mlci/validate/gate.json": json.dumps(gate).encode(),
        ".mlci/deploy/production/deployment.json": b'{"version": "0123456789abcdef"}',
    }
    archived(applied, jenkins, files)
    delays, nightly = applied.status()
    assert (delays.state, delays.build) == ("NEVER BUILT", None)
    assert (nightly.state, nightly.build) == ("SUCCESS", 1)
    assert nightly.gate is not None
    assert nightly.gate["sentence"] == "approved: roc_auc 0.9"
    assert nightly.champion == {"production": "0123456789abcdef"}
    jenkins.state.delete("ml/nightly")
    assert [one.state for one in applied.status("nightly")] == ["MISSING"]


def test_one_model_that_cannot_be_read_hides_no_other(applied: Admin, jenkins: Double) -> None:
    jenkins.forbidden.append(("GET", "nightly"))
    assert [one.state for one in applied.status()] == ["NEVER BUILT", "?"]
