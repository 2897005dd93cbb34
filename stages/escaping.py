"""Text that may hold anything (headers, keys, values, names of files, messages of libraries) on its way to a terminal,
a log, Markdown or XML."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import Any

#: Characters that steer a terminal or the order of writing, that no XML holds, or that no encoding does.
_CONTROL = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff\ufffe\uffff]"
)
#: What GitHub Actions (`::error::`, `##[error]`), Azure Pipelines and TeamCity carry out when it stands in a log.
_COMMAND = re.compile(r"^(\s*)::(?=[A-Za-z])|##(?=[A-Za-z]*\[)", re.MULTILINE)

_MARKS = re.compile(r"([\\`*{}\[\]<>#!|~&]|(?<![^\W_])_|_(?![^\W_])|:(?=//))")


def printable(text: str) -> str:
    r"""`text` for a terminal or a log: control characters as `\x1b` or `\u202e`, line breaks and tabs as they are,
    and without what a CI server would take for a command."""
    return _COMMAND.sub(_harmless, _CONTROL.sub(_escaped, text))


def on_one_line(text: str) -> str:
    """`text` for a page or a line, with everything escaped that would hide or turn text, or begin a line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def json_text(value: Any) -> str:
    """`value` as JSON on one line, readable, with control characters escaped in JSON's own way."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    escaped = _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
    return re.sub(r"##(?=\w*\[)", r"#\\u0023", escaped)


def markdown(text: str) -> str:
    """`text` on one line of Markdown, as it is: no markup, no HTML, no link, no mention, nothing that ends a cell."""
    flat = " ".join(_CONTROL.sub(_escaped, text).split())
    return re.sub(r"\b(www)\.", r"\1\\.", _MARKS.sub(r"\\\1", flat)).replace("@", "@\u200b")


def markdown_code(text: str) -> str:
    """`text` as a span of code in a cell of a table, whatever backticks it holds."""
    flat = " ".join(_CONTROL.sub(_escaped, text).split()).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", flat)), default=0)
    fence, space = "`" * (longest + 1), " " if longest else ""
    return f"{fence}{space}{flat}{space}{fence}"


def _escaped(match: re.Match[str]) -> str:
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _harmless(match: re.Match[str]) -> str:
    return "#\\#" if match[0] == "##" else f"{match[1]}\\::"
