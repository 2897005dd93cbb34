"""How mlci-admin knows its own: a line in the description of what it made.

There is no state file and no cache. `[mlci-admin schema=1 owner=ml]` at the end of a description says which file made
the item, so a fresh agent plans the same as a laptop. `owner` is the managed folder unless jenkins.yaml names
another.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

SCHEMA = 1
_MARKER = re.compile(r"\[mlci-admin ((?:[a-z]+=[^\s\]]*\s?)+)\]")


@dataclass(frozen=True)
class Marker:
    """Who made something. `extra` holds further words: the library of a folder, the fingerprint of a secret."""

    owner: str
    schema: int = SCHEMA
    extra: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = {"schema": str(self.schema), "owner": self.owner, **self.extra}
        return f"[mlci-admin {' '.join(f'{key}={value}' for key, value in words.items())}]"


def find(description: str) -> list[Marker]:
    """Every marker in a description."""
    found = []
    for match in _MARKER.finditer(description):
        words = dict(word.split("=", 1) for word in match.group(1).split())
        if words.get("schema", "").isdigit() and "owner" in words:
            found.append(Marker(words.pop("owner"), int(words.pop("schema")), words))
    return found


def of_owner(description: str, owner: str) -> Marker | None:
    """The marker of `owner`, if it is there."""
    return next((marker for marker in find(description) if marker.owner == owner), None)


def without(description: str, owner: str) -> str:
    """The description as a person wrote it, keeping the markers of other owners."""

    def drop(match: re.Match[str]) -> str:
        return "" if any(marker.owner == owner for marker in find(match.group())) else match.group()

    return _MARKER.sub(drop, description).strip()


def signed(description: str, marker: Marker, separator: str = "\n\n") -> str:
    """`description` with the marker behind it."""
    text = description.strip()
    return f"{text}{separator}{marker}" if text else str(marker)
