"""Whatever is wrong in either file reads as a line of mlci: file:line, key, what was expected, what was there."""

import copy
import re
from typing import Any

import pydantic
import pytest

from jenkins_admin.schema import JenkinsYaml
from stages.config import problems, yamlfile
from stages.config.schema import Config

ML = """
name: flights
task: classification
data:
  source: {sql: "SELECT 1", url: "x"}
  format: csv
  read: {sep: ",", decimal: ".", encoding: utf-8, na_values: ["", NA]}
  refresh: always
  target: late
  positive: true
  weight: null
  key: [id]
  columns:
    id: {type: integer, feature: false, unique: true}
    delay: {type: number, min: 1, max: 2, nullable: true, tolerate: 0.1}
    c: {type: category, values: [a], pattern: a}
    w: {type: datetime, timezone: UTC, format: x}
    late: {type: boolean}
  transform: a:b
  bad_rows: fail
  max_bad_fraction: 0.1
  split: {test: 0.2, by: key, column: null, seed: 1}
model:
  estimator: a.b
  params: {x: 1}
  preprocess: auto
  search: {method: random, params: {a: [1]}, cv: 3, metric: x, n_iter: 2, budget_seconds: 3}
  cv: 2
  seed: 1
  format: skops
  trust: [x]
  onnx: auto
test: {unit: t, integration: i}
validate:
  metrics: {roc_auc: {min: 0.8, max: 1, margin: 0.1}}
  champion: null
  inconclusive: ask
  baselines: {dummy: fail, linear: warn}
  slices: [c]
  drift: {max_share: 0.5}
  latency: {p99_ms: 1}
  size: {max_mb: 1}
  on_fail: fail
deploy:
  local: {target: process, port: 1, host: x, keep: true, api_key: x}
  prod:
    target: service
    port: 2
    replicas: 1
    image: x
    base: y
    publish: true
    watch_seconds: 1
    resources: {cpus: 1, memory: 1m}
    registry: {user: u, password: p}
    api_key: k
  c: {target: container, port: 3, gateway: false}
store: x
environment: {requirements: r, versions: own}
card: {owner: a, intended_use: b, limits: c}
"""
JENKINS = """
server: {url: "http://localhost", user: a, token: t, ca_file: x, allow_http: true, workers: 1, retries: 1, timeout: 1}
folder: {name: ml, display_name: x, description: y}
owner: x
library:
  name: a
  git: b
  version: c
  credential: d
  implicit: true
  allow_version_override: true
  include_in_changesets: true
  cache: {refresh_minutes: 1, exclude: [a]}
  discover: [branches]
credentials:
  - {id: a, kind: username_password, username: u, password: p, description: d}
  - {id: b, kind: secret_text, secret: s}
  - {id: c, kind: ssh_key, username: u, private_key: k, passphrase: p}
folders: [{name: x}]
defaults: {kind: pipeline, discard: {builds: 1, days: 1, artifact_builds: 1, artifact_days: 1}}
models:
  - name: a
    git: x
    kind: pipeline
    branch: m
    cron: H 1 * * *
    poll: H 1 * * *
    parameters: [{name: A, type: choice, default: a, choices: [a], description: d, trim: false}]
    concurrent: false
    abort_previous: false
    lightweight: true
    script: x
    disabled: true
    credential: a
    folder: x
    xml: [{at: a, element: <a/>}]
  - name: b
    git: x
    discover: [tags]
    filter: {include: [a], exclude: [b]}
    scan: 1h
    orphans: {keep: true, days: 1, branches: 1}
    clean: true
    display_name: x
    description: y
"""
FILES: dict[str, tuple[str, Any]] = {"ml.yaml": (ML, Config), "jenkins.yaml": (JENKINS, JenkinsYaml)}

#: What a slip of the hand, a variable or another program puts in the place of a value.
WRONG = [
    *(None, True, 0, -1, 0.5, 10**30, 10**400, float("nan"), float("inf"), "", "x", "A.b", "\udcff"),
    *([], [None], ["", 1], {}, {"a": 1}, {1: 2}),
]
SHAPE = re.compile(
    r"(ml|jenkins)\.yaml:\d+: \S+: "
    r"(required key is missing|unknown key '.+'|expected .+?(, got [^ ].*)?)"
)


