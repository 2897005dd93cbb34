"""How mlci-admin knows its own: a line in the description of what it made.

There is no state file and no cache. `[mlci-admin schema=1 owner=ml path=nightly]` at the end of a description says
which file made the item, so a fresh agent plans the same as a laptop. `owner` is the managed folder unless jenkins.yaml
names another. `path` is where in the managed folder the item was made: a copy, and an item that somebody renamed, has
another one and is no longer the file's. Earlier releases wrote none.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from urllib.parse import quote, unquote

SCHEMA = 1
_MARKER = re.compile(r"\[mlci-admin ((?:[a-z]+=[^\s\]]*\s?)+)\]")


@dataclass(frozen=True)
class Marker:
    """Who made something. `extra` holds further words: the libraries of a folder, the fingerprint of a secret."""

    owner: str
    schema: int = SCHEMA
    extra: dict[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        words = {"schema": str(self.schema), "owner": self.owner, **self.extra}
        return f"[mlci-admin {' '.join(f'{key}={value}' for key, value in words.items())}]"

    @property
    def path(self) -> str | None:
        """Where below the managed folder the item was made; None where an earlier release made it."""
        path = self.extra.get("path")
        return None if path is None else unquote(path)

    def is_of(self, path: str) -> bool:
        """Whether the item at `path`, below the managed folder, is the one that carried the marker first."""
        return self.path in (None, path)

    def at(self, path: str) -> Marker:
        """The same marker, of the item at that path."""
        return Marker(self.owner, self.schema, {"path": quote(path, safe="/"), **self.extra})

    @property
    def libraries(self) -> list[str]:
        """The libraries that the owner once put into the folder."""
        return [unquote(name) for name in self.extra.get("library", "").split(",") if name]

    def with_libraries(self, names: list[str]) -> Marker:
        """The same marker, naming these libraries."""
        kept = {key: value for key, value in self.extra.items() if key != "library"}
        named = {"library": ",".join(quote(name, safe="") for name in dict.fromkeys(names))} if names else {}
        return Marker(self.owner, self.schema, kept | named)


def find(description: str) -> list[Marker]:
    """Every marker in a description."""
    found = []
    for match in _MARKER.finditer(description):
        words = dict(word.split("=", 1) for word in match.group(1).split())
        if re.fullmatch("[0-9]{1,6}", words.get("schema", "")) and "owner" in words:
            found.append(Marker(words.pop("owner"), int(words.pop("schema")), words))
    return found


def of_owner(description: str, owner: str) -> Marker | None:
    """The marker of `owner`, if it is there."""
    return next((marker for marker in find(description) if marker.owner == owner), None)


def text_of(description: str) -> str:
    """The description as a person wrote it, without any marker."""
    return _MARKER.sub("", description).strip()


def signed(text: str, *markers: Marker, separator: str = "\n\n") -> str:
    """`text` with the markers behind it, each on a line of its own."""
    signs = "\n".join(str(marker) for marker in markers)
    return separator.join(part for part in (text.strip(), signs) if part)


def joined(known: list[Marker], mine: Marker) -> list[Marker]:
    """The markers of a thing that several files share, with mine in the place of the one I had."""
    if any(marker.owner == mine.owner for marker in known):
        return [mine if marker.owner == mine.owner else marker for marker in known]
    return [*known, mine]
