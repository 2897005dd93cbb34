"""What a configuration means, whoever wrote it.

The same job looks different as it was posted and as Jenkins saves it: plugin versions, every default spelled out, back
references, collection classes, white space. `canonical` brings both to one tree, so that comparing trees compares
meaning.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass

from jenkins_admin.xmltree import decoded


@dataclass(frozen=True, slots=True)
class Node:
    """An element reduced to its meaning: `tag`, implementing class if it matters, and either `text` or `children`."""

    tag: str
    cls: str = ""
    text: str = ""
    children: tuple[Node, ...] = ()

    def child(self, tag: str) -> Node | None:
        """The first child of that tag."""
        return next((node for node in self.children if node.tag == tag), None)

    @property
    def is_empty(self) -> bool:
        """Neither text nor children."""
        return not self.text and not self.children


#: Parts of an item that people arrange and mlci does not: never compared, never overwritten.
UNMANAGED = frozenset({"actions", "folderViews", "healthMetrics", "icon", "views", "primaryView", "viewsTabBar"})

#: Field → values that mean the same as its absence, besides the empty text and false.
_DEFAULTS: dict[str, frozenset[str]] = {
    "daysToKeep": frozenset({"-1"}),
    "numToKeep": frozenset({"-1"}),
    "artifactDaysToKeep": frozenset({"-1"}),
    "artifactNumToKeep": frozenset({"-1"}),
    "configVersion": frozenset({"2"}),
    # The first build that loads a library writes it into the folder.
    "libraryPath": frozenset({".", "./"}),
}

#: Implementing classes that say nothing when there is nothing in them.
_DEFAULT_CLASSES = frozenset(
    {
        "jenkins.branch.DefaultBranchPropertyStrategy",
        "com.cloudbees.hudson.plugins.folder.computed.DefaultOrphanedItemStrategy",
        "hudson.scm.NullSCM",
    }
)

#: Properties of a job that mean nothing without content: Jenkins leaves their shells behind when a form is saved.
_SHELLS = frozenset(
    {
        "hudson.model.ParametersDefinitionProperty",
        "jenkins.model.BuildDiscarderProperty",
        "org.jenkinsci.plugins.workflow.job.properties.PipelineTriggersJobProperty",
        "org.jenkinsci.plugins.workflow.libs.FolderLibraries",
        "com.cloudbees.hudson.plugins.folder.properties.FolderCredentialsProvider_-FolderCredentialsProperty",
    }
)


def canonical(root: ET.Element) -> Node:
    """The meaning of an item's configuration, without what `UNMANAGED` names."""
    kept = [child for child in root if child.tag not in UNMANAGED]
    return Node(root.tag, "", "", _children(root, kept))


def is_item(tag: str) -> bool:
    """Whether a tag names an object in a list (a class or a primitive), not a field of the object around it."""
    return "." in tag or tag in ("string", "int", "long", "boolean", "entry", "a")


def _children(parent: ET.Element, elements: list[ET.Element]) -> tuple[Node, ...]:
    nodes: list[Node] = []
    for element in elements:
        if element.tag == "a" and element.get("class", "").endswith("-array"):
            nodes += _children(element, list(element))
            continue
        node = _node(element, parent)
        if node is not None:
            nodes.append(node)
    return tuple(nodes)


def _node(element: ET.Element, parent: ET.Element) -> Node | None:
    """The element's meaning, or None where it has none of its own."""
    tag = element.tag
    if element.get("reference") is not None or (tag == "id" and _is_source(parent)):
        return None
    if tag == "spec" and parent.tag.endswith(".PeriodicFolderTrigger"):
        return None  # computed by Jenkins from the interval beside it
    children = _children(element, list(element))
    text = "" if len(element) else _leaf(element.text)
    cls = element.get("class", "")
    cls = "" if _is_collection(cls) else cls
    if tag in _SHELLS and not children:
        return None
    if not is_item(tag) and not children:
        if cls in _DEFAULT_CLASSES and not text:
            return None
        if not cls and (text in ("", "false") or text in _DEFAULTS.get(tag, ())):
            return None
    return Node(tag, cls, text, children)


def _leaf(text: str | None) -> str:
    plain = decoded(text)
    # Indentation of an element that has lost its children; a blank that somebody typed has no line break.
    return "" if not plain.strip() and "\n" in plain else plain


def _is_source(parent: ET.Element) -> bool:
    """Identity of a branch source: kept as it is in Jenkins, because a new one rebuilds every branch."""
    return parent.get("class", "").endswith("SCMSource") or parent.tag.endswith("SCMSource")


def _is_collection(cls: str) -> bool:
    return cls.startswith(("java.util.", "hudson.util.")) or cls in (
        *("empty-list", "list", "linked-list", "singleton-list", "vector"),
        *("empty-set", "set", "linked-hash-set", "tree-set", "empty-map"),
    )
