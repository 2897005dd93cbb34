"""The files for other CI systems: valid by their published schemas, and their lines run, up to a deployed service."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from stages.commands.ci_files import FILES, files
from tests.stages import bare
from tools import build_pyz

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = {"github": "github-actions.yml", "circleci": "circleci.yml", "travis": "travis.yml"}
SCHEMAS = {"github": "vendor.github-workflows", "circleci": "vendor.circle-ci", "travis": "vendor.travis"}


def text(name: str) -> str:
    (content,) = files(name).values()
    return content


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_is_what_init_writes(name: str) -> None:
    assert (ROOT / "examples" / "ci" / EXAMPLES[name]).read_text() == text(name)


@pytest.mark.parametrize("name", SCHEMAS)
def test_file_fits_the_published_schema(name: str, tmp_path: Path) -> None:
    file = tmp_path / "file.yml"
    file.write_text(text(name))
    tool = Path(sys.executable).parent / "check-jsonschema"
    done = subprocess.run([tool, "--builtin-schema", SCHEMAS[name], file], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    file.write_text(text(name).replace("jobs:", "jobz:").replace("os: linux", "os: [[]]"))
    assert subprocess.run([tool, "--builtin-schema", SCHEMAS[name], file], capture_output=True, check=False).returncode


def test_the_jenkinsfile_is_the_one_liner() -> None:
    assert FILES["jenkins"][0] == "Jenkinsfile"
    lines = [line for line in text("jenkins").splitlines() if line and not line.startswith("//")]
    assert lines == ["@Library('mlci') _", "mlPipeline()"]


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def ports() -> dict[str, int]:
    """Environment → port."""
    return {"production": free_port(), "local": free_port()}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """mlci's own repository in `origin`, an interpreter without mlci in `agent`, and a store; models go to `build`."""
    folder = tmp_path_factory.mktemp("ci")
    origin = folder / "origin"
    origin.mkdir()
    build_pyz.main(["--output", str(origin / "resources" / "mlci" / "mlci.pyz")])
    git(origin, "init", "--quiet")
    git(origin, "add", "-A")
    git(origin, "commit", "--quiet", "-m", "mlci")
    git(origin, "tag", "v1.0.0")
    bare.interpreter(folder / "agent")
    yield folder
    for repo in (folder / "build").iterdir():
        if (repo / ".mlci").is_dir():
            subprocess.run(["python3", PYZ, "stop"], cwd=repo, env=environment(folder), check=False)


PYZ = "../../origin/resources/mlci/mlci.pyz"


def made(place: Path, name: str, ports: dict[str, int]) -> Path:
    """A model repository as `mlci init` writes it from data, but for the port."""
    repo = place / "build" / f"repo-{name}"
    if repo.exists():
        return repo
    repo.mkdir(parents=True)
    chance = random.Random(1)
    rows = []
    for _ in range(500):
        x, y = chance.gauss(0, 1), chance.gauss(0, 1)
        rows.append(f"{x:.6f},{y:.6f},{'yes' if x + y + chance.gauss(0, 0.5) > 0 else 'no'}")
    (repo / "rows.csv").write_text("x,y,label\n" + "\n".join(rows) + "\n")
    run(f"python3 {PYZ} init rows.csv --target label --ci {name}", repo, environment(place))
    written = (repo / "ml.yaml").read_text()
    assert "{target: process, port: 8082}" in written
    port = ports["local" if name == "jenkins" else "production"]
    written = written.replace("port: 8082", f"port: {port}, keep: true").replace(f"name: repo-{name}", "name: small")
    (repo / "ml.yaml").write_text(written)
    return repo


def environment(place: Path, **more: str) -> dict[str, str]:
    scratch = place / "runner"
    scratch.mkdir(exist_ok=True)
    return bare.environment(
        place / "agent" / "bin" / "python3",
        CI="true",
        MLCI_CACHE=str(place / "cache"),
        MLCI_VERSION="v1.0.0",
        MLCI_REPOSITORY=str(place / "origin"),
        MLCI_STORE=str(place / "store"),
        RUNNER_TEMP=str(scratch),
        GITHUB_STEP_SUMMARY=str(place / "summary"),
        TRAVIS_PULL_REQUEST="false",
        **more,
    )


