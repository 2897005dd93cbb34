"""Control characters and commands of CI servers in what mlci prints and writes: escaped, whatever they come from."""

import json
import re
import xml.etree.ElementTree as ET

import pytest

from jenkins_admin import cli as admin_cli
from stages import console, escaping
from stages.cli import main
from stages.errors import DataError, InfraError
from stages.gate import verdict
from stages.gate.outcome import Outcome
from stages.gate.report.svg import LIGHT, Canvas

EVIL = "a\x1b[2J\r\x08\x9b31m\u202eb\u2066c\udc80\x00\ufeff"
STEERING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
COMMANDS = "x\n::error file=a::b\n  ::set-output name=x::y\n##[error]z ##vso[task.setvariable]w"


def quiet(text):
    assert not STEERING.search(text), ascii(text)
    assert not re.search(r"(?m)^\s*::[a-z]|##[a-z]*\[", text), text
    return text


def test_printable_text_says_what_it_left_out():
    assert escaping.printable("a\x1b[1mé\u202e\n\tb") == "a\\x1b[1mé\\u202e\n\tb"
    quiet(escaping.printable(EVIL + COMMANDS))
    assert escaping.printable("a::b ## c #[d] http://x::1") == "a::b ## c #[d] http://x::1"


def test_json_stays_the_same_value():
    value = {"a": EVIL.replace("\udc80", "") + COMMANDS}
    text = escaping.json_text(value)
    assert json.loads(text) == value
    quiet(text)


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_errors_logs_and_traces(log_format, capsys):
    console.set_up(log_format)
    console.show_error(DataError("DAT_X", f"{EVIL}{COMMANDS}", EVIL), log_format)
    console.log.warning("%s %s", EVIL, COMMANDS)
    console.show_failure(COMMANDS, log_format, EVIL)
    console.say(EVIL + COMMANDS)
    console.say_json({EVIL: COMMANDS})
    with console.progress(EVIL) as advance:
        advance(1, EVIL)
    out, err = capsys.readouterr()
    quiet(out + err)
    if log_format == "text":
        assert not re.search(r"(?m)^error (?!DAT_X)", err)


def test_a_further_line_of_an_error_is_no_line_of_mlci(capsys):
    console.show_error(DataError("DAT_X", "a\nerror DAT_Y: b", "c\n  -> d"), "text")
    assert capsys.readouterr().err == "error DAT_X: a\n  | error DAT_Y: b\n  -> c\n  |   -> d\n"


def test_a_text_of_megabytes_is_cut(capsys):
    console.show_error(DataError("DAT_X", "x" * 10**7, "y"), "text")
    shown = capsys.readouterr().err
    assert len(shown) < 30_000
    assert "characters left out" in shown


ML = """
name: demo
task: classification
data: {{source: x.csv, target: late, columns: {{a: {{type: number}}, late: {{type: boolean}}}}}}
model: {{estimator: sklearn.linear_model.LogisticRegression}}
"""


@pytest.mark.parametrize(
    "words",
    [
        ["check", "--set", "data.target=\x1b[31mx"],
        ["check", "--set", "model.\u202ekey=1"],
        ["\x1b[2J"],
        ["check", "--\x9b31m"],
        ["-C", "\x1b[2J", "check"],
        ["check", "--config", "\x1b]0;title\x07.yaml"],
        ["predict", "\x1b[2J\udc80.csv"],
        ["prepare"],
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"], ["--log-format", "json"]])
def test_the_command_line(words, more, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ml.yaml").write_text(ML.format())
    (tmp_path / "x.csv").write_text("b\x1b[2J,\u202elate\n1,2\n")
    assert main([*words, *more]) in (2, 3)
    quiet("".join(capsys.readouterr()))


def test_what_the_admin_client_says(capsys, monkeypatch):
    answer = type("A", (), {"lines": [EVIL, COMMANDS], "data": {"job": EVIL}, "exit_code": 0})()
    assert admin_cli._say(answer, InfraError("JEN_X", EVIL, COMMANDS), 0, "status", True) == 0
    quiet(capsys.readouterr().out)


def outcome(text):
    return Outcome(rule=f"slice.{text}", status="failed", sentence=text, code="GATE_SLICE")


HOSTILE_MARKDOWN = [
    "a|b",
    "`x` ``y`` |",
    "<img src=x onerror=alert(1)>",
    "[link](http://evil.example)",
    "![i](//evil)",
    "http://evil.example www.evil.example",
    "a\n\n# heading\n- item",
    "**bold** __x__ ~~y~~",
    "&lt;b&gt; \\| \\",
    "@everyone #1",
    EVIL,
]


@pytest.mark.parametrize("text", HOSTILE_MARKDOWN)
def test_the_summary_shows_a_value_as_it_is(text):
    from markdown_it import MarkdownIt

    lines = verdict.summary_markdown("demo", "failed", [outcome(text)])
    quiet(lines)
    html = MarkdownIt("commonmark").enable("table").enable("strikethrough").render(lines)
    assert html.count("<td") == 3
    assert not re.search(r"<(?!/?(h2|p|table|thead|tbody|tr|th|td|code)\b)", html), html
    assert not re.search(r"@everyone|http://|www\.", re.sub(r"(`+).*?\1", "", lines)), (
        "what GitHub makes a mention or a link"
    )


@pytest.mark.parametrize("text", HOSTILE_MARKDOWN)
def test_reports_in_xml_hold_any_value(text, tmp_path):
    verdict.write_junit(tmp_path / "junit.xml", [outcome(text)], "demo")
    (case,) = ET.parse(tmp_path / "junit.xml").getroot().iter("testcase")
    assert case.attrib["name"].startswith("slice.")
    quiet((tmp_path / "junit.xml").read_text(encoding="utf-8").replace("&#10;", "").replace("::", ""))
    canvas = Canvas(10, 10, LIGHT)
    canvas.text(1, 1, text)
    ET.fromstring(canvas.svg(text))
