"""The library in a real Jenkins: as a folder library, which runs in the sandbox, and as a global one, trusted.

`MLCI_TEST_JENKINS_URL`, `_USER` and `_TOKEN` name it. As for the admin client's tests, it runs on this machine and
allows local checkouts; its agents run the Python of these tests. Everything happens in a folder of a random name,
deleted at the end.
"""

from __future__ import annotations

import html
import json
import random
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.e2e.jenkins.conftest import LIMIT, PATIENCE, Real, until
from tools import build_pyz

pytestmark = pytest.mark.timeout(LIMIT)

ROOT = Path(__file__).resolve().parents[3]
CANARY = "canary-" + secrets.token_hex(8)
#: What no log of ours may hold: refused calls, programs that cannot be saved, secrets, warnings of interpolation.
FORBIDDEN = (
    *("RejectedAccessException", "Scripts not permitted", "NotSerializableException", "expected to call"),
    *("A secret was passed to", CANARY),
)
ML = """\
name: small
task: classification
data:
  source: rows.csv
  target: label
  positive: true
  key: [id]
  columns:
    id: {type: integer, feature: false}
    x: {type: number}
    y: {type: number}
    label: {type: boolean}
model: {estimator: sklearn.linear_model.LogisticRegression, preprocess: "gate:scaled"}
validate: {metrics: {roc_auc: {min: 0.8}}}
test: {unit: tests}
deploy:
  local: {target: process, port: PORT, keep: true, api_key: "${API_KEY}"}
"""
GATE = """\
import os, time
from pathlib import Path
from sklearn.preprocessing import StandardScaler

def scaled():
    gate = os.environ.get("TEST_GATE")
    if gate:
        Path(gate, "training").touch()
        until = time.monotonic() + 3000
        while not Path(gate, "open").exists() and time.monotonic() < until:
            time.sleep(0.05)
    return StandardScaler()
"""


