"""The difference of two configurations, in words that name what a person would look for."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Literal

from jenkins_admin.canonical import Node, is_item

Kind = Literal["add", "remove", "change", "order"]

_SECRET = re.compile(r"token|password|passphrase|secret|privatekey", re.IGNORECASE)
_ENCRYPTED = re.compile(r"\{[A-Za-z0-9+/=]{20,}\}")
#: A user, and perhaps a password, in an address; with ssh:// it is a name that everybody uses.
_LOGIN = re.compile(r"(?<=https://)[^/@\s]+(?=@)|(?<=http://)[^/@\s]+(?=@)|(?<=ssh://)[^/@:\s]*:[^/@\s]+(?=@)")
#: Children that tell objects of one list apart, best first.
_IDENTITY = ("name", "id", "url", "remote")
#: Lists whose order has a meaning: the form shows parameters in it, and the first choice is the default.
_ORDERED = frozenset({"parameterDefinitions", "choices", "branches", "libraries", "data"})


@dataclass(frozen=True, slots=True)
class Change:
    """One difference. `path` leads to it; `old` is what Jenkins has, `new` what the file asks for, "" for nothing."""

    path: str
    kind: Kind
    old: str = ""
    new: str = ""

    def __str__(self) -> str:
        if self.kind == "add":
            return f"+ {self.path}: {_cut(self.new)}" if self.new else f"+ {self.path}"
        if self.kind == "remove":
            return f"- {self.path}: {_cut(self.old)}" if self.old else f"- {self.path}"
        return f"~ {self.path}: {_cut(self.old) or '(nothing)'} -> {_cut(self.new) or '(nothing)'}"


def differences(live: Node, wanted: Node) -> list[Change]:
    """What has to change for `live` to mean what `wanted` means; empty when they mean the same."""
    if live.tag != wanted.tag:
        return [Change("type", "change", short(live.tag), short(wanted.tag))]
    return _compare(live, wanted, "")


def _compare(live: Node, wanted: Node, path: str) -> list[Change]:
    if live == wanted:
        return []
    if live.cls != wanted.cls:
        return [Change(path or "type", "change", short(live.cls), short(wanted.cls))]
    if not live.children and not wanted.children:
        return [_changed(path, live, wanted)] if live.text != wanted.text else []
    if _is_values(live) and _is_values(wanted):
        return [] if _values(live) == _values(wanted) else [Change(path, "change", _summary(live), _summary(wanted))]
    old, new = _keyed(live), _keyed(wanted)
    found: list[Change] = []
    for key in [*new, *(key for key in old if key not in new)]:
        here = _join(path, key[0])
        before, after = old.get(key), new.get(key)
        if before is None and after is not None:
            found.append(_only(here, "add", after))
        elif after is None and before is not None:
            found.append(_only(here, "remove", before))
        elif before is not None and after is not None:
            found += _compare(before, after, here)
    if live.tag in _ORDERED and [k for k in old if k in new] != [k for k in new if k in old]:
        found.append(Change(path, "order", ", ".join(k[0] for k in old), ", ".join(k[0] for k in new)))
    return found


def _only(path: str, kind: Literal["add", "remove"], node: Node) -> Change:
    """Something that only one side has. A flag that is on and one that is not there are on and off."""
    if node.text == "true" and not is_item(node.tag):
        return Change(path, "change", *(("false", "true") if kind == "add" else ("true", "false")))
    return Change(path, kind, *(("", _shown(node)) if kind == "add" else (_shown(node), "")))


def _changed(path: str, live: Node, wanted: Node) -> Change:
    if live.is_empty:
        return Change(path, "add", "", _shown(wanted))
    if wanted.is_empty:
        return Change(path, "remove", _shown(live), "")
    return Change(path, "change", _shown(live), _shown(wanted))


def _keyed(node: Node) -> dict[tuple[str, int], Node]:
    """Children by label; equal labels are told apart by their count."""
    seen: Counter[str] = Counter()
    keyed = {}
    for child in node.children:
        label = _label(child)
        keyed[label, seen[label]] = child
        seen[label] += 1
    return keyed


def _label(node: Node) -> str:
    if not is_item(node.tag):
        return node.tag
    identity = next((found.text for name in _IDENTITY if (found := node.child(name)) is not None), "")
    return f"{short(node.tag)}[{_LOGIN.sub('(hidden)', identity)}]" if identity else short(node.tag)


def short(name: str) -> str:
    """`hudson.model.StringParameterDefinition` as `StringParameterDefinition`; nested classes keep the inner name."""
    return name.replace("_-", "$").rsplit(".", 1)[-1].rsplit("$", 1)[-1].replace("__", "_")


def _join(path: str, label: str) -> str:
    return f"{path}.{label}" if path else label


def _is_values(node: Node) -> bool:
    return bool(node.children) and all(child.tag == "string" for child in node.children)


def _values(node: Node) -> list[str]:
    return [child.text for child in node.children]


def _shown(node: Node) -> str:
    text = _summary(node)
    if text and _SECRET.search(node.tag) and node.tag != "credentialsId":
        return "(hidden)"
    return _LOGIN.sub("(hidden)", _ENCRYPTED.sub("(hidden)", text))


def _summary(node: Node) -> str:
    if not node.children:
        return node.text
    if _is_values(node):
        return f"[{', '.join(_values(node))}]"
    inner = ", ".join(
        f"{_label(child)}: {_shown(child)}" if not child.is_empty else _label(child) for child in node.children
    )
    return f"{{{inner}}}"


def _cut(text: str, width: int = 160) -> str:
    line = text.replace("\n", "\\n")
    return line if len(line) <= width else f"{line[: width - 1]}…"
