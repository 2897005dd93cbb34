"""From what the file asks for and what Jenkins has to what has to be done. Pure: reads nothing, writes nothing."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import dataclass, field, replace
from typing import Literal

from jenkins_admin import credentials, marker, patch, protect, xmltree
from jenkins_admin.canonical import canonical
from jenkins_admin.credentials import Credential
from jenkins_admin.diff import Change, differences, short
from jenkins_admin.masking import Mask
from jenkins_admin.render import FOLDER, MULTIBRANCH, PIPELINE, Item
from jenkins_admin.schema import JenkinsYaml
from jenkins_admin.server import Found
from stages.errors import UsageError

Verb = Literal["create", "update", "replace", "delete", "refuse"]
What = Literal["folder", "job", "credential", "library"]

_FOLDER_CLASS = "com.cloudbees.hudson.plugins.folder.Folder"

#: What people call items, by the root of their configuration.
_KINDS = {FOLDER: "folder", MULTIBRANCH: "multibranch", PIPELINE: "pipeline", "project": "freestyle project"}


@dataclass(frozen=True)
class Stored:
    """The credentials of a folder: id → description, None where they cannot be listed; and redacted documents."""

    listed: dict[str, str] | None = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Live:
    """What was read from Jenkins.

    `children`: items of each folder that was listed, None for one that does not exist. `configs`: config.xml by path.
    `credentials`: id → description, None where credentials cannot be listed. `credential_configs`: redacted documents.
    `stores`: the same for folders of jobs that deploy. `missing_parents`: folders above the managed one that do not
    exist. `unreadable`: path → why there is no config.xml.
    """

    children: dict[str, list[Found] | None] = field(default_factory=dict)
    configs: dict[str, str] = field(default_factory=dict)
    credentials: dict[str, str] | None = field(default_factory=dict)
    credential_configs: dict[str, str] = field(default_factory=dict)
    stores: dict[str, Stored] = field(default_factory=dict)
    missing_parents: tuple[str, ...] = ()
    unreadable: dict[str, str] = field(default_factory=dict)

    def stored(self, folder: str, root: str) -> Stored:
        """What a folder holds of credentials."""
        if folder == root:
            return Stored(self.credentials, self.credential_configs)
        return self.stores.get(folder, Stored())


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
    """What `apply` would do, in an order that works; what only `prune` removes; and how much is as it should be.

    `managed`: how many jobs this file has made in Jenkins; `models`: how many it names.
    """

    actions: tuple[Action, ...]
    prunable: tuple[Action, ...]
    unchanged: int
    managed: int = 0
    models: int = 0

    @property
    def pending(self) -> bool:
        """Whether `apply` has something to do."""
        return bool(self.actions)

    @property
    def refused(self) -> tuple[Action, ...]:
        """What stands in the way and a person has to settle."""
        return tuple(action for action in self.actions if action.verb == "refuse")

    def check_prune(self) -> None:
        """Raises: UsageError: JEN_PRUNE_MANY: most jobs would go, which is what a broken template asks for."""
        jobs = sum(action.what == "job" for action in self.prunable)
        if jobs and (not self.models or 2 * jobs > self.managed):
            why = "" if self.models else ": the file has no models"
            what = f"prune would delete {jobs} of {self.managed} managed jobs with their builds{why}"
            raise UsageError("JEN_PRUNE_MANY", what, "check the file (mlci-admin plan); if it is right, add --all")


def make(settings: JenkinsYaml, items: list[Item], live: Live) -> Plan:
    """Compare everything the file asks for with what there is.

    Raises:
        xmltree.XmlError: a document of Jenkins' cannot be read.
    """
    known = {
        f"{folder}/{found.name}".lower(): found for folder, listed in live.children.items() for found in listed or []
    }
    actions: list[Action] = [_parent(path) for path in live.missing_parents]
    unchanged = 0
    for item in items:
        action = _readable(item, settings, live, known.get(item.path.lower()))
        if action is None:
            unchanged += 1
        else:
            actions.append(action)
        for credential in settings.credentials:
            if item.path in protect.places(credential, settings):
                found = _credential(credential, item.path, settings, live)
                unchanged += found is None
                actions += [found] if found is not None else []
    return replace(to_prune(settings, items, live), actions=tuple(actions), unchanged=unchanged)


def _parent(path: str) -> Action:
    xml = xmltree.serialise(xmltree.element(FOLDER))
    return Action("create", "folder", path, note="holds the managed folder; never changed or removed", xml=xml)


def _readable(item: Item, settings: JenkinsYaml, live: Live, found: Found | None) -> Action | None:
    """What is to be done about an item; one that Jenkins does not show as it should hides no other."""
    what: What = "folder" if item.kind == "folder" else "job"
    if item.path in live.unreadable:
        return Action("refuse", what, item.path, note=f"cannot be read: {live.unreadable[item.path]}")
    try:
        return _item(item, settings, live, found)
    except (xmltree.XmlError, RecursionError) as error:
        return Action("refuse", what, item.path, note=f"its configuration in Jenkins cannot be read: {error}")


def _item(item: Item, settings: JenkinsYaml, live: Live, found: Found | None) -> Action | None:
    owner, mask = settings.signature, Mask(settings.confidential)
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
    wanted = patch.patched(root, item, owner)
    changes = differences(canonical(root), canonical(wanted), mask)
    why, adoptable = ("", False) if what == "folder" else _foreign(root, item, settings)
    if why and not (adoptable and item.adopt):
        note = f"{why}: adopt: true in the file takes it over" if adoptable else why
        return Action("refuse", what, item.path, tuple(changes), note)
    if not changes:
        return None
    note = f"{why}: the file takes it over" if why else ""
    return Action("update", what, item.path, tuple(changes), note, xmltree.serialise(wanted), item)


def _foreign(root: ET.Element, item: Item, settings: JenkinsYaml) -> tuple[str, bool]:
    """Why the job at an item's path is not this file's, "" if it is; and whether the file may be told to take it."""
    description = xmltree.decoded(root.findtext("description"))
    below = item.path.removeprefix(f"{settings.root.name}/")
    sign = marker.of_owner(description, settings.signature)
    if sign is not None and sign.is_of(below):
        return "", False
    other = next((one for one in marker.find(description) if one.owner != settings.signature), None)
    if sign is None and other is not None and other.is_of(below):
        todo = f"remove it from one of them; after renaming the folder in Jenkins, keep owner: {other.owner}"
        return f"belongs to another file (owner {other.owner}): {todo}", False
    made = sign or other
    return f"is a copy of {made.path}, or was renamed" if made is not None else "was made by hand", True


def _credential(credential: Credential, folder: str, settings: JenkinsYaml, live: Live) -> Action | None:
    path, owner = f"{folder}/{credential.id}", settings.signature
    stored = live.stored(folder, settings.root.name)
    if credential.id not in stored.configs or credential.id not in (stored.listed or {}):
        return Action("create", "credential", path, credential=credential)
    others = [m.owner for m in marker.find((stored.listed or {})[credential.id]) if m.owner != owner]
    if others:
        note = f"belongs to another file (owner {others[0]}): remove it from one of them"
        return Action("refuse", "credential", path, note=note)
    text = stored.configs[credential.id]
    try:
        changes = credentials.changes(credential, text, owner, settings.fingerprint_key, Mask(settings.confidential))
    except (xmltree.XmlError, RecursionError) as error:
        note = f"its configuration in Jenkins cannot be read: {error}"
        return Action("refuse", "credential", path, note=note)
    if not changes:
        return None
    verb: Verb = "replace" if changes[0].path == "kind" else "update"
    return Action(verb, "credential", path, tuple(changes), credential=credential)


# ---- what the file once made and no longer names -----------------------------------------------------------------


def to_prune(settings: JenkinsYaml, items: list[Item], live: Live) -> Plan:
    """What carries this file's marker and is not in the file: jobs, emptied folders, credentials, the library."""
    owner, root = settings.signature, settings.root.name
    wanted = {item.path for item in items}
    jobs = [found for folder in live.children for found in _own(folder, settings, live) if found.cls != _FOLDER_CLASS]
    found = _in_folder(root, settings, wanted, live)
    for folder in [root, *protect.folders(settings)]:
        kept = {one.id for one in settings.credentials if folder in protect.places(one, settings)}
        for id_, description in (live.stored(folder, root).listed or {}).items():
            if id_ not in kept and marker.of_owner(description, owner) is not None:
                found.append(Action("delete", "credential", f"{folder}/{id_}"))
    text = live.configs.get(root)
    if text is not None:
        sign = marker.of_owner(xmltree.decoded(xmltree.parse(text).findtext("description")), owner)
        for name in sign.libraries if sign else []:
            if settings.library is None or settings.library.name != name:
                found.append(Action("delete", "library", f"{root}/{name}"))
    return Plan((), tuple(found), 0, len(jobs), len(settings.models))


