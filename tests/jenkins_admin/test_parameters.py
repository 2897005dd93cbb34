"""Parameters and answers arrive as they were meant, or are refused before anything is sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jenkins_admin import Admin
from jenkins_admin.follow import Build
from jenkins_admin.parameters import File, Value
from stages.errors import UsageError
from tests.jenkins_admin.conftest import Open
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.double.state import Script
from tests.jenkins_admin.test_slips import run

ONE = """
server: {url: "${JENKINS_URL}", user: "${JENKINS_USER}", token: "${JENKINS_TOKEN}"}
folder: ml
models:
  - name: nightly
    kind: pipeline
    git: g
    parameters: [{name: DRY, default: true}, {name: ENV, choices: [a, b]}, {name: WHY}]
    xml:
      - at: properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions
        element: "<hudson.model.FileParameterDefinition><name>DATA</name></hudson.model.FileParameterDefinition>"
      - at: properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions
        element: >-
          <io.jenkins.plugins.file__parameters.StashedFileParameterDefinition><name>MODEL</name></io.jenkins.plugins.file__parameters.StashedFileParameterDefinition>
"""


@pytest.fixture
def applied(open_admin: Open, jenkins: Double) -> Admin:
    admin = open_admin(ONE)
    admin.apply()
    jenkins.forget()
    return admin


@pytest.mark.parametrize("value", ["yes", "1", "on", "ture", "", " true", "null", "y", "t"])
def test_a_boolean_is_true_or_false(applied: Admin, jenkins: Double, value: str) -> None:
    with pytest.raises(UsageError) as caught:
        applied.trigger("nightly", {"DRY": value})
    assert (caught.value.code, caught.value.exit_code) == ("JEN_PARAMETER", 2)
    assert "true or false" in caught.value.todo
    assert jenkins.writes == []


@pytest.mark.parametrize(("value", "sent"), [("true", "true"), ("TRUE", "true"), ("False", "false")])
def test_as_jenkins_reads_it(applied: Admin, jenkins: Double, value: str, sent: str) -> None:
    applied.trigger("nightly", {"DRY": value})
    assert dict(jenkins.state.item("ml/nightly").builds[0].parameters)["DRY"] == sent


def test_a_file_is_uploaded_as_it_is(applied: Admin, jenkins: Double) -> None:
    content = bytes(range(256)) * 10 + b"\r\n--boundary\r\n"
    values: dict[str, Value] = {"DATA": File("däta 1.csv", content), "MODEL": File("m", b""), "WHY": 'é "☃"\r\nx'}
    applied.trigger("nightly", values)
    build = jenkins.state.item("ml/nightly").builds[0]
    assert build.files["DATA"][1] == content
    assert build.files["MODEL"][1] == b""
    assert dict(build.parameters) == {"DRY": "true", "ENV": "a", "WHY": 'é "☃"\r\nx'}


@pytest.mark.parametrize("name", ["DATA", "MODEL"])
def test_a_text_is_no_file(applied: Admin, jenkins: Double, name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is a file parameter") as caught:
        applied.trigger("nightly", {name: "data.csv"})
    assert f"-p {name}=@FILE" in caught.value.todo
    assert jenkins.writes == []


def test_on_the_command_line(tmp_path: Path, jenkins: Double) -> None:
    (tmp_path / "own.yaml").write_text(ONE)
    (tmp_path / "d.bin").write_bytes(b"\xff\x00\r\n")
    (tmp_path / "t.txt").write_bytes("é\r\n".encode())
    assert run(tmp_path, jenkins, "apply", "--config", "own.yaml")[0] == 0
    code, _, err = run(tmp_path, jenkins, "trigger", "--config", "own.yaml", "nightly", "-p", "DRY=yes")
    assert (code, "give true or false" in err) == (2, True)
    code, _, err = run(tmp_path, jenkins, "trigger", "--config", "own.yaml", "nightly", "-p", "WHY=@d.bin")
    assert (code, "d.bin: is not UTF-8" in err) == (2, True)
    assert (
        run(tmp_path, jenkins, "trigger", "--config", "own.yaml", "nightly", "-p", "WHY=@t.txt", "-p", "DATA=@d.bin")[0]
        == 0
    )
    build = jenkins.state.item("ml/nightly").builds[0]
    assert build.files == {"DATA": ("d.bin", b"\xff\x00\r\n")}
    assert dict(build.parameters)["WHY"] == "é\r\n"


# ---- answers -----------------------------------------------------------------------------------------------------


def field(name: str, kind: str = "", description: str = "", **definition: Any) -> dict[str, Any]:
    type_ = {"type": f"{kind}ParameterDefinition"} if kind else {}
    return {"name": name, "description": description, **type_, "definition": definition}


def asking(admin: Admin, jenkins: Double, *fields: dict[str, Any]) -> Build:
    jenkins.script("ml/nightly", Script(log=["a\n"], question={"id": "Q", "message": "?", "inputs": list(fields)}))
    admin.trigger("nightly")
    build = admin.build("nightly")
    "".join(admin.logs(build))
    return build


def answered(jenkins: Double) -> list[dict[str, Any]]:
    return jenkins.state.item("ml/nightly").builds[-1].answers


def test_what_is_left_open_gets_its_default(applied: Admin, jenkins: Double) -> None:
    build = asking(
        applied,
        jenkins,
        field("ENV", "Choice", choices=["staging", "production"]),
        field("DRY", "Boolean", defaultVal=True),
        field("KEEP", "Boolean", defaultVal=False),
        field("NOTE", "Text"),
        field("N", "String", defaultVal="3"),
    )
    applied.approve(build, values={"ENV": "production", "KEEP": "TRUE"})
    values = {"ENV": "production", "DRY": True, "KEEP": True, "NOTE": "", "N": "3"}
    assert answered(jenkins) == [{"verb": "submit", "values": values}]


@pytest.mark.parametrize(
    ("asked", "values", "what"),
    [
        (field("DRY", "Boolean", defaultVal=True), {"DRY": "yes"}, "DRY is a boolean, not 'yes'"),
        (field("ENV", "Choice", choices=["a", "b"]), {"ENV": "c"}, "'c' is no choice of ENV"),
        (field("PW", "Password"), {}, "the question asks for PW and tells no default"),
        (field("PW", "Password", defaultVal="<DEFAULT>"), {}, "the question asks for PW and tells no default"),
        (field("REASON", "Text", "A reason of at least 5 characters is needed"), {"REASON": "no"}, "at least 5"),
        (field("X"), {}, "the question asks for X and tells no default"),
        (field("F", "File"), {}, "F is a file"),
        (field("X", "String"), {"Y": "1"}, "the question asks for no 'Y'"),
    ],
)
def test_what_jenkins_would_lose_is_refused(
    applied: Admin, jenkins: Double, asked: dict[str, Any], values: dict[str, Any], what: str
) -> None:
    build = asking(applied, jenkins, asked)
    with pytest.raises(UsageError, match=what) as caught:
        applied.approve(build, values=values)
    assert caught.value.exit_code == 2
    assert answered(jenkins) == []


WELCOME = "A reason is welcome; it is not needed."
NEEDED = "A reason of at least 10 characters is needed; it is recorded."


def test_a_reason_only_where_one_is_needed(applied: Admin, jenkins: Double) -> None:
    build = asking(applied, jenkins, field("REASON", "Text", WELCOME))
    applied.approve(build)
    assert answered(jenkins) == [{"verb": "submit", "values": {"REASON": ""}}]
    build = asking(applied, jenkins, field("REASON", "Text", NEEDED))
    for reason in (None, "short", "    a    b "):
        with pytest.raises(UsageError, match="asks for a reason"):
            applied.approve(build, reason)
    applied.approve(build, "because it is better")
    assert answered(jenkins) == [{"verb": "submit", "values": {"REASON": "because it is better"}}]


def test_the_texts_are_those_of_the_step() -> None:
    step = (Path(__file__).parents[2] / "src/mlci/Approval.groovy").read_text()
    assert WELCOME in step
    assert NEEDED.replace("10", "${SHORTEST_REASON}") in step


def test_a_rejection_is_noted_after_it_was_given(applied: Admin, jenkins: Double) -> None:
    build = asking(applied, jenkins, field("X"))
    jenkins.fail(500, method="POST", path="abort")
    with pytest.raises(Exception, match="500"):
        applied.reject(build, "too slow")
    assert jenkins.state.item("ml/nightly").builds[-1].description is None


def test_a_device_without_an_end(tmp_path: Path, jenkins: Double, admin: Admin) -> None:
    admin.apply()
    code, _, err = run(tmp_path, jenkins, "trigger", "nightly", "-p", "WHY=@/dev/zero")
    assert code == 2
    assert "CFG_USAGE: -p WHY: /dev/zero: is no file, and gives more than 64 MiB" in err
