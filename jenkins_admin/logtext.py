"""The log of a build as people read it, from the pieces in which Jenkins sends it."""

from __future__ import annotations

import codecs
import re
from collections.abc import Mapping

#: An annotation for the web page (a link, a color): Jenkins 2.509 and later leave it in the plain log.
_NOTE = re.compile(r"\x1b\[8mha:[A-Za-z0-9+/=]*\x1b\[0m")
#: What may be the beginning of one, or of a line end, at the end of a piece.
_UNFINISHED = re.compile(r"(?:\x1b(?:\[(?:8(?:m(?:h(?:a(?::[A-Za-z0-9+/=]*(?:\x1b(?:\[0?)?)?)?)?)?)?)?)?|\r)\Z")
#: No annotation is that long: what looks like one is text.
_LONGEST = 1 << 20


def raw_size(headers: Mapping[str, str]) -> int | None:
    """How many bytes of the log there are before the next piece, annotations included; None where nobody says."""
    size = headers.get("X-Text-Size", "")
    return int(size) if re.fullmatch("[0-9]{1,18}", size) else None


class LogText:
    """Pieces of bytes in, text out: UTF-8 decoded, annotations removed, line ends of Unix; wherever the cuts are."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
        self._held = ""

    def feed(self, piece: bytes, final: bool = False) -> str:
        """The text that is certain after this piece; with `final`, all that is left."""
        text = self._held + self._decoder.decode(piece, final=final)
        self._held = ""
        unfinished = None if final else _UNFINISHED.search(text, max(0, len(text) - _LONGEST))
        if unfinished is not None:
            self._held, text = text[unfinished.start() :], text[: unfinished.start()]
        return _NOTE.sub("", text).replace("\r\n", "\n")
