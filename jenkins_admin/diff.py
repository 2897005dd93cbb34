"""The difference of two configurations, in words that name what a person would look for."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from jenkins_admin.canonical import Node, is_item
from jenkins_admin.masking import HIDDEN, Mask, holds_secrets, is_public

Kind = Literal["add", "remove", "change", "order"]

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


def differences(live: Node, wanted: Node, mask: Mask | None = None) -> list[Change]:
    """What has to change for `live` to mean what `wanted` means; empty when they mean the same.

    Values of fields and classes that hold secrets, and what `mask` hides, are not shown.
    """
    if live.tag != wanted.tag:
        return [Change("type", "change", short(live.tag), short(wanted.tag))]
    return _Comparison(mask or Mask()).compare(live, wanted, "", hidden=False)


class _Comparison:
    """One comparison. `hidden`: whether what is looked at lies in an object that holds secrets."""

    def __init__(self, mask: Mask) -> None:
        self._mask = mask

    def compare(self, live: Node, wanted: Node, path: str, hidden: bool) -> list[Change]:
        if live == wanted:
            return []
        if live.cls != wanted.cls:
            shown = [self._mask.text(short(node.cls)) for node in (live, wanted)]
            return [Change(path or "type", "change", *shown)]
        if not live.children and not wanted.children:
            return [self._changed(path, live, wanted, hidden)] if live.text != wanted.text else []
        hidden = _holds_secrets(live, hidden)
        if _is_values(live) and _is_values(wanted):
            if _values(live) == _values(wanted):
                return []
            return [Change(path, "change", self._summary(live, hidden), self._summary(wanted, hidden))]
        old, new = self._keyed(live), self._keyed(wanted)
        found: list[Change] = []
        for key in [*new, *(key for key in old if key not in new)]:
            here = _join(path, key[0])
            before, after = old.get(key), new.get(key)
            if before is None and after is not None:
                found.append(self._only(here, "add", after, hidden))
            elif after is None and before is not None:
                found.append(self._only(here, "remove", before, hidden))
            elif before is not None and after is not None:
                found += self.compare(before, after, here, hidden)
        if live.tag in _ORDERED and [k for k in old if k in new] != [k for k in new if k in old]:
            found.append(Change(path, "order", ", ".join(k[0] for k in old), ", ".join(k[0] for k in new)))
        return found

    def _only(self, path: str, kind: Literal["add", "remove"], node: Node, hidden: bool) -> Change:
        """Something that only one side has. A flag that is on and one that is not there are on and off."""
        if node.text == "true" and not is_item(node.tag) and not hidden:
            return Change(path, "change", *(("false", "true") if kind == "add" else ("true", "false")))
        shown = self._shown(node, hidden)
        return Change(path, kind, *(("", shown) if kind == "add" else (shown, "")))

    def _changed(self, path: str, live: Node, wanted: Node, hidden: bool) -> Change:
        # What Jenkins has encrypted was a secret before it did, and is one in the file.
        hidden = hidden or self._mask.covers(live.text) or self._mask.covers(wanted.text)
        kind: Kind = "add" if live.is_empty else "remove" if wanted.is_empty else "change"
        return Change(path, kind, self._shown(live, hidden), self._shown(wanted, hidden))

    def _keyed(self, node: Node) -> dict[tuple[str, int], Node]:
        """Children by label; equal labels are told apart by their count."""
        seen: Counter[str] = Counter()
        keyed = {}
        for child in node.children:
            label = self._label(child)
            keyed[label, seen[label]] = child
            seen[label] += 1
        return keyed

    def _label(self, node: Node) -> str:
        if not is_item(node.tag):
            return node.tag
        identity = next((found.text for name in _IDENTITY if (found := node.child(name)) is not None), "")
        return f"{short(node.tag)}[{self._mask.text(identity)}]" if identity else short(node.tag)

    def _shown(self, node: Node, hidden: bool) -> str:
        hidden = _holds_secrets(node, hidden)
        if node.children:
            return self._summary(node, hidden)
        if node.text and (self._mask.covers(node.text) or (hidden and not is_public(node.tag))):
            return HIDDEN
        return self._mask.text(node.text)

    def _summary(self, node: Node, hidden: bool) -> str:
        if _is_values(node):
            return HIDDEN if hidden else f"[{', '.join(self._mask.text(value) for value in _values(node))}]"
        inner = ", ".join(
            f"{self._label(child)}: {self._shown(child, hidden)}" if not child.is_empty else self._label(child)
            for child in node.children
        )
        return f"{{{inner}}}"


def _holds_secrets(node: Node, hidden: bool) -> bool:
    return hidden or holds_secrets(short(node.tag)) or holds_secrets(short(node.cls))


def short(name: str) -> str:
    """`hudson.model.StringParameterDefinition` as `StringParameterDefinition`; nested classes keep the inner name."""
    return name.replace("_-", "$").rsplit(".", 1)[-1].rsplit("$", 1)[-1].replace("__", "_")


def _join(path: str, label: str) -> str:
    return f"{path}.{label}" if path else label


def _is_values(node: Node) -> bool:
    return bool(node.children) and all(child.tag == "string" for child in node.children)


def _values(node: Node) -> list[str]:
    return [child.text for child in node.children]


def _cut(text: str, width: int = 160) -> str:
    line = text.replace("\n", "\\n")
    return line if len(line) <= width else f"{line[: width - 1]}…"
