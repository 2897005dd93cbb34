"""doctor: each line fine, or what to do."""

from __future__ import annotations

import pytest

from jenkins_admin import Admin
from tests.jenkins_admin.conftest import YAML, Open
from tests.jenkins_admin.double.server import PASSWORD, TOKEN, Double


def found(admin: Admin) -> dict[str, tuple[str, str]]:
    return {check.name: (check.verdict, check.found) for check in admin.doctor()}


def test_a_jenkins_that_has_everything(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.plugins["lockable-resources"] = "1185"
    jenkins.forget()
    checks = list(admin.doctor())
    assert {check.verdict for check in checks} == {"ok"}, [check for check in checks if check.verdict != "ok"]
    assert [check.name for check in checks] == [
        *(
            "address",
            "encryption",
            "login",
            "crumb",
            "folder",
            "create",
            "credentials",
            "plugins",
            "executors",
            "library",
        )
    ]
    assert "2.421" in checks[0].found
    assert "python" in found(admin)["executors"][1]
    assert {path.split("?")[0] for _, path in jenkins.writes} == {
        "/job/ml/createItem",
        "/job/ml/descriptorByName/org.jenkinsci.plugins.workflow.libs.LibraryConfiguration/checkDefaultVersion",
    }, "questions that Jenkins takes by POST only"
    assert set(jenkins.state.item("ml").children) == {"flight-delays", "nightly"}


def test_before_the_first_apply(admin: Admin, jenkins: Double) -> None:
    result = found(admin)
    assert result["folder"] == ("ok", "ml does not exist yet: apply makes it")
    assert result["create"] == ("ok", "items may be made in the top level")
    assert result["library"][0] == result["credentials"][0] == "skipped"
    assert jenkins.state.top.children == {}


def test_a_wrong_token_ends_it(open_admin: Open) -> None:
    result = found(open_admin(YAML, "server.token=wrong"))
    assert list(result) == ["address", "encryption", "login"]
    assert result["login"][0] == "failed"
    assert "wrong" not in str(result)


def test_nobody_there(open_admin: Open) -> None:
    result = found(open_admin(YAML, "server.url=http://127.0.0.1:1", "server.retries=0"))
    assert list(result) == ["address"]
    assert "connection refused" in result["address"][1]


def test_a_password_is_a_warning(open_admin: Open) -> None:
    text = YAML.replace(', token: "${JENKINS_TOKEN}"', ', password: "${PASSWORD}"')
    result = found(open_admin(text, PASSWORD=PASSWORD))
    assert result["login"] == ("warning", "admin, by password")
    assert result["crumb"] == ("ok", "issued")


@pytest.mark.parametrize(
    ("change", "name", "verdict", "todo"),
    [
        (lambda j: j.plugins.pop("git"), "plugin git", "failed", "install git"),
        (lambda j: j.plugins.update({"git": "4.11.0"}), "plugin git", "warning", "update it to 5.0"),
        (lambda j: j.plugins.update({"workflow-job": "1207.ve6191ff089f8"}), "plugin workflow-job", "warning", "1300"),
        (lambda j: j.plugins.pop("plain-credentials"), "plugin plain-credentials", "failed", "install plain"),
        (lambda j: j.plugins.pop("pipeline-rest-api"), "plugin pipeline-rest-api", "warning", "approvals"),
        (lambda j: j.forbidden.append(("GET", "pluginManager")), "plugins", "skipped", "SystemRead"),
        (lambda j: j.forbidden.append(("POST", "createItem")), "create", "failed", "Job/Create"),
        (lambda j: j.forbidden.append(("GET", "/job/ml/config.xml")), "folder", "failed", "Job/ExtendedRead"),
    ],
)
def test_what_is_missing_is_named(admin: Admin, jenkins: Double, change, name: str, verdict: str, todo: str) -> None:
    admin.apply()
    change(jenkins)
    check = next(check for check in admin.doctor() if check.name == name)
    assert check.verdict == verdict
    assert todo in check.todo


def test_a_version_of_the_library_that_is_not_there(open_admin: Open) -> None:
    text = YAML.replace("v1.0.0", "missing-v9")
    open_admin(text).apply()
    assert found(open_admin(text))["library"] == (
        "failed",
        "mlci@missing-v9: Revision seems invalid: ERROR: Could not resolve missing-v9",
    )


def test_a_repository_of_the_library_that_does_not_answer(open_admin: Open) -> None:
    text = YAML.replace("v1.0.0", "unreachable-v1")
    open_admin(text).apply()
    verdict, said = found(open_admin(text))["library"]
    assert verdict == "failed"
    assert "does not appear to be a git repository" in said


def test_a_path_at_which_no_jenkins_begins(open_admin: Open, jenkins: Double) -> None:
    result = found(open_admin(YAML, f"server.url={jenkins.url}/ci"))
    assert list(result)[-1] in ("address", "login")
    assert list(result.values())[-1] == ("failed", f"no Jenkins begins at {jenkins.url}/ci/")


def test_no_secret_is_shown(admin: Admin) -> None:
    assert TOKEN not in str(list(admin.doctor()))


def test_a_proxy_that_decodes_addresses(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.branch("ml/flight-delays", "main")
    assert "proxy" not in found(admin), "nothing to try it with"
    jenkins.branch("ml/flight-delays", "feature/x")
    assert found(admin)["proxy"] == ("ok", "addresses arrive as they are sent: flight-delays/feature/x")
    jenkins.fail(404, path="feature%252Fx", times=99)
    verdict, shown = found(admin)["proxy"]
    assert (verdict, "proxy in front decodes %2F" in shown) == ("failed", True)
