"""What a person is told who got a name, a branch, an option or the address slightly wrong, and what is not done."""

from __future__ import annotations

import errno
import http.server
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from jenkins_admin import Admin, cli
from jenkins_admin.connection import JenkinsError
from jenkins_admin.follow import Patience
from stages.errors import MlciError, UsageError
from tests.jenkins_admin.conftest import YAML, Open, environment
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.double.state import Script

ROOT = Path(__file__).resolve().parents[2]
QUESTION = {
    "id": "Ship",
    "message": "Ship it?",
    "inputs": [
        {"name": "WHERE", "type": "ChoiceParameterDefinition", "definition": {"choices": ["a", "b"]}},
        {"name": "note", "type": "StringParameterDefinition", "definition": {"defaultVal": ""}},
    ],
}


@pytest.fixture
def applied(admin: Admin, jenkins: Double) -> Admin:
    admin.apply()
    jenkins.forget()
    return admin


def run(tmp_path: Path, jenkins: Double, *words: str, stdout: int = subprocess.PIPE) -> tuple[int, str, str]:
    """mlci-admin as a process: exit code, standard output, standard error."""
    (tmp_path / "jenkins.yaml").write_text(YAML)
    env = {**os.environ, **environment(jenkins), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "jenkins_admin", *words]
    done = subprocess.run(command, cwd=tmp_path, env=env, stdout=stdout, stderr=subprocess.PIPE, text=True, check=False)
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout or "", done.stderr


# ---- branches ----------------------------------------------------------------------------------------------------


def test_a_branch_that_has_no_job(applied: Admin, jenkins: Double) -> None:
    jenkins.branch("ml/flight-delays", "main")
    jenkins.branch("ml/flight-delays", "feature/x")
    for ask in (applied.build, applied.trigger):
        with pytest.raises(UsageError) as caught:
            ask("flight-delays", None, "feature/y")
        assert caught.value.code == "JEN_NO_BRANCH"
        assert caught.value.todo == "did you mean 'feature/x'?"
    with pytest.raises(JenkinsError, match="flight-delays/main was never built"):
        applied.build("flight-delays")


def test_the_way_out_of_no_branches_is_one_that_exists(applied: Admin) -> None:
    with pytest.raises(UsageError) as caught:
        applied.trigger("flight-delays")
    assert "mlci-admin trigger flight-delays --scan" in caught.value.todo
    assert "/job/ml/job/flight-delays/indexing/console" in caught.value.todo


def test_a_multibranch_model_that_was_never_applied(admin: Admin) -> None:
    for branch in (None, "main"):
        with pytest.raises(JenkinsError, match="there is no job ml/flight-delays in Jenkins") as caught:
            admin.trigger("flight-delays", branch=branch)
        assert caught.value.todo == "mlci-admin apply makes it"
    assert [one.state for one in admin.status()] == ["MISSING", "MISSING"]


def test_a_branch_written_like_a_path(applied: Admin) -> None:
    with pytest.raises(UsageError) as caught:
        applied.trigger("flight-delays/feature/x y")
    assert caught.value.todo == "a branch is given as: flight-delays --branch 'feature/x y'"