def changed(data, path, value):
    data = copy.deepcopy(data)
    at = data
    for part in path[:-1]:
        at = at[part]
    at[path[-1]] = value
    return data


def removed(data, path):
    data = copy.deepcopy(data)
    at = data
    for part in path[:-1]:
        at = at[part]
    del at[path[-1]]
    return data


def mistakes(document):
    """The document with each value replaced by each wrong one, without each key, with a key too much."""
    for path, value in yamlfile.walk(document.data):
        if not path:
            continue
        for wrong in WRONG:
            yield changed(document.data, path, wrong)
        yield removed(document.data, path)
        if isinstance(value, dict):
            yield changed(document.data, (*path, "zzz"), 1)
            yield changed(document.data, (*path, "A.b"), next(iter(value.values())))


@pytest.mark.parametrize("name", FILES)
def test_no_wording_of_pydantic_is_shown(name):
    text, model = FILES[name]
    document = yamlfile.parse(text, name)
    assert problems.build(model, document, document.data)[1] == []
    seen = set()
    for data in mistakes(document):
        found = problems.build(model, yamlfile.Document(name, data, document.lines), data)[1]
        try:
            model.model_validate(data)
        except pydantic.ValidationError as error:
            raised = error.errors()
        else:
            raised = []
        assert bool(found) == bool(raised)
        seen |= {problem["type"] for problem in raised}
        own = [problem["msg"] for problem in raised if problem["type"] == "mlci"]
        foreign = [problem["msg"] for problem in raised if problem["type"] != "mlci"]
        for one in found:
            assert not [msg for msg in foreign if msg in one.what + one.todo], one.what
            assert [msg for msg in own if one.what.endswith(msg)] or SHAPE.fullmatch(one.what), one.what
            assert "another value" not in one.what
            assert one.todo
    # every kind of constraint that the two schemas use was met
    assert seen >= {"missing", "extra_forbidden", "literal_error", "string_type", "bool_type", "string_unicode", "mlci"}
    assert seen >= {"int_type", "float_type", "finite_number", "list_type", "model_type", "invalid_key", "too_short"}
    assert seen >= {"greater_than", "greater_than_equal", "less_than_equal", "string_too_short"}
    if name == "ml.yaml":
        assert seen >= {"dict_type", "less_than", "string_too_long", "string_pattern_mismatch"}
    else:
        assert seen >= {"union_tag_invalid", "union_tag_not_found", "model_attributes_type"}


