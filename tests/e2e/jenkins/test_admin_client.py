"""The admin client against a real Jenkins.

`MLCI_TEST_JENKINS_URL`, `_USER` and `_TOKEN` name it; the user administers it. Everything happens in a folder of a
random name, which is deleted at the end. The controller has to be able to read the repository that a test makes: it
runs on this machine and allows local checkouts (`-Dhudson.plugins.git.GitSCM.ALLOW_LOCAL_CHECKOUT=true`).
"""

from __future__ import annotations

import json
import secrets
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jenkins_admin import Admin
from jenkins_admin.config import parse
from jenkins_admin.follow import Build, Patience
from jenkins_admin.inputs import Question
from stages.config import yamlfile
from stages.errors import MlciError, UsageError
from tests.e2e.jenkins.conftest import LIMIT, PATIENCE, Real, until

pytestmark = pytest.mark.timeout(LIMIT)

JENKINSFILE = """
pipeline {
  agent any
  parameters { text(name: 'WHY', defaultValue: 'none') }
  stages {
    stage('work') {
      steps {
        writeFile file: '.mlci/validate/gate.json', text: '{"verdict": "approved", "sentence": "approved: fine"}'
        writeFile file: 'why.txt', text: params.WHY, encoding: 'UTF-8'
        archiveArtifacts artifacts: '.mlci/**, why.txt', fingerprint: true, defaultExcludes: false
      }
    }
  }
}
"""
ASKING = (
    "timeout(5) { input id: 'Approve', message: 'Deploy?', parameters: [text(name: 'REASON', defaultValue: '')] }\n"
)
SLOW = 'for (int i = 0; i < 6; i++) { echo "tick ${i}"; sleep 2 }\n'

