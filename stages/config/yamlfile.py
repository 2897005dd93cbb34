"""YAML files as mlci reads them: YAML 1.2 core types, a line for every key, `${VAR}` in values only.

PyYAML parses; the types are resolved here, because YAML 1.1 turns ``NO`` into false, ``1e-4`` into text and
``12:30`` into 750.
"""

from __future__ import annotations

import errno
import hashlib
import itertools
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import yaml

from stages.errors import ConfigError, hide

KeyPath = tuple[str | int, ...]

#: Keys whose values are never recorded, logged, printed or hashed after replacement.
SECRET_KEYS = frozenset({"url", "user", "password", "token", "secret", "api_key", "private_key", "passphrase"})

#: Largest file, and what it may become when its aliases are written out, both in characters.
_LARGEST, _LARGEST_EXPANDED = 4 * 2**20, 16 * 2**20
#: Line breaks, commas and brackets, of which each may begin a value.
_MOST_MARKS = 500_000
#: What a value counts besides its text: what Python and the table of lines take for it.
_PER_VALUE = 32
#: Levels of keys and lists. ml.yaml needs seven; what walks through them recurses.
DEEPEST = 32
#: Digits of a number that a float holds.
_LONGEST_NUMBER = 300

_INT = re.compile(r"[-+]?[0-9]+")
_HEX = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_INF = re.compile(r"[-+]?\.(inf|Inf|INF)")
_NUMBER = re.compile(rf"{_INT.pattern}|{_HEX.pattern}|{_FLOAT.pattern}")
_REFERENCE = re.compile(r"\$\$\{|\$\{([A-Za-z_][A-Za-z0-9_]*)(:-([^}]*))?\}")


_WORD = re.compile(r"(?:[\w-]|\$\{[^}]*\})+")


class Untyped(str):
    """Text that takes the type of the key that receives it.

    A value that is exactly ``${VAR}``, or that comes plain from ``--set``: a text key takes it unchanged, any other
    key takes `typed()` of it.
    """

    def typed(self) -> Any:
        """The text read as a YAML value: number, boolean, null, list, mapping or text."""
        return scalar_or_flow(str(self))


@dataclass(frozen=True)
class Document:
    """A parsed file.

    `data`: plain dicts, lists and scalars, as written. `lines`: 1-based line of each key or item, by path. `name`:
    what to call the
    file in messages. `origins`: paths that did not come from the file, with the option that set them.
    """

    name: str
    data: Any
    lines: Mapping[KeyPath, int] = field(default_factory=dict)
    origins: Mapping[KeyPath, str] = field(default_factory=dict)

    def where(self, path: KeyPath) -> str:
        """`file:line: key.path` for messages; the nearest enclosing line when the key itself is not there."""
        dotted = dotted_path(path)
        for end in range(len(path), -1, -1):
            if path[:end] in self.origins:
                return f"{self.origins[path[:end]]}: {dotted}"
        for end in range(len(path), -1, -1):
            if path[:end] in self.lines:
                return f"{self.name}:{self.lines[path[:end]]}: {dotted}" if dotted else f"{self.name}"
        return f"{self.name}: {dotted}" if dotted else self.name


