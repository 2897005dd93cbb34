"""What to post so that Jenkins means what the file says and keeps what the file does not speak of.

Posting an item's config.xml replaces all of it. A folder's holds its credentials, encrypted, and whatever people
arranged around them; a branch source's id decides whether every branch is built again. So what is there is read,
patched, and written.
"""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET

from jenkins_admin import marker
from jenkins_admin.canonical import UNMANAGED, canonical
from jenkins_admin.jenkinsfile import own_properties
from jenkins_admin.render import FOLDER, LIBRARIES, MULTIBRANCH, Item
from jenkins_admin.xmltree import decoded, element, encoded

#: Properties of a job that say something by being there.
_PRESENCE = (".DisableConcurrentBuildsJobProperty", ".DisableResumeJobProperty")


def patched(live: ET.Element, item: Item, owner: str) -> ET.Element:
    """The configuration to post for an item that exists as `live`. Neither argument is changed."""
    if item.config.tag == FOLDER:
        return _folder(live, item.config, owner)
    made = copy.deepcopy(item.config)
    for child in live:
        if child.tag in UNMANAGED | item.kept:
            made.append(copy.deepcopy(child))
    properties, old = made.find("properties"), live.find("properties")
    if properties is not None and old is not None:
        theirs = own_properties(live)
        for child in list(properties):
            if child.tag in item.implied and child.tag in theirs:
                properties.remove(child)
        ours = {child.tag for child in properties}
        for child in old:
            if child.tag in ours:
                continue
            if made.tag == MULTIBRANCH or _says_nothing(child):
                properties.append(copy.deepcopy(child))
            elif child.tag in theirs:
                properties.append(theirs[child.tag])
    _keep_source_ids(live, made)
    return made


def without_library(live: ET.Element, name: str, owner: str) -> ET.Element:
    """A folder's configuration without the library of that name, which its owner's marker forgets as well."""
    made = copy.deepcopy(live)
    description = decoded(live.findtext("description"))
    sign = marker.of_owner(description, owner)
    if sign is not None:
        sign = sign.with_libraries([known for known in sign.libraries if known != name])
        signs = marker.joined(marker.find(description), sign)
        _put(made, element("description", marker.signed(marker.text_of(description), *signs)))
    for libraries in made.iterfind(f"properties/{LIBRARIES}/libraries"):
        for library in [one for one in libraries if decoded(one.findtext("name")) == name]:
            libraries.remove(library)
    return made


def holds_no_secrets(live: ET.Element) -> bool:
    """Whether Jenkins blanked the secrets out of what it showed: posting that would store the blanks."""
    return any(node.tag == "secret-redacted" or decoded(node.text) == "********" for node in live.iter())


def _folder(live: ET.Element, wanted: ET.Element, owner: str) -> ET.Element:
    made = copy.deepcopy(live)
    asked, known = decoded(wanted.findtext("description")), decoded(live.findtext("description"))
    sign = marker.of_owner(asked, owner)
    if sign is not None:
        text = marker.text_of(asked) or marker.text_of(known)
        # One that the file no longer names stays known until prune has removed it.
        before = marker.of_owner(known, owner)
        sign = sign.with_libraries([*(before.libraries if before else []), *sign.libraries])
        signs = marker.joined(marker.find(known), sign)
        _put(made, element("description", marker.signed(text, *signs)))
    display = wanted.find("displayName")
    if display is not None:
        _put(made, copy.deepcopy(display))
    for library in wanted.iterfind(f"properties/{LIBRARIES}/libraries/*"):
        _put_library(made, copy.deepcopy(library))
    return made


def _put(parent: ET.Element, child: ET.Element) -> None:
    """Replace the child of that tag where it stands, or add it."""
    for index, old in enumerate(parent):
        if old.tag == child.tag:
            parent[index] = child
            return
    parent.append(child)


def _put_library(folder: ET.Element, library: ET.Element) -> None:
    place = folder
    for tag in ("properties", LIBRARIES, "libraries"):
        found = place.find(tag)
        place = found if found is not None else ET.SubElement(place, tag)
    name = decoded(library.findtext("name"))
    for index, old in enumerate(place):
        if decoded(old.findtext("name")) == name:
            _keep_source_ids(old, library)
            place[index] = library
            return
    place.append(library)


def _keep_source_ids(live: ET.Element, made: ET.Element) -> None:
    """Give each branch source of `made` the id that the live one at its place has."""
    for path in (".//jenkins.branch.BranchSource/source", "retriever/scm"):
        for old, new in zip(live.findall(path), made.findall(path), strict=False):
            known, id_ = old.findtext("id"), new.find("id")
            if known and id_ is not None:
                id_.text = encoded(decoded(known))


def _says_nothing(element_: ET.Element) -> bool:
    """A property that some plugin left behind when a form was saved, with nothing set in it."""
    if element_.tag.endswith(_PRESENCE):
        return False
    holder = ET.Element("properties")
    holder.append(element_)
    return all(node.is_empty and not node.cls for node in canonical(holder).children)
