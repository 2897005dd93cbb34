"""A stage never builds on a stale one: every pair of stages, every kind of input, and what must not be refused."""
# ruff: noqa: E501  a table reads by its rows

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import stages
from stages.project import Project
from stages.records import result
from tests.stages.conftest import ML, csv, rows
from tests.stages.test_run import free_port

ENV = {**os.environ, "PYTHONPATH": str(Path(stages.__file__).parent.parent)}
FEATURES = """
def clean(frame):
    return frame
"""
TESTS = "def test_nothing():\n    pass\n"


YAML = ML.replace("  max_bad", "  transform: features:clean\n  max_bad") + "test: {unit: checks}\n"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A repository with user code and tests, in which all stages but deploy have run."""
    folder = tmp_path_factory.mktemp("done") / "houses"
    (folder / "checks").mkdir(parents=True)
    files = {"ml.yaml": YAML, "data.csv": csv(rows()), "features.py": FEATURES, "checks/test_it.py": TESTS}
    for name, text in files.items():
        (folder / name).write_text(text)
    ran = subprocess.run([sys.executable, "-m", "stages", "run"], cwd=folder, env=ENV, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return folder


@pytest.fixture
def ready(repository, done):
    """A copy of `done`, with an environment to deploy to."""
    shutil.copytree(done, repository.folder, dirs_exist_ok=True)
    repository.write("ml.yaml", YAML + f"deploy:\n  local: {{target: process, port: {free_port()}}}\n")
    yield repository
    if (repository.folder / ".mlci" / "deploy").exists():
        repository.run("stop")


def outcomes(repository, words):
    said = repository.run(*words)
    return said.exit_code, said.codes[:1], said.err


#: What is changed → the stage that it makes stale, what the message names.
CHANGES = {
    "the split": (lambda r: r.change("  max_bad", "  split: {test: 0.4}\n  max_bad"), "prepare", "data.split"),
    "the contract": (lambda r: r.change("min: 0, nullable", "min: 1, nullable"), "prepare", "data.columns.size.min"),
    "the order of columns": (
        lambda r: r.change("    id:    {type: integer, feature: false}\n", "")
        or r.change("    sold:  {type: boolean}\n", "    sold:  {type: boolean}\n    id: {type: integer, feature: false}\n"),
        "prepare",
        "data.columns are in another order",
    ),
    "tolerance": (lambda r: r.change("max_bad_fraction: 0.05", "max_bad_fraction: 0.06"), "prepare", "max_bad_fraction"),
    "the source": (
        lambda r: shutil.copy(r.folder / "data.csv", r.folder / "b.csv") and r.change("data.csv", "b.csv"),
        "prepare",
        "data.source",
    ),
    "rows": (lambda r: r.write("data.csv", (r.folder / "data.csv").read_text() + "9000,50,flat,2001-01-01,true\n"), "prepare", "data.csv"),
    "the transform": (lambda r: r.write("features.py", FEATURES + "# changed\n"), "prepare", "features.py"),
    "a parameter": (lambda r: r.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}"), "train", "model.params"),
    "the seed": (lambda r: r.change("LogisticRegression", "LogisticRegression\n  seed: 7"), "train", "model.seed"),
    "the card": (lambda r: r.change("store: store", "store: store\ncard: {owner: Ada}"), "train", "card"),
    "a test": (lambda r: r.write("checks/test_it.py", TESTS + "# changed\n"), "test", "checks/test_it.py"),
    "another test": (lambda r: r.write("checks/test_more.py", TESTS), "test", "checks/test_more.py"),
    "a threshold": (lambda r: r.change("min: 0.6", "min: 0.61"), "validate", "validate.metrics.roc_auc.min"),
    "a rule": (lambda r: r.change("validate:\n", "validate:\n  size: {max_mb: 50}\n"), "validate", "validate.size"),
}  # fmt: skip
LATER = {"prepare": ["train", "test", "validate", "deploy"], "train": ["test", "validate", "deploy"], "test": ["deploy"], "validate": ["deploy"]}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_every_later_stage_refuses(ready, name):
    change, stage, named = CHANGES[name]
    before = {s: ready.record(s)["outputs"] for s in ("prepare", "train", "test", "validate")}
    change(ready)
    for later in LATER[stage]:
        code, codes, err = outcomes(ready, [later])
        assert (code, codes) == (3, ["MOD_STALE"]), err
        assert named in err
        assert f"mlci {stage}" in err
        assert "mlci run" in err
    assert {s: ready.record(s)["outputs"] for s in ("prepare", "train", "test", "validate")} == before


def test_run_runs_what_is_stale(ready):
    ready.change("  max_bad", "  split: {test: 0.4}\n  max_bad")
    said = ready.run("run")
    assert said.exit_code == 0, said.err
    assert [s["status"] for s in said.data["stages"]] == ["done"] * 5
    profile = json.loads((ready.folder / ".mlci/prepare/profile.json").read_text())
    assert profile["rows"]["test"] > 100
    assert ready.run("deploy").data["status"] == "skipped"


#: What is no change for any stage that has run.
HARMLESS = {
    "a comment": lambda r: r.change("store: store", "# where models are\nstore: store"),
    "a default written out": lambda r: r.change("  max_bad", "  split: {test: 0.2, seed: 42}\n  refresh: always\n  max_bad"),
    "a split by default": lambda r: r.change("  max_bad", "  split: {by: key}\n  max_bad"),
    "a format by default": lambda r: r.change("source: data.csv", "source: data.csv\n  format: csv"),
    "defaults of a column": lambda r: r.change("sold:  {type: boolean}", "sold: {type: boolean, nullable: false}"),
    "defaults of the model": lambda r: r.change("LogisticRegression", "LogisticRegression\n  params: {}\n  cv: 0\n  seed: 42"),
    "defaults of the gate": lambda r: r.change("validate:\n", "validate:\n  inconclusive: ask\n  slices: []\n"),
    "an empty card": lambda r: r.change("store: store", "store: store\ncard: {}"),
    "the order of sections": lambda r: r.change("name: houses\ntask: classification\n", "task: classification\nname: houses\n"),
    "quotes": lambda r: r.change("source: data.csv", "source: 'data.csv'"),
    "another environment": lambda r: r.change("deploy:\n", "deploy:\n  out: {target: package}\n"),
    "data that are gone": lambda r: (r.folder / "data.csv").unlink(),
    "a file that nobody reads": lambda r: r.write("notes.py", "x = 1\n"),
    "data touched": lambda r: r.write("data.csv", (r.folder / "data.csv").read_text()),
    "what tests leave": lambda r: r.write("checks/out.txt", "found"),
}  # fmt: skip


@pytest.mark.parametrize("name", HARMLESS)
def test_what_is_no_change_is_not_refused(ready, name):
    HARMLESS[name](ready)
    for later in ("train", "test", "validate"):
        code, _, err = outcomes(ready, [later])
        assert code == 0, err
    assert ready.run("explain", "deploy").data["reasons"] != []
    assert "refused" not in ready.run("explain", "deploy").data["reasons"][0]


def test_with_other_options_on_the_command_line(ready):
    assert ready.run("train", "--set", "data.split.test=0.3").codes == ["MOD_STALE"]
    assert ready.run("validate", "--set", "model.params={C: 3}").codes == ["MOD_STALE"]
    assert ready.run("deploy", "--set", "validate.metrics.roc_auc.min=0.5").codes == ["MOD_STALE"]
    assert ready.run("train", "--set", "deploy.local.port=9").exit_code == 0


def test_a_person_may_override_the_gate_but_not_what_the_model_is(ready):
    words = ["deploy", "--override-gate", "the director wants it", "--by", "Ada"]
    ready.change("min: 0.6", "min: 0.61")
    assert ready.run("deploy").codes == ["MOD_STALE"]
    assert ready.run(*words).exit_code == 0
    ready.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}")
    assert ready.run(*words).codes == ["MOD_STALE"]


def test_the_candidate_is_not_served_for_another_configuration(ready):
    ready.change(re.search(r"deploy:\n.*\n", (ready.folder / "ml.yaml").read_text())[0], "")
    ready.write("new.csv", "size,kind,built\n50,flat,2001-01-01\n")
    assert ready.run("predict", "new.csv").exit_code == 0
    ready.write("data.csv", (ready.folder / "data.csv").read_text() + "9000,50,flat,2001-01-01,true\n")
    assert ready.run("predict", "new.csv").exit_code == 0, "new data make the candidate no other model"
    ready.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}")
    for words in (["predict", "new.csv"], ["drift", "data.csv"], ["serve", "--port", "0"]):
        assert ready.run(*words).codes == ["MOD_STALE"], words


def test_the_reference_of_another_candidate_is_not_used_for_drift(ready):
    ready.change(re.search(r"deploy:\n.*\n", (ready.folder / "ml.yaml").read_text())[0], "")
    ready.change("LogisticRegression", "LogisticRegression\n  params: {C: 0.5}")
    assert ready.run("train").exit_code == 0
    said = ready.run("drift", "data.csv")
    assert said.codes == ["MOD_STALE"]
    assert "mlci validate" in said.err


# --- a stage an agent ----------------------------------------------------------------------------------


def elsewhere(ready, folder, *names):
    """Another checkout with the results unpacked, and only these data."""
    folder.mkdir(parents=True)
    ready.run("pack", str(folder.parent / "p.tar"))
    for name in ("ml.yaml", "features.py", "checks/test_it.py", *names):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ready.folder / name, folder / name)
    assert ready.run("-C", str(folder), "unpack", str(folder.parent / "p.tar")).exit_code == 0


def test_on_an_agent_without_the_data(ready, tmp_path):
    folder = tmp_path / "a" / "deeper" / "workspace@2"
    elsewhere(ready, folder)
    for stage in ("train", "test", "validate"):
        said = ready.run("-C", str(folder), stage)
        assert (said.exit_code, said.data.get("status")) == (0, "skipped"), said.err
    assert "refused" not in ready.run("-C", str(folder), "explain", "deploy").data["reasons"][0]
    (folder / "ml.yaml").write_text((folder / "ml.yaml").read_text().replace("min: 0,", "min: 2,"))
    assert ready.run("-C", str(folder), "deploy").codes == ["MOD_STALE"], "the configuration can always be compared"


def test_on_an_agent_with_other_data(ready, tmp_path):
    folder = tmp_path / "there"
    elsewhere(ready, folder, "data.csv")
    assert ready.run("-C", str(folder), "validate").exit_code == 0
    (folder / "data.csv").write_text("id,size\n")
    assert ready.run("-C", str(folder), "validate").codes == ["MOD_STALE"]


def test_the_same_data_in_another_folder(repository, tmp_path, monkeypatch):
    """As a variable says where each machine keeps them."""
    repository.change("source: data.csv", "source: '${DATA}/data.csv'")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(repository.folder / "data.csv", tmp_path / name / "data.csv")
    monkeypatch.setenv("DATA", str(tmp_path / "one"))
    assert repository.run("prepare").exit_code == 0
    for place in ("two", "nowhere"):
        monkeypatch.setenv("DATA", str(tmp_path / place))
        assert repository.run("train").exit_code == 0
    (tmp_path / "two" / "data.csv").write_text("id,size\n")
    monkeypatch.setenv("DATA", str(tmp_path / "two"))
    assert repository.run("validate").codes == ["MOD_STALE"]


def test_files_of_a_pattern(repository):
    text = (repository.folder / "data.csv").read_text()
    head, *rows = text.splitlines(keepends=True)
    for number in range(2):
        repository.write(f"d/{number}.csv", head + "".join(rows[number::2]))
    repository.change("source: data.csv", "source: d/*.csv")
    assert repository.run("prepare").exit_code == 0
    assert repository.run("train").exit_code == 0
    repository.write("d/2.csv", head + rows[0].replace("0,", "7000,", 1))
    said = repository.run("validate")
    assert (said.codes, "d/2.csv is new" in said.err) == (["MOD_STALE"], True)
    (repository.folder / "d/2.csv").unlink()
    moved = (repository.folder / "d/1.csv").rename(repository.folder / "one.csv")
    said = repository.run("validate")
    assert (said.codes, "d/1.csv was removed" in said.err) == (["MOD_STALE"], True)
    (repository.folder / "d/0.csv").unlink()
    assert repository.run("validate").exit_code == 0, "nothing is here that could be looked at"
    assert moved.is_file()


def test_the_module_of_a_python_source(repository):
    text = "import pandas as pd\n\ndef rows():\n    return pd.read_csv('data.csv', dtype={'sold': bool})\n"
    repository.write("mine.py", text)
    repository.change("source: data.csv", "source: python:mine:rows")
    said = repository.run("prepare")
    assert said.exit_code == 0, said.err
    assert repository.run("prepare").data["status"] == "skipped"
    assert repository.run("train").exit_code == 0
    (repository.folder / "data.csv").unlink()
    assert repository.run("validate").exit_code == 0, "what it returns cannot be looked at from here"
    repository.write("mine.py", text + "# changed\n")
    said = repository.run("validate")
    assert (said.codes, "mine.py changed" in said.err) == (["MOD_STALE"], True)


# --- variables of the environment ------------------------------------------------------------------------

READS = """
import os
def clean(frame):
    frame["size"] = frame["size"] + float(os.environ.get("SHIFT", 0))
    return frame
