"""The whole way on a small repository: run, skip, resume, tamper, kill; and the same stage started in three ways."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

import stages
from stages.records import result


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def deployable(repository):
    port = free_port()
    repository.write(
        "ml.yaml",
        (repository.folder / "ml.yaml").read_text() + f"deploy:\n  local: {{target: process, port: {port}}}\n",
    )
    yield repository
    repository.run("stop")


def digests(repository):
    return {
        stage: {n: d["sha256"] for n, d in repository.record(stage)["outputs"].items()}
        for stage in ("prepare", "train", "validate")
    }


def test_the_whole_way_and_again(deployable):
    said = deployable.run("run")
    assert said.exit_code == 0, said.err
    assert [s["status"] for s in said.data["stages"]] == ["done", "done", "skipped", "done", "done"]
    url = json.loads((deployable.folder / ".mlci/deploy/local/deployment.json").read_text())["url"]
    row = {"size": 180.0, "kind": "flat", "built": "2001-02-03"}
    request = urllib.request.Request(
        f"{url}/predict", json.dumps({"rows": [row]}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=300) as answer:
        body = json.load(answer)
    assert body["predictions"] == [True]
    assert set(body["probabilities"][0]) == {"true", "false"}
    before = digests(deployable)
    again = deployable.run("run")
    assert [s["status"] for s in again.data["stages"]] == ["skipped"] * 5
    assert digests(deployable) == before
    for stage in ("prepare", "train", "validate"):
        assert deployable.record(stage)["status"] == "skipped"
        assert deployable.run("explain", stage).data["runs"] is False


def test_a_changed_parameter_runs_what_depends_on_it(repository):
    repository.run("run")
    repository.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}")
    assert repository.run("explain", "prepare").data["runs"] is False
    assert repository.run("explain", "train").data["reasons"] == ["config model.params was added"]
    said = repository.run("run")
    assert [s["status"] for s in said.data["stages"]] == ["skipped", "done", "skipped", "done"]


@pytest.mark.parametrize(("said", "policy"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_of_training_sleep_while_they_wait(repository, said, policy):
    """As libgomp, which reads it when it is loaded, says itself."""
    repository.change("linear_model.LogisticRegression", "ensemble.HistGradientBoostingClassifier")
    repository.run("prepare")
    environment = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}
    done = subprocess.run(
        [sys.executable, "-m", "stages", "train"],
        cwd=repository.folder,
        env={**environment, **said, "PYTHONPATH": str(Path(stages.__file__).parent.parent), "OMP_DISPLAY_ENV": "TRUE"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    if "OPENMP DISPLAY ENVIRONMENT" not in done.stderr:
        pytest.skip("scikit-learn brings another OpenMP than libgomp here")
    assert f"OMP_WAIT_POLICY = '{policy}'" in done.stderr


def test_data_that_only_look_different_go_no_further_than_prepare(repository):
    repository.run("run")
    text = (repository.folder / "data.csv").read_text()
    repository.write("data.csv", text.replace(",flat,", ',"flat",'))
    said = repository.run("run")
    assert [s["status"] for s in said.data["stages"]][:2] == ["done", "skipped"]


def test_tampering_is_refused_alone_and_mended_by_run(repository):
    repository.run("run")
    before = digests(repository)
    for stage, name, later in (("prepare", "train.parquet", "train"), ("train", "model.skops", "validate")):
        path = repository.folder / ".mlci" / stage / name
        content = path.read_bytes()
        path.write_bytes(content[:-1] + b"x")
        said = repository.run(later)
        assert said.exit_code == 3, said.err
        assert said.codes[0].endswith("_RECORD")
        assert repository.run("run").exit_code == 0
        assert path.read_bytes() == content
    assert digests(repository) == before


def test_without_tests_a_model_that_was_tampered_with_is_still_refused(repository):
    assert repository.run("test").data["status"] == "skipped"
    assert repository.run("run").exit_code == 0
    repository.write(".mlci/train/metrics.json", "{}")
    said = repository.run("test")
    assert (said.exit_code, said.codes) == (3, ["MOD_RECORD"])


def test_in_ci_the_environment_says_that_the_first_model_is_the_first(repository, monkeypatch, tmp_path):
    monkeypatch.setenv("CI", "1")
    repository.change("store: store", f"store: {tmp_path.parent / (tmp_path.name + '-store')}")
    repository.change("min: 0.6}", "min: 0.6, margin: 0.02}")
    repository.write("ml.yaml", (repository.folder / "ml.yaml").read_text() + "deploy: {out: {target: package}}\n")
    said = repository.run("run")
    assert (said.exit_code, said.codes) == (4, ["GATE_NO_CHAMPION"])
    monkeypatch.setenv("MLCI_FIRST", "1")
    stages = repository.run("run").data["stages"]
    assert [(s["stage"], s["exit_code"]) for s in stages if s["stage"] == "validate"] == [("validate", 0)]


def test_a_failure_names_the_command_that_resumes_and_resuming_skips_what_is_done(repository):
    repository.change("min: 0.6", "min: 0.9999")
    said = repository.run("run")
    assert said.exit_code == 4
    assert said.data["stages"][-1]["stage"] == "validate"
    assert "resume" in said.data
    again = repository.run("run")
    assert again.exit_code == 4
    assert [s["status"] for s in again.data["stages"]] == ["skipped", "skipped", "skipped", "failed"]
    repository.change("min: 0.9999", "min: 0.6")
    assert [s["status"] for s in repository.run("run").data["stages"]] == ["skipped", "skipped", "skipped", "done"]


def test_a_bad_delivery_leaves_the_last_good_result(repository):
    repository.run("run")
    before = digests(repository)
    text = (repository.folder / "data.csv").read_text()
    repository.write("data.csv", text.replace(",flat,", ",tent,"))
    said = repository.run("run")
    assert said.exit_code == 3
    assert said.codes == ["DAT_TOO_MANY_BAD"]
    failed = repository.folder / ".mlci/prepare.failed"
    assert result.read(failed).exit_code == 3
    assert (failed / "quarantine.parquet").is_file()
    assert digests(repository) == before


def test_the_same_model_from_the_command_the_module_and_the_file(repository, tmp_path):
    script = Path(stages.__file__).with_name("train.py")
    found = set()
    assert repository.run("prepare").exit_code == 0
    for command in (["-m", "stages", "train"], ["-m", "stages.train"], [str(script)]):
        record = repository.folder / ".mlci/train/result.json"
        record.unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, *command, "--config", str(repository.folder / "ml.yaml"), "--json"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(script.parent.parent)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout.splitlines()[-1])["stage"] == "train"
        found.add(repository.record("train")["outputs"]["model.skops"]["sha256"])
    assert len(found) == 1


@pytest.mark.parametrize("seconds", [0.3, 0.8, 1.5, 2.5, 4.0])
def test_killed_at_any_moment_the_next_run_goes_on(repository, seconds):
    process = subprocess.Popen(
        [sys.executable, "-m", "stages", "run"],
        cwd=repository.folder,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
    for stage in ("prepare", "train", "validate"):
        folder = repository.folder / ".mlci" / stage
        record = result.read(folder)
        assert record is None or record.changed_outputs(folder) == []
    assert repository.run("run").exit_code == 0
    assert not (repository.folder / ".mlci/.tmp").exists()


def test_two_runs_at_once_do_not_mix(repository):
    command = [sys.executable, "-m", "stages", "run", "--json"]
    both = [
        subprocess.Popen(command, cwd=repository.folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    said = [json.loads(process.communicate(timeout=300)[0].splitlines()[-1]) for process in both]
    assert [s["exit_code"] for s in said] == [0, 0]
    assert sorted(s["stages"][1]["status"] for s in said) == ["done", "skipped"]


def test_sigterm_ends_with_130_and_leaves_nothing_half_written(repository):
    repository.write("mine.py", "import time\n\ndef f(frame):\n    open('started', 'w').close()\n    time.sleep(60)\n")
    repository.change("  max_bad", "  transform: mine:f\n  max_bad")
    process = subprocess.Popen(
        [sys.executable, "-m", "stages", "prepare"], cwd=repository.folder, stderr=subprocess.PIPE, text=True
    )
    until = time.monotonic() + 300
    while not (repository.folder / "started").exists() and time.monotonic() < until:
        time.sleep(0.02)
    process.terminate()
    err = process.communicate(timeout=300)[1]
    assert process.returncode == 130
    assert "Traceback" not in err
    assert not (repository.folder / ".mlci/prepare").exists()
    assert not (repository.folder / ".mlci/prepare.failed").exists()


def test_pack_travels_to_another_checkout(repository, tmp_path):
    repository.run("run")
    repository.run("pack", str(tmp_path / "p.tar"))
    before = digests(repository)
    (repository.folder / ".mlci").rename(tmp_path / "gone")
    assert repository.run("unpack", str(tmp_path / "p.tar")).exit_code == 0
    assert digests(repository) == before
    assert [s["status"] for s in repository.run("run").data["stages"]] == ["skipped"] * 4
