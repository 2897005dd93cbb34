"""Secrets are shown nowhere: neither those of the file, nor those that Jenkins holds, nor those in between."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jenkins_admin import credentials, marker
from jenkins_admin.canonical import canonical
from jenkins_admin.connection import JenkinsError
from jenkins_admin.credentials import fingerprint, matches
from jenkins_admin.diff import differences
from jenkins_admin.masking import Mask, confidential
from jenkins_admin.schema import SecretText
from jenkins_admin.xmltree import parse
from stages.errors import ConfigError
from tests.jenkins_admin.conftest import Open, environment, settings
from tests.jenkins_admin.double.server import TOKEN, Double

ROOT = Path(__file__).resolve().parents[2]
SECRET, OTHER = "s3cret-value", "0ther-value"
ENCRYPTED = "{AQAAABAAAAAQ0d6Yb0m1Vt9bS8qf5k1y2w==}"

#: An element at `properties` of a job, with a secret in it.
ELEMENTS = {
    "password-parameter": "<hudson.model.ParametersDefinitionProperty><parameterDefinitions>"
    "<hudson.model.PasswordParameterDefinition><name>PW</name><defaultValue>{}</defaultValue>"
    "</hudson.model.PasswordParameterDefinition></parameterDefinitions></hudson.model.ParametersDefinitionProperty>",
    "field": "<my.Thing><apiToken>{}</apiToken></my.Thing>",
    "field-of-any-name": "<my.Thing><value>{}</value></my.Thing>",
    "class-attribute": '<my.Thing><one class="my.SecretHolder"><value>{}</value></one></my.Thing>',
    "within-a-text": "<my.Thing><script>curl -u me:{} https://x</script></my.Thing>",
    "list": "<my.Thing><all><string>a</string><string>{}</string></all></my.Thing>",
    "name": "<my.Thing><my.Inner><name>{}</name></my.Inner></my.Thing>",
    "attribute": '<my.Thing><value kind="{0}">{0}</value></my.Thing>',
    "cdata": "<my.Thing><value><![CDATA[{}]]></value></my.Thing>",
}
HEAD = 'server: {url: "${JENKINS_URL}", user: "${JENKINS_USER}", token: "${JENKINS_TOKEN}", retries: 0}\nfolder: ml\n'


def yaml(element: str, variable: str = "${VALUE}") -> str:
    raw = json.dumps([{"at": "properties", "element": element.format(variable)}])
    return f"{HEAD}models:\n  - {{name: nightly, kind: pipeline, git: g, xml: {raw}}}\n"


def test_names_stay_in_messages_whichever_variable_they_came_from(open_admin: Open) -> None:
    text = yaml(ELEMENTS["field-of-any-name"]).replace("name: nightly", 'name: "${VALUE}"')
    admin = open_admin(text, VALUE="nightly")
    assert admin.server.connection.redact("job/nightly") == "job/nightly"
    assert open_admin(text, VALUE=SECRET).server.connection.redact(f"x{SECRET}x{TOKEN}") == f"x{SECRET}x***"


def everything(admin: Any, jenkins: Double) -> str:
    return "\n".join(
        f"{change} {change.old} {change.new}" for action in admin.plan().actions for change in action.changes
    )


@pytest.mark.parametrize("kept", ["as-posted", "encrypted", "another", "another-encrypted", "gone"])
@pytest.mark.parametrize("element", sorted(ELEMENTS))
def test_a_plan_shows_no_secret(open_admin: Open, jenkins: Double, element: str, kept: str) -> None:
    open_admin(yaml(ELEMENTS[element]), VALUE=OTHER if kept.startswith("another") else SECRET).apply()
    live = jenkins.state.config("ml/nightly")
    if kept.endswith("encrypted"):
        live = live.replace(SECRET.encode(), ENCRYPTED.encode()).replace(OTHER.encode(), ENCRYPTED.encode())
    if kept == "gone":
        live = b"<flow-definition/>"
    jenkins.state.update("ml/nightly", live)
    text = everything(open_admin(yaml(ELEMENTS[element]), VALUE=SECRET), jenkins)
    assert SECRET not in text
    assert "AQAAAB" not in text
    assert (text != "") == (kept != "as-posted")


def test_a_secret_written_out_in_the_file_is_hidden_by_its_class(open_admin: Open, jenkins: Double) -> None:
    open_admin(yaml(ELEMENTS["password-parameter"], OTHER)).apply()
    text = everything(open_admin(yaml(ELEMENTS["password-parameter"], SECRET)), jenkins)
    assert "PasswordParameterDefinition[PW].defaultValue: (hidden) -> (hidden)" in text
    assert OTHER not in text


def test_what_is_no_secret_is_shown() -> None:
    changes = [
        ("<p><properties><a.B><x>1</x></a.B></properties></p>", "+ properties: {B: {x: 1}}"),
        ("<p><properties><x.DisableConcurrentBuilds/></properties></p>", "+ properties: {DisableConcurrentBuilds}"),
        ("<p><credentialsId>my-token</credentialsId></p>", "+ credentialsId: my-token"),
        ("<p><url>https://git.example.com/x</url></p>", "+ url: https://git.example.com/x"),
        ("<p><url>https://me:pw@git.example.com/x</url></p>", "+ url: https://(hidden)@git.example.com/x"),
    ]
    for wanted, shown in changes:
        assert [str(one) for one in differences(canonical(parse("<p/>")), canonical(parse(wanted)))] == [shown]


def test_short_values_are_hidden_where_they_stand_alone() -> None:
    mask = Mask(["abc", "abcdef", ""])
    assert mask.text("abc") == mask.text("abcdef") == "(hidden)"
    assert mask.text("abcd x abcdef") == "abcd x (hidden)"
    assert not mask.covers("")


def test_which_variables_are_secret() -> None:
    data = {
        "server": {"url": "${URL}", "token": "${A}", "user": "${USER_NAME}"},
        "credentials": [{"username": "${B}", "password": "x${C}${C2:-d}"}],
        "models": [{"git": "https://${GIT_TOKEN}@h/$${D}", "cron": "${E}", "parameters": [{"default": "${F}"}]}],
        "defaults": {"xml": [{"element": "<a>${G}</a>"}], "description": "${DB_PASS}"},
    }
    names = ["URL", "A", "USER_NAME", "B", "C", "GIT_TOKEN", "D", "E", "F", "G", "DB_PASS"]
    found = confidential(data, {name: f"value of {name}" for name in names})
    assert found == tuple(f"value of {name}" for name in ("A", "C", "GIT_TOKEN", "F", "G", "DB_PASS"))


def test_errors_show_none(open_admin: Open, jenkins: Double) -> None:
    text = yaml(ELEMENTS["field-of-any-name"])
    admin = open_admin(text, VALUE=SECRET)
    jenkins._fault = lambda request: None  # type: ignore[method-assign]
    with pytest.raises(JenkinsError) as caught:
        admin.server.create(f"ml/{SECRET}*", b"<x/>")
    assert SECRET not in str(caught.value)
    with pytest.raises(ConfigError) as wrong:
        settings(HEAD + 'models: [{name: a, git: x, kind: pipeline, cron: "${CRON_TOKEN}"}]', CRON_TOKEN=SECRET)
    assert SECRET not in str(wrong.value)


def test_on_the_command_line(tmp_path: Path, jenkins: Double) -> None:
    (tmp_path / "jenkins.yaml").write_text(yaml(ELEMENTS["password-parameter"]))
    env = {**os.environ, **environment(jenkins), "VALUE": SECRET, "PYTHONPATH": str(ROOT)}

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "jenkins_admin", *words]
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
        return done.stdout + done.stderr

    run("apply")
    live = jenkins.state.config("ml/nightly")
    jenkins.state.update("ml/nightly", live.replace(SECRET.encode(), ENCRYPTED.encode()))
    for words in (["plan"], ["plan", "--json"], ["plan", "--verbose"], ["apply", "--json"]):
        assert SECRET not in run(*words)


# ---- fingerprints ------------------------------------------------------------------------------------------------

PASSWORD = SecretText(id="a", kind="secret_text", secret="Summer2026")
KEY = "0123456789abcdef0123456789abcdef"


def test_a_key_makes_a_fingerprint_that_cannot_be_tried() -> None:
    keyed = fingerprint(PASSWORD, key=KEY)
    assert keyed.startswith("hmac-scrypt:")
    assert matches(PASSWORD, keyed, KEY)
    assert not matches(PASSWORD, keyed)
    assert not matches(PASSWORD, keyed, KEY + "0")
    other = SecretText(id="a", kind="secret_text", secret="Winter2026")
    assert not matches(other, keyed, KEY)


def test_a_fingerprint_of_an_earlier_release_is_understood() -> None:
    credentials._COST = 15  # the fixture puts it back
    known = "scrypt:15:MDEyMzQ1Njc4OWFi:" + fingerprint(PASSWORD, b"0123456789ab").rsplit(":", 1)[1]
    assert matches(PASSWORD, known)


@pytest.mark.parametrize(
    ("before", "after", "change"),
    [
        ("", "", ""),
        (KEY, KEY, ""),
        ("", KEY, "~ fingerprint: (without a key) -> (with the key)"),
        (KEY, "", "~ fingerprint: (with a key) -> (without a key)"),
        (KEY, "f" * 32, "~ secret: (another) -> (from the file)"),
    ],
)
def test_another_key_is_an_update(open_admin: Open, jenkins: Double, before: str, after: str, change: str) -> None:
    open_admin(MLCI_ADMIN_FINGERPRINT_KEY=before).apply()
    admin = open_admin(MLCI_ADMIN_FINGERPRINT_KEY=after)
    shown = [str(one) for action in admin.plan().actions for one in action.changes]
    assert shown == ([change] * 2 if change else [])
    admin.apply()
    assert admin.plan().actions == ()
    for one in jenkins.state.item("ml").credentials.values():
        sign = marker.of_owner(one.findtext("description") or "", "ml")
        assert sign is not None
        assert sign.extra["secret"].startswith("hmac-" if after else "scrypt:")


def test_a_short_key_is_refused() -> None:
    with pytest.raises(ConfigError, match="MLCI_ADMIN_FINGERPRINT_KEY is shorter than 16") as caught:
        settings(MLCI_ADMIN_FINGERPRINT_KEY="secret")
    assert caught.value.exit_code == 2
