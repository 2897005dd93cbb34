"""Deployment to a process of this machine: real processes, a real port, and everything that may go wrong."""

from __future__ import annotations

import dataclasses
import gc
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from stages import deploy as deploy_module
from stages.deploy import deploy, would_run
from stages.errors import ArtefactError, GateError, InfraError, MlciError, UsageError
from stages.project import Project
from stages.records import result
from stages.rollback import rollback
from stages.store import model_digest
from stages.store.version import files_of
from stages.targets import operate, services
from stages.targets.approval import refusals
from stages.targets.client import Client
from stages.targets.environment import Environment
from stages.targets.process import ProcessTarget
from stages.targets.promotion import next_move
from tests.stages import modelkit

ROW = {"delay": 1, "seats": 9, "carrier": "AA", "origin": "JFK", "when": "2024-06-01T12:00:00"}
BODY = json.dumps({"rows": [ROW]}).encode()


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


def ask(project: Project) -> Any:
    port = project.config.deploy["local"].port
    assert port is not None
    return Client("127.0.0.1", port).post("/predict", BODY)


def processes(project: Project) -> list[services.Process]:
    environment = Environment.of(project)
    return services.running(services.identity(environment.store.known_as(), environment.model, environment.name))


def serving(project: Project) -> str | None:
    """Version that answers on the public port."""
    port = project.config.deploy["local"].port
    assert port is not None
    try:
        return str(Client("127.0.0.1", port).get("/model").body["version"])
    except OSError:
        return None


def retrain(project: Project, seed: int, approved: bool = True) -> str:
    modelkit.train(project, seed)
    modelkit.judge(project, approved)
    return model_digest(project.folder("train"))


def with_settings(project: Project, *settings: str) -> Project:
    """The same project, its environment with these settings besides target and port."""
    path, port = project.root / "ml.yaml", project.config.deploy["local"].port
    lines = [line for line in path.read_text().splitlines() if not line.startswith("  local:")]
    local = ", ".join(["target: process", f"port: {port}", *settings])
    lines.insert(lines.index("deploy:") + 1, f"  local: {{{local}}}")
    path.write_text("\n".join(lines) + "\n")
    return Project.open(path)


@contextmanager
def ended(project: Project) -> Iterator[Project]:
    try:
        yield project
    finally:
        operate.stop(project)
        assert processes(project) == []


@pytest.fixture
def project(tmp_path: Path) -> Iterator[Project]:
    with ended(modelkit.project(tmp_path / "demo", free_port())) as made:
        yield made


class Load:
    """Requests without retries, half of the callers keeping their connection; counts what was not answered with 200."""

    def __init__(self, port: int, callers: int = 4) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._stop = threading.Event()
        self._port = port
        self._threads = [threading.Thread(target=self._call, args=(i % 2 == 0,)) for i in range(callers)]

    def _call(self, keep: bool) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=120)
        while not self._stop.wait(0.02):
            try:
                connection.request("POST", "/predict", BODY, {"Content-Type": "application/json"})
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    self.failed.append(str(answer.status))
                self.answered += 1
                if not keep:
                    connection.close()  # the next request opens it again
            except OSError as error:
                self.failed.append(repr(error))
                connection.close()
        connection.close()

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)