class Place:
    """A folder of the controller with the library and one model repository."""

    def __init__(self, real: Real, kind: str, work: Path) -> None:
        self.real, self.kind, self.work = real, kind, work
        self.session = requests.Session()
        self.session.auth = (real.user, real.token)
        self.folder = f"mlci-e2e-{secrets.token_hex(4)}"
        self.library = f"mlci-{secrets.token_hex(4)}"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        self.repository = self._model()
        self._make(self._library())

    def url(self, path: str = "") -> str:
        return f"{self.real.url}/job/{self.folder}{path}"

    def post(self, url: str, **more: Any) -> requests.Response:
        answer = self.session.post(url, timeout=PATIENCE, allow_redirects=False, **more)
        assert answer.status_code < 400, f"{url}: {answer.status_code} {answer.text[:500]}"
        return answer

    def _git(self, folder: Path, *words: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
        subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)

    def _library(self) -> Path:
        folder = self.work / "library"
        for name in ("vars", "src"):
            shutil.copytree(ROOT / name, folder / name)
        build_pyz.main(["--output", str(folder / "resources" / "mlci" / "mlci.pyz")])
        self._git(folder, "init", "--quiet")
        self._git(folder, "add", "-A")
        self._git(folder, "commit", "--quiet", "-m", "library")
        return folder

    def _model(self) -> Path:
        folder = self.work / "model"
        (folder / "tests").mkdir(parents=True)
        chance = random.Random(1)
        rows = []
        for number in range(600):
            x, y = chance.gauss(0, 1), chance.gauss(0, 1)
            rows.append(f"{number},{x:.6f},{y:.6f},{str(x + y + chance.gauss(0, 0.5) > 0).lower()}")
        (folder / "rows.csv").write_text("id,x,y,label\n" + "\n".join(rows) + "\n")
        (folder / "ml.yaml").write_text(ML.replace("PORT", str(self.port)))
        (folder / "gate.py").write_text(GATE)
        (folder / "tests" / "test_rows.py").write_text("def test_one():\n    assert True\n")
        (folder / ".gitignore").write_text(".mlci/\n__pycache__/\n")
        self._git(folder, "init", "--quiet")
        self._git(folder, "add", "-A")
        self._git(folder, "commit", "--quiet", "-m", "model")
        return folder

    def _make(self, library: Path) -> None:
        configured = (
            "<org.jenkinsci.plugins.workflow.libs.LibraryConfiguration>"
            f"<name>{self.library}</name><defaultVersion>main</defaultVersion>"
            '<retriever class="org.jenkinsci.plugins.workflow.libs.SCMSourceRetriever"><clone>false</clone>'
            f'<scm class="jenkins.plugins.git.GitSCMSource"><id>x</id><remote>{library}</remote>'
            "<traits><jenkins.plugins.git.traits.BranchDiscoveryTrait/></traits></scm></retriever>"
            "<includeInChangesets>false</includeInChangesets>"
            "</org.jenkinsci.plugins.workflow.libs.LibraryConfiguration>"
        )
        libraries = (
            "<org.jenkinsci.plugins.workflow.libs.FolderLibraries><libraries>"
            f"{configured}</libraries></org.jenkinsci.plugins.workflow.libs.FolderLibraries>"
        )
        properties = libraries if self.kind == "folder" else ""
        xml = (
            "<com.cloudbees.hudson.plugins.folder.Folder><properties>"
            f"{properties}</properties></com.cloudbees.hudson.plugins.folder.Folder>"
        )
        headers = {"Content-Type": "application/xml"}
        self.post(f"{self.real.url}/createItem?name={self.folder}", data=xml, headers=headers)
        credential = (
            "<org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl><scope>GLOBAL</scope><id>api-key</id>"
            f"<secret>{CANARY}</secret></org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl>"
        )
        store = self.url("/credentials/store/folder/domain/_/createCredentials")
        self.post(store, data=credential, headers=headers)
        if self.kind == "global":
            self._global(f"add(Jenkins.XSTREAM2.fromXML('''{configured}'''))")

    def _global(self, change: str) -> None:
        try:
            self.real.groovy(
                "def g = org.jenkinsci.plugins.workflow.libs.GlobalLibraries.get()\n"
                "def all = new ArrayList(g.libraries)\n"
                f"all.{change}; g.libraries = all; print 'done'"
            )
        except requests.HTTPError as refused:
            pytest.skip(f"this user may not configure global libraries: {refused}")

    def remove(self) -> None:
        if self.kind == "global":
            self._global(f"removeAll {{ it.name == '{self.library}' }}")
        self.post(self.url("/doDelete"))

    # ---- builds

    def start(self, name: str, script: str, parameters: dict[str, str] | None = None) -> str:
        """Commit the Jenkinsfile, make the job, start it. Returns the build's address."""
        (self.repository / f"Jenkinsfile.{name}").write_text(f"@Library('{self.library}') _\n{script}")
        self._git(self.repository, "add", "-A")
        self._git(self.repository, "commit", "--quiet", "--allow-empty", "-m", name)
        defined = "".join(
            f"<hudson.model.TextParameterDefinition><name>{key}</name></hudson.model.TextParameterDefinition>"
            for key in parameters or {}
        )
        if defined:
            defined = (
                f"<hudson.model.ParametersDefinitionProperty><parameterDefinitions>{defined}</parameterDefinitions>"
                "</hudson.model.ParametersDefinitionProperty>"
            )
        xml = (
            f"<flow-definition><properties>{defined}</properties>"
            '<definition class="org.jenkinsci.plugins.workflow.cps.CpsScmFlowDefinition">'
            '<scm class="hudson.plugins.git.GitSCM"><configVersion>2</configVersion><userRemoteConfigs>'
            f"<hudson.plugins.git.UserRemoteConfig><url>{html.escape(str(self.repository))}</url>"
            "</hudson.plugins.git.UserRemoteConfig></userRemoteConfigs><branches><hudson.plugins.git.BranchSpec>"
            "<name>main</name></hudson.plugins.git.BranchSpec></branches></scm>"
            f"<scriptPath>Jenkinsfile.{name}</scriptPath></definition></flow-definition>"
        )
        self.post(self.url(f"/createItem?name={name}"), data=xml, headers={"Content-Type": "application/xml"})
        action = "buildWithParameters" if parameters else "build"
        item = self.post(self.url(f"/job/{name}/{action}"), data=parameters or {}).headers["Location"]

        def started() -> str | None:
            found = self.session.get(f"{item}api/json", timeout=PATIENCE).json().get("executable")
            return str(found["url"]) if found else None

        return until(started, f"{name} leaves the queue")

    def wait(self, build: str, text: str = "") -> str:
        """Wait for a text in the log, or for the end; return the log, in which nothing forbidden stands."""

        def reached() -> str | None:
            running = self.session.get(f"{build}api/json?tree=building", timeout=PATIENCE).json()["building"]
            log = self.session.get(f"{build}consoleText", timeout=PATIENCE).text
            assert [word for word in FORBIDDEN if word in log] == [], log
            if (text and text in log) or not running:
                assert not text or text in log, log
                return log
            return None

        return until(reached, f"{build}: {text or 'its end'}")

    def end(self, build: str) -> tuple[str, str, dict[str, Any]]:
        """Result, log and data of a build that ended."""
        log = self.wait(build)
        data = self.session.get(f"{build}api/json", timeout=PATIENCE).json()
        return data["result"], log, data

    def asked(self, build: str) -> None:
        """Wait until the question is there: the log speaks of it a moment earlier."""
        page = f"{build}input/"
        until(lambda: "MlciApproval" in self.session.get(page, timeout=PATIENCE).text, "the question of the build")

    def approve(self, build: str, reason: str = "") -> None:
        given = {"parameter": [{"name": "REASON", "value": reason}]}
        self.asked(build)
        self.post(f"{build}input/MlciApproval/submit", data={"proceed": "Approve", "json": json.dumps(given)})


