"""What the file made is the file's; what people copied, renamed or made themselves is theirs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from jenkins_admin import Admin, marker
from jenkins_admin.connection import JenkinsError
from stages.errors import UsageError
from tests.jenkins_admin.conftest import YAML, Open
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.test_slips import run

HEAD = 'server: {url: "${JENKINS_URL}", user: "${JENKINS_USER}", token: "${JENKINS_TOKEN}", retries: 1}\n'
FOLDERS = (
    f"{HEAD}folder: ml\nmodels:\n  - {{name: a, git: g}}\n  - {{name: b, git: g, folder: r}}\n"
    "  - {name: c, git: g, folder: r/s}\n"
)


def many(count: int) -> str:
    return f"{HEAD}folder: ml\nmodels:{' []' if not count else ''}\n" + "".join(
        f"  - {{name: m{i}, git: x}}\n" for i in range(count)
    )


def copied(jenkins: Double, old: str, new: str) -> None:
    """New Item, Copy from."""
    item = jenkins.state.item(old)
    children = list(item.children.values())
    folder, _, name = new.rpartition("/")
    jenkins.state.create(folder, name, item.xml, "application/xml")
    for child in children:
        copied(jenkins, f"{old}/{child.name}", f"{new}/{child.name}")


def renamed(jenkins: Double, old: str, new: str) -> None:
    folder, _, name = old.rpartition("/")
    holder = jenkins.state.item(folder)
    item = holder.children.pop(name)
    item.name = new.rpartition("/")[2]
    jenkins.state.item(new.rpartition("/")[0]).children[item.name.lower()] = item


def without_paths(jenkins: Double, folder: str = "ml") -> None:
    """As an earlier release marked it."""
    item = jenkins.state.item(folder)
    jenkins.state.update(folder, re.sub(rb" path=[^\]]*\]", b"]", item.xml))
    for child in item.children.values():
        without_paths(jenkins, f"{folder}/{child.name}")


def test_the_marker_says_where() -> None:
    sign = marker.Marker("ml").at("a b/ü [x]")
    assert " " not in str(sign).split("path=")[1]
    (found,) = marker.find(f"text\n\n{sign}")
    assert (found.path, found.is_of("a b/ü [x]"), found.is_of("other")) == ("a b/ü [x]", True, False)
    assert marker.Marker("ml").is_of("anything"), "made by an earlier release"


@pytest.mark.parametrize("change", [copied, renamed])
@pytest.mark.parametrize("new", ["ml/annas-experiment", "ml/r/a", "ml/r/s/a"])
def test_a_copy_and_a_renamed_job_are_peoples(open_admin: Open, jenkins: Double, change: Any, new: str) -> None:
    admin = open_admin(FOLDERS)
    admin.apply()
    change(jenkins, "ml/a", new)
    assert admin.prunable() == ()
    admin.prune()
    assert jenkins.state.find(new) is not None


def test_a_copy_of_a_folder_is_peoples_with_all_that_is_in_it(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(FOLDERS)
    admin.apply()
    copied(jenkins, "ml/r", "ml/mine")
    copied(jenkins, "ml/r", "ml/r/r")
    without_paths(jenkins, "ml/mine/s")
    assert admin.prunable() == ()
    smaller = open_admin(FOLDERS.replace("  - {name: c, git: g, folder: r/s}\n", ""))
    assert {action.path for action in smaller.prunable()} == {"ml/r/s", "ml/r/s/c"}


def test_a_job_moved_into_the_place_of_a_model_is_not_taken_over(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(FOLDERS)
    admin.apply()
    copied(jenkins, "ml/a", "ml/new")
    text = FOLDERS + "  - {name: new, git: g}\n"
    (action,) = open_admin(text).plan().actions
    assert action.verb == "refuse"
    assert action.note.startswith("is a copy of a, or was renamed: adopt: true")
    adopting = open_admin(text.replace("name: new,", "name: new, adopt: true,"))
    adopting.apply()
    assert not open_admin(text).plan().pending


def test_jobs_of_an_earlier_release_stay_managed(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(FOLDERS)
    admin.apply()
    without_paths(jenkins)
    smaller = open_admin(FOLDERS.replace("  - {name: a, git: g}\n", ""))
    (gone,) = smaller.prunable()
    assert (gone.path, "earlier release" in gone.note) == ("ml/a", True)
    plan = admin.plan()
    assert {action.verb for action in plan.actions} == {"update"}
    assert {change.path for action in plan.actions for change in action.changes} == {"description"}
    admin.apply()
    assert not admin.plan().pending
    copied(jenkins, "ml/a", "ml/copy")
    assert admin.prunable() == ()


def test_a_renamed_folder_is_told_apart_from_another_file(open_admin: Open, jenkins: Double) -> None:
    open_admin(FOLDERS).apply()
    renamed(jenkins, "ml", "mlops")
    text = FOLDERS.replace("folder: ml", "folder: mlops")
    refused = open_admin(text).plan().refused
    assert {action.path for action in refused} == {"mlops/a", "mlops/r/b", "mlops/r/s/c"}
    assert all("owner: ml" in action.note for action in refused)
    assert not open_admin(text + "owner: ml\n").plan().pending


# ---- the brake of prune ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("before", "after", "stopped"), [(4, 2, False), (4, 1, True), (5, 3, False), (5, 2, True)])
def test_most_jobs_are_not_pruned_by_accident(
    open_admin: Open, jenkins: Double, before: int, after: int, stopped: bool
) -> None:
    open_admin(many(before)).apply()
    admin = open_admin(many(after))
    if stopped:
        with pytest.raises(UsageError, match=f"{before - after} of {before} managed jobs") as caught:
            admin.prune()
        assert (caught.value.code, caught.value.exit_code) == ("JEN_PRUNE_MANY", 2)
        assert "--all" in caught.value.todo
        assert len(jenkins.state.item("ml").children) == before
        admin.prune(everything=True)
    else:
        admin.prune()
    assert len(jenkins.state.item("ml").children) == after


def test_an_empty_file_prunes_nothing_without_all(tmp_path: Path, open_admin: Open, jenkins: Double) -> None:
    open_admin(YAML).apply()
    for words in (["--yes"], ["--yes", "--json"], []):
        code, out, err = run(tmp_path, jenkins, "prune", "--set", "models=[]", *words)
        assert (code, "the file has no models" in err, "--all" in err) == (2, True, True)
        assert out.startswith("nothing was removed\n")
    assert len(jenkins.state.item("ml").children) == 2
    code, out, _ = run(tmp_path, jenkins, "prune", "--yes", "--all", "--json", "--set", "models=[]")
    data = json.loads(out.splitlines()[-1])
    assert (code, sorted(data["deleted"]), data["failed"]) == (0, ["job ml/flight-delays", "job ml/nightly"], [])
    assert jenkins.state.item("ml").children == {}


def test_credentials_alone_meet_no_brake(open_admin: Open, jenkins: Double) -> None:
    open_admin().apply()
    admin = open_admin(re.sub(r"credentials:\n(  - .*\n)+", "", YAML))
    admin.prune()
    assert jenkins.state.item("ml").credentials == {}


# ---- one bad job -------------------------------------------------------------------------------------------------

BAD = {
    "document-type": b"<!DOCTYPE x><flow-definition/>",
    "not-xml": b"<flow-definition><a></flow-definition>",
    "nothing": b"",
    "deep": b"<flow-definition>" + b"<a.b>" * 5000 + b"x" + b"</a.b>" * 5000 + b"</flow-definition>",
}


@pytest.mark.parametrize("bad", sorted(BAD))
def test_one_job_that_cannot_be_read_hides_no_other(admin: Admin, jenkins: Double, bad: str) -> None:
    admin.apply()
    jenkins.state.item("ml/nightly").xml = BAD[bad]
    jenkins.state.delete("ml/flight-delays")
    plan = admin.plan()
    assert [(a.verb, a.path) for a in plan.actions] == [("create", "ml/flight-delays"), ("refuse", "ml/nightly")]
    assert "cannot be read" in plan.refused[0].note
    with pytest.raises(JenkinsError, match="1 of 2 done"):
        admin.apply(plan)
    assert jenkins.state.find("ml/flight-delays") is not None


@pytest.mark.parametrize("status", [403, 500])
def test_one_job_that_jenkins_does_not_show(admin: Admin, jenkins: Double, status: int) -> None:
    admin.apply()
    jenkins.fail(status, method="GET", path=r"nightly/config\.xml", times=99)
    (action,) = admin.plan().actions
    assert (action.verb, action.path, str(status) in action.note or "may not" in action.note) == (
        "refuse",
        "ml/nightly",
        True,
    )


def test_disabled_may_be_left_to_jenkins(open_admin: Open, jenkins: Double) -> None:
    open_admin().apply()
    disabled = jenkins.state.config("ml/nightly").replace(b"<disabled>false", b"<disabled>true")
    jenkins.state.update("ml/nightly", disabled)
    assert open_admin().plan().pending
    for text in (YAML + "    disabled: null\n", YAML + "defaults: {disabled: null}\n"):
        admin = open_admin(text)
        assert not admin.plan().pending
    jenkins.state.update("ml/nightly", disabled.replace(b"H 2 *", b"H 3 *"))
    admin.apply()
    assert not admin.plan().pending
    assert b"<disabled>true" in jenkins.state.config("ml/nightly")


def test_a_partly_failed_apply_lists_what_was_done(tmp_path: Path, jenkins: Double) -> None:
    run(tmp_path, jenkins, "apply")
    jenkins.state.item("ml").children.clear()
    jenkins.fail(500, method="POST", path="createItem", times=1)
    code, out, _ = run(tmp_path, jenkins, "apply", "--json", "--set", "server.workers=1")
    data = json.loads(out.splitlines()[-1])
    assert (code, data["exit_code"], data["error"]["code"]) == (5, 5, "JEN_INCOMPLETE")
    assert [one["path"] for one in data["done"]] == ["ml/nightly"]
    assert [(one["path"], one["error"]["code"]) for one in data["failed"]] == [("ml/flight-delays", "JEN_SERVER")]
    assert data["not_done"] == []
    jenkins.state.item("ml").children.clear()
    jenkins.fail("redirect", method="POST", target="/login", times=1)
    code, out, _ = run(tmp_path, jenkins, "apply", "--json", "--set", "server.workers=1")
    data = json.loads(out.splitlines()[-1])
    assert (code, data["done"], len(data["failed"]), len(data["not_done"])) == (5, [], 1, 1)
    code, out, _ = run(tmp_path, jenkins, "apply", "--json")
    data = json.loads(out.splitlines()[-1])
    assert (code, data["failed"], data["not_done"], len(data["done"])) == (0, [], [], 2)


def test_a_character_of_two_halves(tmp_path: Path, jenkins: Double) -> None:
    (tmp_path / "own.yaml").write_text(f'{HEAD}folder: ml\nmodels: [{{name: "\\ud83d\\ude00", git: g}}]\n')
    assert run(tmp_path, jenkins, "apply", "--config", "own.yaml")[0] == 0
    assert jenkins.state.find("ml/😀") is not None
    (tmp_path / "own.yaml").write_text(f'{HEAD}folder: ml\nmodels: [{{name: "\\ud83d", git: g}}]\n')
    code, _, err = run(tmp_path, jenkins, "plan", "--config", "own.yaml")
    assert (code, "half of a surrogate pair" in err) == (2, True)
