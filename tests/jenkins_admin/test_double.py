"""The double behaves as the recorded Jenkins: every exchange of `recorded/`, asked again."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

import pytest
import requests

from jenkins_admin import xmltree
from jenkins_admin.canonical import canonical
from jenkins_admin.diff import differences
from jenkins_admin.render import render
from tests.jenkins_admin.conftest import RECORDED, settings
from tests.jenkins_admin.double.saving import saved
from tests.jenkins_admin.double.server import PASSWORD, TOKEN, USER, Double
from tests.jenkins_admin.double.state import Script

FOLDER = b"<com.cloudbees.hudson.plugins.folder.Folder/>"
CREATE_JOB = json.loads((RECORDED / "create-job.json").read_text())["request"]["body"].encode()
CREDENTIAL = json.loads((RECORDED / "credential-create.json").read_text())["request"]["body"].encode()
TEXT = json.loads((RECORDED / "credential-create-string.json").read_text())["request"]["body"].encode()
PIPELINE = (RECORDED / "pipeline-from-scm.config.xml").read_bytes()
MULTIBRANCH = (RECORDED / "multibranch.config.xml").read_bytes()
VALUE = json.loads((RECORDED / "build-with-parameters.json").read_text())["request"]["body"]["VERSION"]
INPUT = {"id": "Approve", "ok": "Deploy", "message": "Deploy?", "inputs": []}
COMPARED = ("Content-Type", "X-Jenkins", "X-Error", "Location", "X-More-Data", "WWW-Authenticate")


def lines(name: str) -> list[str]:
    return [json.loads((RECORDED / f"{name}.json").read_text())["response"]["body"]]


def folder(jenkins: Double) -> None:
    jenkins.state.create("", "rec", FOLDER, "application/xml")


def job(jenkins: Double, name: str = "ok", script: Script | None = None, start: bool = False) -> None:
    folder(jenkins)
    jenkins.state.create("rec", name, CREATE_JOB, "application/xml")
    if script is not None:
        jenkins.script(f"rec/{name}", script)
    if start:
        jenkins.state.enqueue(f"rec/{name}", {"VERSION": VALUE})


def running(jenkins: Double) -> None:
    piece = lines("log-progressive-running")[0]
    job(jenkins, script=Script(log=[piece], never_ends=True, annotated=False), start=True)


def finished(jenkins: Double) -> None:
    first, whole = lines("log-progressive-running")[0], lines("log-progressive-finished")[0]
    job(jenkins, script=Script(log=[first, whole.removeprefix(first)], annotated=False), start=True)
    build = jenkins.state.item("rec/ok").builds[0]
    build.advance()
    build.advance()


def failed(jenkins: Double) -> None:
    job(jenkins, "bad", Script(result="FAILURE"), start=True)
    for _ in range(3):
        jenkins.state.item("rec/bad").builds[0].advance()


def asking(jenkins: Double) -> None:
    job(jenkins, "inp", Script(log=["Deploy?\r\n"], question=INPUT), start=True)
    jenkins.state.item("rec/inp").builds[0].advance()


def ended_input(jenkins: Double) -> None:
    job(jenkins, "inp", start=True)
    build = jenkins.state.item("rec/inp").builds[0]
    build.timestamp, build.duration = 1795410509871, 4025
    build.advance()
    build.advance()


def one_credential(jenkins: Double) -> None:
    folder(jenkins)
    jenkins.state.store("rec", CREDENTIAL)


def two_credentials(jenkins: Double) -> None:
    folder(jenkins)
    jenkins.state.item("rec").root = xmltree.parse(
        FOLDER.replace(b"/>", b"><actions/></com.cloudbees.hudson.plugins.folder.Folder>")
    )
    jenkins.state.store("rec", CREDENTIAL)
    jenkins.state.store("rec", TEXT)


def a_tree(jenkins: Double) -> None:
    for name in ("fx", "probe", "rec"):
        jenkins.state.create("", name, FOLDER, "application/xml")
    jenkins.state.create("fx", "multibranch", MULTIBRANCH, "application/xml")
    jenkins.state.create("fx", "pipeline-from-scm", PIPELINE, "application/xml")
    jenkins.state.create("probe", "p", CREATE_JOB, "application/xml")
    for name in ("bad", "ok"):
        jenkins.state.create("rec", name, CREATE_JOB, "application/xml")


#: Exchange → what happened before it.
BEFORE: dict[str, Callable[[Double], None]] = {
    "anonymous": folder,
    "bad-token": folder,
    "build-failed": failed,
    "build-finished": finished,
    "build-running": running,
    "build-with-parameters": job,
    "build-without-parameters-on-parameterised-job": lambda jenkins: job(jenkins, "bad"),
    "create-bad-name": folder,
    "create-bad-xml": folder,
    "create-existing": folder,
    "create-folder": lambda jenkins: None,
    "create-job": folder,
    "credential-create": folder,
    "credential-create-existing": one_credential,
    "credential-create-string": folder,
    "credential-get": one_credential,
    "credential-list": one_credential,
    "credential-update": one_credential,
    "crumb": folder,
    "delete-job": job,
    "delete-missing": folder,
    "folder-config-after-credentials": two_credentials,
    "input-approve": asking,
    "input-pending": asking,
    "jenkinsfile-lint": folder,
    "log-progressive-finished": finished,
    "log-progressive-running": running,
    "missing-job": folder,
    "plugins": folder,
    "queue-item-left": running,
    "queue-item-waiting-or-left": finished,
    "stages": ended_input,
    "tree-listing": a_tree,
    "whoami": folder,
}


def test_every_recorded_exchange_is_asked_again() -> None:
    assert sorted(BEFORE) == sorted(path.stem for path in RECORDED.glob("*.json"))


@pytest.mark.parametrize("name", sorted(BEFORE))
def test_exchange(jenkins: Double, name: str) -> None:
    recorded = json.loads((RECORDED / f"{name}.json").read_text())
    asked, wanted = recorded["request"], recorded["response"]
    BEFORE[name](jenkins)
    auth = {"anonymous": None, "bad-token": (USER, "wrong")}.get(name, (USER, TOKEN))
    body = asked["body"]
    content = urlencode(body) if isinstance(body, dict) else body
    headers = dict(asked["headers"] or {})
    if isinstance(body, dict):
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    got = requests.request(
        asked["method"],
        jenkins.url + asked["path"],
        data=content,
        headers=headers,
        auth=auth,
        allow_redirects=False,
        timeout=10,
    )
    assert got.status_code == wanted["status"]
    for header in COMPARED:
        if header in ("X-Jenkins", "Content-Type", "WWW-Authenticate") and header not in wanted["headers"]:
            continue  # not all headers of every exchange were recorded
        assert got.headers.get(header, "").replace(jenkins.url, "https://jenkins.example.com") == wanted["headers"].get(
            header, ""
        )
    assert ("X-Text-Size" in got.headers) == ("X-Text-Size" in wanted["headers"])
    if "X-Text-Size" in got.headers:
        assert int(got.headers["X-Text-Size"]) > len(got.content)
    compare(name, got.text.replace(jenkins.url, "https://jenkins.example.com"), wanted["body"] or "")


def compare(name: str, got: str, wanted: str) -> None:
    if name == "tree-listing":  # of the recorded folders, those that were made before
        known = {one["name"]: one for one in json.loads(mended(wanted))["jobs"]}
        assert [known[one["name"]] for one in json.loads(got)["jobs"]] == json.loads(got)["jobs"]
    elif name == "plugins":
        assert shape(json.loads(got)) == shape(json.loads(mended(wanted)))
    elif name == "crumb":
        first, second = json.loads(got), json.loads(wanted)
        assert first.keys() == second.keys()
        assert len(first["crumb"]) == len(second["crumb"]) == 64
    elif wanted.startswith(("{", "[")):
        assert filled(json.loads(got)) == filled(json.loads(wanted))
    elif wanted.startswith("<?xml") or name == "credential-get":
        first, second = xmltree.parse(got), xmltree.parse(wanted)
        assert [(e.tag, e.attrib, (e.text or "").strip()) for e in first.iter()] == [
            (e.tag, e.attrib, (e.text or "").strip()) for e in second.iter()
        ]
    elif wanted.startswith("<!DOCTYPE"):
        title = wanted[wanted.index("<title>") : wanted.index("</title>")]
        assert title in got
        assert len(got) > 70_000
    else:
        assert got.split() == wanted.split()


def mended(wanted: str) -> str:
    """A listing that was cut when it was recorded, closed behind its last whole entry."""
    if not open_brackets(wanted):
        return wanted
    kept = wanted[: wanted.rindex("},{") + 1]
    return kept + "".join({"{": "}", "[": "]"}[c] for c in reversed(open_brackets(kept)))


def open_brackets(text: str) -> list[str]:
    stack: list[str] = []
    for character in text:
        if character in "{[":
            stack.append(character)
        elif character in "}]":
            stack.pop()
    return stack


def shape(value: Any) -> Any:
    """Keys and classes, without how many there are of each."""
    if isinstance(value, dict):
        return {key: (item if key == "_class" else shape(item)) for key, item in sorted(value.items())}
    if isinstance(value, list):
        return sorted({json.dumps(shape(item), sort_keys=True) for item in value})
    return type(value).__name__


def filled(value: Any) -> Any:
    """Without the empty actions and those of plugins that mlci does not read, and without moments."""
    if isinstance(value, dict):
        return {key: filled(item) for key, item in value.items() if key not in ("inQueueSince", "color")}
    if isinstance(value, list):
        unread = ("LibrariesAction", "RunDisplayAction", "RestartDeclarativePipelineAction", "FlowGraphAction")
        return [
            filled(item)
            for item in value
            if item and not (isinstance(item, dict) and str(item.get("_class")).endswith(unread))
        ]
    return value


SAVED = """
server: {url: "http://localhost"}
folder: {name: fx, display_name: Fixtures, description: folder with a library}
library:
  {name: mlci, git: "https://git.example.com/ml/mlci.git", version: v1.0.0, credential: git-token,
   allow_version_override: true, include_in_changesets: true, cache: false}
