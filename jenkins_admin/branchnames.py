"""Names of branch jobs: what the branch-api plugin makes of a branch, tag or pull request."""

from __future__ import annotations

import re

#: What `jenkins.branch.NameEncoder` escapes. Everything else, spaces and letters of any script included, stays.
_ESCAPES = {"#": "%23", "%": "%25", "/": "%2F", "?": "%3F", "[": "%5B", "]": "%5D", "\\": "%5C"}
#: Names that mean something else in an address.
_WHOLE = {"": "%00", ".": "%2E", "..": "%2E."}
_PLAIN = {escape: character for character, escape in _ESCAPES.items()}
_ESCAPE = re.compile("|".join(map(re.escape, _PLAIN)))


def encode(branch: str) -> str:
    """The name of a branch's job: `feature%2Fx` of `feature/x`."""
    return _WHOLE.get(branch) or "".join(_ESCAPES.get(character, character) for character in branch)


def decode(name: str) -> str:
    """The branch whose job has that name."""
    whole = next((plain for plain, escaped in _WHOLE.items() if escaped == name), None)
    return whole if whole is not None else _ESCAPE.sub(lambda match: _PLAIN[match.group()], name)
