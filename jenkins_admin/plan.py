"""From what the file asks for and what Jenkins has to what has to be done. Pure: reads nothing, writes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from jenkins_admin import credentials, marker, patch, xmltree
from jenkins_admin.canonical import canonical
from jenkins_admin.credentials import Credential
from jenkins_admin.diff import Change, differences, short
from jenkins_admin.render import FOLDER, MULTIBRANCH, PIPELINE, Item
from jenkins_admin.schema import JenkinsYaml
from jenkins_admin.server import Found

Verb = Literal["create", "update", "replace", "delete", "refuse"]
What = Literal["folder", "job", "credential", "library"]

_CLASSES = {
    "folder": "com.cloudbees.hudson.plugins.folder.Folder",
    "multibranch": "org.jenkinsci.plugins.workflow.multibranch.WorkflowMultiBranchProject",
    "pipeline": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
}

#: What people call items, by the root of their configuration.
_KINDS = {FOLDER: "folder", MULTIBRANCH: "multibranch", PIPELINE: "pipeline", "project": "freestyle project"}


@dataclass(frozen=True)
class Live:
    """What was read from Jenkins.

    `children`: items of each folder that was listed, None for one that does not exist. `configs`: config.xml by path.
    `credentials`: id → description, None where credentials cannot be listed. `credential_configs`: redacted documents.
    `missing_parents`: folders above the managed one that do not exist.
    """

    children: dict[str, list[Found] | None] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, str] | None = field(default_factory=dict)
    credential_configs: dict[str, str] = field(default_factory=dict)
    missing_parents: tuple[str, ...] = ()


@dataclass(frozen=True)
class Action:
    """One thing to do. `path` is an item's path, or `folder/id` of a credential, or `folder/name` of a library.

    `changes` say what an update is about, `note` what is special. `xml` is what to post for an item.
    """

    verb: Verb
    what: What
    path: str
    changes: tuple[Change, ...] = ()
    note: str = ""
    xml: bytes = field(default=b"", repr=False)
    item: Item | None = field(default=None, repr=False)
    credential: Credential | None = field(default=None, repr=False)

    @property
    def label(self) -> str:
        """What is acted upon, in words."""
        return f"{self.what} {self.path}"


@dataclass(frozen=True)
class Plan:
    """What `apply` would do, in an order that works; what only `prune` removes; and how much is as it should be."""

    actions: tuple[Action, ...]
    prunable: tuple[Action, ...]
    unchanged: int

    @property
    def pending(self) -> bool:
        """Whether `apply` has something to do."""
        return bool(self.actions)

    @property
    def refused(self) -> tuple[Action, ...]:
        """What stands in the way and a person has to settle."""
        return tuple(action for action in self.actions if action.verb == "refuse")


def make(settings: JenkinsYaml, items: list[Item], live: Live) -> Plan:
    """Compare everything the file asks for with what there is.

    Raises:
        xmltree.XmlError: a document of Jenkins' cannot be read.
    """
    owner = settings.signature
    known = {
        f"{folder}/{found.name}".lower(): found for folder, listed in live.children.items() for found in listed or []
    }
    actions: list[Action] = [_parent(path) for path in live.missing_parents]
    unchanged = 0
    for item in items:
        action = _item(item, owner, live, known.get(item.path.lower()))
        if action is None:
            unchanged += 1
        else:
            actions.append(action)
        if item.path == settings.root.name:
            for credential in settings.credentials:
                found = _credential(credential, settings, live)
                unchanged += found is None
                actions += [found] if found is not None else []
    return Plan(tuple(actions), tuple(prunable(settings, items, live)), unchanged)


def _parent(path: str) -> Action:
    xml = xmltree.serialise(xmltree.element(FOLDER))
    return Action("create", "folder", path, note="holds the managed folder; never changed or removed", xml=xml)


def _item(item: Item, owner: str, live: Live, found: Found | None) -> Action | None:
    what: What = "folder" if item.kind == "folder" else "job"
    text = live.configs.get(item.path)
    if text is None:
        if found is not None:
            note = f"Jenkins has {found.name!r}, which it takes for the same name: rename one of them"
            return Action("refuse", what, item.path, note=note)
        return Action("create", what, item.path, xml=item.xml(), item=item)
    if xmltree.same_text(text, item.xml()):
        return None  # nobody has touched it since it was posted
    root = xmltree.parse(text)
    if root.tag != item.config.tag:
        note = (
            f"is a {_KINDS.get(root.tag, short(root.tag))} in Jenkins and a {item.kind} in the file: "
            "rename one, or delete it with its builds"
        )
        return Action("refuse", what, item.path, note=note)
    description = xmltree.decoded(root.findtext("description"))
    sign = marker.of_owner(description, owner)
    others = [other.owner for other in marker.find(description) if other.owner != owner]
    if what == "job" and others and sign is None:
        note = f"belongs to another file (owner {others[0]}): remove it from one of them"
        return Action("refuse", what, item.path, note=note)
    wanted = patch.patched(root, item, owner)
    changes = differences(canonical(root), canonical(wanted))
    if not changes:
        return None
    note = "" if sign is not None or what == "folder" else "made by hand until now: the file takes it over"
    return Action("update", what, item.path, tuple(changes), note, xmltree.serialise(wanted), item)


def _credential(credential: Credential, settings: JenkinsYaml, live: Live) -> Action | None:
    path, owner = f"{settings.root.name}/{credential.id}", settings.signature
    if live.credentials is None or credential.id not in live.credentials:
        return Action("create", "credential", path, credential=credential)
    others = [m.owner for m in marker.find(live.credentials[credential.id]) if m.owner != owner]
    if others:
        note = f"belongs to another file (owner {others[0]}): remove it from one of them"
        return Action("refuse", "credential", path, note=note)
    changes = credentials.changes(credential, live.credential_configs[credential.id], owner)
    if not changes:
        return None
    verb: Verb = "replace" if changes[0].path == "kind" else "update"
    return Action(verb, "credential", path, tuple(changes), credential=credential)


# ---- what the file once made and no longer names -----------------------------------------------------------------


def prunable(settings: JenkinsYaml, items: list[Item], live: Live) -> list[Action]:
    """What carries this file's marker and is not in the file: jobs, emptied folders, credentials, the library."""
    owner, root = settings.signature, settings.root.name
    wanted = {item.path for item in items}
    found = _in_folder(root, owner, wanted, live)
    kept = {credential.id for credential in settings.credentials}
    for id_, description in (live.credentials or {}).items():
        if id_ not in kept and marker.of_owner(description, owner) is not None:
            found.append(Action("delete", "credential", f"{root}/{id_}"))
    text = live.configs.get(root)
    if text is not None:
        sign = marker.of_owner(xmltree.decoded(xmltree.parse(text).findtext("description")), owner)
        for name in sign.libraries if sign else []:
            if settings.library is None or settings.library.name != name:
                found.append(Action("delete", "library", f"{root}/{name}"))
    return found


def _in_folder(folder: str, owner: str, wanted: set[str], live: Live) -> list[Action]:
    found: list[Action] = []
    for child in live.children.get(folder) or []:
        path = f"{folder}/{child.name}"
        ours = marker.of_owner(child.description, owner) is not None
        if child.cls == _CLASSES["folder"]:
            inside = _in_folder(path, owner, wanted, live)
            found += inside
            listed = live.children.get(path)
            emptied = listed is not None and {f"{path}/{c.name}" for c in listed} <= {a.path for a in inside}
            if ours and path not in wanted and emptied:
                found.append(Action("delete", "folder", path))
        elif ours and path not in wanted:
            lost = "its branches and builds go with it" if child.cls == MULTIBRANCH else "its builds go with it"
            found.append(Action("delete", "job", path, note=lost))
    return found
