"""mlci-admin as people and pipelines run it: a process, its output, its exit code."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from jenkins_admin import cli
from tests.jenkins_admin.conftest import YAML, environment
from tests.jenkins_admin.double.server import TOKEN, Double
from tests.jenkins_admin.double.state import Script

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Done:
    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.out.splitlines()[-1])
        return found


@pytest.fixture
def mlci_admin(
    tmp_path: Path, jenkins: Double, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., Done]]:
    """The command line in this process, in a folder with a jenkins.yaml."""
    (tmp_path / "jenkins.yaml").write_text(YAML)
    for name, value in environment(jenkins).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    before = signal.getsignal(signal.SIGTERM)

    def run(*words: str) -> Done:
        monkeypatch.chdir(tmp_path)
        code = cli.main(list(words))
        out, err = capfd.readouterr()
        assert "Traceback" not in err, err
        assert TOKEN not in out + err
        return Done(code, out, err)

    yield run
    signal.signal(signal.SIGTERM, before)


def test_plan_apply_plan(mlci_admin: Callable[..., Done], jenkins: Double) -> None:
    done = mlci_admin("plan")
    assert done.code == 7
    assert "+ job ml/nightly" in done.out
    assert "5 to create; 0 as they should be" in done.out
    done = mlci_admin("apply", "--json")
    assert (done.code, done.json["writes"]) == (0, 5)
    done = mlci_admin("--json", "plan")
    assert (done.code, done.json["pending"], done.json["unchanged"]) == (0, False, 5)
    assert "nothing to do" in done.out
    jenkins.forget()
    done = mlci_admin("--json", "apply")
    assert (done.code, done.json["writes"]) == (0, 0)
    assert jenkins.writes == []


def test_no_command_shows_a_secret(
    mlci_admin: Callable[..., Done], jenkins: Double, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_TOKEN", "API_KEY", "KEY", "PHRASE", "IN_ADDRESS"):
        monkeypatch.setenv(name, f"canary-{name}")
    key = '  - {id: k, kind: ssh_key, username: u, private_key: "${KEY}", passphrase: "${PHRASE}"}\n'
    model = '  - {name: c, kind: pipeline, git: "https://bot:${IN_ADDRESS}@git.example.com/x.git"}\n'
    text = YAML.replace("credentials:\n", f"credentials:\n{key}") + model
    (tmp_path / "jenkins.yaml").write_text(text)
    said = [mlci_admin(*words) for words in (["plan"], ["--verbose", "apply", "--json"], ["plan", "--json"])]
    for name in ("GIT_TOKEN", "API_KEY", "KEY", "PHRASE", "IN_ADDRESS"):
        monkeypatch.setenv(name, f"canary-new-{name}")
    said += [mlci_admin(*words) for words in (["plan", "--json"], ["plan"], ["apply"], ["status"], ["doctor"])]
    assert [done.code for done in said[:5]] == [7, 0, 0, 7, 7]
    assert "(hidden)" in said[4].out
    for wrong in ("private_key: [x]", "private_key: '${KEY}', passphrase: 5", "passphrase: '${PHRASE}'"):
        (tmp_path / "jenkins.yaml").write_text(
            text.replace('private_key: "${KEY}", passphrase: "${PHRASE}"', wrong.replace("x", "canary-literal"))
        )
        said.append(mlci_admin("plan", "--json"))
        assert said[-1].code == 2
    monkeypatch.setenv("IN_ADDRESS", "…")
    (tmp_path / "jenkins.yaml").write_text(text)
    said.append(mlci_admin("render"))
    assert not [done for done in said if "canary" in done.out + done.err]


def test_plan_shows_a_change_with_both_sides(mlci_admin: Callable[..., Done]) -> None:
    mlci_admin("apply")
    done = mlci_admin("plan", "--set", "library.version=v2", "--json")
    assert done.code == 7
    assert "defaultVersion: v1.0.0 -> v2" in done.out
    change = done.json["actions"][0]["changes"][0]
    assert (change["old"], change["new"]) == ("v1.0.0", "v2")


def test_config_errors_are_two(mlci_admin: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "jenkins.yaml").write_text("server: {urll: x}\nfolder: ml\n")
    done = mlci_admin("plan", "--json")
    assert done.code == 2
    assert (
        "error CFG_UNKNOWN_KEY: jenkins.yaml:1: server.urll: unknown key 'urll'\n  -> did you mean 'url'?" in done.err
    )
    assert {error["code"] for error in done.json["errors"]} == {"CFG_UNKNOWN_KEY", "CFG_MISSING_KEY"}


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["plna"], "did you mean 'plan'?"),
        (["plan", "--jsn"], "did you mean --json?"),
        (["trigger"], "MODEL"),
        (["trigger", "nightly", "-p", "x"], "not of the form NAME=VALUE"),
        (["trigger", "nightly", "-p", "WHY=@missing"], "missing"),
        (["trigger", "nighty"], "did you mean 'nightly'?"),
        (["-C", "nowhere", "plan"], "give a folder that exists"),
        (["--config", "other.yaml", "plan"], "no such file"),
        (["prune"], "nothing to remove"),
    ],
)
def test_usage(mlci_admin: Callable[..., Done], words: list[str], shown: str) -> None:
    done = mlci_admin(*words)
    assert done.code == (0 if words == ["prune"] else 2)
    assert shown in done.err + done.out


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['mlci-admin', '--help']\n"
        "from jenkins_admin import cli\n"
        "try: cli.main()\nexcept SystemExit: pass\n"
        "print(sorted(set(sys.modules) & {'requests', 'pydantic', 'yaml', 'jenkins', 'xml', 'logging', 'dataclasses'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(name in done.stdout for name in ("plan", "apply", "prune", "render", "trigger", "follow", "approve"))


def test_render_needs_neither_server_nor_secrets(tmp_path: Path) -> None:
    (tmp_path / "jenkins.yaml").write_text(YAML)
    env = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "jenkins_admin", "render", "-o", "out"],
        cwd=tmp_path, env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in tmp_path.rglob("*.xml"))
    assert files == ["ml/config.xml", "ml/flight-delays/config.xml", "ml/nightly/config.xml"]


def test_trigger_without_the_secrets_of_credentials(mlci_admin: Callable[..., Done], tmp_path: Path) -> None:
    mlci_admin("apply")
    text = (tmp_path / "jenkins.yaml").read_text().replace("${API_KEY}", "${NOT_SET_ANYWHERE}")
    (tmp_path / "jenkins.yaml").write_text(text)
    assert mlci_admin("trigger", "nightly").code == 0
    assert mlci_admin("plan").code == 2


@pytest.mark.parametrize(("result", "code"), [("SUCCESS", 0), ("UNSTABLE", 4), ("FAILURE", 4), ("ABORTED", 130)])
def test_trigger_and_follow(
    mlci_admin: Callable[..., Done], jenkins: Double, tmp_path: Path, result: str, code: int
) -> None:
    mlci_admin("apply")
    jenkins.script("ml/nightly", Script(log=["one\r\n", f"Finished: {result}\r\n"], result=result))
    (tmp_path / "why.txt").write_text("é" * 9000)
    done = mlci_admin("trigger", "nightly", "-p", "WHY=@why.txt", "--follow", "--json")
    assert done.code == code
    assert done.out.startswith(f"one\nFinished: {result}\n")
    assert (done.json["result"], done.json["build"]) == (result, 1)
    assert dict(jenkins.state.item("ml/nightly").builds[0].parameters)["WHY"] == "é" * 9000
    assert mlci_admin("follow", "nightly", "1").code == code
    assert mlci_admin("logs", "nightly").out == f"one\nFinished: {result}\n"


def test_log_lines_as_json(mlci_admin: Callable[..., Done]) -> None:
    mlci_admin("apply")
    done = mlci_admin("--log-format", "json", "trigger", "nightly", "--follow")
    lines = [json.loads(line) for line in done.err.splitlines()]
    assert any("is queued as item" in line["message"] for line in lines)


@pytest.mark.parametrize("words", [["plan", "--nope"], ["--config", "other.yaml", "plan"]])
def test_error_lines_as_json(mlci_admin: Callable[..., Done], words: list[str]) -> None:
    done = mlci_admin(*words, "--log-format", "json", "--json")
    (line,) = map(json.loads, done.err.splitlines())
    assert (line["level"], line["code"], line["message"]) == (
        "error",
        done.json["error"]["code"],
        done.json["error"]["what"],
    )
    assert (done.code, done.json["exit_code"]) == (2, 2)


def test_prune_asks_or_takes_yes(mlci_admin: Callable[..., Done], jenkins: Double, tmp_path: Path) -> None:
    mlci_admin("apply")
    text = (tmp_path / "jenkins.yaml").read_text()
    (tmp_path / "jenkins.yaml").write_text(text.split("  - name: nightly")[0])
    done = mlci_admin("plan")
    assert done.code == 0
    assert "? job ml/nightly  (no longer in the file" in done.out
    done = mlci_admin("prune")
    assert done.code == 2
    assert "add --yes" in done.err
    assert "nightly" in jenkins.state.item("ml").children
    done = mlci_admin("prune", "--yes", "--json")
    assert (done.code, done.json["deleted"]) == (0, ["job ml/nightly"])
    assert mlci_admin("prune", "--yes").out == "nothing to remove\n"


def test_approve_reject_status_artifacts_doctor(
    mlci_admin: Callable[..., Done], jenkins: Double, tmp_path: Path
) -> None:
    mlci_admin("apply")
    question = {"id": "Approve", "message": "Deploy?", "inputs": [{"name": "REASON"}]}
    script = Script(log=["a\n"], question=question, artifacts={"x/gate.json": b'{"sentence": "approved: fine"}'})
    jenkins.script("ml/nightly", script)
    mlci_admin("trigger", "nightly")
    mlci_admin("logs", "nightly")
    assert mlci_admin("approve", "nightly").code == 2
    done = mlci_admin("approve", "nightly", "1", "--reason", "it is right", "--json")
    assert (done.code, done.json["answer"]) == (0, "approved")
    assert mlci_admin("reject", "nightly").code == 2
    mlci_admin("logs", "nightly")
    done = mlci_admin("status")
    assert done.out.splitlines()[0].split() == ["MODEL", "BUILD", "STATE", "AGE", "GATE", "CHAMPION"]
    assert "approved: fine" in done.out
    assert mlci_admin("artifacts", "nightly", "--list").out == "x/gate.json\n"
    assert mlci_admin("artifacts", "nightly", "-o", "got").code == 0
    assert (tmp_path / "got/x/gate.json").read_bytes() == b'{"sentence": "approved: fine"}'
    done = mlci_admin("doctor", "--json")
    assert done.code == 0
    assert "OK   login: admin, by API token" in done.out
    del jenkins.plugins["git"]
    done = mlci_admin("doctor", "--json")
    assert (done.code, [c["name"] for c in done.json["checks"] if c["verdict"] == "failed"]) == (5, ["plugin git"])


def test_an_incomplete_apply_is_five_and_says_what_was_done(mlci_admin: Callable[..., Done], jenkins: Double) -> None:
    jenkins.fail(500, method="POST", path="createCredentials")
    done = mlci_admin("apply", "--json")
    assert done.code == 5
    assert done.json["error"]["code"] == "JEN_INCOMPLETE"
    assert "credential ml/" in done.err
    assert "job ml/nightly: not tried" in done.err
    assert mlci_admin("apply").code == 0


# ---- Ctrl-C ------------------------------------------------------------------------------------------------------


def follow_and_interrupt(jenkins: Double, tmp_path: Path, answer: str | None) -> tuple[int, str]:
    """Start following a build that never ends, interrupt, and answer on a terminal if there is one."""
    (tmp_path / "jenkins.yaml").write_text(YAML)
    env = {**os.environ, **environment(jenkins), "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    words = [sys.executable, "-m", "jenkins_admin", "trigger", "nightly", "--follow"]
    ours, theirs = pty.openpty() if answer is not None else (-1, -1)
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=env,
        stdin=theirs if answer is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=theirs if answer is not None else subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"started\n"
    process.send_signal(signal.SIGINT)
    if answer is not None:
        os.close(theirs)
        shown = b""
        while b"[y/N]" not in shown:
            shown += os.read(ours, 1000)
        os.write(ours, answer.encode() + b"\n")
    _, err = process.communicate(timeout=60)
    if answer is not None:
        rest = b""
        try:
            while chunk := os.read(ours, 1000):
                rest += chunk
        except OSError:
            pass  # the other side of a terminal that has gone
        os.close(ours)
        err = rest
    return process.returncode, (err or b"").decode()


def test_an_interrupted_apply_says_how_far_it_came(
    mlci_admin: Callable[..., Done], monkeypatch: pytest.MonkeyPatch
) -> None:
    from jenkins_admin.server import Server

    update = Server.create_credential

    def interrupted(self: Server, folder: str, xml: bytes) -> bool:
        update(self, folder, xml)
        raise KeyboardInterrupt

    monkeypatch.setattr(Server, "create_credential", interrupted)
    done = mlci_admin("apply", "--json", "--set", "server.workers=1")
    assert (done.code, done.json["error"]["code"]) == (130, "JEN_INTERRUPTED")
    assert "1 of 5 done" in done.err
    monkeypatch.undo()


@pytest.mark.parametrize(("answer", "stopped"), [(None, False), ("n", False), ("", False), ("y", True)])
def test_ctrl_c(
    mlci_admin: Callable[..., Done], jenkins: Double, tmp_path: Path, answer: str | None, stopped: bool
) -> None:
    mlci_admin("apply")
    jenkins.script("ml/nightly", Script(log=["started\n"], never_ends=True))
    code, err = follow_and_interrupt(jenkins, tmp_path, answer)
    assert code == 130
    build = jenkins.state.item("ml/nightly").builds[0]
    assert build.result == ("ABORTED" if stopped else None)
    assert ("was told to stop" if stopped else "runs on") in err
    assert "Traceback" not in err