def dotted_path(path: KeyPath) -> str:
    """``("data", "columns", 0)`` as ``data.columns[0]``."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else (f".{part}" if out else str(part))
    return out


def read(path: Path, name: str | None = None) -> Document:
    """Read and parse one file.

    Raises:
        ConfigError: CFG_FILE (missing, a folder, unreadable, not UTF-8), CFG_YAML, CFG_DUPLICATE_KEY.
    """
    shown = name or str(path)
    try:
        if path.is_fifo() and path.parent != Path("/dev/fd"):  # of `<(command)`, which has a writer
            raise OSError(errno.EINVAL, "is a pipe")
        with path.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
        _check_size(len(content), shown)
        text = content.decode("utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            "CFG_FILE",
            f"{shown}: no such file",
            "give its path with --config, or make one with: mlci init DATA --target COLUMN",
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigError("CFG_FILE", f"{shown}: not UTF-8 at byte {error.start}", "save the file as UTF-8") from None
    except OSError as error:
        raise ConfigError(
            "CFG_FILE", f"{shown}: cannot be read: {error.strerror}", "check the path and its permissions"
        ) from error
    return parse(text, shown)


def parse(text: str, name: str) -> Document:
    """Parse YAML text. Raises: ConfigError: CFG_YAML, CFG_DUPLICATE_KEY."""
    _check_size(len(text), name)
    if sum(text.count(mark) for mark in "\n,[{") > _MOST_MARKS:
        raise ConfigError("CFG_YAML", f"{name}: holds more than {_MOST_MARKS:,} values", "shorten it")
    try:
        documents = list(itertools.islice(yaml.compose_all(text, Loader=_Loader), 2))
    except yaml.YAMLError as error:
        raise _syntax_error(error, name, text) from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(
            "CFG_YAML", f"{name}: not readable as YAML: {error}", "simplify or correct the file"
        ) from None
    if len(documents) > 1:
        line = documents[1].start_mark.line + 1
        raise ConfigError(
            "CFG_YAML", f"{name}:{line}: a second document begins here", "keep one YAML document per file"
        )
    building = _Building(name)
    data = _construct(documents[0], (), building) if documents else None
    if building.duplicates:
        raise ConfigError.group(building.duplicates)
    return Document(name, data, building.lines)


def _check_size(size: int, name: str) -> None:
    if size > _LARGEST:
        raise ConfigError("CFG_YAML", f"{name}: larger than {_LARGEST >> 20} MiB", "name the right file, or shorten it")


def scalar_or_flow(text: str) -> Any:
    """`text` as one YAML value, or the text itself where it is not YAML."""
    try:
        return parse(text, "value").data
    except ConfigError:
        return text


class _Loader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's implicit types: every plain scalar stays text until `_scalar` types it."""

    yaml_implicit_resolvers: dict[str, Any] = {}