def test_advice_names_model_build_and_branch(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(YAML + "  - {name: my model, folder: a, git: x}\n")
    admin.apply()
    jenkins.script(jenkins.branch("ml/a/my model", "dev"), Script(never_ends=True))
    build = admin.start("a/my model", branch="dev")
    assert build.job.words(build.number) == "'a/my model' 1 --branch dev"
    with pytest.raises(JenkinsError) as caught:
        "".join(admin.follow(build, Patience(timeout=1e-9, sleep=lambda _: None)))
    assert "mlci-admin follow 'a/my model' 1 --branch dev" in caught.value.todo


def test_a_build_of_a_branch_in_either_order(tmp_path: Path, jenkins: Double, applied: Admin) -> None:
    path = jenkins.branch("ml/flight-delays", "dev")
    for number in ("one", "two"):
        jenkins.script(path, Script(log=[f"{number}\n"]))
        "".join(applied.follow(applied.start("flight-delays", branch="dev")))
    for words in (["1", "--branch", "dev"], ["--branch", "dev", "1"]):
        assert run(tmp_path, jenkins, "logs", "flight-delays", *words)[:2] == (0, "one\n")
    code, _, err = run(tmp_path, jenkins, "logs", "flight-delays", "--branch", "dev", "first")
    assert code == 2
    assert "'first' is no number of a build" in err


# ---- builds ------------------------------------------------------------------------------------------------------


def test_looking_for_branches_of_a_pipeline_starts_no_build(applied: Admin, jenkins: Double) -> None:
    with pytest.raises(UsageError, match="a pipeline of one branch"):
        applied.scan("nightly")
    assert jenkins.writes == []


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["trigger", "flight-delays", "--scan", "--follow"], "leave --follow out"),
        (["trigger", "flight-delays", "--scan", "--branch", "x"], "leave --branch out"),
        (["trigger", "flight-delays", "--scan", "-p", "A=b"], "leave -p out"),
        (["trigger", "nightly", "--timeout", "5"], "add --follow"),
        (["trigger", "nightly", "--follow", "--timeout", "-5"], "'-5' is no number of seconds"),
        (["follow", "nightly", "--timeout", "nan"], "'nan' is no number of seconds"),
        (["follow", "nightly", "0"], "'0' is no number of a build"),
    ],
)
def test_options_that_mean_nothing(
    tmp_path: Path,
    jenkins: Double,
    applied: Admin,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    words: list[str],
    shown: str,
) -> None:
    (tmp_path / "jenkins.yaml").write_text(YAML)
    monkeypatch.chdir(tmp_path)
    for name, value in environment(jenkins).items():
        monkeypatch.setenv(name, value)
    assert cli.main(words) == 2
    assert shown in capsys.readouterr().err
    assert jenkins.writes == []


def test_a_parameters_file_arrives_as_it_is(tmp_path: Path, jenkins: Double, applied: Admin) -> None:
    (tmp_path / "why.txt").write_bytes("eins\r\nzwei\rdrei\n\n é".encode())
    assert run(tmp_path, jenkins, "trigger", "nightly", "-p", "WHY=@why.txt")[0] == 0
    assert dict(jenkins.state.item("ml/nightly").builds[0].parameters)["WHY"] == "eins\r\nzwei\rdrei\n\n é"


@pytest.mark.parametrize("value", [5, True, None, b"x"])
def test_a_parameter_that_is_no_text(applied: Admin, jenkins: Double, value: object) -> None:
    with pytest.raises(UsageError, match="not text") as caught:
        applied.trigger("nightly", {"WHY": value})  # type: ignore[dict-item]
    assert caught.value.code == "JEN_PARAMETER"
    assert jenkins.writes == []


def test_an_answer_that_is_no_choice_is_not_sent(applied: Admin, jenkins: Double) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n"], question=QUESTION))
    build = applied.start("nightly")
    list(applied.logs(build))
    (line,) = applied.status("nightly")
    assert (line.state, line.note) == ("RUNNING", "waits for an answer: Ship it?")
    jenkins.forget()
    with pytest.raises(UsageError) as caught:
        applied.approve(build, values={"WHERE": "c"})
    assert (caught.value.code, caught.value.todo) == ("JEN_PARAMETER", "there are: a, b")
    assert jenkins.writes == []
    applied.approve(build, values={"WHERE": "b"})


def test_status_says_that_a_built_job_is_disabled(applied: Admin, jenkins: Double) -> None:
    "".join(applied.follow(applied.start("nightly")))
    root = jenkins.state.item("ml/nightly").root
    found = root.find("disabled")
    assert found is not None
    found.text = "true"
    (line,) = applied.status("nightly")
    assert (line.state, line.note) == ("SUCCESS", "disabled")


def test_artifacts_of_which_none_matches(applied: Admin, jenkins: Double, tmp_path: Path) -> None:
    jenkins.script("ml/nightly", Script(artifacts={"model.mlci": b"x", "x/gate.json": b"{}"}))
    build = applied.start("nightly")
    "".join(applied.follow(build))
    with pytest.raises(JenkinsError, match=r"no artifact of nightly #1 matches \*\.zip") as caught:
        applied.artifacts(build, tmp_path, ["*.zip"])
    assert caught.value.todo == "it archived model.mlci, x/gate.json"
    assert len(applied.artifacts(build, tmp_path, ["*.zip", "*.json"])) == 1


# ---- the address -------------------------------------------------------------------------------------------------