"""


def test_a_listed_variable_is_part_of_the_key(repository, monkeypatch):
    monkeypatch.delenv("SHIFT", raising=False)
    repository.write("features.py", READS)
    repository.change("  max_bad", "  transform: features:clean\n  max_bad")
    assert repository.run("prepare").data["status"] == "done"
    monkeypatch.setenv("SHIFT", "11")
    assert repository.run("prepare").data["status"] == "skipped", "a variable that is not listed is not seen"
    repository.change("store:", "environment: {variables: [SHIFT]}\nstore:")
    assert "variable SHIFT is new in environment.variables" in repository.run("explain", "prepare").data["reasons"]
    assert repository.run("prepare").data["status"] == "done"
    assert repository.run("prepare").data["status"] == "skipped"
    assert repository.run("train").exit_code == 0
    assert repository.run("explain", "train").data["runs"] is False
    record = (repository.folder / ".mlci/prepare/result.json").read_text()
    assert '"11"' not in record
    assert json.loads(record)["key"]["variables"]["SHIFT"].startswith("scrypt:")

    monkeypatch.setenv("SHIFT", "12")
    assert repository.run("explain", "prepare").data["reasons"] == ["variable SHIFT changed"]
    said = repository.run("train")
    assert (said.codes, "variable SHIFT changed" in said.err) == (["MOD_STALE"], True)
    monkeypatch.delenv("SHIFT")
    assert repository.run("explain", "prepare").data["reasons"] == ["variable SHIFT is no longer set"]
    assert repository.run("train").exit_code == 0, "an agent has what its own stages need"


@pytest.mark.parametrize(
    ("value", "code"),
    [("[A, A]", "CFG_VALUE"), ("[1A]", "CFG_VALUE"), ("SLOW", "CFG_VALUE"), ("[SLOW, '']", "CFG_VALUE")],
)
def test_a_wrong_list_of_variables(repository, value, code):
    repository.change("store:", f"environment: {{variables: {value}}}\nstore:")
    said = repository.run("check")
    assert (said.exit_code, said.codes) == (2, [code])
    assert "environment.variables" in said.err


def test_records_of_earlier_releases_are_read(ready):
    """Whose keys have no variables."""
    for stage in ("prepare", "train", "test", "validate"):
        path = ready.folder / ".mlci" / stage / "result.json"
        data = json.loads(path.read_text())
        del data["key"]["variables"]
        path.write_text(json.dumps(data))
        assert result.read(Project.open(ready.folder / "ml.yaml").folder(stage)) is not None
    for stage in ("train", "test", "validate"):
        assert ready.run(stage).data["status"] == "skipped"
