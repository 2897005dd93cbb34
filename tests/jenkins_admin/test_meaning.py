"""Two configurations mean the same, or differ in exactly what a person would name."""

from __future__ import annotations

import pytest

from jenkins_admin import xmltree
from jenkins_admin.canonical import canonical
from jenkins_admin.diff import Change, differences
from tests.jenkins_admin.conftest import RECORDED


def compared(live: str, wanted: str) -> list[Change]:
    return differences(canonical(xmltree.parse(live)), canonical(xmltree.parse(wanted)))


def read(name: str) -> str:
    return (RECORDED / f"{name}.config.xml").read_text()


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ("<a plugin='git@5.2.0'><b/></a>", "<a/>"),
        ("<?xml version='1.1' encoding='UTF-8'?>\n<a>\n  <b>x</b>\n</a>\n", "<a><b>x</b></a>"),
        ("<a><b>false</b><c></c><actions/></a>", "<a/>"),
        ("<a><b>1</b><c>2</c></a>", "<a><c>2</c><b>1</b></a>"),
        ("<a><daysToKeep>-1</daysToKeep></a>", "<a/>"),
        ("<a><retriever class='x.R'><libraryPath>.</libraryPath></retriever></a>", "<a><retriever class='x.R'/></a>"),
        ("<a><s><owner class='x' reference='../..'/><t>1</t></s></a>", "<a><s><t>1</t></s></a>"),
        ("<a><submoduleCfg class='empty-list'/></a>", "<a><submoduleCfg class='list'/></a>"),
        (
            "<a><c class='java.util.Arrays$ArrayList'><a class='string-array'><string>x</string></a></c></a>",
            "<a><c><string>x</string></c></a>",
        ),
        ("<a><d>one&#xd;\ntwo</d></a>", "<a><d>one\ntwo</d></a>"),
        ("<a><b>true</b>&#10;</a>", "<a><b>true</b></a>"),
    ],
)
def test_mean_the_same(live: str, wanted: str) -> None:
    assert compared(live, wanted) == []
    assert compared(wanted, live) == []


@pytest.mark.parametrize(
    ("live", "wanted"),
    [
        ("<a><b>true</b></a>", "<a/>"),
        ("<a><libraryPath>lib/</libraryPath></a>", "<a/>"),
        ("<a><d> </d></a>", "<a/>"),
        ("<a><l><x.Trait/></l></a>", "<a><l/></a>"),
        (
            "<a><choices><string>x</string><string>y</string></choices></a>",
            "<a><choices><string>y</string><string>x</string></choices></a>",
        ),
        (
            "<a><choices><string></string><string>y</string></choices></a>",
            "<a><choices><string>y</string></choices></a>",
        ),
        ("<a><s class='x.One'/></a>", "<a><s class='x.Two'/></a>"),
        ("<a><d>x </d></a>", "<a><d>x</d></a>"),
    ],
)
def test_differ(live: str, wanted: str) -> None:
    assert len(compared(live, wanted)) == 1
    assert len(compared(wanted, live)) == 1


@pytest.mark.parametrize(
    ("name", "old", "new", "path", "kind"),
    [
        ("pipeline-from-scm", "<spec>H 2 * * *</spec>", "<spec>H 5 * * *</spec>", "TimerTrigger.spec", "change"),
        ("pipeline-from-scm", "<name>*/main</name>", "<name>*/dev</name>", "BranchSpec", ""),
        ("pipeline-from-scm", "<disabled>false", "<disabled>true", "disabled", "change"),
        ("pipeline-from-scm", "<lightweight>true", "<lightweight>false", "definition.lightweight", "change"),
        ("pipeline-from-scm", "<string>production", "<string>canary", "ParameterDefinition[TARGET].choices", "change"),
        ("pipeline-from-scm", "<numToKeep>20</numToKeep>", "<numToKeep>9</numToKeep>", "strategy.numToKeep", "change"),
        ("pipeline-from-scm", "<keepDependencies>", "<quietPeriod>5</quietPeriod><keepDependencies>", "quiet", "add"),
        ("multibranch", "<interval>3600000", "<interval>60000", "PeriodicFolderTrigger.interval", "change"),
        ("multibranch", "ci/Jenkinsfile", "Jenkinsfile", "factory.scriptPath", "change"),
        ("multibranch", "<jenkins.plugins.git.traits.BranchDiscoveryTrait/>", "", "BranchDiscoveryTrait", "remove"),
        ("folder-with-library", "v1.0.0", "main", "LibraryConfiguration[mlci].defaultVersion", "change"),
        ("folder-with-library", "<implicit>false", "<implicit>true", "LibraryConfiguration[mlci].implicit", "change"),
    ],
)  # fmt: skip
def test_a_change_by_hand_shows_exactly(name: str, old: str, new: str, path: str, kind: str) -> None:
    text = read(name)
    assert text.count(old) == 1, old
    found = compared(text, text.replace(old, new))
    assert found, "nothing was seen"
    assert all(path in change.path for change in found), [str(change) for change in found]
    if kind:
        assert [change.kind for change in found] == [kind]


def test_a_parameter_added_by_hand_is_one_change() -> None:
    text = read("pipeline-from-scm")
    tag = "hudson.model.StringParameterDefinition"
    new = f"<{tag}><name>X</name><defaultValue>1</defaultValue></{tag}>"
    found = compared(text.replace("</parameterDefinitions>", f"{new}</parameterDefinitions>"), text)
    assert [(change.kind, change.path.rsplit(".", 1)[-1]) for change in found] == [
        ("remove", "StringParameterDefinition[X]")
    ]


def test_the_order_of_parameters_has_a_meaning_that_of_properties_none() -> None:
    text = read("pipeline-from-scm")
    root = xmltree.parse(text)
    properties = root.find("properties")
    assert properties is not None
    properties[:] = list(reversed(properties))
    assert differences(canonical(root), canonical(xmltree.parse(text))) == []
    definitions = root.find(".//parameterDefinitions")
    assert definitions is not None
    definitions[:] = list(reversed(definitions))
    assert [c.kind for c in differences(canonical(root), canonical(xmltree.parse(text)))] == ["order"]


def test_secrets_are_not_shown() -> None:
    found = compared("<a><authToken>abc</authToken></a>", "<a/>")
    assert "abc" not in str(found)
    encrypted = "{AQAAABAAAAAQwVjCodKJEFgzQwqGOQaN4hHyL6F5SHWbN7OvOGM/Z4A=}"
    assert "AQAAAB" not in str(compared(f"<a><defaultValue>{encrypted}</defaultValue></a>", "<a/>"))


def test_changes_read_as_lines() -> None:
    assert str(Change("a.b", "change", "1", "2")) == "~ a.b: 1 -> 2"
    assert str(Change("a", "add", "", "x")) == "+ a: x"
    assert str(Change("a", "remove", "x" * 200)) == "- a: " + "x" * 159 + "…"
    assert str(Change("a", "change", "x\ny", "")) == r"~ a: x\ny -> (nothing)"