def _own(folder: str, settings: JenkinsYaml, live: Live) -> list[Found]:
    """The items of a folder that this file made there: no copies, nothing that somebody renamed."""
    return [child for child in live.children.get(folder) or [] if own_marker(child, folder, settings) is not None]


def own_marker(child: Found, folder: str, settings: JenkinsYaml) -> marker.Marker | None:
    """The marker of an item that this file made at its place in `folder`."""
    sign = marker.of_owner(child.description, settings.signature)
    below = f"{folder}/{child.name}".removeprefix(f"{settings.root.name}/")
    return sign if sign is not None and sign.is_of(below) else None


def _in_folder(folder: str, settings: JenkinsYaml, wanted: set[str], live: Live) -> list[Action]:
    found: list[Action] = []
    for child in live.children.get(folder) or []:
        path, sign = f"{folder}/{child.name}", own_marker(child, folder, settings)
        if child.cls == _FOLDER_CLASS:
            inside = _in_folder(path, settings, wanted, live)
            found += inside
            listed = live.children.get(path)
            emptied = listed is not None and {f"{path}/{c.name}" for c in listed} <= {a.path for a in inside}
            if sign is not None and path not in wanted and emptied:
                found.append(Action("delete", "folder", path))
        elif sign is not None and path not in wanted:
            lost = "its branches and builds go with it" if child.cls == MULTIBRANCH else "its builds go with it"
            if sign.path is None:
                lost += "; made by an earlier release, or a copy of such a job"
            found.append(Action("delete", "job", path, note=lost))
    return found
