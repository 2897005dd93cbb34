"""For generated files: after apply, plan is empty, as posted and as saved; and the saved form undoes nothing."""

from __future__ import annotations

import string
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from hypothesis import strategies as st

from jenkins_admin import Admin, credentials
from jenkins_admin.config import parse
from stages.config.yamlfile import Document
from tests.jenkins_admin.conftest import environment
from tests.jenkins_admin.double.server import Double

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffe\uffff$"), max_size=40)
_PRINTED = st.characters(min_codepoint=32, exclude_categories=["Cs", "Cc"], exclude_characters="$\ufffe\uffff")
LINE = st.text(_PRINTED, max_size=30)
NAME = st.text(string.ascii_lowercase, min_size=1, max_size=6)
COUNT = st.integers(1, 10_000)


def some(**keys: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=keys)


PARAMETER = st.one_of(
    st.builds(lambda d: {"default": d}, st.booleans()),
    st.builds(lambda d, t: {"default": d, "type": t}, TEXT, st.sampled_from(["string", "text"])),
    st.builds(lambda c: {"choices": c, "default": c[-1]}, st.lists(LINE, min_size=1, max_size=4, unique=True)),
)
DISCARD = some(builds=COUNT, days=COUNT, artifact_builds=COUNT, artifact_days=COUNT).filter(bool)
SHARED = {"description": TEXT, "display_name": LINE, "script": NAME, "disabled": st.booleans(), "discard": DISCARD}


def parameters(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"name": f"P{i}", **one} for i, one in enumerate(found)]


PIPELINE = some(
    **SHARED,
    branch=NAME,
    cron=st.sampled_from(["H 2 * * *", "@daily", "H/15 * * * *\nH 4 * * 1"]),
    poll=st.just("H/5 * * * *"),
    parameters=st.lists(PARAMETER, max_size=4).map(parameters),
    concurrent=st.just(False),
    abort_previous=st.booleans(),
    lightweight=st.booleans(),
    folder=st.sampled_from(["a", "a/b", "c"]),
).map(lambda keys: {"kind": "pipeline", **keys})
MULTIBRANCH = some(
    **SHARED,
    discover=st.lists(st.sampled_from(["branches", "tags"]), unique=True),
    filter=some(include=st.lists(NAME, min_size=1), exclude=st.lists(NAME)),
    scan=st.sampled_from(["5m", "1h", "2d", "1w"]),
    orphans=some(keep=st.booleans(), days=COUNT, branches=COUNT),
    clean=st.booleans(),
)
LIBRARY = some(
    implicit=st.booleans(),
    allow_version_override=st.booleans(),
    include_in_changesets=st.booleans(),
    cache=st.one_of(st.booleans(), some(refresh_minutes=st.integers(0, 100), exclude=st.lists(NAME))),
    discover=st.lists(st.sampled_from(["branches", "tags"]), unique=True),
    credential=st.just("git-token"),
).map(lambda keys: {"git": "https://git.example.com/l.git", "version": "v1", **keys})
FILE = st.builds(
    lambda library, models, folder: {
        "server": {"url": "${JENKINS_URL}", "user": "${JENKINS_USER}", "token": "${JENKINS_TOKEN}"},
        "folder": folder | {"name": "ml"},
        "credentials": [{"id": "git-token", "kind": "secret_text", "secret": "${API_KEY}"}],
        "models": [{"name": f"m{i}", "git": "https://git.example.com/m.git", **one} for i, one in enumerate(models)],
        **({"library": library} if library else {}),
    },
    st.one_of(st.none(), LIBRARY),
    st.lists(st.one_of(PIPELINE, MULTIBRANCH), max_size=4),
    some(display_name=LINE, description=TEXT),
)


@pytest.fixture(scope="module")
def running() -> Any:
    with Double() as double:
        yield double


@examples(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(FILE)
def test_after_apply_plan_is_empty(running: Double, file: dict[str, Any]) -> None:
    jenkins = running
    jenkins.state.top.children.clear()
    credentials._COST = 4
    settings = parse(Document("jenkins.yaml", file), (), environment(jenkins))
    with Admin(settings) as admin:
        admin.apply()
        jenkins.forget()
        assert [str(change) for action in admin.plan().actions for change in action.changes] == []
        items = admin.render()
        for form in (False, True):
            for path in items:
                jenkins.state.save(path, form)
            assert [str(change) for action in admin.plan().actions for change in action.changes] == []
        assert admin.apply().writes == 0
        assert jenkins.writes == []
        assert admin.prunable() == ()


@examples(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(FILE, FILE)
def test_from_one_file_to_another(running: Double, first: dict[str, Any], second: dict[str, Any]) -> None:
    """Whatever was applied before: one apply and one prune, and nothing is left to do."""
    jenkins = running
    jenkins.state.top.children.clear()
    credentials._COST = 4
    kinds = {one["name"]: one.get("kind") for one in first["models"]}
    second["models"] = [one for one in second["models"] if kinds.get(one["name"], one.get("kind")) == one.get("kind")]
    for file in (first, second):
        with Admin(parse(Document("jenkins.yaml", file), (), environment(jenkins))) as admin:
            admin.apply()
            admin.prune(everything=True)
            assert not admin.plan().pending
            assert admin.prunable() == ()
    wanted = {one["name"] for one in second["models"] if "folder" not in one}
    assert {name for name in jenkins.state.item("ml").children if name.startswith("m")} == wanted
