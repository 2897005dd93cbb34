"""What ml.yaml says about the Python environment, read without a YAML library: none is installed yet.

Only the two keys of the top-level `environment` are looked for, written as a block or in braces. Everything else in the
file, mistakes included, is left to the real reader, which runs once there is an environment.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from stages.errors import ConfigError
from stages.venvs import local

_KEY = re.compile(r"^(?:environment|'environment'|\"environment\")\s*:(?:\s+(.*))?$")
_PAIR = re.compile(r"^['\"]?(\w+)['\"]?\s*:(?:\s+(.*))?$")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
#: The keys that are read here.
_READ = ("requirements", "versions")
_TODO = "write it as:  environment: {requirements: requirements.txt, versions: locked}"


@dataclass(frozen=True)
class Wanted:
    """`requirements`: the repository's file, None without one. `versions`: locked or own. `folder`: of ml.yaml."""

    requirements: Path | None
    versions: str = "locked"
    folder: Path = field(default=Path(), compare=False)


def wanted(words: Sequence[str], environment: Mapping[str, str]) -> Wanted:
    """What the command line `words`, started in the current folder, asks of the Python environment.

    Raises:
        ConfigError: CFG_ENVIRONMENT: `environment` is written in a way that this reader does not understand;
            CFG_REQUIREMENTS: the file that it names is not there.
    """
    config, assigned = _arguments(words)
    try:
        text = config.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError):
        return Wanted(None)
    found = {key: _replaced(value, environment) for key, value in section(text).items()} | assigned
    versions = found.get("versions") or "locked"
    if versions not in ("locked", "own"):
        raise ConfigError(
            "CFG_ENVIRONMENT", f"{config.name}: environment.versions is {versions!r}", "use locked or own"
        )
    named = found.get("requirements")
    file = config.parent / (named or "requirements.txt")
    if named and not file.is_file():
        raise ConfigError(
            "CFG_REQUIREMENTS", f"{config.name}: there is no file {named}", "correct environment.requirements"
        )
    return Wanted(file if file.is_file() else None, versions, config.parent)


def _arguments(words: Sequence[str]) -> tuple[Path, dict[str, str]]:
    """The configuration file and the assignments to `environment` of a command line."""
    folder, file = Path.cwd(), "ml.yaml"
    assigned: dict[str, str] = {}
    pending = iter(words)
    for word in pending:
        if word == "-C":
            folder = folder / next(pending, "")
        elif word.startswith("-C"):
            folder = folder / word[2:]
        elif word in ("--config", "--set"):
            value = next(pending, "")
            file = value if word == "--config" else file
            assigned |= _assignment(value) if word == "--set" else {}
        elif word.startswith("--config="):
            file = word.partition("=")[2]
        elif word.startswith("--set="):
            assigned |= _assignment(word.partition("=")[2])
    return folder / file, assigned


def _assignment(text: str) -> dict[str, str]:
    key, _, value = text.partition("=")
    section_name, _, name = key.strip().partition(".")
    return {name: _scalar(value)} if section_name == "environment" and name in _READ else {}


def section(text: str) -> dict[str, str]:
    """The pairs of the top-level `environment`, as text. Raises: ConfigError: CFG_ENVIRONMENT."""
    lines = text.splitlines()
    for number, line in enumerate(lines):
        match = _KEY.match(line)
        if match:
            rest = _uncommented(match[1] or "")
            if not rest:
                return _block(lines[number + 1 :])
            return _braces(" ".join([rest, *(_uncommented(after) for after in lines[number + 1 :])]))
    return {}


