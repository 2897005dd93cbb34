import os
import signal
import subprocess
import sys
import textwrap

import pytest

from stages.errors import ArtefactError, DataError, GateError, InfraError
from stages.project import Project
from stages.records import freshness, result
from stages.records.lock import exclusive, recover
from stages.records.stage import Stage, Work, carry_out, outputs_of

ML = """
name: a
task: classification
data:
  source: data.csv
  target: y
  columns: {x: {type: number}, y: {type: boolean}}
model: {estimator: sklearn.linear_model.LogisticRegression}
"""


@pytest.fixture
def project(tmp_path):
    (tmp_path / "ml.yaml").write_text(ML)
    return Project.open(tmp_path / "ml.yaml")


def stage(name="prepare", inputs=None, **config):
    return Stage(name, config, config, inputs or {})


def writes(text, calls=None):
    def work(out):
        if calls is not None:
            calls.append(1)
        (out / "file").write_text(text)
        return Work({"text": text})

    return work


def test_a_stage_leaves_its_files_and_a_record(project):
    done = carry_out(project, stage(a=1), writes("hello"))
    assert (done.status, done.exit_code) == ("done", 0)
    kept = result.read(project.folder("prepare"))
    assert kept.outputs["file"]["size"] == 5
    assert kept.config == {"a": 1}
    assert kept.peak_rss_bytes > 1e6
    assert not (project.work / ".tmp").exists()


def test_nothing_changed_nothing_runs(project):
    calls: list[int] = []
    carry_out(project, stage(a=1), writes("x", calls))
    assert carry_out(project, stage(a=1), writes("x", calls)).status == "skipped"
    assert calls == [1]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda p: stage(a=2), "config a changed"),
        (lambda p: stage(a=1, b=1), "config b was added"),
        (lambda p: stage(a=True), "config a changed"),
        (lambda p: stage(a=1, inputs={"f": {"sha256": "0", "size": 0}}), "input f is new"),
    ],
)
def test_what_changed_is_said(project, change, reason):
    carry_out(project, stage(a=1), writes("x"))
    now = change(project)
    folder = project.folder("prepare")
    why = freshness.reasons(result.read(folder), freshness.key(now.config, now.inputs), project.root, folder)
    assert why == [reason]


def test_an_output_that_was_changed_or_lost_is_made_again(project):
    for damage in (lambda f: f.write_text("y"), lambda f: f.unlink()):
        carry_out(project, stage(), writes("x"))
        damage(project.folder("prepare") / "file")
        assert carry_out(project, stage(), writes("x")).status == "done"
        assert (project.folder("prepare") / "file").read_text() == "x"


def test_a_users_file_that_was_imported_counts(project):
    (project.root / "mine_for_this_test.py").write_text("def f(): return 1\n")

    def work(out):
        return Work({"n": project.function("mine_for_this_test:f")()})

    assert carry_out(project, stage(), work).summary == {"n": 1}
    assert carry_out(project, stage(), work).status == "skipped"
    (project.root / "mine_for_this_test.py").write_text("def f(): return 2  # changed\n")
    assert carry_out(project, stage(), work).summary == {"n": 2}


def test_a_library_of_another_version_counts(project):
    carry_out(project, stage(), writes("x"))
    folder = project.folder("prepare")
    last = result.read(folder)
    last.key["libraries"] = {"numpy": "0.1", "nosuchlibrary": "1"}
    last.write(folder)
    why = freshness.reasons(last, freshness.key({}, {}), project.root, folder)
    assert why[0].startswith("library numpy changed from 0.1 to ")
    assert why[1] == "library nosuchlibrary changed from 1 to not installed"


def test_a_failed_attempt_is_kept_aside_and_the_last_good_result_stays(project):
    carry_out(project, stage(a=1), writes("good"))

    def fails(out):
        (out / "quarantine").write_text("bad rows")
        raise DataError("DAT_X", "bad", "mend")

    with pytest.raises(DataError):
        carry_out(project, stage(a=2), fails)
    assert (project.folder("prepare") / "file").read_text() == "good"
    failed = result.read(project.folder("prepare.failed"))
    assert (failed.status, failed.exit_code, failed.error["code"]) == ("failed", 3, "DAT_X")
    assert (project.folder("prepare.failed") / "quarantine").read_text() == "bad rows"
    carry_out(project, stage(a=3), writes("good again"))
    assert not project.folder("prepare.failed").exists()


def test_a_finished_no_ends_the_same_way_again_without_running(project):
    calls = []

    def says_no(out):
        calls.append(1)
        return Work({}, "failed", 4, GateError("GATE_X", "no", "mend"))

    for _ in range(2):
        done = carry_out(project, stage("validate"), says_no)
        assert (done.status, done.exit_code, done.error["code"]) == ("failed", 4, "GATE_X")
    assert calls == [1]


