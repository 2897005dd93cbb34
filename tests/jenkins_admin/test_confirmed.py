"""A write counts as done when Jenkins says so, not when something in front of it answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jenkins_admin import Admin
from jenkins_admin.connection import JenkinsError
from jenkins_admin.credentials import SECRET_TEXT
from stages.errors import MlciError
from tests.jenkins_admin.conftest import YAML, Open
from tests.jenkins_admin.double.server import Double, Reply, Request
from tests.jenkins_admin.double.state import Script

LOGIN = b"<!DOCTYPE html><html><head><title>Sign in</title></head><body><form></form></body></html>"
ANSWERS = {
    "redirect-elsewhere": lambda path: Reply(302, headers={"Location": "https://sso.example.com/auth?rd=" + path}),
    "redirect-to-login": lambda path: Reply(302, headers={"Location": "/login?from=" + path}),
    "redirect-to-the-top": lambda path: Reply(302, headers={"Location": "/"}),
    "redirect-to-itself": lambda path: Reply(301, headers={"Location": "https://jenkins.example.com" + path}),
    "see-other": lambda path: Reply(303, headers={"Location": "https://example.com/oauth2/start"}),
    "page": lambda path: Reply(200, LOGIN, "text/html"),
    "json": lambda path: Reply(200, b'{"error": "unauthenticated"}', "application/json"),
}
TEXT = f"<{SECRET_TEXT}><id>api-key</id><secret>x</secret></{SECRET_TEXT}>".encode()
QUESTION: dict[str, Any] = {"id": "Q", "message": "go?", "inputs": []}
ASKING: dict[str, Any] = {"id": "Q", "message": "go?", "inputs": [{"name": "A", "definition": {"defaultVal": "x"}}]}


def asking(admin: Admin, jenkins: Double, question: dict[str, Any] = QUESTION) -> None:
    jenkins.script("ml/nightly", Script(log=["a\n"], question=question))
    admin.trigger("nightly")
    "".join(admin.logs(admin.build("nightly")))


def queued(admin: Admin, jenkins: Double) -> None:
    jenkins.script("ml/nightly", Script(looks_in_queue=9))
    admin.trigger("nightly")


WRITES: dict[str, tuple[Callable[[Admin, Double], object], Callable[[Admin], object]]] = {
    "approve": (asking, lambda a: a.approve(a.build("nightly"))),
    "approve-form": (lambda a, j: asking(a, j, ASKING), lambda a: a.approve(a.build("nightly"))),
    "reject": (asking, lambda a: a.reject(a.build("nightly"))),
    "trigger": (lambda a, j: None, lambda a: a.trigger("nightly")),
    "scan": (lambda a, j: None, lambda a: a.scan("flight-delays")),
    "stop": (lambda a, j: a.trigger("nightly"), lambda a: a.stop(a.build("nightly"))),
    "cancel": (queued, lambda a: a.server.cancel(102)),
    "describe": (lambda a, j: a.trigger("nightly"), lambda a: a.server.describe("ml/nightly", 1, "x")),
    "create": (lambda a, j: None, lambda a: a.server.create("ml/new", b"<flow-definition/>")),
    "update": (lambda a, j: None, lambda a: a.server.update("ml/nightly", b"<flow-definition/>")),
    "delete": (lambda a, j: None, lambda a: a.server.delete("ml/nightly")),
    "delete-at-the-top": (lambda a, j: None, lambda a: a.server.delete("ml")),
    "credential": (lambda a, j: None, lambda a: a.server.create_credential("ml", b"<x><id>n</id></x>")),
    "credential-update": (lambda a, j: None, lambda a: a.server.update_credential("ml", "api-key", TEXT)),
    "credential-delete": (lambda a, j: None, lambda a: a.server.delete_credential("ml", "api-key")),
}


def in_front(jenkins: Double, answer: Callable[[str], Reply]) -> None:
    """Reads reach Jenkins; writes meet what stands in front of it."""
    route = jenkins._route

    def routed(request: Request) -> Reply:
        return route(request) if request.method == "GET" else answer(request.path)

    jenkins._route = routed  # type: ignore[method-assign]


@pytest.mark.parametrize("answer", sorted(ANSWERS))
@pytest.mark.parametrize("write", sorted(WRITES))
def test_no_write_is_believed_without_jenkins(admin: Admin, jenkins: Double, write: str, answer: str) -> None:
    before, act = WRITES[write]
    admin.apply()
    before(admin, jenkins)
    in_front(jenkins, ANSWERS[answer])
    with pytest.raises(JenkinsError) as caught:
        act(admin)
    assert caught.value.code in ("JEN_REDIRECT", "JEN_NOT_JENKINS")
    assert "login page" in caught.value.todo or "server.url" in caught.value.todo


@pytest.mark.parametrize("write", sorted(WRITES))
def test_what_jenkins_answers_is_believed(admin: Admin, jenkins: Double, write: str) -> None:
    before, act = WRITES[write]
    admin.apply()
    before(admin, jenkins)
    act(admin)


def test_jenkins_below_a_path_and_by_another_name(admin: Admin, jenkins: Double) -> None:
    """Redirects name the address by which Jenkins knows itself."""
    admin.apply()
    jenkins._address = lambda path: f"http://10.0.0.5:8080/ci/job/{path.replace('/', '/job/')}/"  # type: ignore[method-assign]
    admin.trigger("nightly")
    admin.stop(admin.build("nightly"))
    admin.scan("flight-delays")
    admin.server.delete("ml/nightly")
    jenkins._address = lambda path: "http://10.0.0.5:8080/ci/"  # type: ignore[method-assign]
    admin.server.delete("ml")
    assert not admin.server.exists("ml")


@pytest.mark.parametrize("folder", ["a (b)", "ü+ö", "it's=1,2~"])
def test_addresses_are_compared_by_what_they_mean(open_admin: Open, jenkins: Double, folder: str) -> None:
    """Jenkins escapes less in them than this client does."""
    admin = open_admin(YAML.replace("folder: ml\n", f'folder: "{folder}"\n'))
    admin.apply()
    jenkins.branch(f"{folder}/flight-delays", "fix(api)/x")
    build = admin.start("flight-delays", branch="fix(api)/x")
    admin.stop(build)
    admin.server.describe(build.job.path, build.number, "x")
    admin.scan("flight-delays")
    admin.server.delete(f"{folder}/nightly")


def test_what_is_not_found_is_not_taken_for_gone(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    for act in (
        lambda: admin.server.delete("ml/nightly"),
        lambda: admin.server.delete_credential("ml", "api-key"),
        lambda: admin.stop(admin.build("nightly")),
    ):
        admin.trigger("nightly")
        in_front(jenkins, lambda path: Reply(404, b"not here", "text/plain"))
        with pytest.raises(MlciError):
            act()
        jenkins._route = Double._route.__get__(jenkins)  # type: ignore[method-assign]
    admin.server.delete("ml/never-was")
    admin.server.delete_credential("ml", "never-was")
    with pytest.raises(JenkinsError, match="has left the queue"):
        admin.server.cancel(102)


def test_an_apply_against_a_login_page_stops_at_once(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(YAML + "".join(f"  - {{name: m{i}, git: x}}\n" for i in range(30)))
    jenkins.state.create("", "ml", b"<com.cloudbees.hudson.plugins.folder.Folder/>", "application/xml")
    in_front(jenkins, ANSWERS["page"])
    with pytest.raises(JenkinsError) as caught:
        admin.apply()
    assert caught.value.code == "JEN_INCOMPLETE"
    assert "0 of" in caught.value.what
    assert len(jenkins.writes) < 20


@pytest.mark.parametrize("kind", ["lost", 502, 504])
def test_a_write_that_may_have_been_done_says_so(open_admin: Open, jenkins: Double, kind: int | str) -> None:
    admin = open_admin()
    admin.apply()
    asking(admin, jenkins)
    build = admin.build("nightly")
    for path, act in (("proceedEmpty", lambda: admin.approve(build)), ("build", lambda: admin.trigger("nightly"))):
        jenkins.fail(kind, method="POST", path=path)
        with pytest.raises(JenkinsError) as caught:
            act()
        assert "may have been carried out" in caught.value.what
        assert "mlci-admin status" in caught.value.todo


@pytest.mark.parametrize("path", ["config.xml", "api/json", "pendingInput", "logText"])
def test_a_page_is_no_document(admin: Admin, jenkins: Double, path: str) -> None:
    admin.apply()
    asking(admin, jenkins)
    build = admin.build("nightly")
    route = jenkins._route

    def routed(request: Request) -> Reply:
        return Reply(200, LOGIN, "text/html") if path in request.path else route(request)

    jenkins._route = routed  # type: ignore[method-assign]
    act = {
        "config.xml": lambda: admin.server.config("ml/nightly"),
        "api/json": lambda: admin.trigger("nightly"),
        "pendingInput": lambda: admin.approve(build),
        "logText": lambda: list(admin.logs(build)),
    }[path]
    with pytest.raises(JenkinsError) as caught:
        act()
    assert caught.value.code == "JEN_NOT_JENKINS"


@pytest.mark.parametrize(
    ("body", "act"),
    [
        (b"{}", lambda admin: admin.build("nightly")),
        (b'{"number": "x"}', lambda admin: admin.build("nightly")),
        (b'{"number": 1e999}', lambda admin: admin.build("nightly")),
        (b'{"jobs": 5}', lambda admin: admin.plan()),
        (b'{"jobs": [{}]}', lambda admin: admin.plan()),
        (b'{"jobs": [{"name": "a", "description": []}]}', lambda admin: admin.plan_prune()),
        (b'{"jobs": [{"name": 5}]}', lambda admin: admin.trigger("flight-delays")),
        (b'{"property": [5]}', lambda admin: admin.trigger("nightly")),
        (b'{"property": [{"parameterDefinitions": {"name": 5}}]}', lambda admin: admin.trigger("nightly")),
    ],
)
def test_fields_of_other_types_are_not_jenkins(
    admin: Admin, jenkins: Double, body: bytes, act: Callable[[Admin], object]
) -> None:
    admin.apply()
    route = jenkins._route
    answer = Reply(200, body, "application/json")
    jenkins._route = lambda request: answer if "api/json" in request.path else route(request)  # type: ignore[method-assign]
    with pytest.raises(JenkinsError) as caught:
        act(admin)
    assert caught.value.code == "JEN_NOT_JENKINS"


def test_a_login_that_does_not_arrive_is_named(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin()
    admin.apply()
    guard = jenkins._guard

    def without(request: Request) -> Reply | None:
        del request.headers["Authorization"]
        return guard(request)

    jenkins._guard = without  # type: ignore[method-assign]
    with pytest.raises(JenkinsError) as caught:
        admin.plan()
    assert caught.value.code == "JEN_LOGIN"
    assert "proxy" in caught.value.todo
    checks = list(admin.doctor())
    assert [(one.name, one.verdict) for one in checks][-1] == ("login", "failed")
    assert "Authorization" in checks[-1].todo
    # With anonymous read, a visitor does not see the folder.
    jenkins._guard = lambda request: None  # type: ignore[method-assign]
    jenkins._who = lambda: {"anonymous": True, "authenticated": True, "name": "anonymous"}  # type: ignore[method-assign]
    jenkins.state.top.children.clear()
    with pytest.raises(JenkinsError, match="anonymous visitor"):
        open_admin().plan()


def test_a_read_that_is_sent_to_a_login_elsewhere(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin()
    admin.apply()
    jenkins._route = lambda request: Reply(302, headers={"Location": "https://idp.invalid/signin?to=x"})  # type: ignore[method-assign]
    for act in (admin.plan, admin.status, lambda: admin.trigger("nightly")):
        with pytest.raises(JenkinsError) as caught:
            act()
        assert caught.value.code == "JEN_REDIRECT"
        assert "https://idp.invalid/signin" in caught.value.what
        assert "login page" in caught.value.todo