models:
  - {name: multibranch, git: "https://git.example.com/ml/flights.git", credential: git-token, script: ci/Jenkinsfile,
     scan: 1h, clean: true, orphans: {days: 7, branches: 20}}
  - {name: pipeline-from-scm, description: a model, kind: pipeline, git: "https://git.example.com/ml/flights.git",
     credential: git-token, branch: main, cron: "H 2 * * *", poll: "H/15 * * * *",
     discard: {builds: 20, artifact_builds: 5},
     parameters: [{name: MODEL_VERSION, default: latest, description: version to deploy},
                  {name: DEPLOY, default: true, description: "deploy?"},
                  {name: TARGET, description: where, choices: [staging, production]}]}
"""
FILES = ["folder-with-library", "multibranch", "pipeline-from-scm"]


@pytest.mark.parametrize("index", range(3), ids=FILES)
def test_saving_the_form_gives_what_jenkins_saved(index: int) -> None:
    """Element by element, but for mlci's marker, its constant id, and what a newer Jenkins writes."""
    made = saved(render(settings(SAVED))[index].config)
    wanted = xmltree.parse((RECORDED / f"{FILES[index]}.config.xml").read_text())
    ours = {"id", "removeLastBuild"}

    def flat(element: Any, path: str = "") -> set[tuple[str, ...]]:
        here = f"{path}/{element.tag}"
        text = "" if len(element) else (element.text or "").strip()
        found = {(here, text, *sorted(f"{k}={v}" for k, v in element.attrib.items()))}
        return found.union(*(flat(child, here) for child in element if child.tag not in ours))

    def without_description(found: set[tuple[str, ...]]) -> set[tuple[str, ...]]:
        return {one for one in found if one[0].count("/") > 2 or not one[0].endswith("/description")}

    assert without_description(flat(made)) == without_description(flat(wanted))