def test_a_bug_in_the_work_leaves_nothing(project):
    def bug(out):
        return Work({"n": 1 / 0})

    with pytest.raises(ZeroDivisionError):
        carry_out(project, stage(), bug)
    assert result.read(project.folder("prepare")) is None
    assert not project.folder("prepare.failed").exists()
    assert not (project.work / ".tmp").exists()


def test_a_full_disk_is_no_bug(project):
    def full(out):
        raise OSError(28, "No space left on device", str(out / "f"))

    with pytest.raises(InfraError, match="DEP_DISK"):
        carry_out(project, stage(), full)


def test_a_later_stage_refuses_what_does_not_match_its_record(project):
    with pytest.raises(ArtefactError, match="DAT_NOT_PREPARED"):
        outputs_of(project, "prepare")
    carry_out(project, stage(), writes("x"))
    assert list(outputs_of(project, "prepare")) == [".mlci/prepare/file"]
    (project.folder("prepare") / "file").write_text("y")
    with pytest.raises(ArtefactError, match="DAT_RECORD"):
        outputs_of(project, "prepare")


def test_a_status_that_is_none_is_no_record(project):
    carry_out(project, stage(), writes("x"))
    record = project.folder("prepare") / "result.json"
    record.write_text(record.read_text().replace('"done"', '"dOne"'))
    assert result.read(project.folder("prepare")) is None


@pytest.mark.parametrize("content", ["", "{", '{"schema_version": 99}', '{"schema_version": 1, "stage": "x"}', "[]"])
def test_a_folder_without_a_valid_record_does_not_exist(project, content):
    carry_out(project, stage(), writes("x"))
    (project.folder("prepare") / "result.json").write_text(content)
    assert result.read(project.folder("prepare")) is None
    assert carry_out(project, stage(), writes("x")).status == "done"


def test_a_swap_that_was_killed_half_way_is_undone(project):
    carry_out(project, stage(), writes("x"))
    (project.work / ".tmp").mkdir()
    os.replace(project.folder("prepare"), project.work / ".tmp" / "old-prepare")
    recover(project.work)
    assert result.read(project.folder("prepare")) is not None
    assert not (project.work / ".tmp").exists()


def run_in_another_process(project, code):
    script = textwrap.dedent(code).replace("ROOT", repr(str(project.root)))
    return subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)


HOLD = """
    import sys, time
    from pathlib import Path
    from stages.records.lock import exclusive
    with exclusive(Path(ROOT) / ".mlci"):
        print("held", flush=True)
        sys.stdin.read() if False else time.sleep(60)
"""


def test_what_is_no_note_of_a_holder(project):
    note = project.work / "lock.holder"
    project.work.mkdir(exist_ok=True)
    os.mkfifo(note)
    with exclusive(project.work):
        assert note.is_file()
    note.mkdir()
    with pytest.raises(InfraError, match="DEP_DISK"), exclusive(project.work):
        pass


def test_a_second_run_waits_and_is_refused_after_its_patience(project, monkeypatch):
    other = run_in_another_process(project, HOLD)
    try:
        assert other.stdout.readline() == "held\n"
        monkeypatch.setenv("MLCI_LOCK_TIMEOUT", "0.2")
        with pytest.raises(InfraError) as error, exclusive(project.work):
            pass
        assert error.value.code == "DEP_LOCKED"
        assert str(other.pid) in error.value.what
        other.send_signal(signal.SIGKILL)
        other.wait()
        monkeypatch.setenv("MLCI_LOCK_TIMEOUT", "10")
        with exclusive(project.work):  # what a killed run held is free
            pass
    finally:
        other.kill()
        other.wait()
        other.stdout.close()


def test_a_run_killed_in_its_work_leaves_the_last_good_result(project):
    carry_out(project, stage(a=1), writes("good"))
    other = run_in_another_process(
        project,
        """
        import time
        from pathlib import Path
        from stages.project import Project
        from stages.records.stage import Stage, carry_out
        def work(out):
            (out / "file").write_text("half")
            print("half", flush=True)
            time.sleep(60)
        carry_out(Project.open(Path(ROOT) / "ml.yaml"), Stage("prepare", {"a": 2}, {}), work)
        """,
    )
    assert other.stdout.readline() == "half\n"
    other.kill()
    other.wait()
    other.stdout.close()
    assert (project.folder("prepare") / "file").read_text() == "good"
    assert carry_out(project, stage(a=2), writes("new")).status == "done"
    assert sorted(p.name for p in project.folder("prepare").iterdir()) == ["file", "result.json"]