def test_a_life(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deploy, nothing to do, replace under load, roll back, stop: what each leaves behind."""
    assert operate.status(project)[0]["note"] == "nothing was deployed yet; run: mlci deploy --env local"
    assert would_run(project) == ["nothing was deployed to local yet"]
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "do-not-inherit")
    first = deploy(project)
    one = model_digest(project.folder("train"))
    assert (first.status, first.summary["version"], serving(project)) == ("done", one, one)
    assert ask(project).status == 200
    (process,) = processes(project)
    _is_on_its_own(process, project)

    again = deploy(project)
    assert (again.status, would_run(project), processes(project)) == ("skipped", [], [process])

    # Another model, under load, and after somebody removed the folder with the state of the first.
    shutil.rmtree(project.folder("deploy"))
    two = retrain(project, 2)
    port = project.config.deploy["local"].port
    assert port is not None
    with Load(port) as load:
        assert deploy(project, by="Ada").summary["previous"] == one
        assert not process.alive(), "the old one was ended"
        answered = load.answered
        assert serving(project) == two
        assert rollback(project).summary["version"] == one
        assert serving(project) == one
    assert load.failed == []
    assert load.answered > answered > 50
    assert len(processes(project)) == 1

    with pytest.raises(UsageError) as refused:
        rollback(project)
    assert refused.value.code == "DEP_NOTHING_BEFORE"
    with pytest.raises(UsageError) as refused:
        rollback(project, to="ffff")
    assert refused.value.code == "STO_UNKNOWN"
    assert one[:12] in refused.value.todo
    assert rollback(project, to=one[:10]).status == "skipped"
    moves = operate.history(project)
    assert [(m["action"], m["from"], m["to"]) for m in moves] == [
        ("deploy", None, one),
        ("deploy", one, two),
        ("rollback", two, one),
    ]
    assert moves[1]["by"] == "Ada"
    (status,) = operate.status(project)
    assert (status["version"], status["answers"], status["note"], status["action"]) == (one, True, None, "rollback")
    deployment = json.loads((project.folder("deploy") / "local" / "deployment.json").read_text())
    assert (deployment["version"], deployment["url"]) == (one, f"http://127.0.0.1:{port}")
    assert deployment["serving"]["pid"] == processes(project)[0].pid
    record = result.read(project.folder("deploy"))
    assert record is not None
    assert record.stage == "rollback"

    (stopped,) = operate.stop(project)
    assert stopped["version"] == one
    assert operate.stop(project) == []
    assert serving(project) is None
    assert operate.status(project)[0]["note"] == f"it does not run; run: mlci rollback --env local --to {one[:12]}"
    assert list((project.folder("deploy") / "local" / "services").iterdir()) == []


def _is_on_its_own(process: services.Process, project: Project) -> None:
    """A session of its own, nothing inherited but its log, and no secrets of the build."""
    place = Path(f"/proc/{process.pid}")
    assert os.getsid(process.pid) == process.pid
    assert str((place / "cwd").readlink()) == "/"
    files = {str(d.readlink()) for d in (place / "fd").iterdir() if str(d.readlink()).startswith("/")}
    log = str(project.folder("deploy") / "local" / "service.log")
    assert {file for file in files if not file.startswith(("/dev/", "/proc/"))} == {log}
    environment = (place / "environ").read_bytes().decode()
    assert "do-not-inherit" not in environment
    assert "JENKINS" not in environment


# --- what may be deployed ------------------------------------------------------------------------------


def refusal(project: Project, **options: Any) -> MlciError:
    before = operate.history(project)
    with pytest.raises(MlciError) as refused:
        deploy(project, **options)
    assert operate.history(project) == before
    assert processes(project) == []
    failed = result.read(project.folder("deploy.failed"))
    assert failed is not None
    assert (failed.exit_code, failed.error is not None) == (refused.value.exit_code, True)
    return refused.value


@pytest.mark.parametrize(
    "case",
    [
        *("no gate", "not approved", "another model", "changed verdict", "other thresholds", "unfinished card"),
        *("no tests", "failed tests", "other tests"),
    ],
)
def test_only_an_approved_and_tested_model_is_deployed(tmp_path: Path, case: str) -> None:
    project = modelkit.project(tmp_path / "demo", free_port())
    wanted = "DEP_NOT_APPROVED"
    if case == "no gate":
        shutil.rmtree(project.folder("validate"))
    elif case == "not approved":
        modelkit.judge(project, approved=False)
    elif case == "another model":
        modelkit.train(project, 2)
    elif case == "changed verdict":
        wanted = "GATE_RECORD"
        modelkit.judge(project, approved=False)
        (project.folder("validate") / "gate.json").write_text(
            json.dumps({"approved": True, "model": model_digest(project.folder("train"))})
        )
    elif case == "other thresholds":
        config = project.root / "ml.yaml"
        config.write_text(config.read_text() + "validate: {metrics: {accuracy: {min: 0.99}}}\n")
        project = Project.open(config)
    elif case == "unfinished card":
        wanted = "DEP_CARD"
        card = project.folder("train") / "MODEL_CARD.md"
        card.write_text("# demo\n\n## Owner\n\nTODO: who\n\n## Limits\n\nnot stated\n")
        modelkit.write_result(project, "train")
        modelkit.judge(project, approved=True)
    else:
        wanted = "DEP_TESTS"
        config = project.root / "ml.yaml"
        config.write_text(config.read_text() + "test: {unit: tests}\n")
        project = Project.open(project.root / "ml.yaml")
        trained = result.read(project.folder("train"))
        assert trained is not None
        inputs = {f".mlci/train/{name}": digest for name, digest in trained.outputs.items()}
        if case == "failed tests":
            modelkit.write_result(project, "test", 4, inputs, text="2 failed")
        elif case == "other tests":
            modelkit.write_result(project, "test", 0, {**inputs, ".mlci/train/model.skops": {"sha256": "0", "size": 1}})
    error = refusal(project)
    assert isinstance(error, ArtefactError if wanted == "GATE_RECORD" else GateError)
    assert error.code == wanted
    assert would_run(project) == [f"it would be refused: {error.what}"]


def test_an_override_is_recorded_for_ever(project: Project) -> None:
    modelkit.judge(project, approved=False)
    assert refusal(project, override_gate="  ", by="Ada").code == "CFG_USAGE"
    assert "--by" in refusal(project, override_gate="the director wants it").todo
    done = deploy(project, override_gate="the director wants it", by="Ada")
    assert "gate overridden by Ada: the director wants it" in done.summary["text"]
    (move,) = operate.history(project)
    assert (move["override"], move["by"], move["why"]) == ("the director wants it", "Ada", "overridden: too bad")
    assert operate.status(project)[0]["override"] == "the director wants it"


def model_page(project: Project) -> Any:
    port = project.config.deploy["local"].port
    assert port is not None
    return Client("127.0.0.1", port).get("/model").body


def test_an_override_goes_with_the_version(project: Project) -> None:
    """Through a rollback and a later deployment: status, history, card and service show it."""
    (project.folder("train") / "MODEL_CARD.md").write_text("# demo\n\n## Owner\n\nAda\n")
    modelkit.write_result(project, "train")
    modelkit.judge(project, approved=False)
    deploy(project, override_gate="the | director", by="Ada")
    one = model_digest(project.folder("train"))
    assert model_page(project)["override"]["reason"] == "the | director"
    assert model_page(project)["override"]["by"] == "Ada"
    retrain(project, 2)
    deploy(project)
    assert model_page(project)["override"] is None
    assert operate.status(project)[0]["override"] is None

    done = rollback(project, by="Bob")
    assert "gate overridden by Ada: the | director" in done.summary["text"]
    assert operate.status(project)[0]["override"] == "the | director"
    assert [move["override"] for move in operate.history(project)] == ["the | director", None, "the | director"]
    assert model_page(project)["override"]["by"] == "Ada"
    folder = Environment.of(project).version(one).folder
    card = (folder / "MODEL_CARD.md").read_text()
    assert card.startswith("# demo\n\n## Owner\n\nAda\n\n## Gate overridden\n\n- the \\| director (Ada, ")
    assert json.loads((folder / "override.json").read_text())["env"] == "local"

    log = project.store / "aliases" / "demo" / "promotions.jsonl"
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    lines[-1]["override"] = None  # as earlier releases wrote it
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert operate.history(project)[-1]["override"] == "the | director"


def test_a_rollback_goes_only_to_what_served_there(project: Project) -> None:
    deploy(project)
    one = model_digest(project.folder("train"))
    two = retrain(project, 2)
    Environment.of(project).store.put("demo", files_of(project))
    with pytest.raises(GateError) as refused:
        rollback(project, to=two[:12])
    assert (refused.value.code, refused.value.exit_code) == ("DEP_NEVER_SERVED", 4)
    assert "mlci promote" in refused.value.todo
    assert one[:12] in refused.value.todo
    assert serving(project) == one
    assert len(operate.history(project)) == 1


def test_a_rollback_looks_at_the_approval_again(project: Project) -> None:
    deploy(project)
    one = model_digest(project.folder("train"))
    config = project.root / "ml.yaml"
    text = config.read_text()
    two = retrain(project, 2)
    deploy(project)

    config.write_text(text + "validate: {metrics: {accuracy: {min: 0.99}}}\n")
    stricter = Project.open(config)
    with pytest.raises(GateError) as refused:
        rollback(stricter)
    assert refused.value.code == "DEP_NOT_APPROVED"
    assert "validate.metrics.accuracy was added" in refused.value.what
    assert "--override-gate" in refused.value.todo
    assert serving(project) == two
    for reason, by in ((" ", "Ada"), ("now", None)):
        with pytest.raises(UsageError) as wrong:
            rollback(stricter, override_gate=reason, by=by)
        assert wrong.value.code == "CFG_USAGE"
    assert rollback(stricter, to=one[:12], override_gate="two is worse", by="Ada").summary["version"] == one
    assert operate.status(stricter)[0]["override"] == "two is worse"
    operate.stop(project)
    assert rollback(stricter, to=one[:12]).status == "done", "what is promoted may always be started again"


def test_a_version_that_was_judged_again_keeps_its_last_verdict(project: Project) -> None:
    deploy(project)
    one = model_digest(project.folder("train"))
    for number, least in enumerate((0.5, 0.7)):
        section = {"metrics": {"accuracy": {"min": least}}}
        path = project.folder("validate") / "result.json"
        record = json.loads(path.read_text())
        record["key"]["config"] = {"validate": section, "task": "classification", "weight": None}
        path.write_text(json.dumps(record))
        config = project.root / "ml.yaml"
        lines = [line for line in config.read_text().splitlines() if not line.startswith("validate:")]
        config.write_text("\n".join([*lines, f"validate: {json.dumps(section)}"]) + "\n")
        with_settings(Project.open(config), f"api_key: k{number}")
        deploy(Project.open(config))
    folder = Environment.of(project).version(one).folder
    assert json.loads((folder / "validate.json").read_text())["key"]["config"]["validate"] == section
    assert refusals(Project.open(config), folder, one) == []
    config.write_text(config.read_text().replace("0.7", "0.71"))
    assert refusals(Project.open(config), folder, one) == ["validate.metrics.accuracy.min changed from 0.7 to 0.71"]


def test_a_damaged_line_of_the_log_stops_whoever_moves_an_alias(
    project: Project, caplog: pytest.LogCaptureFixture
) -> None:
    deploy(project)
    two = retrain(project, 2)
    deploy(project)
    log = project.store / "aliases" / "demo" / "promotions.jsonl"
    log.write_text("{'when'\n" + log.read_text())
    retrain(project, 3)
    for act in (deploy, rollback):
        with pytest.raises(InfraError) as refused:
            act(project)
        assert (refused.value.code, refused.value.exit_code) == ("STO_LOG", 5)
        assert "promotions.jsonl: line 1 " in refused.value.what
    assert serving(project) == two
    assert operate.status(project)[0]["version"] == two
    assert len(operate.history(project)) == 2
    assert "line 1 of the promotion log is damaged" in caplog.text


def test_a_changed_model_is_not_deployed(tmp_path: Path) -> None:
    project = modelkit.project(tmp_path / "demo", free_port())
    (project.folder("train") / "model.skops").write_bytes(b"other")
    assert refusal(project).exit_code == 3


def test_unknown_environments_and_read_only_stores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = modelkit.project(tmp_path / "demo", free_port())
    with pytest.raises(UsageError):
        deploy(project, env="moon")
    monkeypatch.setenv("MLCI_STORE_READONLY", "1")
    assert refusal(project).code == "STO_READONLY"
    assert not project.store.exists()


def test_a_read_only_store_keeps_nobody_from_ending_a_service(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    deploy(project)
    kept = {path: path.stat().st_mtime_ns for path in project.store.rglob("*")}
    monkeypatch.setenv("MLCI_STORE_READONLY", "1")
    with pytest.raises(InfraError, match="STO_READONLY"):
        rollback(project, to=model_digest(project.folder("train")))
    assert [one["version"] for one in operate.stop(project)] == [model_digest(project.folder("train"))]
    assert processes(project) == []
    assert {path: path.stat().st_mtime_ns for path in project.store.rglob("*")} == kept


# --- candidates that must not go live ------------------------------------------------------------------


def test_a_bad_candidate_leaves_everything_as_it_was(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(project)
    one = model_digest(project.folder("train"))
    port = project.config.deploy["local"].port
    assert port is not None
    (old,) = processes(project)
    moves = operate.history(project)
    cases = [
        ("DEP_PROOF", _answers_wrongly),
        ("DEP_CRASHED", _crashes),
        ("DEP_NOT_READY", _is_slow),
        ("STO_CONFLICT", _loses_the_race),
    ]
    for code, spoil in cases:
        retrain(project, 2)
        with monkeypatch.context() as spoilt, Load(port, 2) as load:
            spoil(project, spoilt)
            with pytest.raises(InfraError) as refused:
                deploy(project)
        assert load.failed == []
        assert refused.value.code == code
        assert processes(project) == [old], f"{code}: nothing is left of the candidate, and the old one lives"
        assert serving(project) == one
        assert operate.history(project) == moves
        assert operate.status(project)[0]["answers"]
        if code == "DEP_CRASHED":
            assert "MOD_UNREADABLE" in refused.value.what or "MOD_RECORD" in refused.value.what, "the log's last lines"


def _rewrite(project: Project, name: str, change: Any) -> None:
    path = project.folder("train") / name
    path.write_bytes(json.dumps(change(json.loads(path.read_bytes()))).encode())
    modelkit.write_result(project, "train")
    modelkit.judge(project, approved=True)


def _answers_wrongly(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    def change(golden: Any) -> Any:
        first = golden["answers"][1]["probabilities"][0]
        golden["answers"][1]["probabilities"][0] = {"false": first["true"], "true": first["false"]}
        return golden

    _rewrite(project, "golden.json", change)


def _crashes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    _rewrite(project, "signature.json", lambda s: {**s, "model": {**s["model"], "sha256": "0" * 64}})


def _is_slow(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCI_READY_SECONDS", "0.05")


def _loses_the_race(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else moved the alias after this deployment looked at it."""

    def late(environment: Environment, action: str, digest: str, *rest: Any) -> Any:
        move = next_move(environment, action, digest, *rest)
        return dataclasses.replace(move, generation=move.generation - 1)

    monkeypatch.setattr(deploy_module, "next_move", late)


def test_a_port_of_another_program(project: Project) -> None:
    port = project.config.deploy["local"].port
    assert port is not None
    with socket.create_server(("127.0.0.1", port)):
        error = refusal(project)
    assert (error.code, error.exit_code) == ("DEP_PORT_IN_USE", 5)
    assert str(port) in error.what


def test_changed_settings_of_the_same_model_are_deployed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above all a key that is asked for from now on: the process that asks for none must not go on serving."""
    port = free_port()
    made = modelkit.project(tmp_path / "demo", port)
    with ended(made):
        deploy(made)
        made = with_settings(made, "api_key: s3cret")
        assert would_run(made) == ["local serves with other settings: api_key"]
        monkeypatch.setenv("MLCI_ACCESS_LOG", "1")
        assert operate.status(made)[0]["note"] == (
            "it serves with other settings: MLCI_ACCESS_LOG, api_key; run: mlci deploy --env local"
        )
        assert deploy(made).status == "done"
        assert Client("127.0.0.1", port).get("/model").status == 401
        assert deploy(made).status == "skipped"
        log = (made.folder("deploy") / "local" / "service.log").read_text()
        assert '"path":"/model"' in log.replace(" ", "")

        made = with_settings(made, "api_key: s3cret", "host: 0.0.0.0")
        assert operate.status(made)[0]["note"].startswith("it serves with other settings: host")
        assert deploy(made).status == "done"
        (process,) = processes(made)
        assert process.host == "0.0.0.0"
        assert rollback(made, to=process.version).status == "skipped"


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # docker-py leaves the socket open
def test_without_an_engine_the_other_environments_are_seen(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy(project)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    path = project.root / "ml.yaml"
    path.write_text(path.read_text().replace("\nstore:", "\n  staging: {target: container, port: 9}\nstore:"))
    local, staging = operate.status(Project.open(path))
    assert local["answers"] is True
    assert staging["answers"] is None
    assert "no Docker engine answers on DOCKER_HOST=unix:///nowhere.sock" in staging["note"]
    with pytest.raises(InfraError):
        operate.status(Project.open(path), "staging")
    gc.collect()


def test_a_limit_that_the_proof_does_not_fit_into_is_named(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLCI_SERVE_MAX_ROWS", "1")
    with pytest.raises(InfraError) as error:
        deploy(project)
    assert error.value.code == "DEP_PROOF"
    assert "was answered with 413 Request Entity Too Large: SRV_TOO_MANY_ROWS" in error.value.what
    assert "MLCI_SERVE" in error.value.todo


def test_two_deployments_at_once(project: Project) -> None:
    environment = Environment.of(project)
    with environment.store.deploying("demo", "local"):
        assert refusal(project).code == "DEP_BUSY"
        with pytest.raises(InfraError) as refused:
            operate.stop(project)
        assert refused.value.code == "DEP_BUSY"


# --- under watch ---------------------------------------------------------------------------------------


def test_what_fails_under_watch_is_taken_back(tmp_path: Path) -> None:
    made = modelkit.project(tmp_path / "demo", free_port())
    with ended(made):
        deploy(made)
        one = model_digest(made.folder("train"))
        (old,) = processes(made)
        watched = modelkit.project(
            made.root, made.config.deploy["local"].port or 0, seed=2, options=", watch_seconds: 600"
        )
        two = model_digest(watched.folder("train"))

        def strike() -> None:
            tick = threading.Event()
            while serving(watched) != two or operate.history(watched)[-1]["to"] != two:
                assert not tick.wait(0.02)
            for process in processes(watched):
                if process.version == two:
                    process.tell(signal.SIGKILL)

        striker = threading.Thread(target=strike)
        striker.start()
        with pytest.raises(InfraError) as refused:
            deploy(watched)
        striker.join(300)
        assert refused.value.code == "DEP_WATCH"
        assert one[:12] in refused.value.todo
        assert processes(watched) == [old]
        assert serving(watched) == one
        assert [(m["action"], m["to"]) for m in operate.history(watched)] == [
            ("deploy", one),
            ("deploy", two),
            ("restore", one),
        ]
        assert operate.status(watched)[0]["answers"]


# --- killed in the middle ------------------------------------------------------------------------------

_KILLED = """
import os, signal, sys
from pathlib import Path
from stages import deploy, store
from stages.project import Project
from stages.store import directory
from stages.targets import process, services

whole = {where}.{what}
calls = []

def die(*given, **named):
    calls.append(given)
    if len(calls) == {call}:
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(*given, **named)

{where}.{what} = die
deploy.deploy(Project.open(Path({config!r})))
"""


def kill_in(project: Project, where: str, what: str, call: int = 1) -> None:
    """Deploy in a process of its own that is killed at a call of a function."""
    program = _KILLED.format(where=where, what=what, call=call, config=str(project.root / "ml.yaml"))
    root = str(Path(deploy_module.__file__).parent.parent)
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": root},
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


def test_killed_anywhere_the_next_deployment_goes_on(project: Project) -> None:
    deploy(project)
    one = model_digest(project.folder("train"))
    (old,) = processes(project)
    two = retrain(project, 2)
    port = project.config.deploy["local"].port
    assert port is not None

    # Before the alias moves, the candidate ends by itself and the old one goes on.
    for where, what in (
        ("directory", "_copy"),
        ("process.ProcessTarget", "prove"),
        ("directory.DirectoryStore", "move"),
    ):
        with Load(port, 2) as load:
            kill_in(project, where, what)
            for process in processes(project):
                assert process == old or process.gone_within(30)
        assert load.failed == []
        assert serving(project) == one
        assert [m["to"] for m in operate.history(project)] == [one]
        assert operate.status(project)[0]["answers"]

    # Once it has moved, the candidate stays, even though its log line and the end of the old one are missing.
    kill_in(project, "directory.DirectoryStore", "_log", call=2)
    assert serving(project) == two
    assert [m["to"] for m in operate.history(project)] == [one, two]
    assert old in processes(project)
    assert (
        operate.status(project)[0]["note"]
        == "an interrupted deployment left 1 more running; run: mlci deploy --env local"
    )
    assert deploy(project).status == "skipped"
    assert not old.alive()
    assert serving(project) == two
    assert operate.status(project)[0]["note"] is None


# --- in the foreground ---------------------------------------------------------------------------------


def test_serving_in_the_foreground_ends_on_sigterm_without_losing_a_request(tmp_path: Path) -> None:
    project = modelkit.project(tmp_path / "demo", free_port())
    port = free_port()
    root = str(Path(deploy_module.__file__).parent.parent)
    program = (
        "import sys; from pathlib import Path; from stages.project import Project; from stages.targets import operate\n"
        f"operate.serve(Project.open(Path({str(project.root / 'ml.yaml')!r})), port={port})"
    )
    environment = {**os.environ, "PYTHONPATH": root}
    with subprocess.Popen(
        [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as service:
        assert service.stdout is not None
        assert service.stderr is not None
        assert b"serving" in service.stderr.readline()
        client = Client("127.0.0.1", port)
        assert client.get("/model").body["version"] == "candidate"
        with Load(port, 4) as load:
            while load.answered < 20:
                assert service.poll() is None
            service.send_signal(signal.SIGTERM)
            tick = threading.Event()
            while client.get("/readyz").status != 503:
                assert not tick.wait(0.01)
            load._stop.set()
        assert load.failed == []
        assert service.wait(300) == 0
        logged = [json.loads(line) for line in service.stdout.read().splitlines()]
        assert {"/model", "/predict"} <= {line["path"] for line in logged}
    with socket.create_server(("127.0.0.1", port)):
        taken = subprocess.run(
            [sys.executable, "-c", program], env=environment, capture_output=True, timeout=600, check=False
        )
    assert taken.returncode == 5
    assert b"DEP_PORT_IN_USE" in taken.stderr
    assert b"Traceback" not in taken.stderr


@pytest.mark.parametrize(("keep", "cookie"), [("true", "dontKillMe"), ("false", "durable-1")])
def test_inside_jenkins_a_service_stays_only_when_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: str, cookie: str
) -> None:
    monkeypatch.setenv("JENKINS_URL", "https://jenkins.example.com/")
    monkeypatch.setenv("JENKINS_NODE_COOKIE", "durable-1")
    project = modelkit.project(tmp_path / "demo", free_port(), options=f", keep: {keep}, api_key: s3cret")
    target = Environment.of(project).target()
    assert isinstance(target, ProcessTarget)
    given = {**services._environment(), **target._environment()}
    assert given["JENKINS_NODE_COOKIE"] == cookie
    assert given["MLCI_API_KEY"] == "s3cret"
    assert "JENKINS_URL" not in given