def run(line: str, folder: Path, variables: dict[str, str]) -> None:
    done = subprocess.run(
        ["bash", "-e", "-c", line], cwd=folder, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"


def lines(name: str) -> tuple[list[str], list[str]]:
    """What the building and the deploying job run."""
    data: dict[str, Any] = yaml.safe_load(text(name))
    if name == "github":
        jobs = (data["jobs"]["build"], data["jobs"]["deploy"])
        built, deployed = (
            [step["run"] for step in job["steps"] if "run" in step and "pull_request" not in str(step.get("if"))]
            for job in jobs
        )
        return built, deployed
    if name == "circleci":
        getting = data["commands"]["get-mlci"]["steps"]
        built, deployed = (
            [
                step["run"]["command"]
                for step in [*getting, *data["jobs"][job]["steps"]]
                if isinstance(step, dict) and "run" in step
            ]
            for job in ("build", "deploy")
        )
        return built, deployed
    build, deploy = data["jobs"]["include"]
    return [*data["install"], "\n".join(build["script"]), *build["after_script"]], [*data["install"], *deploy["script"]]


@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", EXAMPLES)
def test_its_lines_deploy_a_model(name: str, place: Path, ports: dict[str, int]) -> None:
    built, deployed = lines(name)
    assert len(built) >= 2
    shutil.rmtree(place / "build" / "mlci", ignore_errors=True)
    shutil.rmtree(place / "runner", ignore_errors=True)
    repo = made(place, name, ports)
    for line in built:
        run(line, repo, environment(place))
    assert "passed" in json.loads((repo / ".mlci" / "test" / "result.json").read_text())["summary"]["text"]
    other = place / f"deploy-{name}" / "repo"
    shutil.copytree(repo, other, ignore=shutil.ignore_patterns(".mlci"))
    shutil.rmtree(place / "runner", ignore_errors=True)
    for line in deployed:
        run(line, other, environment(place, MLCI_DEPLOY="production"))
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['production']}/model", timeout=120) as reply:
        assert reply.status == 200
    if name == "github":
        assert "small: approved" in (place / "summary").read_text()


@pytest.mark.timeout(400)
def test_a_jenkins_build_of_what_init_writes(place: Path, ports: dict[str, int], tmp_path: Path) -> None:
    repo = made(place, "jenkins", ports)
    assert (repo / "Jenkinsfile").read_text() == text("jenkins")
    for words in (["check"], ["prepare"], ["train"], ["test"], ["validate"], ["deploy", "--env=local"]):
        call, answer = tmp_path / "call.json", tmp_path / "answer.json"
        call.write_text(json.dumps({"arguments": words}))
        run(f"python3 {PYZ}", repo, environment(place, MLCI_CALL=str(call), MLCI_ANSWER=str(answer)))
        assert json.loads(answer.read_text())["exit_code"] == 0
    with urllib.request.urlopen(f"http://127.0.0.1:{ports['local']}/model", timeout=10) as reply:
        assert reply.status == 200


@pytest.mark.parametrize("name", EXAMPLES)
def test_pull_requests_deploy_nothing_and_a_person_approves(name: str) -> None:
    data: dict[str, Any] = yaml.safe_load(text(name))
    if name == "github":
        assert "refs/heads/main" in data["jobs"]["deploy"]["if"]
        assert data["jobs"]["deploy"]["environment"] == "${{ vars.MLCI_DEPLOY }}"
        assert "pull_request" in data["env"]["MLCI_STORE_READONLY"]
    elif name == "circleci":
        jobs = {key: value for job in data["workflows"]["mlci"]["jobs"][1:] for key, value in job.items()}
        assert jobs["approve"]["type"] == "approval"
        assert jobs["deploy"]["requires"] == ["approve"]
        assert {job["filters"]["branches"]["only"] for job in jobs.values()} == {"main"}
    else:
        deploy = data["jobs"]["include"][1]
        assert "branch = main" in deploy["if"]
        assert "env(MLCI_DEPLOY) IS present" in deploy["if"]
        assert "pull_request" not in deploy["if"].split("type IN")[1]
