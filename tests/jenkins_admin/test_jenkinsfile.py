"""A job whose Jenkinsfile sets parameters, triggers or options: not drift, unless the file says otherwise.

What Jenkins notes about them was seen in the config.xml of jobs that had been built once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from jenkins_admin import Admin, xmltree
from jenkins_admin.plan import Plan
from tests.jenkins_admin.conftest import YAML, Open
from tests.jenkins_admin.double.server import Double

SCRIPTED = """<org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction plugin="workflow-multibranch@756">
  <jobPropertyDescriptors>{}</jobPropertyDescriptors>
</org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction>"""
DECLARATIVE = """<org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction>
  <jobProperties><string>jenkins.model.BuildDiscarderProperty</string></jobProperties>
  <triggers><string>hudson.triggers.TimerTrigger</string></triggers>
  <parameters><string>WHO</string></parameters>
  <options/>
</org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction>"""
ONE_AT_A_TIME = "org.jenkinsci.plugins.workflow.job.properties.DisableConcurrentBuildsJobProperty"
PROPERTIES = {
    "hudson.model.ParametersDefinitionProperty": """<parameterDefinitions>
        <hudson.model.StringParameterDefinition><name>WHO</name><trim>false</trim></hudson.model.StringParameterDefinition>
      </parameterDefinitions>""",
    "org.jenkinsci.plugins.workflow.job.properties.PipelineTriggersJobProperty": """<triggers>
        <hudson.triggers.TimerTrigger><spec>H 3 * * *</spec></hudson.triggers.TimerTrigger></triggers>""",
    "jenkins.model.BuildDiscarderProperty": """<strategy class="hudson.tasks.LogRotator">
        <numToKeep>5</numToKeep></strategy>""",
    ONE_AT_A_TIME: "<abortPrevious>true</abortPrevious>",
    "com.example.Note_-Property": "<note>x</note>",
}
PLAIN = YAML.replace("    cron:", "    #").replace("    discard:", "    #").replace("    parameters:", "    #")


def changed(plan: Plan) -> dict[str, list[str]]:
    return {action.path: [str(change) for change in action.changes] for action in plan.actions}


def built(jenkins: Double, actions: str, properties: Iterable[str]) -> None:
    """A build of nightly ran, and its Jenkinsfile wrote these into the job."""
    jenkins.state.save("ml/nightly")
    item = jenkins.state.item("ml/nightly")
    for gone in item.root.findall("actions"):
        item.root.remove(gone)
    item.root.insert(0, xmltree.parse(f"<actions>{actions}</actions>"))
    holder = item.root.find("properties")
    assert holder is not None
    for tag in properties:
        for gone in holder.findall(tag):
            holder.remove(gone)
        holder.append(xmltree.parse(f"<{tag}>{PROPERTIES[tag]}</{tag}>"))
    item.xml = xmltree.serialise(item.root)


def test_what_a_scripted_jenkinsfile_sets_is_no_drift_and_stays(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(PLAIN)
    admin.apply()
    names = [tag.replace("_-", "$") for tag in PROPERTIES]
    built(jenkins, SCRIPTED.format("".join(f"<string>{name}</string>" for name in names)), PROPERTIES)
    assert not admin.plan().pending
    other = open_admin(PLAIN.replace("branch: main", "branch: next"))
    assert "properties" not in str(changed(other.plan()))
    other.apply()
    kept = jenkins.state.item("ml/nightly").root
    assert {child.tag for child in kept.find("properties") or []} == set(PROPERTIES)
    assert kept.findtext(f"properties/{ONE_AT_A_TIME}/abortPrevious") == "true"
    assert kept.find("actions/*") is not None, "Jenkins takes them out again when the Jenkinsfile does"
    assert not other.plan().pending


def test_what_a_declarative_pipeline_names_is_its_own_and_nothing_else(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(PLAIN)
    admin.apply()
    three = [tag for tag in PROPERTIES if "." in tag and tag not in (ONE_AT_A_TIME, "com.example.Note_-Property")]
    built(jenkins, DECLARATIVE, three)
    assert not admin.plan().pending
    built(jenkins, DECLARATIVE.replace("<string>WHO</string>", "<string>OTHER</string>"), three)
    (change,) = changed(admin.plan())["ml/nightly"]
    assert re.match(r"- .*WHO", change), "a parameter made by hand"
    built(jenkins, DECLARATIVE.replace("hudson.triggers.TimerTrigger", "hudson.triggers.SCMTrigger"), three)
    (change,) = changed(admin.plan())["ml/nightly"]
    assert re.match(r"- .*H 3 \* \* \*", change), "a trigger made by hand"


def test_a_key_of_the_file_wins_over_the_jenkinsfile(admin: Admin, open_admin: Open, jenkins: Double) -> None:
    admin.apply()
    built(jenkins, DECLARATIVE, ["jenkins.model.BuildDiscarderProperty"])
    assert changed(admin.plan()) == {
        "ml/nightly": ["~ properties.BuildDiscarderProperty.strategy.numToKeep: 5 -> 20"],
    }
    aborts = open_admin(YAML.replace("    branch: main", "    branch: main\n    abort_previous: false"))
    built(jenkins, SCRIPTED.format(f"<string>{ONE_AT_A_TIME}</string>"), [ONE_AT_A_TIME])
    assert any("abortPrevious: true -> false" in change for change in changed(aborts.plan())["ml/nightly"])


def test_what_a_person_added_beside_a_jenkinsfile_is_still_drift(open_admin: Open, jenkins: Double) -> None:
    admin = open_admin(PLAIN)
    admin.apply()
    built(jenkins, SCRIPTED.format("<string>jenkins.model.BuildDiscarderProperty</string>"), PROPERTIES)
    paths = " ".join(changed(admin.plan())["ml/nightly"])
    assert "BuildDiscarder" not in paths
    assert all(word in paths for word in ("ParametersDefinition", "PipelineTriggers", "Property", "abortPrevious"))
