"""The whole way with a store in a bucket: run, judge against the champion from there, deploy, roll back, look."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.bootstrap import call
from stages.deploy import deploy
from stages.store import model_digest
from stages.targets import operate, services
from tests.stages import modelkit
from tests.stages.conftest import csv, rows
from tests.stages.s3.fixtures import ROOT
from tests.stages.s3.front import Front


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def deployable(repository: Any, s3_bucket: str, aws: pytest.MonkeyPatch, s3_server: str) -> Iterator[Any]:
    text = (repository.folder / "ml.yaml").read_text().replace("{min: 0.6}", "{min: 0.6, margin: 0.05}")
    text = text.replace("store: store", f"store: s3://{s3_bucket}/ml")
    repository.write("ml.yaml", text + f"deploy:\n  local: {{target: process, port: {free_port()}}}\n")
    repository.write("data.csv", csv(rows(2000)))  # enough to tell a champion from a candidate
    yield repository
    aws.setenv("AWS_ENDPOINT_URL_S3", s3_server)  # a front may have gone
    assert repository.run("stop").exit_code == 0


def served(repository: Any) -> str:
    url = json.loads((repository.folder / ".mlci/deploy/local/deployment.json").read_text())["url"]
    with urllib.request.urlopen(f"{url}/model", timeout=120) as answer:
        return str(json.load(answer)["version"])


def test_from_the_first_model_to_the_way_back(
    deployable: Any, s3_bucket: str, s3_client: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = deployable.run("run")
    assert said.exit_code == 0, said.err
    first = served(deployable)
    keys = {item["Key"] for item in s3_client.list_objects_v2(Bucket=s3_bucket)["Contents"]}
    assert keys >= {f"ml/models/houses/{first}/complete.json", "ml/aliases/houses/local.json"}
    again = [stage["status"] for stage in deployable.run("run").data["stages"]]
    assert again == ["skipped", "skipped", "skipped", "done", "skipped"], "judged against the champion that it became"

    monkeypatch.setenv("MLCI_CACHE", str(tmp_path / "another-machine"))
    deployable.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}")
    said = deployable.run("run")
    assert said.exit_code == 0, said.err
    second = served(deployable)
    assert second != first
    gate = json.loads((deployable.folder / ".mlci/validate/gate.json").read_text())
    against = {rule["rule"]: rule for rule in gate["rules"]}["champion.roc_auc"]
    assert against["status"] == "passed"
    assert gate["first"] is False
    assert list((tmp_path / "another-machine").glob(f"store-*/models/houses/{first}/complete.json"))

    assert deployable.run("predict", "data.csv", "-o", "out.csv", "--version", first[:12]).exit_code == 0
    assert deployable.run("rollback").exit_code == 0
    assert served(deployable) == first
    [status] = deployable.run("status").data["environments"]
    assert (status["version"], status["answers"], status["action"]) == (first, True, "rollback")
    moves = deployable.run("history").data["moves"]
    assert [move["to"] for move in moves] == [first, second, first]


def test_a_deployment_whose_alias_cannot_be_moved_leaves_what_served(
    deployable: Any, s3_front: Front, s3_client: Any, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stages import bucket as client_module

    assert deployable.run("run").exit_code == 0
    first = served(deployable)
    deployable.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}")
    monkeypatch.setattr(client_module, "_ATTEMPTS", 1)
    down: list[bool] = []

    def answer(method: str, path: str) -> tuple[int, str] | None:
        if method == "PUT" and path.endswith("local.json"):
            down.append(True)
        return (503, "ServiceUnavailable") if down else None

    s3_front.answer = answer
    said = deployable.run("run")
    assert (said.exit_code, said.codes) == (5, ["STO_NETWORK"]), said.err
    assert served(deployable) == first
    s3_front.answer = lambda *_: None
    [status] = deployable.run("status").data["environments"]
    assert (status["version"], status["answers"], status["note"]) == (first, True, None)
    assert deployable.run("stop").codes == ["DEP_BUSY"], "the hold was not given back either"
    s3_client.delete_object(Bucket=s3_bucket, Key="ml/aliases/houses/.local.deploying")


_KILLED = """
import os, signal
from pathlib import Path
from stages.deploy import deploy
from stages.project import Project
from stages.store.s3 import S3Store

whole, calls = S3Store.{method}, []

def die(*given):
    calls.append(given)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*given)

S3Store.{method} = die
deploy(Project.open(Path({config!r})))
"""


def test_a_deployment_that_is_killed_leaves_what_the_alias_says(tmp_path: Path, s3_bucket: str, s3_client: Any) -> None:
    project = modelkit.project(tmp_path / "demo", free_port(), store=f"s3://{s3_bucket}/ml")

    def kill_in(method: str, call: int = 1) -> None:
        program = _KILLED.format(method=method, call=call, config=str(project.root / "ml.yaml"))
        done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, timeout=600, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr.decode()
        s3_client.delete_object(Bucket=s3_bucket, Key="ml/aliases/demo/.local.deploying")  # as after a minute

    def running() -> list[services.Process]:
        return services.running(services.identity(f"s3://{s3_bucket}/ml", "demo", "local"))

    try:
        deploy(project)
        [old] = running()
        modelkit.train(project, 2)
        modelkit.judge(project, True)
        kill_in("move")
        assert all(process == old or process.gone_within(30) for process in running())
        assert operate.status(project)[0]["answers"]

        kill_in("_log", call=2)  # once the alias has moved, and before its line is written
        assert {process.version for process in running()} == {old.version, model_digest(project.folder("train"))}
        assert operate.history(project)[-1]["to"] == model_digest(project.folder("train"))
        assert deploy(project).status == "skipped"
        assert [process.version for process in running()] == [model_digest(project.folder("train"))]
        assert operate.status(project)[0]["note"] is None
    finally:
        operate.stop(project)


def test_check_in_ci(deployable: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "1")
    assert deployable.run("check").exit_code == 0
    with monkeypatch.context() as without:
        without.setitem(sys.modules, "boto3", None)
        said = deployable.run("check")
    assert (said.exit_code, said.codes) == (2, ["STO_CLIENT"])


@pytest.mark.parametrize("store", ["gs://bucket/x", "s3://B", "s3://bucket/a//b", "s3://key:secret@bucket/x"])
def test_addresses_that_are_no_store(repository: Any, store: str) -> None:
    repository.change("store: store", f"store: {store}")
    said = repository.run("check")
    assert (said.exit_code, said.codes) == (2, ["CFG_VALUE"])


def test_what_a_pipeline_is_told_of_the_store(
    deployable: Any, s3_bucket: str, s3_front: Front, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(deployable.folder)
    plan: Callable[[], dict[str, Any]] = lambda: call.plan(["check"])["store"]  # noqa: E731
    address = f"s3://{s3_bucket}/ml"
    assert plan() == {"kind": "object store", "path": address, "identity": address, "problem": ""}
    s3_front.answer = lambda *_: (403, "AccessDenied")
    told = plan()
    assert told["identity"] is None
    assert "s3:ListBucket" in told["problem"]
