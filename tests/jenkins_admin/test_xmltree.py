"""Text in and out of Jenkins' XML, without losing a character."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jenkins_admin import xmltree

#: Everything XML 1.1 can hold: no NUL, no half of a pair, not the two non-characters.
STORABLE = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufffe\uffff"))


@given(STORABLE)
def test_every_storable_text_survives(text: str) -> None:
    document = xmltree.serialise(xmltree.element("a", xmltree.element("b", text)))
    assert xmltree.decoded(xmltree.parse(document).findtext("b")) == text.replace("\r\n", "\n")


@given(STORABLE)
def test_a_second_round_changes_no_byte(text: str) -> None:
    document = xmltree.serialise(xmltree.element("a", text))
    assert xmltree.serialise(xmltree.parse(document)) == document


def test_control_characters_are_references_as_jenkins_writes_them() -> None:
    document = xmltree.serialise(xmltree.element("a", "\x1b[31mred\x85\x9f\r"))
    assert document == b"<?xml version='1.1' encoding='UTF-8'?>\n<a>&#x1b;[31mred&#x85;&#x9f;&#xd;</a>\n"


@pytest.mark.parametrize("reference", ["&#x1b;", "&#27;", "&#x1B;"])
def test_references_of_xml_1_1_are_read(reference: str) -> None:
    root = xmltree.parse(f"<?xml version='1.1' encoding='UTF-8'?>\n<a>{reference}x</a>")
    assert xmltree.decoded(root.text) == "\x1bx"


def test_the_private_escape_character_is_text_like_any_other() -> None:
    text = "\U0010f7ff\ue01b\U0010f7ff"
    for document in (xmltree.serialise(xmltree.element("a", text)), "<a>&#x10f7ff;\ue01b&#1112063;</a>".encode()):
        assert xmltree.decoded(xmltree.parse(document).text) == text


@pytest.mark.parametrize("text", ["\0", "\ud800", "\uffff"])
def test_what_no_xml_holds_is_refused(text: str) -> None:
    with pytest.raises(xmltree.XmlError, match="cannot be stored"):
        xmltree.element("a", text)


@pytest.mark.parametrize(
    "text", ["", "<a>", "<a></b>", "<a>&#0;</a>", "<a>&#xd800;</a>", "<!DOCTYPE a [<!ENTITY x 'y'>]><a>&x;</a>"]
)
def test_what_is_no_xml_is_refused(text: str) -> None:
    with pytest.raises(xmltree.XmlError):
        xmltree.parse(text)


def test_the_text_that_was_posted_is_known_again() -> None:
    posted = xmltree.serialise(xmltree.element("a", xmltree.element("b"), xmltree.element("c", "x /> y")))
    assert xmltree.same_text('<?xml version="1.0" encoding="UTF-8"?><a><b/><c>x /&gt; y</c></a>', posted)
    assert not xmltree.same_text('<?xml version="1.0" encoding="UTF-8"?><a><b/><c>x/&gt; y</c></a>', posted)


def test_line_ends_of_a_browser_are_those_of_the_file() -> None:
    assert xmltree.decoded(xmltree.parse("<a>one&#xd;\ntwo</a>").text) == "one\ntwo"


def test_what_is_only_text_is_no_document_type() -> None:
    body = "<!DOCTYPE html><p>&#x1b;&amp; <!ENTITY x></p>"
    assert xmltree.decoded(xmltree.parse(f"<a><![CDATA[{body}]]>&#x1b;</a>").text) == body + "\x1b"
    assert xmltree.parse(f"<a><!-- {body} --><b/></a>").find("b") is not None
    assert xmltree.decoded(xmltree.parse(f"<a>{body.replace('&', '&amp;').replace('<', '&lt;')}</a>").text) == body


@pytest.mark.parametrize(
    "text",
    [
        "<!DOCTYPE a><a/>",
        "<!doctype html><html/>",
        '<?xml version="1.1"?><!-- <a> --><!DOCTYPE a [<!ENTITY l "lol"><!ENTITY m "&l;&l;">]><a>&m;</a>',
        '<!DOCTYPE a SYSTEM "file:///etc/passwd"><a/>',
        "<a><!ENTITY x></a>",
    ],
)
def test_a_document_type_is_refused_wherever_it_is_one(text: str) -> None:
    with pytest.raises(xmltree.XmlError):
        xmltree.parse(text)