YAML = """
server: {url: "${URL}", user: "${USER_NAME}", token: "${TOKEN}"}
folder: {name: "${FOLDER}/ml", description: end to end}
library: {name: mlci, git: "${REPO}", version: main, credential: git-token}
credentials:
  - {id: git-token, kind: username_password, username: robot, password: "${SECRET}"}
  - {id: api-key, kind: secret_text, secret: "${SECRET}", description: a key}
  - {id: deploy-key, kind: ssh_key, username: git, private_key: "${SECRET}", passphrase: "${SECRET}"}
folders: [{name: research, display_name: Research}]
models:
  - name: flights
    git: "${REPO}"
    scan: 1h
    clean: true
    discard: {builds: 5}
    orphans: {days: 3}
    discover: [branches, tags]
  - name: nightly
    kind: pipeline
    git: "${REPO}"
    cron: "H 2 31 2 *"
    poll: "H 3 31 2 *"
    discard: {builds: 20, artifact_builds: 5}
    parameters: [{name: WHY, type: text}, {name: ENV, choices: [staging, production]}, {name: FORCE, default: true}]
  - {name: asking, kind: pipeline, folder: research, git: "${REPO}", script: asking.groovy}
  - {name: slow, kind: pipeline, git: "${REPO}", script: slow.groovy}
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("repository")
    folder.chmod(0o755)
    (folder / "Jenkinsfile").write_text(JENKINSFILE)
    (folder / "asking.groovy").write_text(ASKING)
    (folder / "slow.groovy").write_text(SLOW)
    for words in (
        ["init", "-q", "-b", "main"],
        ["add", "."],
        ["-c", "user.name=t", "-c", "user.email=t@example.com", "commit", "-qm", "one"],
        ["branch", "feature/x-y"],
    ):
        subprocess.run(["git", *words], cwd=folder, check=True)
    return folder


@pytest.fixture(scope="module")
def variables(real: Real, repository: Path) -> Iterator[dict[str, str]]:
    folder = f"mlci-e2e-{secrets.token_hex(4)}"
    yield {
        "URL": real.url,
        "USER_NAME": real.user,
        "TOKEN": real.token,
        "FOLDER": folder,
        "REPO": repository.as_uri(),
        "SECRET": "s3cret <&>\"' é☃",
    }
    with opened(YAML, {**real.variables, "FOLDER": folder, "REPO": "x", "SECRET": "x"}) as admin:
        admin.server.delete(folder)


def opened(text: str, variables: dict[str, str]) -> Admin:
    return Admin(parse(yamlfile.parse(text, "jenkins.yaml"), (), variables))


@pytest.fixture(scope="module")
def admin(variables: dict[str, str]) -> Iterator[Admin]:
    with opened(YAML, variables) as made:
        made.apply()
        yield made


def shown(admin: Admin) -> dict[str, list[str]]:
    root = admin.settings.root.name
    return {a.path.removeprefix(f"{root}/"): [str(c) for c in a.changes] for a in admin.plan().actions}


def test_a_second_apply_writes_nothing(admin: Admin) -> None:
    outcome = admin.apply()
    assert (outcome.writes, outcome.unchanged) == (0, 9)


def test_after_jenkins_saved_every_item_nothing_has_changed(admin: Admin, real: Real) -> None:
    """What a form does when it is opened and saved, without a browser: the item writes itself."""
    real.groovy(
        "Jenkins.get().getAllItems().findAll { it.fullName.startsWith('" + admin.settings.root.name + "')"
        " && !(it.parent instanceof org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject) }*.save()"
    )
    assert b"plugin=" in (admin.server.config(f"{admin.settings.root.name}/nightly") or "").encode()
    assert shown(admin) == {}


@pytest.mark.parametrize(
    ("script", "path", "expected"),
    [
        ("it.setDisabled(true)", "nightly", ["~ disabled: true -> false"]),
        ("it.setDescription('mine ' + it.description)", "slow", None),
        ("it.setQuietPeriod(7)", "slow", ["- quietPeriod: 7"]),
        ("it.removeProperty(hudson.model.ParametersDefinitionProperty)", "nightly", None),
        ("it.setTriggers([])", "nightly", None),
        ("it.projectFactory.scriptPath = 'other'", "flights", ["~ factory.scriptPath: other -> Jenkinsfile"]),
        ("it.setDisplayName('x')", "flights", ["- displayName: x"]),
    ],
)
def test_what_a_person_changed_shows_exactly_and_is_undone(
    admin: Admin, real: Real, script: str, path: str, expected: list[str] | None
) -> None:
    root = admin.settings.root.name
    real.groovy(f"def it = Jenkins.get().getItemByFullName('{root}/{path}'); {script}; it.save()")
    found = shown(admin)
    assert list(found) == [path]
    assert found[path] == expected if expected is not None else len(found[path]) == 1
    assert admin.apply().writes == 1
    assert shown(admin) == {}


def test_a_job_without_its_marker_is_somebody_elses(admin: Admin, real: Real) -> None:
    slow = f"def it = Jenkins.get().getItemByFullName('{admin.settings.root.name}/slow'); def old = it.description; "
    old = real.groovy(f"{slow} it.setDescription('mine'); it.save(); print old").strip()
    refused = [(action.verb, action.note) for action in admin.plan().actions]
    assert refused == [("refuse", "was made by hand: adopt: true in the file takes it over")]
    real.groovy(f"{slow} it.setDescription('{old}'); it.save()")
    assert shown(admin) == {}


def test_other_things_in_the_folder_survive(admin: Admin, variables: dict[str, str]) -> None:
    root = admin.settings.root.name
    theirs = (
        "<org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl><scope>GLOBAL</scope><id>theirs</id>"
        "<secret>x</secret></org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl>"
    )
    assert admin.server.create_credential(root, theirs.encode())
    with opened(YAML.replace("version: main", "version: v2"), variables) as changed:
        assert shown(changed) == {
            root: ["~ properties.FolderLibraries.libraries.LibraryConfiguration[mlci].defaultVersion: main -> v2"]
        }
        changed.apply()
        assert shown(changed) == {}
    found = {one["id"] for one in admin.server.credentials(root) or []}
    assert found == {"git-token", "api-key", "deploy-key", "theirs"}
    admin.apply()
    admin.server.delete_credential(root, "theirs")


def test_a_changed_secret_is_one_change(admin: Admin, variables: dict[str, str]) -> None:
    with opened(YAML, variables | {"SECRET": "another"}) as changed:
        assert shown(changed) == {
            name: ["~ secret: (another) -> (from the file)"] for name in ("git-token", "api-key", "deploy-key")
        }
        changed.apply()
        assert shown(changed) == {}
    admin.apply()


def test_run_follow_and_fetch(admin: Admin, tmp_path: Path) -> None:
    """Any character, 18,000 of them, there and back as an artifact."""
    value = "é☃𝄞 \"<&>';=%+#\x1b[31m\n\t" * 900
    build = admin.start("nightly", {"WHY": value, "ENV": "production"})
    log = "".join(admin.follow(build))
    result = admin.wait(build)
    assert (result.result, result.exit_code) == ("SUCCESS", 0), log
    assert "Finished: SUCCESS" in log
    got = {one.artifact.path: one for one in admin.artifacts(build, tmp_path)}
    assert got["why.txt"].file.read_text() == value
    assert got["why.txt"].checked == ("fingerprint",)
    status = next(one for one in admin.status() if one.model == "nightly")
    assert (status.state, status.build) == ("SUCCESS", build.number)
    assert status.gate == {"verdict": "approved", "sentence": "approved: fine"}


def test_branches_of_a_multibranch_model(admin: Admin) -> None:
    path = f"{admin.settings.root.name}/flights"
    admin.scan("flights")
    # A branch can be built only when the index knows it, and the index starts its first build.
    until(lambda: len(admin.server.children(path) or []) == 2, "the branches main and feature/x-y in the index")

    def first() -> Build | None:
        try:
            return admin.build("flights", branch="feature/x-y")
        except MlciError:
            return None

    build = until(first, "the first build of feature/x-y")
    assert admin.wait(build, Patience(timeout=PATIENCE)).result == "SUCCESS"
    assert admin.job("flights").label == "flights/main"


def test_parameters_that_jenkins_would_drop(admin: Admin) -> None:
    with pytest.raises(UsageError, match="no parameter 'WHYY'"):
        admin.trigger("nightly", {"WHYY": "x"})
    with pytest.raises(UsageError, match="no choice of ENV"):
        admin.trigger("nightly", {"ENV": "x"})


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_question(admin: Admin, real: Real, verb: str) -> None:
    build = admin.start("research/asking")

    def answered() -> Question | None:
        try:
            found: Question = getattr(admin, verb)(build, "it is right")
        except UsageError:
            return None
        return found

    question = until(answered, "the question of the build")
    assert question.fields == ("REASON",)
    assert admin.wait(build).result == ("SUCCESS" if verb == "approve" else "ABORTED")


def test_stop(admin: Admin) -> None:
    build = admin.start("slow")
    for text in admin.follow(build):
        if "tick" in text:
            admin.stop(build)
    assert admin.wait(build).exit_code == 130


def test_the_log_of_a_running_build_grows_and_ends(admin: Admin) -> None:
    build = admin.start("slow")
    pieces = list(admin.follow(build))
    assert len(pieces) > 2
    assert [line for line in "".join(pieces).splitlines() if line.startswith("tick")] == [f"tick {i}" for i in range(6)]


def test_doctor(admin: Admin) -> None:
    checks = {check.name: check for check in admin.doctor()}
    assert checks["login"].verdict == "ok"
    assert checks["create"].verdict == "ok"
    assert "Currently maps to revision" in checks["library"].found
    assert not [check for check in checks.values() if check.verdict == "failed"]


def test_python_jenkins_over_the_same_connection(admin: Admin) -> None:
    assert admin.jenkins.get_whoami()["id"] == admin.settings.server.user
    assert "flow-definition" in admin.jenkins.get_job_config(f"{admin.settings.root.name}/nightly")


def test_any_character_in_a_description(admin: Admin, variables: dict[str, str]) -> None:
    text = YAML.replace("  - {name: slow,", '  - {name: slow, description: "${D}",')
    with opened(text, variables | {"D": "é☃𝄞 <&>\"'\x1b[31m\x85\u2028\nline\t]]>"}) as changed:
        changed.apply()
        assert shown(changed) == {}
    admin.apply()


def test_prune(admin: Admin, variables: dict[str, str]) -> None:
    short: dict[str, Any] = yamlfile.parse(YAML, "x").data
    short = {key: short[key] for key in ("server", "folder")} | {"models": short["models"][:1]}
    with opened(json.dumps(short), variables) as changed:
        found = {action.label.replace(admin.settings.root.name, "") for action in changed.prunable()}
        assert found == {
            *("job /nightly", "job /slow", "job /research/asking", "folder /research", "library /mlci"),
            *("credential /git-token", "credential /api-key", "credential /deploy-key"),
        }
        changed.prune(everything=True)
        assert changed.prunable() == ()
        assert shown(changed) == {}
    assert admin.apply().writes == 8
