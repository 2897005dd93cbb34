"""Annotations for the web page do not reach a terminal, wherever the log is cut into pieces."""

from __future__ import annotations

import random

import pytest

from jenkins_admin import Admin
from jenkins_admin.follow import Patience
from jenkins_admin.logtext import LogText
from tests.jenkins_admin.double.server import Double
from tests.jenkins_admin.double.state import Script

NOTE = "\x1b[8mha:////4FkVNHvVauJY9YULzUANE567NbCF/8aObyGEdcIld0qtAAAAoh+LCAAAAAAAAP9tjTEOwjAQBM8B==\x1b[0m"
COLORED = "\x1b[31mred\x1b[0m é☃"
LOG = f"{NOTE}[Pipeline] echo\r\n{COLORED}\r\na{NOTE}{NOTE}b\rc\n\x1b[8mhidden\x1b[0m\x1b[8mha:no, a text\n{NOTE}"
TEXT = "[Pipeline] echo\n\x1b[31mred\x1b[0m é☃\nab\rc\n\x1b[8mhidden\x1b[0m\x1b[8mha:no, a text\n"


def read(pieces: list[bytes]) -> str:
    reader = LogText()
    return "".join(reader.feed(piece) for piece in pieces) + reader.feed(b"", final=True)


def test_cut_anywhere() -> None:
    data = LOG.encode()
    assert read([data]) == TEXT
    assert read([data[i : i + 1] for i in range(len(data))]) == TEXT
    for at in range(len(data)):
        assert read([data[:at], data[at:]]) == TEXT


def test_cut_at_random() -> None:
    data, dice = LOG.encode() * 20, random.Random(7)
    for _ in range(20):
        cuts = sorted(dice.sample(range(len(data)), 40))
        assert read([data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]) == TEXT * 20


def test_what_never_ends_is_text_in_the_end() -> None:
    assert read([b"x\x1b[8mha:AAAA", b"BBBB"]) == "x\x1b[8mha:AAAABBBB"
    reader = LogText()
    reader.feed(b"\x1b[8mha:")
    shown = sum(len(reader.feed(b"A" * 65536)) for _ in range(40))
    assert shown > 1 << 20, "and is not kept for ever"


@pytest.mark.parametrize("command", ["follow", "logs"])
def test_commands_show_the_text_alone(admin: Admin, jenkins: Double, command: str) -> None:
    admin.apply()
    jenkins.script("ml/nightly", Script(log=["[Pipeline] echo\r\n", "hello\r\n"]))
    admin.trigger("nightly")
    build = admin.build("nightly")
    patience = Patience(sleep=lambda _: None)
    shown = "".join(admin.follow(build, patience) if command == "follow" else admin.logs(build))
    assert shown == "[Pipeline] echo\nhello\n"
