"""`protect: true`: where the jobs and the credentials of deployments are, and what is said where they are shared."""

from __future__ import annotations

import pytest

from jenkins_admin import protect
from jenkins_admin.render import render
from stages.errors import ConfigError
from tests.jenkins_admin.conftest import YAML, Open, settings
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.test_apply import shown

PROTECTED = YAML.replace("folder: ml\n", "folder: ml\nprotect: true\n")
HEAD = 'server: {url: "http://localhost"}\nfolder: ml\n'
MODEL = "models: [{name: flights, git: x}]\n"
KEY = "{id: key, kind: secret_text, secret: x}"


def test_deploy_credentials_are_in_the_folder_of_the_job_that_deploys_alone(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(PROTECTED)
    assert shown(admin.plan()) == [
        "create folder ml",
        "create credential ml/git-token",
        "create folder ml/deploy",
        "create credential ml/deploy/api-key",
        "create job ml/flight-delays",
        "create job ml/nightly",
        "create job ml/deploy/flight-delays",
    ]
    admin.apply()
    assert set(jenkins.state.item("ml").credentials) == {"git-token"}
    assert set(jenkins.state.item("ml/deploy").credentials) == {"api-key"}
    assert not admin.plan().pending
    assert shown(open_admin(PROTECTED, API_KEY="another").plan()) == ["update credential ml/deploy/api-key"]
    assert protect.warnings(admin.settings, admin.prunable()) == []


def test_what_was_shared_before_is_moved_and_named_until_it_is_gone(open_admin: Open, jenkins: Double) -> None:
    open_admin().apply()
    admin = open_admin(PROTECTED)
    admin.apply()
    assert set(jenkins.state.item("ml").credentials) == {"git-token", "api-key"}
    said = protect.warnings(admin.settings, admin.plan().prunable)
    assert said == ["credential ml/api-key is still where branches see it: mlci-admin prune removes it"]
    admin.prune()
    assert set(jenkins.state.item("ml").credentials) == {"git-token"}
    assert set(jenkins.state.item("ml/deploy").credentials) == {"api-key"}
    assert protect.warnings(admin.settings, admin.plan().prunable) == []
    fewer = open_admin(PROTECTED.replace('  - {id: api-key, kind: secret_text, secret: "${API_KEY}"', "  #"))
    assert [action.label for action in fewer.prunable()] == ["credential ml/deploy/api-key"]


def test_without_protect_the_folder_goes_with_its_credentials(open_admin: Open, jenkins: Double) -> None:
    open_admin(PROTECTED).apply()
    back = open_admin()
    assert [action.label for action in back.prunable()] == ["job ml/deploy/flight-delays", "folder ml/deploy"]
    assert shown(back.plan()) == ["create credential ml/api-key"]


def test_the_job_that_deploys_runs_the_main_branch_alone() -> None:
    text = f"{HEAD}protect: true\ndefaults: {{cron: null, scan: 1h, folder: a/b}}\n" + MODEL
    job = render(settings(text))[-1]
    assert (job.path, job.kind) == ("ml/a/b/deploy/flights", "pipeline")
    assert job.config.findtext(".//hudson.plugins.git.BranchSpec/name") == "refs/heads/main"
    assert next(job.config.iter("name")).text == "MLCI_COMMIT"
    assert job.config.find(".//hudson.triggers.TimerTrigger") is None
    trunk = render(settings(HEAD + "models: [{name: flights, git: x, protect: {branch: trunk}}]\n"))[-1]
    assert trunk.config.findtext(".//hudson.plugins.git.BranchSpec/name") == "refs/heads/trunk"


@pytest.mark.parametrize(
    ("text", "protected"),
    [
        ("protect: true\n", True),
        ("defaults: {protect: true}\n", True),
        ("protect: true\ndefaults: {protect: false}\n", False),
        ("", False),
        ("protect: {branch: release}\n", True),
    ],
)
def test_the_nearest_key_counts(text: str, protected: bool) -> None:
    found = settings(f"{HEAD}{text}credentials: [{KEY}]\n{MODEL}")
    assert [item.path for item in render(found)][-1] == ("ml/deploy/flights" if protected else "ml/flights")
    assert protect.places(found.credentials[0], found) == (["ml/deploy"] if protected else ["ml"])
    assert bool(protect.warnings(found)) == (not protected)


@pytest.mark.parametrize(
    ("credentials", "warned"),
    [
        (KEY, True),
        ("{id: key, kind: secret_text, secret: x, deploy: false}", False),
        ("{id: reads, kind: secret_text, secret: x}", False),
        ("", False),
    ],
)
def test_a_shared_folder_with_deploy_credentials_is_warned_of(credentials: str, warned: bool) -> None:
    text = f"{HEAD}credentials: [{credentials}]\ndefaults: {{credential: reads}}\n{MODEL}"
    said = protect.warnings(settings(text))
    assert bool(said) == warned
    assert all("whoever may push a branch of flights may use key: set protect: true" in line for line in said)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("models: [{name: a, git: x, kind: pipeline, protect: true}]", "models[0].protect: a pipeline model has one"),
        ("protect: true\nmodels: [{name: a, git: x}, {name: deploy, git: x}]", "'deploy' is the folder of the jobs"),
        ("protect: true\nmodels: [{name: a, git: x}, {name: b, git: x, folder: deploy}]", "its branches would see"),
        ("protect: true\nmodels: [{name: a, git: x}, {name: b, git: x, folder: deploy/c}]", "its branches would see"),
        (f"credentials: [{KEY[:-1]}, deploy: true}}]\n{MODEL}", "deploy: true needs a protected model"),
        (
            (
                f"protect: true\ncredentials: [{KEY[:-1]}, deploy: true}}]\n"
                f"library: {{git: x, version: v1, credential: key}}\n{MODEL}"
            ),
            "'key' reads a repository",
        ),
        (
            "protect: true\nmodels: [{name: a, git: x}, {name: A, kind: pipeline, git: x, folder: deploy}]",
            "'deploy/A' is the job that deploys",
        ),
        ("protect: 3\nmodels: []", "protect"),
    ],
)
def test_what_contradicts_is_refused(text: str, what: str) -> None:
    with pytest.raises(ConfigError) as refused:
        settings(HEAD + text)
    assert what in refused.value.what
