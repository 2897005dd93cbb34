"""What ml.yaml says about the Python environment, read without a YAML library: none is installed yet.

Only the two keys of the top-level `environment` are looked for, written as a block or in braces. Everything else in the
file, mistakes included, is left to the real reader, which runs once there is an environment.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from stages.errors import ConfigError

_KEY = re.compile(r"^(?:environment|'environment'|\"environment\")\s*:(?:\s+(.*))?$")
_PAIR = re.compile(r"^['\"]?(\w+)['\"]?\s*:(?:\s+(.*))?$")
_VARIABLE = re.compile(r"\$\{(\w+)(?::-([^}]*))?\}")
_TODO = "write it as:  environment: {requirements: requirements.txt, versions: locked}"


@dataclass(frozen=True)
class Wanted:
    """`requirements`: the repository's file, None without one. `versions`: locked or own."""

    requirements: Path | None
    versions: str = "locked"


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
    return Wanted(file if file.is_file() else None, versions)


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
    return {name: _scalar(value)} if section_name == "environment" and name else {}


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
        if match is None:
            raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {body!r}", _TODO)
        pairs[match[1]] = _scalar(match[2] or "")
    return pairs


def _braces(text: str) -> dict[str, str]:
    if text in ("~", "null", "Null", "NULL"):
        return {}
    body = re.match(r"^\{((?:[^{}'\"]|'[^']*'|\"[^\"]*\"|\$\{[^}]*\})*)\}", text)
    if body is None:
        raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {text[:40]!r}", _TODO)
    pairs = {}
    for part in re.findall(r"(?:[^,'\"]|'[^']*'|\"[^\"]*\")+", body[1]):
        if part.strip():
            match = _PAIR.match(part.strip())
            if match is None:
                raise ConfigError("CFG_ENVIRONMENT", f"ml.yaml: environment: cannot read {part.strip()!r}", _TODO)
            pairs[match[1]] = _scalar(match[2] or "")
    return pairs


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


def effective(file: Path) -> list[str]:
    """The lines of a requirements file that ask for something, those of files that it includes among them.

    Raises:
        ConfigError: CFG_REQUIREMENTS: a file cannot be read.
    """
    found: list[str] = []
    pending = [file]
    seen: set[str] = set()
    while pending:
        path = pending.pop(0)
        if os.path.realpath(path) in seen:
            continue
        seen.add(os.path.realpath(path))
        try:
            text = path.read_text(encoding="utf-8-sig")
        except (OSError, UnicodeError) as error:
            raise ConfigError("CFG_REQUIREMENTS", f"{path.name}: {error}", "correct the requirements file") from None
        for line in re.sub(r"\\\n", " ", text).splitlines():
            body = re.sub(r"(^|\s+)#.*$", "", line).strip()
            include = re.match(r"^(?:-r|--requirement|-c|--constraint)[ =]?\s*(.+)$", body)
            if include and "://" not in include[1]:
                pending.append(path.parent / include[1].strip())
            if body:
                found.append(body)
    return found
