"""What a Jenkins knows: items, credentials, queue, builds. No HTTP here."""

from __future__ import annotations

import itertools
import xml.etree.ElementTree as ET
from dataclasses import dataclass, field
from typing import Any

from jenkins_admin import xmltree
from tests.jenkins_admin.double.saving import FOLDER, MULTIBRANCH, saved, submitted

CLASSES = {
    FOLDER: FOLDER,
    MULTIBRANCH: MULTIBRANCH,
    "flow-definition": "org.jenkinsci.plugins.workflow.job.WorkflowJob",
    "project": "hudson.model.FreeStyleProject",
}
RUN = "org.jenkinsci.plugins.workflow.job.WorkflowRun"
TYPE_NAMES = {
    "com.cloudbees.plugins.credentials.impl.UsernamePasswordCredentialsImpl": "Username with password",
    "org.jenkinsci.plugins.plaincredentials.impl.StringCredentialsImpl": "Secret text",
    "org.jenkinsci.plugins.plaincredentials.impl.FileCredentialsImpl": "Secret file",
    "com.cloudbees.jenkins.plugins.sshcredentials.impl.BasicSSHUserPrivateKey": "SSH Username with private key",
}
_CREDENTIAL_PLUGINS = {
    "com.cloudbees.plugins": "credentials@1271.v54b_1c2c6388a_",
    "org.jenkinsci.plugins.plaincredentials": "plain-credentials@143.v1b_df8b_d3b_e48",
    "com.cloudbees.jenkins.plugins.sshcredentials": "ssh-credentials@308.ve4497b_ccd8f4",
}
SECRETS = ("password", "secret", "passphrase", "privateKey", "secretBytes")
_PROPERTY = "com.cloudbees.hudson.plugins.folder.properties.FolderCredentialsProvider_-FolderCredentialsProperty"


class Rejected(Exception):
    """A request that Jenkins answers with an error page; `x_error` is its header where there is one."""

    def __init__(self, status: int, x_error: str = "", message: str = "") -> None:
        super().__init__(x_error or message)
        self.status, self.x_error, self.message = status, x_error, message


@dataclass
class Script:
    """How the next build of a job goes: a piece of log for each look at it, then the result.

    `hidden`: bytes of annotations beside each piece, counted in X-Text-Size; sent in front of it as Jenkins 2.509 and
    later do, unless `annotated` is off. `question`: an input that the build waits with after its last piece.
    `artifacts`: path → content. `looks_in_queue`: times it is seen waiting.
    """

    log: list[str] = field(default_factory=lambda: ["Started by user admin\r\n", "Finished: SUCCESS\r\n"])
    result: str = "SUCCESS"
    hidden: int = 86
    annotated: bool = True
    question: dict[str, Any] | None = None
    artifacts: dict[str, bytes] = field(default_factory=dict)
    looks_in_queue: int = 0
    why: str = "Waiting for next available executor"
    cancelled: bool = False
    never_ends: bool = False
    quiet_end: bool = False


@dataclass
class Build:
    number: int
    queue_id: int
    script: Script
    parameters: list[tuple[str, str]]
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    shown: int = 0
    result: str | None = None
    description: str | None = None
    question: dict[str, Any] | None = None
    answers: list[dict[str, Any]] = field(default_factory=list)
    timestamp: int = 1_795_410_497_161
    duration: int = 3153

    @property
    def building(self) -> bool:
        return self.result is None

    def advance(self) -> None:
        """Somebody looked: the next thing happens."""
        if self.result is not None:
            return
        if self.shown < len(self.script.log):
            self.shown += 1
            if self.shown < len(self.script.log) or self.script.quiet_end:
                return
        if self.script.question and not self.answers:
            self.question = self.script.question
        elif not self.script.never_ends:
            self.result = self.script.result

    def size(self, pieces: int) -> int:
        return sum(len(piece.encode()) + self.script.hidden for piece in self.script.log[:pieces])

    def text(self, start: int) -> bytes:
        """What is sent from a raw offset on."""
        if self.script.annotated:
            pieces = self.script.log[: self.shown]
            return b"".join(_note(self.script.hidden) + piece.encode() for piece in pieces)[start:]
        out, at = b"", 0
        for piece in self.script.log[: self.shown]:
            data = piece.encode()
            if at >= start:
                out += data
            elif at + len(data) > start:
                out += data[start - at :]
            at += len(data) + self.script.hidden
        return out


def _note(size: int) -> bytes:
    """An annotation of that many bytes, as console notes are written; none where there is no room for one."""
    return b"\x1b[8mha:" + b"/" * (size - 11) + b"\x1b[0m" if size > 11 else b""


