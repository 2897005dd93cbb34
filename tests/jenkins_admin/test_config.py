"""jenkins.yaml: all that is wrong with it in one pass, and what it means when nothing is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import jenkins_admin
from jenkins_admin import config
from jenkins_admin.render import complete
from jenkins_admin.schedule import wrong_schedule
from jenkins_admin.schema import JenkinsYaml, json_schema
from stages.config import yamlfile
from stages.errors import ConfigError
from tests.jenkins_admin.conftest import YAML, environment, settings

BAD = """
server: {url: "ftp://x", user: a, tken: 5}
folder: m:l
owner: a b
credentials:
  - {id: git token, kind: username_pasword}
  - {id: api-key, kind: secret_text, secrt: x}
  - {id: api-key, kind: secret_text, secret: x}
models:
  - {name: flight/delays, cron: H, credential: api-kye, git: x}
  - {nme: x, kind: freestyle}
  - {name: p, kind: pipeline, git: x, orphans: {days: 1}, concurrent: true, abort_previous: true}
  - name: q
    kind: pipeline
    git: x
    poll: no
    parameters: [{name: A, choices: []}, {name: A, default: true, type: string}, {name: B, type: choice}, {name: 1x}]
  - {name: Q, kind: pipeline, git: x, discard: {}, xml: [{element: "<a>"}]}
"""


def problems(text: str, **more: str) -> list[tuple[str, str, str]]:
    with pytest.raises(ConfigError) as caught:
        settings(text, None, **more)
    return [(p.code, p.what, p.todo) for p in caught.value.problems()]


def test_all_errors_at_once_each_with_its_place() -> None:
    found = problems(BAD)
    shown = "\n".join(f"{code} {what} -> {todo}" for code, what, todo in found)
    for expected in [
        "CFG_VALUE jenkins.yaml:2: server.url: expected the address of a Jenkins",
        "CFG_UNKNOWN_KEY jenkins.yaml:2: server.tken: unknown key 'tken' -> did you mean 'token'?",
        "jenkins.yaml:3: folder: ':' may not stand in a name",
        "jenkins.yaml:4: owner: 'a b' is no owner",
        "jenkins.yaml:6: credentials[0]",
        "CFG_MISSING_KEY jenkins.yaml:7: credentials[1].secret: required key is missing",
        "CFG_UNKNOWN_KEY jenkins.yaml:7: credentials[1].secrt: unknown key 'secrt' -> did you mean 'secret'?",
        "jenkins.yaml:8: credentials[2].id: 'api-key' is given twice",
        "jenkins.yaml:10: models[0].name: '/' may not stand in a name",
        "jenkins.yaml:10: models[0].cron: a multibranch model has no cron -> put triggers { cron",
        "jenkins.yaml:10: models[0].credential: 'api-kye' is not among the credentials of this file -> did you",
        "CFG_MISSING_KEY jenkins.yaml:11: models[1].name",
        "CFG_UNKNOWN_KEY jenkins.yaml:11: models[1].nme: unknown key 'nme' -> did you mean 'name'?",
        "jenkins.yaml:11: models[1].kind: expected 'multibranch' or 'pipeline', got 'freestyle'",
        "jenkins.yaml:11: models[1]: git is given neither here nor in defaults",
        "jenkins.yaml:12: models[2].orphans: a pipeline model has no orphans",
        "jenkins.yaml:12: models[2]: abort_previous needs concurrent: false",
        "models[3].parameters[0].choices",
        "models[3].parameters[2]: type choice and choices belong together",
        "models[3].parameters[3].name: '1x' is no parameter name",
        "models[4].discard: nothing is discarded",
        "models[4].xml[0].element: not an XML element",
        "jenkins.yaml:18: models[4].name: 'Q' is also the name of a model",
    ]:
        assert expected in shown, f"{expected}\n--- in ---\n{shown}"


def test_unset_variables_are_all_named() -> None:
    with pytest.raises(ConfigError) as caught:
        config.parse(yamlfile.parse(YAML, "jenkins.yaml"), (), {"JENKINS_USER": "x"})
    text = str([p.what for p in caught.value.problems()])
    assert all(name in text for name in ("JENKINS_URL", "JENKINS_TOKEN", "GIT_TOKEN", "API_KEY"))


@pytest.mark.parametrize(
    ("needs", "given"), [("server", ["JENKINS_URL", "JENKINS_USER", "JENKINS_TOKEN"]), ("nothing", [])]
)
def test_only_what_is_needed_has_to_be_set(needs: config.Needs, given: list[str]) -> None:
    known = {name: environment()[name] for name in given}
    assert config.parse(yamlfile.parse(YAML, "jenkins.yaml"), (), known, needs).models


def test_a_secret_never_stands_in_an_error() -> None:
    text = YAML.replace('secret: "${API_KEY}"', 'secret: ["${API_KEY}"]').replace(
        'token: "${JENKINS_TOKEN}"', 'token: "${JENKINS_TOKEN}", password: "${API_KEY}"'
    )
    shown = str(problems(text, API_KEY="do-not-show-this"))
    assert "credentials[1].secret" in shown
    assert "token and password" in shown
    assert "do-not-show-this" not in shown


def test_a_value_that_is_one_variable_takes_the_type_of_its_key() -> None:
    text = YAML.replace("retries: 3", 'retries: "${N}", workers: "${W:-4}"')
    server = settings(text, N="7").server
    assert (server.retries, server.workers) == (7, 4)
    assert settings(YAML.replace("username: robot", 'username: "${N}"'), N="7").credentials[0].username == "7"  # type: ignore[union-attr]


def test_set_reaches_every_key() -> None:
    assert settings(YAML, None, "server.workers=2", "library.version=v2").library.version == "v2"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "url",
    [
        "jenkins.example.com",
        "https://user:pw@jenkins.example.com/",
        "https://jenkins.example.com/?x=1",
        "https://[bad",
        "http://",
    ],
)
def test_addresses_that_are_none(url: str) -> None:
    assert any("server.url" in what for _, what, _ in problems(YAML, JENKINS_URL=url))


@pytest.mark.parametrize("name", ["a/b", ".", "..", "x.", " x", "a?b", "a*", "a\tb", ""])
def test_names_that_jenkins_refuses_are_refused_before(name: str) -> None:
    text = f"server: {{url: 'http://localhost'}}\nfolder: ml\nmodels: [{{name: {json.dumps(name)}, git: x}}]"
    assert any("models[0].name" in what for _, what, _ in problems(text))


@pytest.mark.parametrize("name", ["flights", "Flüge 2", "a-b_c.d", "模型"])
def test_names_that_jenkins_takes(name: str) -> None:
    assert settings(f"server: {{url: 'http://localhost'}}\nfolder: ml\nmodels: [{{name: '{name}', git: x}}]").models


def test_defaults_reach_the_models_they_fit() -> None:
    text = """
