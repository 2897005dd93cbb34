"""What every file in vars/ and src/ keeps to. LibraryTest.groovy compares the keys in the help with those accepted."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
STEPS = sorted((ROOT / "vars").glob("*.groovy"))
SOURCES = [*STEPS, *sorted((ROOT / "src").rglob("*.groovy"))]
NAMES = {"mlPipeline", "mlPrepare", "mlTrain", "mlTest", "mlValidate", "mlDeploy", "mlRollback", "withMlci"}


def code(path: Path) -> str:
    """The file without comments; what looks like one inside a text stays."""
    text_or_comment = r"""('''.*?'''|'(?:\\.|[^'\\\n])*'|"(?:\\.|[^"\\\n])*")|/\*.*?\*/|//[^\n]*"""
    return re.sub(text_or_comment, lambda found: found[1] or "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def calls(text: str, name: str) -> list[str]:
    """The arguments of every call of `name(`, up to its closing bracket."""
    found = []
    for match in re.finditer(rf"(?<![\w.])(?:script\.)?{name}\(", text):
        depth, end = 1, match.end()
        while depth:
            depth += {"(": 1, ")": -1}.get(text[end], 0)
            end += 1
        found.append(text[match.end() : end - 1])
    return found


def test_the_steps_are_those_of_the_design() -> None:
    assert {path.stem for path in STEPS} == NAMES


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_each_step_has_help_that_people_can_read(path: Path) -> None:
    text = path.with_suffix(".txt").read_text(encoding="utf-8")
    assert "\nArguments" in text
    assert "\nExample:\n" in text
    assert not re.search(r"</?\w+>", text), "Jenkins escapes markup by default"
    assert f"{path.stem}(" in text.split("\nExample:\n")[1]


@pytest.mark.parametrize("path", STEPS, ids=lambda path: path.stem)
def test_each_step_is_thin(path: Path) -> None:
    lines = [line for line in code(path).splitlines() if line.strip()]
    assert len(lines) <= 12
    assert re.match(r"/\*\*|import", path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_state_outlives_a_restart_unsaved(path: Path) -> None:
    text = code(path)
    assert "@Field" not in text
    for line in text.splitlines():
        if re.search(r"\bstatic\b", line) and "(" not in line.split("=")[0]:
            assert "static final" in line, line.strip()
    if path.parent.name != "vars":
        assert "implements Serializable" in text
        assert "serialVersionUID" in text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_constants_are_literals(path: Path) -> None:
    """A restarted controller loads the classes before its sandbox knows them: a computed constant is refused there."""
    plain = re.sub(r"""'''.*?'''|'[^'\n]*'""", "text", code(path), flags=re.DOTALL)
    for match in re.finditer(r"static final \w+ \w+ =", plain):
        constant = re.split(r"\n\s*(?:private |static |final |@|\w+\()|\n\n", plain[match.end() :])[0]
        assert not re.search(r"[(.]|\b[A-Z]{2,}", constant), constant


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_no_value_becomes_part_of_a_shell_line(path: Path) -> None:
    text = code(path)
    for arguments in calls(text, "sh"):
        assert "label:" in arguments
        script = re.search(r"script: (\w+|'[^']*')", arguments)
        assert script, arguments
        assert script[1] == "SCRIPT" or script[1].startswith("'"), "a script is a constant in single quotes"
    assert not re.search(r"\b(?:bat|powershell|pwsh|execute)\(", text)


@pytest.mark.parametrize("name", ["Agent", "Handover"])
def test_a_script_is_a_constant_without_interpolation(name: str) -> None:
    text = code(ROOT / "src" / "mlci" / f"{name}.groovy")
    assert text.count("SCRIPT = '''") == 1
    assert "SCRIPT + " not in text


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_parameters_are_not_echoed(path: Path) -> None:
    for arguments in calls(code(path), "echo"):
        assert "options.credentials" not in arguments
        assert not re.search(r"\$\{?(?:arguments|options|given)\b(?!\.\w)", arguments), arguments


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_nothing_that_jenkins_refuses_to_save_or_run(path: Path) -> None:
    text = code(path)
    for forbidden in (
        "@Grab",
        "Jenkins.instance",
        "rawBuild",
        "System.",
        "new File(",
        "=~",
        ".execute(",
        "JsonSlurperClassic",
    ):
        assert forbidden not in text, forbidden
    pure = re.findall(r"@NonCPS\s+(?:private )?static \w+ \w+\([^)]*\) \{(.*?)\n    \}", text, flags=re.DOTALL)
    for body in pure:
        assert "script." not in body, "a step in code that is not transformed"