@dataclass
class Item:
    name: str
    xml: bytes
    root: ET.Element
    children: dict[str, Item] = field(default_factory=dict)
    credentials: dict[str, ET.Element] = field(default_factory=dict)
    builds: list[Build] = field(default_factory=list)
    scripts: list[Script] = field(default_factory=list)

    @property
    def cls(self) -> str:
        return CLASSES.get(self.root.tag, self.root.tag)

    @property
    def parameters(self) -> list[dict[str, Any]]:
        path = "properties/hudson.model.ParametersDefinitionProperty/parameterDefinitions"
        found = []
        for one in self.root.find(path) or []:
            choices = [c.text or "" for c in one.findall("choices/string")]
            kind = one.tag.rsplit(".", 1)[-1]
            entry: dict[str, Any] = {"_class": one.tag, "name": xmltree.decoded(one.findtext("name")), "type": kind}
            if choices:
                entry["choices"] = choices
            entry["default"] = choices[0] if choices else xmltree.decoded(one.findtext("defaultValue"))
            if kind == "BooleanParameterDefinition":
                entry["default"] = str(entry["default"].lower() == "true").lower()
            found.append(entry)
        return found


@dataclass
class QueueItem:
    id: int
    path: str
    parameters: list[tuple[str, str]]
    script: Script
    looks: int
    files: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    build: Build | None = None
    cancelled: bool = False


class State:
    """Everything that survives a restart of the controller."""

    def __init__(self) -> None:
        self.top = Item("", b"", ET.Element("hudson.model.Hudson"))
        self.queue: dict[int, QueueItem] = {}
        self._ids = itertools.count(102)

    # ---- items ---------------------------------------------------------------------------------------------------

    def find(self, path: str) -> Item | None:
        item: Item | None = self.top
        for part in [part for part in path.split("/") if part]:
            item = item.children.get(part.lower()) if item else None
        return item

    def item(self, path: str) -> Item:
        found = self.find(path)
        if found is None:
            raise Rejected(404)
        return found

    def create(self, folder: str, name: str | None, body: bytes, content_type: str | None) -> Item:
        holder = self.item(folder)
        if not name:
            raise Rejected(400, "Query parameter 'name' is required" if content_type else "No Content-Type header set")
        bad = next((c for c in name if c in '?*/\\%!@#$^&|<>[]:;"'), None)
        if bad:
            raise Rejected(400, f"{bad}  is an unsafe character")
        if name.lower() in holder.children:
            raise Rejected(400, f"A job already exists with the name  {name} ")
        root = self._read(body)
        made = holder.children[name.lower()] = Item(name, _as_posted(body), root)
        return made

    def update(self, path: str, body: bytes) -> None:
        item = self.item(path)
        root = self._read(body)
        item.xml, item.root = _as_posted(body), root
        # What the document says about credentials is what there is from now on.
        kept = root.find(f"properties/{_PROPERTY}")
        ids = {one.findtext("id") for one in kept.iter()} if kept is not None else set()
        item.credentials = {id_: one for id_, one in item.credentials.items() if id_ in ids}

    def _read(self, body: bytes) -> ET.Element:
        try:
            return xmltree.parse(body)
        except xmltree.XmlError as error:
            raise Rejected(500, "", "Failed to read XML") from error

    def config(self, path: str) -> bytes:
        return self.item(path).xml

    def save(self, path: str, form: bool = False) -> None:
        """Jenkins saves an item itself; with `form`, because a person opened its form and saved that."""
        item = self.item(path)
        made = submitted(item.root) if form else saved(item.root)
        properties = made.find("properties")
        if properties is not None:
            for old in properties.findall(_PROPERTY):
                properties.remove(old)
            if item.credentials:
                properties.append(_credentials_property(item.credentials.values()))
        item.root, item.xml = made, xmltree.serialise(made)

    def delete(self, path: str) -> None:
        folder, _, name = path.rpartition("/")
        holder = self.item(folder)
        if holder.children.pop(name.lower(), None) is None:
            raise Rejected(404)

    # ---- credentials ---------------------------------------------------------------------------------------------

    def store(self, folder: str, body: bytes, id_: str | None = None) -> bool:
        """Make (or replace, with `id_`) a credential; False if the id is taken."""
        item, root = self.item(folder), self._read(body)
        name = id_ or root.findtext("id") or ""
        if id_ is None and name in item.credentials:
            return False
        if id_ is not None and (id_ not in item.credentials or item.credentials[id_].tag != root.tag):
            raise Rejected(404 if id_ not in item.credentials else 400)
        if root.tag.endswith("BasicSSHUserPrivateKey") and root.find("usernameSecret") is None:
            root.append(xmltree.element("usernameSecret", "true"))  # as ssh-credentials 355 does
        item.credentials[name] = root
        self.save(folder)
        return True

    def redacted(self, folder: str, id_: str) -> bytes:
        found = self.item(folder).credentials.get(id_)
        if found is None:
            raise Rejected(404)
        made = xmltree.parse(xmltree.serialise(found))
        made.set("plugin", _credential_plugin(made.tag))
        for element in made.iter():
            if element.tag in SECRETS:
                element.text = None
                ET.SubElement(element, "secret-redacted")
        ET.indent(made)
        # Without the header, as Jenkins sends it.
        return xmltree.serialise(made).split(b"\n", 1)[1].rstrip(b"\n")

    # ---- builds --------------------------------------------------------------------------------------------------

    def enqueue(
        self, path: str, given: dict[str, str] | None, files: dict[str, tuple[str, bytes]] | None = None
    ) -> QueueItem:
        item = self.item(path)
        known = item.parameters
        if known and given is None:
            raise Rejected(400, "", "Nothing is submitted")
        if not known and given is not None:
            raise Rejected(500, "", "not parameterized")
        parameters = [_value(one, given or {}) for one in known if not one["type"].endswith("FileParameterDefinition")]
        uploads = {one["name"]: (files or {})[one["name"]] for one in known if one["name"] in (files or {})}
        for one in known:
            if "choices" in one and (given or {}).get(one["name"], one["default"]) not in one["choices"]:
                raise Rejected(500, "", f"Illegal choice for parameter {one['name']}")
        script = item.scripts.pop(0) if item.scripts else Script()
        made = QueueItem(next(self._ids), path, parameters, script, script.looks_in_queue, uploads)
        self.queue[made.id] = made
        if not made.looks and not script.cancelled:
            self._start(made)
        return made

    def _start(self, queued: QueueItem) -> None:
        item = self.item(queued.path)
        number = (item.builds[-1].number if item.builds else 0) + 1
        queued.build = Build(number, queued.id, queued.script, queued.parameters, queued.files)
        item.builds.append(queued.build)

    def look_at_queue(self, id_: int) -> QueueItem:
        found = self.queue.get(id_)
        if found is None:
            raise Rejected(404)
        if found.build is None and not found.cancelled:
            if found.looks:
                found.looks -= 1
            elif found.script.cancelled:
                found.cancelled = True
            else:
                self._start(found)
        return found

    def build(self, path: str, number: str) -> Build:
        builds = self.item(path).builds
        names = {
            "lastBuild": lambda b: True,
            "lastSuccessfulBuild": lambda b: b.result in ("SUCCESS", "UNSTABLE"),
            "lastCompletedBuild": lambda b: not b.building,
        }
        for build in reversed(builds):
            if names[number](build) if number in names else str(build.number) == number:
                return build
        raise Rejected(404)