def _syntax_error(error: yaml.YAMLError, name: str, text: str) -> ConfigError:
    mark = getattr(error, "problem_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    where = f"{name}:{mark.line + 1}" if mark else name
    column = f" (column {mark.column + 1})" if mark else ""
    todo = "correct the YAML there; indentation is by spaces, text with ': ' or '#' needs quotes"
    lines = text.splitlines()
    if mark and lines and "${" in lines[min(mark.line, len(lines) - 1)]:
        todo = 'inside {…} or […] quote it: "${VAR}"'
    return ConfigError("CFG_YAML", f"{where}: {problem}{column}", todo)


@dataclass
class _Building:
    """What is under construction: `lines` and `duplicates` grow, `left` is what an expansion of aliases may still
    take."""

    name: str
    lines: dict[KeyPath, int] = field(default_factory=lambda: {(): 1})
    duplicates: list[ConfigError] = field(default_factory=list)
    left: int = _LARGEST_EXPANDED

    def error(self, node: yaml.Node, what: str, todo: str) -> ConfigError:
        return ConfigError("CFG_YAML", f"{self.name}:{node.start_mark.line + 1}: {what}", todo)

    def take(self, node: yaml.Node, depth: int) -> None:
        """Raises: ConfigError: CFG_YAML: the file is nested too deep, or its aliases make too much of it."""
        self.left -= _PER_VALUE + (len(node.value) if isinstance(node, yaml.ScalarNode) else 0)
        if self.left < 0:
            what = f"aliases make more than {_LARGEST_EXPANDED >> 20} MiB of this file"
            raise self.error(node, what, "write out what is needed")
        if depth > DEEPEST:
            raise self.error(node, f"nested deeper than {DEEPEST} levels", "write fewer levels")


def _construct(node: yaml.Node, path: KeyPath, building: _Building) -> Any:
    building.take(node, len(path))
    if isinstance(node, yaml.ScalarNode):
        return _scalar(node, building)
    if not node.tag.startswith("tag:yaml.org,2002:"):
        raise building.error(node, f"tag {node.tag!r} is not allowed", "remove the tag")
    if isinstance(node, yaml.SequenceNode):
        items = []
        for index, child in enumerate(node.value):
            building.lines[*path, index] = child.start_mark.line + 1
            items.append(_construct(child, (*path, index), building))
        return items
    mapping: dict[Any, Any] = {}
    for key_node, value_node in node.value:
        if not isinstance(key_node, yaml.ScalarNode):
            raise building.error(key_node, "a key must be plain text", "quote the key")
        key, line = _scalar(key_node, building), key_node.start_mark.line + 1
        here = (*path, key)
        if key in mapping:
            what = f"{dotted_path(here)}: the key is given twice, first on line {building.lines[here]}"
            building.duplicates.append(
                ConfigError("CFG_DUPLICATE_KEY", f"{building.name}:{line}: {what}", "keep one of them")
            )
            continue
        building.lines[here] = line
        mapping[key] = _construct(value_node, here, building)
    return mapping


def _scalar(node: yaml.ScalarNode, building: _Building) -> Any:
    text: str = node.value
    if node.tag not in ("tag:yaml.org,2002:str", "!"):
        raise building.error(node, f"tag {node.tag!r} is not allowed", "remove the tag")
    if node.style is not None:
        return _joined(node, building)
    if len(text) > _LONGEST_NUMBER and _NUMBER.fullmatch(text):
        what = f"a number of {len(text):,} digits, at most {_LONGEST_NUMBER} are read"
        raise building.error(node, what, "quote it if it is text")
    return core_type(text)


def _joined(node: yaml.ScalarNode, building: _Building) -> str:
    r"""The text with the halves of surrogate pairs (``"\ud83d\ude00"``, as in JSON) put together."""
    text: str = node.value
    if not any("\ud800" <= character <= "\udfff" for character in text):
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        what = "the text holds half of a surrogate pair"
        raise building.error(node, what, "write the character itself, or both halves of it") from None


def core_type(text: str) -> Any:
    """A plain scalar typed by the YAML 1.2 core schema, without its octal form."""
    if text in ("", "~", "null", "Null", "NULL"):
        return None
    if text in ("true", "True", "TRUE"):
        return True
    if text in ("false", "False", "FALSE"):
        return False
    if _INT.fullmatch(text):
        return int(text)
    if _HEX.fullmatch(text):
        return int(text, 16)
    if _FLOAT.fullmatch(text):
        return float(text)
    if _INF.fullmatch(text):
        return -math.inf if text.startswith("-") else math.inf
    if text in (".nan", ".NaN", ".NAN"):
        return math.nan
    return text


def assign(document: Document, assignments: list[str]) -> Document:
    """The document with each ``a.b.c=VALUE`` of `assignments` put in place.

    Raises:
        ConfigError: CFG_SET: no ``=``, an empty key, or a parent that is no mapping.
    """
    data = _copy(document.data if document.data is not None else {})
    origins = dict(document.origins)
    for assignment in assignments:
        dotted, equals, text = assignment.partition("=")
        parts = tuple(dotted.strip().split("."))
        option = f"--set {dotted.strip()}"
        if not equals or not all(parts) or len(parts) > DEEPEST:
            raise ConfigError(
                "CFG_SET",
                f"--set {assignment}: not of the form key.key=VALUE",
                "write for example: --set data.source=data/new.csv",
            )
        at = data
        for depth, part in enumerate(parts[:-1]):
            child = at.setdefault(part, {}) if isinstance(at, dict) else None
            if child is None and isinstance(at, dict):
                child = at[part] = {}
            if not isinstance(child, dict):
                raise ConfigError(
                    "CFG_SET",
                    f"{option}: {dotted_path(parts[: depth + 1])} holds no keys",
                    "give the whole value, as YAML, to the key itself",
                )
            at = child
        if not isinstance(at, dict):
            raise ConfigError("CFG_SET", f"{option}: the file holds no keys", "write ml.yaml as a mapping")
        value = scalar_or_flow(text)
        quoted = isinstance(value, str) and text.strip()[:1] in ("'", '"')
        absent = value is None and bool(text.strip())
        at[parts[-1]] = value if isinstance(value, dict | list) or quoted or absent else Untyped(text)
        origins[parts] = option
    return Document(document.name, data, document.lines, origins)


@dataclass(frozen=True)
class _Used:
    """The environment, and what was taken from it: value → reference."""

    environment: Mapping[str, str]
    values: dict[str, str] = field(default_factory=dict)

    def get(self, variable: str) -> str | None:
        """The variable's value."""
        text = self.environment.get(variable)
        if text:
            self.values.update(dict.fromkeys((text, unquote(text), *text.splitlines()), f"${{{variable}}}"))
        return text

    def words(self, written: str) -> None:
        """Note the words of a value that a variable is a part of, as `pre${K}post`."""
        for word in _WORD.findall(written):
            became = _REFERENCE.sub(lambda match: self.environment.get(match[1] or "") or match[3] or "", word)
            if "${" in word and became:
                self.values.setdefault(became, word)


def substitute(
    document: Document,
    environment: Mapping[str, str],
    later: Callable[[KeyPath, str, ConfigError], bool] = lambda path, variable, error: False,
) -> Any:
    """The document's data with every ``${VAR}`` and ``${VAR:-default}`` in its values replaced.

    What the variables hold is shown in no message from then on, but as the reference to it.

    Keys are left alone; ``$${`` gives a literal ``${``; what replaced a reference is not searched again.

    `later` is told of each variable that is not set, with the error that it is: where it says True, the value stays as
    written and the error is the caller's to raise.

    Raises:
        ConfigError: CFG_ENV_UNSET, one for every variable that is not set and has no default; CFG_REFERENCE for what
            begins like a reference and is none.
    """
    problems: list[ConfigError] = []
    used = _Used(environment)

    def replace(value: Any, path: KeyPath) -> Any:
        if isinstance(value, dict):
            return {key: replace(item, (*path, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [replace(item, (*path, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value

        postponed = False

        def one(match: re.Match[str]) -> str:
            nonlocal postponed
            if match.group(0) == "$${":
                return "${"
            variable, default = match.group(1), match.group(3)
            text = used.get(variable)
            if match.group(2) is not None:
                return text or default  # as in a shell, `:-` stands for unset or empty
            if text is not None:
                return text
            what = f"{document.where(path)}: environment variable {variable} is not set"
            error = ConfigError("CFG_ENV_UNSET", what, f"set {variable}, or give a default: ${{{variable}:-value}}")
            if later(path, variable, error):
                postponed = True
            else:
                problems.append(error)
            return ""

        problems.extend(_broken(document, path, value))
        whole = _REFERENCE.fullmatch(value)
        replaced = _REFERENCE.sub(one, value)
        used.words(value)
        if postponed:
            return value
        return Untyped(replaced) if isinstance(value, Untyped) or (whole and whole.group(1)) else replaced

    data = replace(document.data, ())
    hide(used.values)
    if problems:
        raise ConfigError.group(problems)
    return data


def _broken(document: Document, path: KeyPath, value: str) -> list[ConfigError]:
    """The error for a text that holds what begins like a reference and is none."""
    if "${" not in _REFERENCE.sub("", value):
        return []
    what = f"{document.where(path)}: {value!r} holds a broken reference"
    todo = "write ${NAME} or ${NAME:-default}; $${ stands for a literal ${"
    return [ConfigError("CFG_REFERENCE", what, todo)]


def for_keys(raw: Any, replaced: Any, key: str | int = "") -> Any:
    """`replaced` as a cache key may hold it, since keys are recorded.

    A value that a variable replaced in stands there by its text before replacement and a digest of what it became;
    where a key of `SECRET_KEYS` holds it, by its text alone.
    """
    if isinstance(key, str) and key in SECRET_KEYS:
        return raw
    if isinstance(raw, dict) and isinstance(replaced, dict):
        return {name: for_keys(raw.get(name), value, name) for name, value in replaced.items()}
    if isinstance(raw, list) and isinstance(replaced, list):
        return [for_keys(a, b) for a, b in zip(raw, replaced, strict=True)]
    if isinstance(raw, str) and _REFERENCE.search(raw):
        return f"{raw} = sha256:{hashlib.sha256(repr(replaced).encode()).hexdigest()}"
    return replaced


def walk(data: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """Every path and value of a tree, parents before children."""
    yield path, data
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from walk(value, (*path, key))


def _copy(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _copy(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copy(item) for item in value]
    return value
