"""Text of other people, as a terminal or a page can show it."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything escaped that would move a cursor, hide or turn text, or begin a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
