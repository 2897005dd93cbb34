"""Jobs of branches are named as the branch-api plugin names them, and found whatever the branch is called."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jenkins_admin import branchnames
from jenkins_admin.connection import JenkinsError
from stages.errors import UsageError
from tests.jenkins_admin.conftest import Open
from tests.jenkins_admin.double.server import Double


@pytest.mark.parametrize(
    ("branch", "name"),
    [
        ("main", "main"),
        ("feature/x", "feature%2Fx"),
        ("fix+1", "fix+1"),
        ("a b", "a b"),
        ("user@topic", "user@topic"),
        ("über/ß", "über%2Fß"),
        ("100%", "100%25"),
        ("%2F", "%252F"),
        ("a#b?[c]\\d", "a%23b%3F%5Bc%5D%5Cd"),
        ("a=b,c;d!e'f(g)*h:i&j$k~l^m{n}|o\"p<q>`", "a=b,c;d!e'f(g)*h:i&j$k~l^m{n}|o\"p<q>`"),
        (".", "%2E"),
        ("..", "%2E."),
        ("...", "..."),
        (".a.", ".a."),
        ("v1.2.", "v1.2."),
    ],
)
def test_names(branch: str, name: str) -> None:
    assert branchnames.encode(branch) == name
    assert branchnames.decode(name) == branch


@settings(max_examples=50, deadline=None)
@given(st.text(max_size=30))
def test_every_branch_is_found_again_by_its_name(branch: str) -> None:
    assert branchnames.decode(branchnames.encode(branch)) == branch
    assert "/" not in branchnames.encode(branch)


@pytest.mark.parametrize("branch", ["fix+1", "user@topic", "feature/ü b", "feat!(1)", "a=b,c;d", "50%", "v1."])
def test_a_branch_that_exists_is_never_missing(open_admin: Open, jenkins: Double, branch: str) -> None:
    admin = open_admin()
    admin.apply()
    jenkins.branch("ml/flight-delays", branch)
    assert admin.status("flight-delays")[0].state == "NEVER BUILT"
    admin.trigger("flight-delays", branch=branch)
    assert admin.build("flight-delays").number == admin.build("flight-delays", branch=branch).number == 1
    assert len(admin.status("flight-delays")) == 1


def test_a_job_named_by_an_older_plugin_is_found_by_the_listing(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin()
    admin.apply()
    made = jenkins.branch("ml/flight-delays", "x")
    item = jenkins.state.item("ml/flight-delays").children.pop("x")
    item.name = "a%20b"
    jenkins.state.item("ml/flight-delays").children["a%20b"] = item
    assert made.endswith("/x")
    assert admin.status("flight-delays")[0].state == "NEVER BUILT"
    assert admin.job("flight-delays").path == "ml/flight-delays/a%20b"


def test_a_proxy_that_decodes_addresses_is_named(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin()
    admin.apply()
    jenkins.branch("ml/flight-delays", "feature/x")
    jenkins.fail(404, path=r"feature%252Fx", times=10)
    with pytest.raises(JenkinsError) as caught:
        admin.trigger("flight-delays", branch="feature/x")
    assert (caught.value.code, caught.value.exit_code) == ("JEN_PROXY", 5)
    assert "proxy" in caught.value.what
    with pytest.raises(UsageError):
        admin.trigger("flight-delays", branch="feature/y")