def _block(lines: list[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for line in lines:
        body = _uncommented(line)
        if not body:
            continue
        if not line[0].isspace():
            break
        match = _PAIR.match(body)
        if match is None and (not pairs or list(pairs)[-1] in _READ):
            raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {body!r}", _TODO)
        if match is not None:  # else a list under a key that is read later
            pairs[match[1]] = _value(match)
    return pairs


def _braces(text: str) -> dict[str, str]:
    if text in ("~", "null", "Null", "NULL"):
        return {}
    body = re.match(r"^\{((?:[^{}'\"]|'[^']*'|\"[^\"]*\"|\$\{[^}]*\})*)\}", text)
    if body is None:
        raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {text[:40]!r}", _TODO)
    pairs = {}
    for part in re.findall(r"(?:[^,'\"\[]|'[^']*'|\"[^\"]*\"|\[[^\]]*\])+", body[1]):
        if part.strip():
            match = _PAIR.match(part.strip())
            if match is None:
                raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {part.strip()!r}", _TODO)
            pairs[match[1]] = _value(match)
    return pairs


def _value(pair: re.Match[str]) -> str:
    """What is read here as text, the rest not at all: it may be a list."""
    return _scalar(pair[2] or "") if pair[1] in _READ else ""


def _uncommented(line: str) -> str:
    match = re.match(r"^((?:[^#'\"]|(?<=\S)#|'[^']*'|\"[^\"]*\")*)", line)
    return (match[1] if match else line).strip()


def _scalar(text: str) -> str:
    text = text.strip()
    if text[:1] in ("&", "*", "!", "|", ">", "["):
        raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {text!r}", _TODO)
    if len(text) >= 2 and text[0] == text[-1] and text[0] in "'\"":
        return text[1:-1]
    return "" if text in ("~", "null", "Null", "NULL") else text


def _replaced(text: str, environment: Mapping[str, str]) -> str:
    return _VARIABLE.sub(lambda match: environment.get(match[1]) or match[2] or "", text)


@dataclass(frozen=True)
class Requirements:
    """What a requirements file asks for, with the files that it includes.

    `lines`: without comments. `files`: itself first. `plain`: all of them are UTF-8, as every installer reads it.
    """

    lines: list[str]
    files: list[Path]
    plain: bool


def effective(file: Path) -> list[str]:
    """The lines of a requirements file that ask for something, those of files that it includes among them.

    Raises:
        ConfigError: CFG_REQUIREMENTS: a file cannot be read.
    """
    return read(file).lines


def read(file: Path, environment: Mapping[str, str] = os.environ) -> Requirements:
    """A requirements file and what it includes.

    Raises:
        ConfigError: CFG_REQUIREMENTS: a file cannot be read.
    """
    found = Requirements([], [], True)
    pending = [file]
    seen: set[str] = set()
    plain = True
    while pending:
        path = pending.pop(0)
        if os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        try:
            if not path.is_file():
                raise OSError("there is no such file")
            content = path.read_bytes()
            text = decoded(content)
        except (OSError, UnicodeError, LookupError) as error:
            what = f"{path.name}: {error}" if isinstance(error, OSError) else f"{path.name}: cannot be decoded: {error}"
            raise ConfigError("CFG_REQUIREMENTS", what, "correct the requirements file, or save it as UTF-8") from None
        plain = plain and text.encode() in (content, content.removeprefix(codecs.BOM_UTF8))
        found.files.append(path)
        for line in re.sub(r"\\\r?\n", " ", text).splitlines():
            body = re.sub(r"(^|\s+)#.*$", "", line).strip()
            include = re.match(r"^(?:-r|--requirement|-c|--constraint)[ =]?\s*(.+)$", body)
            place = local.path_of(local.expanded(include[1].strip().strip("'\""), environment)) if include else None
            if place:
                pending.append(path.parent / place)
            if body:
                found.lines.append(body)
    return Requirements(found.lines, found.files, plain)


#: Byte order marks, the longer ones first: that of UTF-32 begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


def decoded(content: bytes) -> str:
    """The text of a requirements file, as pip reads it: by its byte order mark, by the encoding that one of its first
    two lines declares, else as UTF-8.

    Raises:
        UnicodeError, LookupError.
    """
    for mark, encoding in _MARKS:
        if content.startswith(mark):
            return content[len(mark) :].decode(encoding)
    for line in content.split(b"\n")[:2]:
        declared = re.search(rb"coding[:=]\s*([-\w.]+)", line) if line.startswith(b"#") else None
        if declared:
            return content.decode(declared[1].decode("ascii"))
    text = content.decode("utf-8")
    if "\0" in text:
        raise UnicodeError("it holds null characters, as UTF-16 without a byte order mark does")
    return text