server: {url: "http://localhost"}
folder: ml
defaults: {git: "https://git.example.com/x.git", cron: "H 1 * * *", scan: 1h, discard: {builds: 5}}
models: [{name: a}, {name: b, kind: pipeline}, {name: c, kind: pipeline, cron: null, discard: {days: 2}}]
"""
    found = settings(text)
    a, b, c = (complete(model, found.defaults) for model in found.models)
    assert (a.scan, a.discard.builds) == ("1h", 5)  # type: ignore[union-attr]
    assert (b.cron, b.git) == ("H 1 * * *", "https://git.example.com/x.git")
    assert c.cron is None
    assert (c.discard.days, c.discard.builds) == (2, None)  # type: ignore[union-attr]


def test_the_file_may_be_missing_or_not_yaml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "jenkins.yaml")
    assert caught.value.code == "CFG_FILE"
    assert "mlci init" not in caught.value.todo
    (tmp_path / "jenkins.yaml").write_text("server: [")
    with pytest.raises(ConfigError) as caught:
        config.load(tmp_path / "jenkins.yaml")
    assert caught.value.code == "CFG_YAML"


def test_the_shipped_schema_is_that_of_the_code() -> None:
    """Write it anew with: python -m jenkins_admin.schema > jenkins_admin/jenkins.schema.json"""
    shipped = Path(jenkins_admin.__file__).parent / "jenkins.schema.json"
    assert json.loads(shipped.read_text()) == json_schema()


def test_the_schema_knows_every_key() -> None:
    schema = json_schema()

    def keys(node: Any) -> set[str]:
        if isinstance(node, dict):
            return set(node.get("properties", {})).union(*(keys(one) for one in node.values()))
        return set().union(*(keys(one) for one in node)) if isinstance(node, list) else set()

    assert set(JenkinsYaml.model_fields) <= set(schema["properties"])
    assert {"ca_file", "abort_previous", "private_key", "refresh_minutes", "artifact_days"} <= keys(schema)
    workers = schema["$defs"]["Server"]["properties"]["workers"]
    assert any("pattern" in option for option in workers["anyOf"]), "a number may come from a variable"


# ---- what a person gets wrong at night ---------------------------------------------------------------------------

JOB = "models: [{name: a, git: x, kind: pipeline, %s}]"


def wrong_with(more: str, **variables: str) -> list[str]:
    text = 'server: {url: "${JENKINS_URL}"}\nfolder: ml\n' + more
    with pytest.raises(ConfigError) as caught:
        settings(text, None, **variables)
    return [problem.what for problem in caught.value.problems()]


@pytest.mark.parametrize(
    "schedule",
    [
        *("", "H 2 * * *", "  H\t2 * * * ", "H H(0-7) * * *", "*/5 * * * *", "*/99 * * * *", "H/15 9-17 * * 1-5"),
        *("0,30 1 1 1 7", "H,30 * * * *", "1-5/9 * * * *", "H(0-9)/10 * * * *", "005 * * * *", "@midnight"),
        *("TZ=Europe/Berlin\nH 2 * * *\n# at noon\n\n@daily", "\n\nH 2 * * *"),
    ],
)
def test_schedules_that_jenkins_takes(schedule: str) -> None:
    assert wrong_schedule(schedule) is None


@pytest.mark.parametrize(
    ("schedule", "wrong"),
    [
        ("every day", "it has 2 of 5 fields"),
        ("* * * *", "it has 4 of 5 fields"),
        ("H 2 * * * # noon", "it has 7 of 5 fields"),
        ("99 * * * *", "'99' is no minute (0 to 59)"),
        ("* 24 * * *", "'24' is no hour (0 to 23)"),
        ("* * 0 * *", "'0' is no day of the month (1 to 31)"),
        ("* * * * MON", "'MON' is no day of the week"),
        ("* * * * 7-8", "'7-8' is no day of the week (0 to 7)"),
        ("5-3 * * * *", "'5-3' is no minute"),
        ("H(9-2) * * * *", "'H(9-2)' is no minute"),
        ("*/0 * * * *", "'*/0' is no minute"),
        ("H/70 * * * *", "'H/70' is no minute"),
        ("H(0-9)/11 * * * *", "'H(0-9)/11' is no minute"),
        ("5/10 * * * *", "'5/10' is no minute"),
        ("1,,2 * * * *", "'' is no minute"),
        ("h 2 * * *", "'h' is no minute"),
        ("@reboot", "'@reboot' is none of Jenkins' names"),
        ("H 2 * * *\nnever", "'never' is no schedule"),
        ("TZ=UTC H 2 * * *", "it has 6 of 5 fields"),
    ],
)
def test_schedules_that_jenkins_would_save_and_never_run(schedule: str, wrong: str) -> None:
    assert wrong in (wrong_schedule(schedule) or "")


@pytest.mark.parametrize("key", ["cron", "poll"])
def test_a_wrong_schedule_is_an_error_of_its_key(key: str) -> None:
    (what,) = wrong_with(JOB % f"{key}: every day")
    assert what == f"jenkins.yaml:3: models[0].{key}: 'every day' is no schedule: it has 2 of 5 fields"


@pytest.mark.parametrize("at", ["../x", "a[", "properties/*", ".", "a b"])
def test_a_raw_element_has_a_place_that_is_one(at: str) -> None:
    (what,) = wrong_with(JOB % f"xml: [{{at: '{at}', element: <a/>}}]")
    assert "no path of elements" in what


@pytest.mark.parametrize(
    "credential",
    [
        "kind: secret_text, secret: '${NOTHING}'",
        "kind: secret_text, secret: '${UNSET:-}'",
        "kind: username_password, username: u, password: ''",
        "kind: ssh_key, username: u, private_key: ' '",
    ],
)
def test_an_empty_secret_does_not_replace_one_that_works(credential: str) -> None:
    (what,) = wrong_with(f"credentials: [{{id: a, {credential}}}]", NOTHING="")
    assert "the secret is empty" in what


@pytest.mark.parametrize(
    ("url", "folder"),
    [("https://ci.example.com/job/ml", "ml"), ("https://ci.example.com/x/job/teams/job/ml/", "teams/ml")],
)
def test_the_address_of_a_folder_is_not_that_of_a_jenkins(url: str, folder: str) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(f"server: {{url: '{url}'}}\nfolder: ml\n")
    assert "that of a folder or job" in caught.value.what
    assert f"folder: {folder} names it" in caught.value.todo


def test_settings_show_no_secret_when_printed() -> None:
    text = YAML + "owner: x\n"
    text = text.replace(
        "credentials:\n",
        "credentials:\n  - {id: k, kind: ssh_key, username: u, private_key: canary-key, passphrase: canary-phrase}\n",
    )
    made = settings(text, None, JENKINS_TOKEN="canary-token", GIT_TOKEN="canary-git", API_KEY="canary-api")
    assert made.credentials[0].private_key == "canary-key"  # type: ignore[union-attr]
    assert "canary" not in repr(made) + str(made) + repr(made.server)
