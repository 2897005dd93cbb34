"""Jenkins' `tree=`: which fields of an object go into its JSON, with ranges."""

from __future__ import annotations

import re
from typing import Any

Tree = dict[str, tuple["Tree | None", tuple[int, int] | None]]
_TOKEN = re.compile(r"\s*([A-Za-z_*][A-Za-z0-9_]*|[\[\],]|\{\d*,?\d*\})")


def parse(text: str) -> Tree:
    """`jobs[name,url]{0,10},color` as nested mappings."""
    tokens = _TOKEN.findall(text)
    made, rest = _fields(tokens)
    if rest:
        message = f"not a tree: {text}"
        raise ValueError(message)
    return made


def _fields(tokens: list[str]) -> tuple[Tree, list[str]]:
    made: Tree = {}
    while tokens and tokens[0] != "]":
        name, tokens = tokens[0], tokens[1:]
        inner: Tree | None = None
        span: tuple[int, int] | None = None
        if tokens and tokens[0] == "[":
            inner, tokens = _fields(tokens[1:])
            tokens = tokens[1:]
        if tokens and tokens[0].startswith("{"):
            low, _, high = tokens[0].strip("{}").partition(",")
            span = (int(low or 0), int(high) if high else 1 << 30)
            tokens = tokens[1:]
        made[name] = (inner, span)
        if tokens and tokens[0] == ",":
            tokens = tokens[1:]
    return made, tokens


def select(value: Any, tree: Tree | None) -> Any:
    """The part of `value` that the tree asks for; `_class` is always there."""
    if tree is None:
        return value
    if isinstance(value, list):
        return [select(one, tree) for one in value]
    if not isinstance(value, dict):
        return value
    made: dict[str, Any] = {"_class": value["_class"]} if "_class" in value else {}
    for name, (inner, span) in tree.items():
        if name not in value:
            continue
        found = value[name]
        if callable(found):
            found = found()
        if span is not None and isinstance(found, list):
            found = found[span[0] : span[1]]
        made[name] = select(found, inner)
    return made
