"""plan, apply and prune against the double."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from jenkins_admin import Admin, credentials, xmltree
from jenkins_admin.connection import JenkinsError
from jenkins_admin.plan import Plan
from tests.jenkins_admin.conftest import COST, YAML, Open
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.double.state import Script

FOLDER = b"<com.cloudbees.hudson.plugins.folder.Folder><properties/></com.cloudbees.hudson.plugins.folder.Folder>"


def shown(plan: Plan) -> list[str]:
    return [f"{action.verb} {action.label}" for action in plan.actions]


def changed(plan: Plan) -> dict[str, list[str]]:
    return {action.path: [str(change) for change in action.changes] for action in plan.actions}


def edit(jenkins: Double, path: str, old: str, new: str) -> None:
    """A person changes something in the form and saves it."""
    jenkins.state.save(path)
    item = jenkins.state.item(path)
    text = item.xml.decode()
    assert text.count(old) == 1, f"{old} in {text}"
    item.xml = text.replace(old, new).encode()
    item.root = xmltree.parse(item.xml)


# ---- from nothing, and again -------------------------------------------------------------------------------------


def test_from_nothing_by_one_apply_and_nothing_by_the_second(admin: Admin, jenkins: Double) -> None:
    assert shown(admin.plan()) == [
        "create folder ml",
        "create credential ml/git-token",
        "create credential ml/api-key",
        "create job ml/flight-delays",
        "create job ml/nightly",
    ]
    assert jenkins.writes == [], "plan writes nothing"
    assert admin.apply().writes == 5
    assert len(jenkins.writes) == 5, "one request each"
    jenkins.forget()
    outcome = admin.apply()
    assert (outcome.writes, outcome.unchanged) == (0, 5)
    assert jenkins.writes == []
    assert not admin.plan().pending


def test_a_job_costs_one_request(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    assert [path for _, path in jenkins.requests if "nightly" in path] == ["/job/ml/createItem?name=nightly"]
    jenkins.forget()
    admin.apply()
    assert [path for _, path in jenkins.requests if "nightly" in path] == ["/job/ml/job/nightly/config.xml"]


def test_another_machine_plans_the_same(admin: Admin, open_admin: Open) -> None:
    admin.apply()
    assert not open_admin().plan().pending


def test_folders_above_are_made_and_left_alone(open_admin: Open, jenkins: Double) -> None:
    text = YAML.replace("folder: ml", "folder: a/b/ml") + "folders: [{name: sub/deep}]\n"
    admin = open_admin(text)
    assert shown(admin.plan())[:3] == ["create folder a", "create folder a/b", "create folder a/b/ml"]
    admin.apply()
    assert not admin.plan().pending
    jenkins.state.item("a").root.append(xmltree.element("description", "by hand"))
    assert not open_admin(text).plan().pending


def test_saving_the_form_alone_is_no_change(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    for form in (False, True):
        for path in ("ml", "ml/flight-delays", "ml/nightly"):
            jenkins.state.save(path, form)
        assert changed(admin.plan()) == {}


@pytest.mark.parametrize(
    ("path", "old", "new", "expected"),
    [
        ("ml/nightly", "H 2 * * *", "H 9 * * *", "TimerTrigger.spec: H 9 * * * -> H 2 * * *"),
        ("ml/nightly", "<string>production</string>", "", "choices: [staging] -> [staging, production]"),
        ("ml/nightly", "<disabled>false", "<disabled>true", "~ disabled: true -> false"),
        ("ml/nightly", "<numToKeep>20", "<numToKeep>2", "strategy.numToKeep: 2 -> 20"),
        ("ml/nightly", "*/main", "*/dev", "BranchSpec[*/dev]"),
        ("ml/flight-delays", "flights.git", "other.git", "source.remote: https://git.example.com/ml/other.git -> "),
        ("ml/flight-delays", "<interval>3600000", "<interval>60000", "interval: 60000 -> 3600000"),
        ("ml", "<defaultVersion>v1.0.0", "<defaultVersion>main", "defaultVersion: main -> v1.0.0"),
    ],
)
def test_a_change_by_hand_is_seen_and_undone(
    admin: Admin, jenkins: Double, path: str, old: str, new: str, expected: str
) -> None:
    admin.apply()
    edit(jenkins, path, old, new)
    found = changed(admin.plan())
    assert list(found) == [path]
    assert any(expected in line for line in found[path]), found
    assert all(expected.split(":")[0].split("[")[0].split(".")[0] in line for line in found[path])
    assert admin.apply().writes == 1
    assert not admin.plan().pending


def test_a_deleted_job_comes_back(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.state.delete("ml/nightly")
    assert shown(admin.plan()) == ["create job ml/nightly"]
    admin.apply()
    assert not admin.plan().pending


# ---- what the file does not speak of -----------------------------------------------------------------------------


def test_what_others_keep_in_the_folder_survives(open_admin: Open, jenkins: Double) -> None:
    jenkins.state.create("", "ml", FOLDER, "application/xml")
    folder = jenkins.state.item("ml")
    properties = folder.root.find("properties")
    assert properties is not None
    properties.append(xmltree.parse("<org.example.Budget><euros>5</euros></org.example.Budget>"))
    folder.root.append(xmltree.element("description", "by hand"))
    folder.root.append(xmltree.parse("<icon class='org.example.Icon'/>"))
    jenkins.state.save("ml")
    jenkins.state.store("ml", b"<x.Cred><id>theirs</id><secret>s</secret></x.Cred>")
    jenkins.state.create("ml", "theirs", b"<flow-definition/>", "application/xml")
    admin = open_admin()
    admin.apply()
    jenkins.state.save("ml")
    text = folder.xml.decode()
    assert "<euros>5</euros>" in text
    assert "org.example.Icon" in text
    assert "by hand" in text
    assert "<name>mlci</name>" in text
    assert set(folder.credentials) == {"theirs", "git-token", "api-key"}
    assert jenkins.state.config("ml/theirs").endswith(b"<flow-definition/>")
    assert not admin.plan().pending
    assert admin.prunable() == ()


def test_the_library_of_others_survives_beside_ours(open_admin: Open, jenkins: Double) -> None:
    other = open_admin(YAML.replace("name: mlci,", "name: theirs,") + "owner: other\n")
    other.apply()
    renamed = YAML.replace("git-token", "our-token").replace("api-key", "our-key")
    admin = open_admin(renamed.replace("flight-delays", "x").replace("nightly", "y"))
    admin.apply()
    text = jenkins.state.config("ml").decode()
    assert "<name>theirs</name>" in text
    assert "<name>mlci</name>" in text
    assert not other.plan().pending
    assert not admin.plan().pending


def test_writing_a_folder_keeps_credentials_that_were_made_in_between(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    edit(jenkins, "ml", "<defaultVersion>v1.0.0", "<defaultVersion>main")
    plan = admin.plan()
    jenkins.state.store("ml", b"<x.Cred><id>late</id></x.Cred>")
    admin.apply(plan)
    assert set(jenkins.state.item("ml").credentials) == {"git-token", "api-key", "late"}


def test_a_folder_whose_secrets_are_blanked_is_not_written(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    edit(jenkins, "ml", "<defaultVersion>v1.0.0", "<defaultVersion>main")
    folder = jenkins.state.item("ml")
    folder.xml = folder.xml.replace(b"{ENCRYPTED-BY-THE-CONTROLLER}", b"********")
    with pytest.raises(JenkinsError, match="writing it would lose them"):
        admin.apply()
    assert set(folder.credentials) == {"git-token", "api-key"}


def test_the_id_of_a_branch_source_is_kept(admin: Admin, jenkins: Double) -> None:
    """Another id would make Jenkins build every branch again."""
    admin.apply()
    edit(jenkins, "ml/flight-delays", "<id>mlci-flight-delays</id>", "<id>from-before</id>")
    assert not admin.plan().pending
    edit(jenkins, "ml/flight-delays", "<interval>3600000", "<interval>60000")
    admin.apply()
    assert b"<id>from-before</id>" in jenkins.state.config("ml/flight-delays")


def test_what_a_multibranch_project_holds_besides_survives(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.state.store("ml/flight-delays", b"<x.Cred><id>inner</id></x.Cred>")
    assert not admin.plan().pending
    edit(jenkins, "ml/flight-delays", "<interval>3600000", "<interval>60000")
    admin.apply()
    assert set(jenkins.state.item("ml/flight-delays").credentials) == {"inner"}


def test_shells_of_plugins_are_no_drift_properties_with_content_are(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    edit(jenkins, "ml/nightly", "<properties>", "<properties><x.Connection><name></name><on>false</on></x.Connection>")
    assert not admin.plan().pending
    edit(jenkins, "ml/nightly", "<properties>", "<properties><x.Quota><limit>5</limit></x.Quota>")
    assert changed(admin.plan()) == {"ml/nightly": ["- properties.Quota: {limit: 5}"]}


# ---- somebody else's ---------------------------------------------------------------------------------------------


def test_a_job_made_by_hand_is_taken_over_when_told(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin()
    jenkins.state.create("", "ml", FOLDER, "application/xml")
    by_hand = b"<flow-definition><description>mine</description></flow-definition>"
    jenkins.state.create("ml", "nightly", by_hand, "application/xml")
    action = next(action for action in admin.plan().actions if action.path == "ml/nightly")
    assert action.verb == "refuse"
    assert "adopt: true" in action.note
    assert any(change.path == "definition" for change in action.changes), "what taking it over would change"
    with pytest.raises(JenkinsError, match="made by hand"):
        admin.apply()
    assert jenkins.state.config("ml/nightly").endswith(by_hand)
    admin = open_admin(YAML + "    adopt: true\n")
    action = next(action for action in admin.plan().actions if action.path == "ml/nightly")
    assert (action.verb, action.note) == ("update", "was made by hand: the file takes it over")
    admin.apply()
    assert not admin.plan().pending
    assert not open_admin().plan().pending, "and it is not needed any more"


def test_a_job_of_another_file_is_refused_and_the_rest_is_done(open_admin: Open, jenkins: Double) -> None:
    open_admin(YAML + "owner: first\n").apply()
    before = jenkins.state.config("ml/nightly")
    second = open_admin(YAML.replace("name: flight-delays", "name: more") + "owner: second\n")
    plan = second.plan()
    assert [(a.verb, a.path) for a in plan.refused] == [
        ("refuse", "ml/git-token"),
        ("refuse", "ml/api-key"),
        ("refuse", "ml/nightly"),
    ]
    assert "owner first" in plan.refused[0].note
    with pytest.raises(JenkinsError) as caught:
        second.apply()
    assert caught.value.code == "JEN_INCOMPLETE"
    assert jenkins.state.config("ml/nightly") == before


def test_another_kind_of_item_is_refused(open_admin: Open) -> None:
    open_admin().apply()
    text = YAML.split("  - name: nightly")[0] + "  - {name: nightly, git: x}\n"
    admin = open_admin(text)
    assert [(a.verb, a.path) for a in admin.plan().actions] == [("refuse", "ml/nightly")]


def test_names_that_differ_in_case_only_are_refused(open_admin: Open) -> None:
    open_admin().apply()
    found = open_admin(YAML.replace("name: nightly", "name: Nightly")).plan()
    assert [(a.verb, a.path) for a in found.refused] == [("refuse", "ml/Nightly")]


# ---- credentials -------------------------------------------------------------------------------------------------


def test_a_changed_secret_is_written_and_an_unchanged_one_not(open_admin: Open, jenkins: Double) -> None:
    open_admin().apply()
    jenkins.forget()
    admin = open_admin(API_KEY="api-secret-2")
    assert changed(admin.plan()) == {"ml/api-key": ["~ secret: (another) -> (from the file)"]}
    assert admin.apply().writes == 1
    assert jenkins.writes == [("POST", "/job/ml/credentials/store/folder/domain/_/credential/api-key/config.xml")]
    stored = jenkins.state.item("ml").credentials["api-key"]
    assert stored.findtext("secret") == "api-secret-2"
    assert not open_admin(API_KEY="api-secret-2").plan().pending


def test_the_fingerprint_is_salted_and_no_secret_is_in_it(
    open_admin: Open, jenkins: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(credentials, "_COST", COST)
    text = YAML.replace('password: "${GIT_TOKEN}"', 'password: "${API_KEY}"')
    open_admin(text).apply()
    found = [one.findtext("description") or "" for one in jenkins.state.item("ml").credentials.values()]
    marks = [text.split("secret=")[1] for text in found]
    assert all(mark.startswith("scrypt:15:") for mark in marks)
    assert marks[0] != marks[1], "the same secret, another salt"
    assert "api-secret-1" not in "".join(found)


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("username", "mallory", "~ username: mallory -> robot"),
        ("scope", "SYSTEM", "~ scope: SYSTEM -> GLOBAL"),
        ("description", "by hand", "secret: (made elsewhere)"),
    ],
)
def test_a_public_field_changed_by_hand_is_seen(
    admin: Admin, jenkins: Double, field: str, value: str, expected: str
) -> None:
    admin.apply()
    element = jenkins.state.item("ml").credentials["git-token"].find(field)
    assert element is not None
    element.text = value
    assert expected in "\n".join(changed(admin.plan())["ml/git-token"])
    admin.apply()
    assert not admin.plan().pending


def test_a_credential_of_another_kind_is_replaced(open_admin: Open, jenkins: Double) -> None:
    open_admin().apply()
    text = YAML.replace(
        'kind: secret_text, secret: "${API_KEY}"', 'kind: ssh_key, username: git, private_key: "${API_KEY}"'
    )
    admin = open_admin(text)
    assert shown(admin.plan()) == ["replace credential ml/api-key"]
    admin.apply()
    stored = jenkins.state.item("ml").credentials["api-key"]
    assert stored.findtext("privateKeySource/privateKey") == "api-secret-1\n", "a key ends with its line"
    assert not admin.plan().pending


def test_any_character_in_a_secret(open_admin: Open, jenkins: Double) -> None:
    secret = "é☃𝄞 <&>\"'\t\x1b\x00"[:-1] + "x" * 5000
    open_admin(API_KEY=secret).apply()
    stored = jenkins.state.item("ml").credentials["api-key"]
    assert xmltree.decoded(stored.findtext("secret")) == secret
    assert not open_admin(API_KEY=secret).plan().pending


# ---- prune -------------------------------------------------------------------------------------------------------

SHORT = YAML.split("credentials:")[0].split("library:")[0] + "models: [{name: flight-delays, git: x}]\n"


def test_prune_removes_what_the_file_made_and_no_longer_names(open_admin: Open, jenkins: Double) -> None:
    open_admin(YAML + "folders: [{name: a/b}, {name: c}]\n").apply()
    jenkins.state.create("ml", "theirs", b"<flow-definition/>", "application/xml")
    jenkins.state.create("ml/a", "theirs", b"<flow-definition/>", "application/xml")
    jenkins.state.store("ml", b"<x.Cred><id>theirs</id></x.Cred>")
    admin = open_admin(SHORT)
    admin.apply()
    assert {a.label for a in admin.plan().prunable} == {a.label for a in admin.prunable()}
    assert sorted(a.label for a in admin.prunable()) == [
        "credential ml/api-key",
        "credential ml/git-token",
        "folder ml/a/b",
        "folder ml/c",
        "job ml/nightly",
        "library ml/mlci",
    ]
    admin.prune()
    assert set(jenkins.state.item("ml").children) == {"flight-delays", "theirs", "a"}
    assert set(jenkins.state.item("ml/a").children) == {"theirs"}
    assert set(jenkins.state.item("ml").credentials) == {"theirs"}
    assert b"<name>mlci</name>" not in jenkins.state.config("ml")
    assert admin.prunable() == ()
    assert not admin.plan().pending


def test_prune_leaves_the_things_of_other_owners(open_admin: Open) -> None:
    open_admin(YAML + "owner: first\n").apply()
    assert open_admin(SHORT + "owner: second\n").prunable() == ()


# ---- failures ----------------------------------------------------------------------------------------------------


def test_a_failure_in_the_middle_names_what_was_done_and_the_next_apply_finishes(admin: Admin, jenkins: Double) -> None:
    jenkins.fail(500, method="POST", path="createCredentials")
    with pytest.raises(JenkinsError) as caught:
        admin.apply()
    error = caught.value
    assert error.code == "JEN_INCOMPLETE"
    assert "2 of 5 done, 1 failed, 2 not tried; first: credential ml/" in error.what
    assert "run mlci-admin apply again" in error.todo
    assert admin.apply().writes == 3
    assert not admin.plan().pending


def test_one_bad_job_does_not_stop_the_others(open_admin: Open, jenkins: Double) -> None:
    models = "".join(f"  - {{name: m{i}, git: x}}\n" for i in range(20))
    admin = open_admin(YAML + models)
    jenkins.fail(500, method="POST", path="/job/ml/createItem", times=1)
    outcome = admin.carry_out(admin.plan().actions)
    assert (len(outcome.done), len(outcome.failed), len(outcome.not_done)) == (24, 1, 0)
    assert admin.apply().writes == 1


def test_a_controller_that_goes_away_stops_the_rest_at_once(open_admin: Open, jenkins: Double) -> None:
    models = "".join(f"  - {{name: m{i}, git: x}}\n" for i in range(50))
    admin = open_admin(YAML + models, "server.workers=2", "server.retries=0")
    jenkins.fail("drop", method="POST", path="/job/ml/createItem", times=1000)
    outcome = admin.carry_out(admin.plan().actions)
    assert len(outcome.failed) <= 2
    assert len(outcome.not_done) >= 50
    jenkins.faults.clear()
    assert admin.apply().writes == 52
    assert not admin.plan().pending


@pytest.mark.parametrize("kind", ["lost", "drop", 429, 502, 503, 504])
@pytest.mark.parametrize("path", ["createItem", "createCredentials", "/job/ml/config.xml", "api/json"])
def test_what_may_be_repeated_is_repeated(admin: Admin, jenkins: Double, kind: int | str, path: str) -> None:
    jenkins.fail(kind, path=path)
    admin.apply()
    assert not admin.plan().pending
    assert set(jenkins.state.item("ml").children) == {"flight-delays", "nightly"}


def test_an_item_that_appears_meanwhile_is_not_overwritten(admin: Admin, jenkins: Double) -> None:
    plan = admin.plan()
    jenkins.state.create("", "ml", FOLDER, "application/xml")
    with pytest.raises(JenkinsError, match="appeared while this was running"):
        admin.apply(plan)
    assert admin.apply().writes == 5
    assert not admin.plan().pending


def test_an_interruption_starts_nothing_more(open_admin: Open, jenkins: Double) -> None:
    models = "".join(f"  - {{name: m{i}, git: x}}\n" for i in range(50))
    admin = open_admin(YAML + models, "server.workers=1")
    seen: list[str] = []

    def report(action: object, error: object) -> None:
        seen.append(str(action))
        if len(seen) == 10:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        admin.apply(report=report)
    assert len(seen) == 10
    admin.apply()
    assert not admin.plan().pending


def test_bounded_concurrency(open_admin: Open, jenkins: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    models = "".join(f"  - {{name: m{i}, git: x}}\n" for i in range(40))
    admin = open_admin(YAML + models, "server.workers=3")
    lock, now, most = threading.Lock(), 0, 0
    handle: Callable[..., object] = jenkins.handle

    def counting(request: object) -> object:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        try:
            return handle(request)
        finally:
            with lock:
                now -= 1

    monkeypatch.setattr(jenkins, "handle", counting)
    admin.apply()
    assert 1 <= most <= 3


# ---- render ------------------------------------------------------------------------------------------------------


def test_render_asks_no_server(open_admin: Open, jenkins: Double) -> None:
    documents = open_admin().render()
    assert list(documents) == ["ml", "ml/flight-delays", "ml/nightly"]
    assert jenkins.requests == []
    assert "secret-1" not in str(documents)


def test_history_of_builds_survives_an_update(admin: Admin, jenkins: Double) -> None:
    admin.apply()
    jenkins.script("ml/nightly", Script())
    jenkins.state.enqueue("ml/nightly", {})
    edit(jenkins, "ml/nightly", "H 2 * * *", "H 9 * * *")
    admin.apply()
    assert len(jenkins.state.item("ml/nightly").builds) == 1