def _value(definition: dict[str, Any], given: dict[str, str]) -> tuple[str, str]:
    """What Jenkins makes of a text: of a boolean, everything but `true` is false."""
    text = given.get(definition["name"], definition["default"])
    boolean = definition["type"] == "BooleanParameterDefinition"
    return definition["name"], str(text.lower() == "true").lower() if boolean else text


def _as_posted(body: bytes) -> bytes:
    """As Jenkins keeps what was posted: its own header, nothing else changed."""
    text = xmltree._HEADER.sub("", body.decode(), count=1).lstrip()
    return f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()


def _credential_plugin(tag: str) -> str:
    return next((v for prefix, v in _CREDENTIAL_PLUGINS.items() if tag.startswith(prefix)), "")


def _credentials_property(stored: Any) -> ET.Element:
    holder = ET.Element("java.util.concurrent.CopyOnWriteArrayList")
    for one in stored:
        made = xmltree.parse(xmltree.serialise(one))
        made.set("plugin", _credential_plugin(made.tag))
        for element in made.iter():
            if element.tag in SECRETS:
                element.text = "{ENCRYPTED-BY-THE-CONTROLLER}"
        holder.append(made)
    domain = ET.Element("com.cloudbees.plugins.credentials.domains.Domain")
    domain.set("plugin", "credentials@1271.v54b_1c2c6388a_")
    domain.append(ET.Element("specifications"))
    entry = ET.Element("entry")
    entry.extend([domain, holder])
    mapping = ET.Element("domainCredentialsMap", {"class": "hudson.util.CopyOnWriteMap$Hash"})
    mapping.append(entry)
    made = ET.Element(_PROPERTY)
    made.append(mapping)
    ET.indent(made)
    return made
