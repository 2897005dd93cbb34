"""What Jenkins makes of a configuration when it saves the item itself: plugin versions, every default, its own
views."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET

from jenkins_admin import xmltree

FOLDER = "com.cloudbees.hudson.plugins.folder.Folder"
MULTIBRANCH = "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject"

#: Plugin versions by the beginning of a tag or class name, as recorded.
_VERSIONS = {
    "com.cloudbees.hudson.plugins.folder.": "cloudbees-folder@6.848.ve3b_fd7839a_81",
    "org.jenkinsci.plugins.workflow.libs.": "pipeline-groovy-lib@685.v8ee9ed91d574",
    "org.jenkinsci.plugins.workflow.multibranch.": "workflow-multibranch@756.v891d88f2cd46",
    "org.jenkinsci.plugins.workflow.cps.": "workflow-cps@3774.v4a_d648d409ce",
    "jenkins.plugins.git.": "git@5.2.0",
    "hudson.plugins.git.": "git@5.2.0",
    "jenkins.branch.": "branch-api@2.1122.v09cb_8ea_8a_724",
    "flow-definition": "workflow-job@1342.v046651d5b_dfe",
}

#: Parent (tag or class) → fields that are written out although nobody set them.
_DEFAULTS: dict[str, dict[str, str]] = {
    "flow-definition": {"keepDependencies": "false", "disabled": "false"},
    MULTIBRANCH: {"disabled": "false"},
    "hudson.tasks.LogRotator": {
        "daysToKeep": "-1",
        "numToKeep": "-1",
        "artifactDaysToKeep": "-1",
        "artifactNumToKeep": "-1",
        "removeLastBuild": "false",
    },
    "hudson.model.StringParameterDefinition": {"trim": "false"},
    "hudson.model.TextParameterDefinition": {"trim": "false"},
    "hudson.triggers.SCMTrigger": {"ignorePostCommitHooks": "false"},
    "hudson.plugins.git.GitSCM": {"configVersion": "2", "doGenerateSubmoduleConfigurations": "false"},
    "com.cloudbees.hudson.plugins.folder.computed.DefaultOrphanedItemStrategy": {
        "daysToKeep": "-1",
        "numToKeep": "-1",
        "abortBuilds": "false",
    },
    "org.jenkinsci.plugins.workflow.libs.LibraryConfiguration": {"implicit": "false"},
    "org.jenkinsci.plugins.workflow.libs.SCMSourceRetriever": {"clone": "false"},
}

_FOLDER_EXTRAS = """<x>
  <folderViews class="com.cloudbees.hudson.plugins.folder.views.DefaultFolderViewHolder">
    <views><hudson.model.AllView>
      <owner class="com.cloudbees.hudson.plugins.folder.Folder" reference="../../../.."/>
      <name>All</name><filterExecutors>false</filterExecutors><filterQueue>false</filterQueue>
      <properties class="hudson.model.View$PropertyList"/>
    </hudson.model.AllView></views>
    <tabBar class="hudson.views.DefaultViewsTabBar"/>
  </folderViews>
  <healthMetrics/>
  <icon class="com.cloudbees.hudson.plugins.folder.icons.StockFolderIcon"/>
</x>"""

_MULTIBRANCH_EXTRAS = f"""<x>
  <folderViews class="jenkins.branch.MultiBranchProjectViewHolder">
    <owner class="{MULTIBRANCH}" reference="../.."/>
  </folderViews>
  <healthMetrics/>
  <icon class="jenkins.branch.MetadataActionFolderIcon"><owner class="{MULTIBRANCH}" reference="../.."/></icon>
</x>"""


def saved(root: ET.Element) -> ET.Element:
    """A copy of `root` as Jenkins would write it."""
    made = copy.deepcopy(root)
    if made.find("properties") is None:
        made.append(ET.Element("properties"))
    for tag, extras in ((FOLDER, _FOLDER_EXTRAS), (MULTIBRANCH, _MULTIBRANCH_EXTRAS)):
        if made.tag == tag:
            made.extend(extra for extra in xmltree.parse(extras) if made.find(extra.tag) is None)
    if made.tag == "flow-definition" and made.find("triggers") is None:
        made.append(ET.Element("triggers"))
    _complete(made)
    ET.indent(made)
    return made


def submitted(root: ET.Element) -> ET.Element:
    """A copy of `root` as the form makes it anew, seen on a Jenkins 2.503 with a browser.

    Properties in another order, line ends of a browser, choices in an array, empty texts left out, an empty credential.
    """
    made = saved(root)
    properties = made.find("properties")
    if properties is not None:
        properties[:] = list(reversed(properties))
    for element in list(made.iter()):
        if element.tag == "choices" and len(element):
            array = ET.Element("a", {"class": "string-array"})
            array.extend(list(element))
            element[:] = [array]
            element.set("class", "java.util.Arrays$ArrayList")
        if element.tag in ("description", "defaultValue") and element.text:
            element.text = element.text.replace("\r\n", "\n").replace("\n", "\r\n")
        if element.get("class") == "jenkins.plugins.git.GitSCMSource" and element.find("credentialsId") is None:
            ET.SubElement(element, "credentialsId").text = ""
        for child in list(element):
            if child.tag in ("description", "defaultValue") and not child.text and not len(child):
                element.remove(child)
    return made


def _complete(element: ET.Element, around: str = "") -> None:
    """Fill in defaults; name a plugin's version where the plugin differs from that of the element around."""
    if element.get("reference") is not None:
        return
    version = around
    for key in (element.tag, element.get("class", "")):
        for field, value in _DEFAULTS.get(key, {}).items():
            if element.find(field) is None:
                ET.SubElement(element, field).text = value
        version = next((v for prefix, v in _VERSIONS.items() if key.startswith(prefix)), version)
        if key == "hudson.plugins.git.GitSCM":
            for field, cls in (("submoduleCfg", "empty-list"), ("extensions", "")):
                if element.find(field) is None:
                    ET.SubElement(element, field, {"class": cls} if cls else {})
    if version != around:
        element.set("plugin", version)
    for child in element:
        _complete(child, version)