@pytest.fixture(scope="module", params=["folder", "global"])
def place(real: Real, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    made = Place(real, request.param, tmp_path_factory.mktemp(request.param))
    yield made
    made.remove()


def settings(place: Place, **more: str) -> str:
    """The environment of an agent, around a Pipeline."""
    variables = {"MLCI_BOOTSTRAP": "off", "MLCI_STORE": str(place.work / "store"), **more}
    return ", ".join(f"'{name}={value}'" for name, value in variables.items())


PYTHON = f"python: '{sys.executable}'"


def test_each_step(place: Place) -> None:
    script = f"""
node {{
  withEnv([{settings(place)}, 'API_KEY=x']) {{
    checkout scm
    stage('Prepare') {{ echo mlPrepare({PYTHON}).text }}
    stage('Train') {{ echo mlTrain({PYTHON}, timeout: 10, verifyReproducible: true).text }}
    stage('Test') {{ echo mlTest({PYTHON}).text }}
    stage('Validate') {{ echo mlValidate({PYTHON}, first: true).text }}
    stage('Deploy') {{ echo mlDeploy({PYTHON}, env: 'local', by: 'e2e').text }}
    stage('Rollback') {{
      try {{ mlRollback({PYTHON}, env: 'local') }} catch (Exception e) {{ echo "refused: ${{e.message}}" }}
    }}
    withMlci({PYTHON}) {{ sh(label: 'Stop it', script: 'mlci status && mlci stop') }}
  }}
}}
"""
    build = place.start("steps", script)
    result, log, data = place.end(build)
    assert result == "SUCCESS", log
    assert "refused: mlci rollback: exit 2" in log
    names = {artifact["relativePath"] for artifact in data["artifacts"]}
    assert {".mlci/train/result.json", ".mlci/validate/gate.json", ".mlci/prepare/profile.json"} <= names
    assert not any(name.endswith(".parquet") for name in names)
    told = place.session.get(f"{build}api/json?tree=fingerprint[fileName]", timeout=PATIENCE).json()
    assert "metrics.json" in {item["fileName"].rpartition("/")[2] for item in told["fingerprint"]}
    actions = [action for action in data["actions"] if action.get("_class", "").endswith("TestResultAction")]
    assert actions[0]["failCount"] == 0
    assert "approved" in data["description"]


def test_the_whole_pipeline_waits_for_approval_and_deploys(place: Place) -> None:
    script = f"""
withEnv([{settings(place)}]) {{
  mlPipeline({PYTHON}, first: true, environments: ['local'], approval: [before: ['local'], hours: 1],
    credentials: [local: [[id: 'api-key', kind: 'secret_text', variable: 'API_KEY']]])
}}
"""
    build = place.start("whole", script)
    place.wait(build, "Input requested")
    place.approve(build, "as good as it gets")
    result, log, data = place.end(build)
    assert result == "SUCCESS", log
    assert f"local approved by {place.real.user}: as good as it gets" in data["description"]
    with urllib.request.urlopen(f"http://127.0.0.1:{place.port}/readyz", timeout=10) as reply:
        assert reply.status == 200
    inside = f"checkout scm; withMlci({PYTHON}) {{ sh 'mlci stop' }}"
    stopping = f"node {{ withEnv([{settings(place)}]) {{ {inside} }} }}"
    assert place.end(place.start("stop", stopping))[0] == "SUCCESS"


def test_a_pull_request_deploys_nothing(place: Place) -> None:
    script = f"""
withEnv([{settings(place)}, 'CHANGE_ID=7', 'BRANCH_NAME=PR-7']) {{
  mlPipeline({PYTHON}, first: true, environments: ['local'],
    credentials: [local: [[id: 'api-key', kind: 'secret_text', variable: 'API_KEY']]])
}}
"""
    result, log, _ = place.end(place.start("change", script))
    assert result == "SUCCESS", log
    assert "(Validate)" in log
    assert "(Deploy" not in log
    assert "withCredentials" not in log


def test_a_credential_that_is_missing_ends_the_build_in_check(place: Place) -> None:
    script = f"""
withEnv([{settings(place)}]) {{
  mlPipeline({PYTHON}, first: true, environments: ['local'], approval: false, credentials: [
    deploy: [[id: 'api-key', kind: 'secret_text', variable: 'API_KEY']],
    local: [[id: 'mistyped', kind: 'secret_text', variable: 'OTHER']]])
}}
"""
    result, log, _ = place.end(place.start("missing", script))
    assert result == "FAILURE", log
    assert "mistyped" in log
    assert "(Check)" in log
    assert "(Prepare)" not in log


def test_a_rejected_approval_deploys_nothing(place: Place) -> None:
    script = f"""
withEnv([{settings(place)}]) {{
  mlPipeline({PYTHON}, first: true, environments: ['local'], approval: [before: ['local'], hours: 1],
    credentials: [local: [[id: 'api-key', kind: 'secret_text', variable: 'API_KEY']]])
}}
"""
    build = place.start("rejected", script)
    place.wait(build, "Input requested")
    place.asked(build)
    place.post(f"{build}input/MlciApproval/abort")
    result, log, _ = place.end(build)
    assert result == "ABORTED", log
    assert "(Deploy" not in log


def test_an_abort_while_training_leaves_no_process(place: Place) -> None:
    gate = place.work / "gate"
    gate.mkdir()
    script = f"withEnv([{settings(place, TEST_GATE=str(gate))}, 'API_KEY=x']) {{ mlPipeline({PYTHON}, first: true) }}"
    build = place.start("aborted", script)
    until((gate / "training").exists, "training")
    place.post(f"{build}stop")
    result, log, _ = place.end(build)
    assert result == "ABORTED", log
    mine = f"TEST_GATE={gate}".encode()
    until(lambda: not any(mine in _bytes(path) for path in Path("/proc").glob("[0-9]*/environ")), "the end of training")


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_hostile_values_stay_values(place: Place) -> None:
    marker = place.work / "pwned"
    hostile = f"local\"; touch '{marker}'; $(touch {marker}) `touch {marker}` ' --config=/etc/passwd ${{API_KEY}}"
    script = f"""
withEnv([{settings(place)}, 'API_KEY=x']) {{
  try {{ mlPipeline({PYTHON}, environments: [params.VALUE]) }} catch (Exception e) {{ echo "refused: ${{e.message}}" }}
  node {{
    checkout scm
    String hostile = params.VALUE
    try {{ mlDeploy({PYTHON}, env: hostile, by: hostile, override: hostile) }} catch (e) {{ echo "two ${{e.message}}" }}
    try {{ mlTrain({PYTHON}, config: hostile) }} catch (Exception e) {{ echo "three ${{e.message}}" }}
    try {{ mlPrepare({PYTHON}, set: ['data.source': hostile]) }} catch (Exception e) {{ echo "four ${{e.message}}" }}
    try {{ mlPrepare(python: hostile) }} catch (Exception e) {{ echo "five ${{e.message}}" }}
  }}
}}
"""
    result, log, _ = place.end(place.start("hostile", script, {"VALUE": hostile}))
    assert result == "SUCCESS", log
    assert not marker.exists()
    for word in (
        "refused: mlPipeline: environments",
        "two mlci deploy: exit",
        "three mlci train: exit 2",
        "four",
        "five",
    ):
        assert word in log, word


def test_a_secret_stays_out_of_the_log(place: Place) -> None:
    script = f"""
node {{
  withEnv([{settings(place)}]) {{
    checkout scm
    List keys = [[id: 'api-key', kind: 'secret_text', variable: 'API_KEY']]
    mlPrepare({PYTHON}, verbose: true, credentials: keys)
    withMlci({PYTHON}, credentials: keys) {{ sh(label: 'x', script: 'mlci status') }}
  }}
}}
"""
    build = place.start("secret", script)
    result, log, data = place.end(build)
    assert result == "SUCCESS", log
    for artifact in data["artifacts"]:
        content = place.session.get(f"{build}artifact/{artifact['relativePath']}", timeout=PATIENCE).content
        assert CANARY.encode() not in content


def test_wrong_arguments_are_refused_before_an_agent_is_taken(place: Place) -> None:
    result, log, _ = place.end(place.start("wrong", "mlPipeline(enviroments: ['local'])"))
    assert result == "FAILURE"
    assert "ERROR: mlPipeline: there is no 'enviroments'; did you mean 'environments'?" in log
    assert "Running on" not in log


def test_parallel_branches_on_one_agent_are_calls_of_their_own(place: Place) -> None:
    script = f"""
def go(String name) {{
  return {{ echo "made ${{name}}: " + mlPrepare({PYTHON}, dir: name).folder }}
}}
node {{
  withEnv([{settings(place)}]) {{
    checkout scm
    sh(label: 'Old', script: 'cd "$WORKSPACE_TMP" && mkdir mlci-call-old && touch -t 202001010000 mlci-call-old')
    sh(label: 'Four models', script: 'for m in a b c d; do mkdir -p $m; cp -R ml.yaml *.csv *.py tests $m; done')
    parallel(a: go('a'), b: go('b'), c: go('c'), d: go('d'))
    sh(label: 'Nothing of a call is left', script: 'cd "$WORKSPACE_TMP" && test -z "$(ls -d mlci-call-* 2>/dev/null)"')
  }}
}}
"""
    result, log, _ = place.end(place.start("parallel", script))
    assert result == "SUCCESS", log
    for name in "abcd":
        assert f"made {name}: {name}/.mlci/prepare" in log, log


def test_wrong_values_are_named_in_the_sandbox_too(place: Place) -> None:
    calls = ["mlTrain(timeout: 'ten')", "mlDeploy('local')", "mlPipeline(retries: [agent: 'x'])", "mlTest(set: 'a=b')"]
    tries = "; ".join(f"try {{ {call} }} catch (Exception e) {{ echo 'refused: ' + e.message }}" for call in calls)
    result, log, _ = place.end(place.start("values", f"{tries}\nmlTrain()\n"))
    assert result == "FAILURE"
    for word in ("timeout is a whole number", "arguments have names", "agent is a whole number", "set is a map"):
        assert word in log, word
    assert "ERROR: mlTrain: this runs on an agent" in log
    assert "\tat " not in log