@pytest.mark.parametrize("index", range(3), ids=FILES)
def test_as_posted_and_as_saved_mean_the_same(index: int) -> None:
    item = render(settings(SAVED))[index]
    recorded = canonical(xmltree.parse((RECORDED / f"{FILES[index]}.config.xml").read_text()))
    changes = differences(recorded, canonical(item.config))
    assert [change.path for change in changes] == ["description"], "nothing but the marker"
    assert "[mlci-admin schema=1 owner=fx" in changes[0].new
    assert differences(canonical(item.config), canonical(saved(item.config))) == []


def test_a_password_needs_a_crumb_of_its_session(jenkins: Double) -> None:
    with requests.Session() as session:
        session.auth = (USER, PASSWORD)

        def post(**headers: str) -> int:
            headers["Content-Type"] = "application/xml"
            where = f"{jenkins.url}/createItem?name=rec"
            return session.post(where, data=FOLDER, headers=headers, timeout=10).status_code

        assert post() == 403
        crumb = session.get(f"{jenkins.url}/crumbIssuer/api/json", timeout=10).json()
        field = crumb["crumbRequestField"]
        assert post(**{field: "0" * 64}) == 403
        assert post(**{field: crumb["crumb"]}) == 200
        jenkins.restart()
        assert post(**{field: crumb["crumb"]}) == 403
