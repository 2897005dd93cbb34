"""What a pipeline's own Jenkinsfile has put into its job: parameters, triggers, options.

A build that runs `properties([…])`, or a declarative pipeline with `parameters`, `triggers` or `options`, writes them
into the job's configuration and notes beside them, in `actions`, that they are its own. Taking them out would change
a job that nobody changed, and the next build would put them back.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET

from jenkins_admin.xmltree import decoded

PARAMETERS = "hudson.model.ParametersDefinitionProperty"
TRIGGERS = "org.jenkinsci.plugins.workflow.job.properties.PipelineTriggersJobProperty"
_SCRIPTED = "org.jenkinsci.plugins.workflow.multibranch.JobPropertyTrackerAction"
_DECLARATIVE = "org.jenkinsci.plugins.pipeline.modeldefinition.actions.DeclarativeJobPropertyTrackerAction"


def own_properties(live: ET.Element) -> dict[str, ET.Element]:
    """Tag → property of the job `live`, as far as its Jenkinsfile set it; copies.

    Of a declarative pipeline's parameters and triggers only those that it names: the others came from elsewhere.
    """
    whole = _noted(live, f"{_SCRIPTED}/jobPropertyDescriptors") | _noted(live, f"{_DECLARATIVE}/jobProperties")
    parts = {
        PARAMETERS: ("parameterDefinitions", _noted(live, f"{_DECLARATIVE}/parameters")),
        TRIGGERS: ("triggers", _noted(live, f"{_DECLARATIVE}/triggers")),
    }
    found = {}
    for child in live.iterfind("properties/*"):
        where, names = parts.get(child.tag, ("", set()))
        if _class(child.tag) in whole:
            found[child.tag] = copy.deepcopy(child)
        elif names:
            found[child.tag] = copy.deepcopy(child)
            _reduce(found[child.tag].find(where), names)
    return found


def _noted(live: ET.Element, path: str) -> set[str]:
    return {decoded(one.text) for one in live.iterfind(f"actions/{path}/string")}


def _reduce(holder: ET.Element | None, names: set[str]) -> None:
    if holder is None:
        return
    for one in list(holder):
        name = one.findtext("name")
        if (_class(one.tag) if name is None else decoded(name)) not in names:
            holder.remove(one)


def _class(tag: str) -> str:
    """The class whose name Jenkins wrote as an element's."""
    return tag.replace("_-", "$").replace("__", "_")