def test_a_path_at_which_no_jenkins_begins_is_not_an_empty_jenkins(open_admin: Open, jenkins: Double) -> None:
    lost = open_admin(YAML, f"server.url={jenkins.url}/ci")
    asks: list[Callable[[], object]] = [
        lost.plan,
        lost.apply,
        lost.prunable,
        lost.status,
        lambda: lost.trigger("nightly"),
        lambda: lost.build("nightly"),
    ]
    for ask in asks:
        with pytest.raises(JenkinsError) as caught:
            ask()
        assert caught.value.code == "JEN_NOT_JENKINS"
    assert jenkins.writes == []


def test_status_of_an_unreachable_jenkins_is_one_error(tmp_path: Path, jenkins: Double) -> None:
    address = ["--set", "server.url=http://127.0.0.1:1", "--set", "server.retries=0"]
    code, out, err = run(tmp_path, jenkins, "status", *address)
    assert (code, out) == (5, "")
    assert err.count("JEN_UNREACHABLE") == 1


def test_status_that_cannot_read_a_model_is_five(tmp_path: Path, jenkins: Double, applied: Admin) -> None:
    jenkins.forbidden.append(("GET", "nightly"))
    code, out, _ = run(tmp_path, jenkins, "status")
    assert code == 5
    assert "NEVER BUILT" in out


def test_a_server_that_speaks_no_tls_has_no_wrong_certificate(open_admin: Open) -> None:
    class Plain(http.server.BaseHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:  # noqa: A002  its name in the standard library
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Plain) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        admin = open_admin(YAML, f"server.url=https://127.0.0.1:{server.server_port}")
        with pytest.raises(MlciError) as caught:
            admin.plan()
        server.shutdown()
    assert caught.value.code == "JEN_TLS"
    assert "certificate" not in caught.value.what + caught.value.todo
    assert "is it plain http?" in caught.value.todo


def test_a_job_above_the_managed_folder(open_admin: Open, jenkins: Double) -> None:
    jenkins.state.create("", "teams", b"<project/>", "application/xml")
    admin = open_admin(YAML.replace("folder: ml", "folder: teams/ml"))
    with pytest.raises(JenkinsError, match="teams in Jenkins is no folder") as caught:
        admin.plan()
    assert caught.value.code == "JEN_CONFLICT"


def test_the_version_by_python_jenkins_is_asked_with_the_login(admin: Admin, jenkins: Double) -> None:
    assert admin.jenkins.get_version().startswith("2.")
    assert jenkins.authorisations[-1].startswith("Basic ")


def test_what_is_of_another_kind_is_called_what_people_call_it(tmp_path: Path, jenkins: Double, applied: Admin) -> None:
    jenkins.state.delete("ml/nightly")
    jenkins.state.create("ml", "nightly", b"<project/>", "application/xml")
    said = "is a freestyle project in Jenkins and a pipeline in the file: rename one, or delete it with its builds"
    code, out, _ = run(tmp_path, jenkins, "plan")
    assert code == 7
    assert f"x job ml/nightly  ({said})" in out.splitlines()
    code, _, err = run(tmp_path, jenkins, "apply")
    assert code == 5
    assert f"warning: job ml/nightly: {said} (JEN_CONFLICT)" in err


# ---- standard output ---------------------------------------------------------------------------------------------


def without_warnings(err: str) -> list[str]:
    """Lines of standard error but for what the plan says of the file's credentials."""
    return [line for line in err.splitlines() if " warning: " not in line]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
@pytest.mark.parametrize("words", [["plan"], ["--json", "plan"], ["logs", "nightly"]])
def test_a_full_disk_under_the_output_is_no_bug(
    tmp_path: Path, jenkins: Double, applied: Admin, words: list[str]
) -> None:
    "".join(applied.follow(applied.start("nightly")))
    with Path("/dev/full").open("w") as full:
        code, _, err = run(tmp_path, jenkins, *words, stdout=full.fileno())
    assert code == 5
    assert without_warnings(err)[0] == f"error JEN_OUTPUT: standard output: {os.strerror(errno.ENOSPC)}"


def test_a_reader_that_leaves_is_no_error(tmp_path: Path, jenkins: Double) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code, _, err = run(tmp_path, jenkins, "plan", stdout=writer)
    os.close(writer)
    assert (code, without_warnings(err)) == (0, [])