@pytest.mark.parametrize(
    ("key", "value", "what", "todo"),
    [
        ("data.read.sep", "", "7: data.read.sep: expected text of at least one character, got ''", "correct the value"),
        ("data.read.sep", "ab", "7: data.read.sep: expected text of at most one character, got 'ab'", None),
        ("data.columns", {}, "13: data.columns: expected at least one entry, got keys and values, empty", None),
        (
            "data.columns.c.values",
            [],
            "16: data.columns.c.values: expected at least one entry, got a list, empty",
            None,
        ),
        (
            "data.columns.c",
            {1: 2},
            "16: data.columns.c[1]: expected a key that is text, got 1",
            "write the key in quotes",
        ),
        (
            "data.columns.c",
            {None: 2},
            "16: data.columns.c: expected a key that is text, got null",
            "write the key in quotes",
        ),
        ("data.columns.c", {1.5: 2}, "16: data.columns.c: expected a key that is text, got 1.5", None),
        ("data.columns.c.min", float("nan"), "16: data.columns.c.min: expected a finite number, got .nan", None),
        ("data.split.test", 1, "22: data.split.test: expected a number less than 1, got 1", None),
        ("data.split.test", 0, "22: data.split.test: expected a number greater than 0, got 0", None),
        ("data.split.seed", 1.5, "22: data.split.seed: expected a whole number, got 1.5", None),
        ("data.split.by", None, None, None),
        ("data.source", 5, "5: data.source: expected text or keys and values, got 5", None),
        ("data.source", {"sql": "x"}, "5: data.source.url: required key is missing", "add url: …"),
        ("data.source", {"sql": "x", "url": 5}, "5: data.source.url: expected text", None),
        ("model.estimator", "mine:make", "24: model.estimator: expected package.module.Class, got 'mine:make'", None),
        ("model.trust", "x", "31: model.trust: expected a list, got 'x'", None),
        ("model.format", "pickle", "30: model.format: expected 'skops' or 'joblib', got 'pickle'", "use one of these"),
        ("model.search.cv", 1, "27: model.search.cv: expected a number of at least 2, got 1", None),
        ("deploy.local.port", 70000, "45: deploy.local.port: expected a number of at most 65535, got 70000", None),
        ("deploy.local.keep", "on", "45: deploy.local.keep: expected true or false, got 'on'", None),
        ("deploy.c.gateway", [], "57: deploy.c.gateway: expected true or false or text, got a list, empty", None),
        (
            "deploy.prod.resources.memory",
            "1 GB",
            "54: deploy.prod.resources.memory: expected a size, for example 512m or 2g, got '1 GB'",
            None,
        ),
        ("deploy.prod.registry", ["hunter2"], "55: deploy.prod.registry: expected keys and values, got a list", None),
        ("deploy.prod.registry.password", 5, "55: deploy.prod.registry.password: expected text", None),
        (
            "name",
            "Flights",
            "2: name: expected lower-case letters, digits and dashes, beginning with a letter, got 'F",
            None,
        ),
        ("name", "\udcff", "2: name: expected text in UTF-8, got '\\udcff'", None),
        ("name", None, "2: name: expected text, got null", None),
    ],
)
def test_lines_of_ml_yaml(key, value, what, todo):
    compare("ml.yaml", key, value, what, todo)


@pytest.mark.parametrize(
    ("key", "value", "what", "todo"),
    [
        (
            "credentials.1",
            {"id": "b", "kind": "secret_txt", "secret": "hunter2"},
            (
                "17: credentials[1].kind: expected 'username_password', 'secret_text', 'secret_file' or 'ssh_key', "
                "got 'secret_txt'"
            ),
            "did you mean 'secret_text'?",
        ),
        (
            "credentials.1",
            {"id": "b", "secret": "hunter2"},
            "17: credentials[1].kind: required key is missing",
            "add kind: 'username_password', 'secret_text', 'secret_file' or 'ssh_key'",
        ),
        (
            "credentials.1",
            "hunter2 and more",
            "17: credentials[1]: expected keys and values, got 'hunter2 and more'",
            None,
        ),
        ("credentials.2.private_key", 5, "18: credentials[2].private_key: expected text", None),
        ("credentials.2.passphrase", ["hunter2"], "18: credentials[2].passphrase: expected text", None),
        ("library.cache", 5, "13: library.cache: expected true or false or keys and values, got 5", None),
        (
            "library.cache",
            {"refresh_minutes": -1},
            "13: library.cache.refresh_minutes: expected a number of at least 0",
            None,
        ),
        ("library.version", "", "8: library.version: expected text of at least one character, got ''", None),
        ("models.0.parameters.0.default", [], "expected text or true or false or a number, got a list, empty", None),
        ("folder", {"nam": "x"}, "3: folder.name: required key is missing", "add name: …"),
    ],
)
def test_lines_of_jenkins_yaml(key, value, what, todo):
    compare("jenkins.yaml", key, value, what, todo)


def compare(name, key, value, what, todo):
    text, model = FILES[name]
    document = yamlfile.parse(text, name)
    path = tuple(int(part) if part.isdigit() else part for part in key.split("."))
    data = changed(document.data, path, value)
    found = problems.build(model, yamlfile.Document(name, data, document.lines), data)[1]
    if what is None:
        assert found == []
        return
    (error, *_) = [one for one in found if what in one.what]
    assert todo is None or error.todo == todo
    if not isinstance(value, dict):
        assert len(found) == 1, [one.what for one in found]
