"""Whether an answer holds fields as Jenkins writes them: what reads it then need not ask again."""

from __future__ import annotations

import math
from typing import Any

_TEXTS = {"_class", "name", "description", "url", "why", "color", "result", "typeName", "displayName", "type"} | {
    *("fileName", "relativePath", "hash", "shortName", "version", "crumbRequestField")
}
_NUMBERS = {"number", "queueId", "timestamp", "duration", "totalExecutors", "busyExecutors", "numExecutors"}
#: Lists of objects, and what each object has.
_LISTS = {
    "jobs": "name",
    "builds": "number",
    "artifacts": "relativePath",
    "parameterDefinitions": "name",
    "credentials": "id",
    "plugins": "shortName",
    "computer": "",
    "assignedLabels": "",
    "fingerprint": "hash",
    "property": "",
}
#: Objects, and what they have.
_OBJECTS = {"lastBuild": "number", "lastSuccessfulBuild": "number", "executable": "number", "task": ""}


def as_jenkins_writes(found: Any, needed: str = "") -> bool:
    """Whether `found` is an object with the field `needed`, and its fields are of the types that Jenkins gives them.
    Texts and objects may be null where they are not needed."""
    if not isinstance(found, dict) or (needed and found.get(needed) is None):
        return False
    return all(_fits(name, value) for name, value in found.items())


def _fits(name: str, value: Any) -> bool:
    if name in _LISTS:
        return isinstance(value, list) and all(as_jenkins_writes(one, _LISTS[name]) for one in value)
    if name in _OBJECTS:
        return not value or as_jenkins_writes(value, _OBJECTS[name])
    if name in _NUMBERS:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if name == "id":
        return isinstance(value, str | int)  # of an item in the queue a number, else a text
    if name == "choices":
        return isinstance(value, list | None)
    return name not in _TEXTS or isinstance(value, str | None)
