"""Jenkins' XML in and out, without losing a character.

Jenkins writes XML 1.1, which may hold control characters as references (``&#x1b;``). expat, under Python's ElementTree,
reads 1.0 only and refuses them. They therefore travel through ElementTree as a pair of private characters, and become
references again on the way out. Text in elements from or for this module is in that form: use `decoded` and `encoded`.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

#: Announces a character that XML 1.0 cannot hold; stands doubled for itself.
_ESCAPE = "\U0010f7ff"
_BASE = 0xE000
_HEADER = re.compile(r"\A\s*<\?xml[^>]*\?>")
_LITERAL = re.compile(r"<!\[CDATA\[.*?\]\]>|<!--.*?-->|<\?.*?\?>", re.DOTALL)
_REFERENCE = re.compile(r"&#(x[0-9a-fA-F]+|[0-9]+);")
_ESCAPED = re.compile(f"{_ESCAPE}(.)", re.DOTALL)
_FORBIDDEN = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]")
_LINE_ENDS = re.compile("[\r\x85\u2028]")
_NEVER = re.compile("[\x00\ud800-\udfff\ufffe\uffff]")


class XmlError(ValueError):
    """Text that is not XML, or holds what XML cannot."""


def parse(text: str | bytes) -> ET.Element:
    """The root element of a document of XML 1.0 or 1.1.

    Raises:
        XmlError: not well-formed, or with a document type (Jenkins writes none; they make parsers read files).
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", errors="replace")
    text = _HEADER.sub("", text.lstrip("\ufeff"), count=1)
    try:
        return ET.fromstring(_readable(text), ET.XMLParser(target=_Builder()))  # noqa: S314  no DTD gets here
    except ET.ParseError as error:
        raise XmlError(str(error)) from None


class _Builder(ET.TreeBuilder):
    """Stops at a document type, wherever it is really one."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise XmlError("a document type is not allowed")


def _readable(text: str) -> str:
    """`text` with what XML 1.0 cannot hold in private characters. Within CDATA and comments nothing is a reference."""
    out, at = [], 0
    for literal in _LITERAL.finditer(text):
        out += [_with_references(text[at : literal.start()]), _private(literal.group())]
        at = literal.end()
    return "".join([*out, _with_references(text[at:])])


def _private(text: str) -> str:
    return _FORBIDDEN.sub(_escape, text.replace(_ESCAPE, _ESCAPE * 2))


def _with_references(text: str) -> str:
    escaped = _REFERENCE.sub(_escape_reference, text.replace(_ESCAPE, _ESCAPE * 2))
    return _FORBIDDEN.sub(_escape, escaped)


def serialise(root: ET.Element) -> bytes:
    """UTF-8 bytes with the header that Jenkins itself writes."""
    text = ET.tostring(root, encoding="unicode")
    # Literally, XML 1.1 reads each of these as a line feed.
    text = _LINE_ENDS.sub(lambda match: f"&#x{ord(match.group()):x};", text)
    text = _ESCAPED.sub(_reference, text)
    return f"<?xml version='1.1' encoding='UTF-8'?>\n{text}\n".encode()


def same_text(one: str, other: bytes) -> bool:
    """Whether two documents are the same but for their headers and how empty elements are closed.

    Jenkins gives a document back like that until it saves the item itself; saying so is much cheaper than parsing.
    """
    return _bare(one) == _bare(other.decode())


def _bare(text: str) -> str:
    # In content and attributes `>` is always written as a reference, so this touches tags alone.
    return _HEADER.sub("", text, count=1).strip().replace(" />", "/>")


def encoded(text: str) -> str:
    """`text` as it may stand in an element.

    Raises:
        XmlError: NUL, half a surrogate pair, U+FFFE or U+FFFF, which no XML can hold.
    """
    bad = _NEVER.search(text)
    if bad:
        raise XmlError(f"character U+{ord(bad.group()):04X} cannot be stored in Jenkins")
    return _FORBIDDEN.sub(_escape, text.replace(_ESCAPE, _ESCAPE * 2))


def decoded(text: str | None) -> str:
    """Text of an element as people mean it; with the line ends of Unix, whichever a browser sent."""
    if not text:
        return ""
    plain = _ESCAPED.sub(_unescape, text) if _ESCAPE in text else text
    return plain.replace("\r\n", "\n")


def element(tag: str, *content: ET.Element | str, **attributes: str) -> ET.Element:
    """An element holding text or child elements; a trailing ``_`` of an attribute name is dropped (``class_``)."""
    made = ET.Element(tag, {name.rstrip("_"): value for name, value in attributes.items()})
    for item in content:
        if isinstance(item, str):
            made.text = encoded(item)
        else:
            made.append(item)
    return made


def pretty(root: ET.Element) -> str:
    """The document as `render` shows it: indented, without touching text."""
    copy = ET.fromstring(ET.tostring(root, encoding="unicode"))  # noqa: S314  it was just written
    ET.indent(copy)
    return serialise(copy).decode()


def _escape(match: re.Match[str]) -> str:
    return _ESCAPE + chr(_BASE + ord(match.group()))


def _escape_reference(match: re.Match[str]) -> str:
    digits = match.group(1)
    code = int(digits[1:], 16) if digits.startswith("x") else int(digits)
    if code == 0 or code > 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return match.group()
    character = chr(code)
    if character == _ESCAPE:
        return _ESCAPE * 2
    forbidden = _FORBIDDEN.match(character)
    return _escape(forbidden) if forbidden else match.group()


def _unescape(match: re.Match[str]) -> str:
    character = match.group(1)
    return character if character == _ESCAPE else chr(ord(character) - _BASE)


def _reference(match: re.Match[str]) -> str:
    character = match.group(1)
    return character if character == _ESCAPE else f"&#x{ord(character) - _BASE:x};"
