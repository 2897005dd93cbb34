"""From a YAML document to a pydantic model, with every problem in the file's own terms.

One pass reports all problems: file, line, key, what was expected, and for an unknown key the nearest known one.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar, Union, get_args, get_origin

import pydantic
from pydantic import BaseModel, ConfigDict
from pydantic_core import PydanticCustomError

from stages.config.yamlfile import SECRET_KEYS, Document, KeyPath, Untyped
from stages.errors import ConfigError

ModelT = TypeVar("ModelT", bound="Section")


class Section(BaseModel):
    """Base of every configuration section: unknown keys are errors, values are not coerced."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)


def build(model: type[ModelT], document: Document, data: Any) -> tuple[ModelT | None, list[ConfigError]]:
    """`data` (the document's data after substitution) as `model`, or all that is wrong with it."""
    if not isinstance(data, dict):
        what = "the file is empty" if data is None else "expected keys and values at the top"
        return None, [
            ConfigError("CFG_VALUE", f"{document.name}: {what}", f"start from: {', '.join(_required(model))}")
        ]
    try:
        return model.model_validate(typed(data, model)), []
    except pydantic.ValidationError as error:
        seen: dict[str, ConfigError] = {}
        for problem in _merged(error.errors(include_url=False), data):
            translated = _translate(problem, document, data, model)
            seen.setdefault(translated.what, translated)
        return None, sorted(seen.values(), key=lambda e: line_of(e.what))


def _merged(problems: list[Any], data: Any) -> list[Any]:
    """One problem a place: the alternatives of a union, of which none fits, are said together.

    Where one alternative takes what stands there and only something inside is wrong, the others are not mentioned.
    """
    places: dict[tuple[KeyPath, bool], list[Any]] = {}
    for problem in problems:
        places.setdefault((_real_path(problem, data), _of_key(problem)), []).append(problem)
    merged = []
    for (path, of_key), found in places.items():
        kinds = [_EXPECTED[problem["type"]] for problem in found if problem["type"] in _EXPECTED]
        alternatives = len(kinds) == len(found)
        inside = any(len(other) > len(path) and other[: len(path)] == path for other, _ in places)
        if alternatives and inside and not of_key:
            continue
        if alternatives and len(kinds) > 1:
            fits = [kind for kind in dict.fromkeys(kinds) if kind != "a whole number" or "a number" not in kinds]
            merged.append({**found[0], "type": "mlci_union", "ctx": {"expected": " or ".join(fits)}})
        else:
            merged += found
    return merged


def _of_key(problem: Any) -> bool:
    """Whether a key itself is what is wrong, not what stands under it."""
    return bool(problem["loc"][-1:] == ("[key]",) or problem["type"] == "invalid_key")


def line_of(what: str) -> tuple[int, str]:
    """Sorting key of a message: the line it names, then its text."""
    head = what.split(": ", 1)[0].rsplit(":", 1)
    return (int(head[1]), what) if len(head) == 2 and head[1].isdigit() else (0, what)


def _required(model: type[BaseModel]) -> list[str]:
    return [name for name, info in model.model_fields.items() if info.is_required()]


def typed(value: Any, annotation: Any) -> Any:
    """`value` with each `Untyped` text in it typed as YAML, unless `annotation` takes text at its place."""
    options = _options(annotation)
    if isinstance(value, Untyped):
        if {bool, str} <= set(options) and str(value) in ("true", "false"):
            return value.typed()  # `gateway`, whose text is the name of an image; `positive`, of a boolean target
        return str(value) if str in options or any(isinstance(o, str) for o in options) else value.typed()
    if isinstance(value, dict):
        models = [o for o in options if isinstance(o, type) and issubclass(o, BaseModel)]
        values = [get_args(o)[1] for o in options if get_origin(o) is dict]
        return {key: typed(item, _field(models, key) or (values[0] if values else Any)) for key, item in value.items()}
    if isinstance(value, list):
        inner = [get_args(o)[0] for o in options if get_origin(o) in (list, tuple) and get_args(o)]
        return [typed(item, inner[0] if inner else Any) for item in value]
    return value


def _options(annotation: Any) -> list[Any]:
    """The alternatives of an annotation: members of a union, values of a literal, without Annotated."""
    if get_origin(annotation) is typing.Annotated:
        return _options(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [option for member in get_args(annotation) for option in _options(member)]
    if get_origin(annotation) is typing.Literal:
        return list(get_args(annotation))
    return [annotation]


def _field(models: list[type[BaseModel]], key: Any) -> Any:
    for model in models:
        for name, info in model.model_fields.items():
            if key in (name, info.alias):
                return info.annotation
    return None


def _real_path(problem: Any, data: Any) -> KeyPath:
    """pydantic's location without the tags of unions, which are not in the file."""
    path: list[str | int] = []
    at, location = data, problem["loc"]
    for index, part in enumerate(location):
        if isinstance(at, dict) and part in at:
            at = at[part]
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        elif index < len(location) - 1 or problem["type"] != "missing":
            continue
        path.append(part)
    return tuple(path)


def _models_at(model: type[BaseModel], path: KeyPath) -> list[type[BaseModel]]:
    """The models that may describe what stands at `path`."""
    annotations: list[Any] = [model]
    for part in path:
        found: list[Any] = []
        for option in annotations:
            if isinstance(option, type) and issubclass(option, BaseModel):
                annotation = _field([option], part)
                found += _options(annotation) if annotation is not None else []
            elif get_origin(option) is dict:
                found += _options(get_args(option)[1])
            elif get_origin(option) in (list, tuple) and get_args(option):
                found += _options(get_args(option)[0])
        annotations = found
    return [a for a in annotations if isinstance(a, type) and issubclass(a, BaseModel)]


def nearest(word: str, known: list[str]) -> str:
    """A hint for a misspelt `word`: `did you mean 'x'?`, or the list of what is known."""
    close = difflib.get_close_matches(word.lower(), known, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]!r}?"
    return "known here: " + ", ".join(known) if known else "remove it"


#: What pydantic calls a value of another type → what was expected.
_EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "string_unicode": "text in UTF-8",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "nothing (null)",
}

#: What pydantic calls a value of the right type that is out of bounds → what was expected, and the bound's name.
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("a number greater than {}", "gt"),
    "greater_than_equal": ("a number of at least {}", "ge"),
    "less_than": ("a number less than {}", "lt"),
    "less_than_equal": ("a number of at most {}", "le"),
    "string_too_short": ("text of at least {}", "min_length"),
    "string_too_long": ("text of at most {}", "max_length"),
    "too_short": ("at least {}", "min_length"),
    "too_long": ("at most {}", "max_length"),
}

#: Patterns in words.
_PATTERNS: Mapping[str, str] = {
    "^[a-z][a-z0-9-]*$": "lower-case letters, digits and dashes, beginning with a letter",
    "^[0-9]+[bkmgBKMG]?$": "a size, for example 512m or 2g",
    "^[A-Za-z_][A-Za-z0-9_]*$": "the name of an environment variable",
}


def _translate(problem: Any, document: Document, data: Any, model: type[BaseModel]) -> ConfigError:
    path, kind, context = _real_path(problem, data), problem["type"], problem.get("ctx") or {}
    if kind.startswith("union_tag_"):
        return _tag(path, document, data, model, context)
    where, key = document.where(path), str(path[-1]) if path else ""
    if kind == "missing":
        return ConfigError("CFG_MISSING_KEY", f"{where}: required key is missing", f"add {key}: …")
    if kind == "extra_forbidden":
        names = [n for m in _models_at(model, path[:-1]) for n in (i.alias or n for n, i in m.model_fields.items())]
        return ConfigError("CFG_UNKNOWN_KEY", f"{where}: unknown key {key!r}", nearest(key, list(dict.fromkeys(names))))
    if kind == "mlci":
        return ConfigError(context["code"], f"{where}: {problem['msg']}", context["todo"])
    raw = _raw(document.data, path)
    if _of_key(problem):
        not_text = kind in ("invalid_key", "string_type")
        wanted = "a key that is text" if not_text else expected(problem)
        mend = "write the key in quotes" if not_text else "rename the key"
        got = problem["input"] if kind == "invalid_key" else path[-1]  # a null is at no path
        return ConfigError("CFG_VALUE", f"{where}: expected {wanted}, got {_short(got)}", mend)
    shown = "" if SECRET_KEYS & set(map(str, path)) else f", got {_short(raw)}"
    mend = f"set {raw[2:-1].split(':-')[0]} to what is expected" if _is_reference(raw) else "correct the value"
    if kind == "literal_error":
        mend = "use one of these"
    return ConfigError("CFG_VALUE", f"{where}: expected {expected(problem)}{shown}", mend)


def expected(problem: Any) -> str:
    """What pydantic would have taken, in words."""
    kind, context = problem["type"], problem.get("ctx") or {}
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(context["pattern"], f"text like {context['pattern']}")
    if kind not in _BOUNDS:  # a literal's values; a ValueError that a validator let through
        return str(context.get("expected") or f"another value ({context.get('error', kind)})")
    words, name = _BOUNDS[kind]
    bound = context[name]
    if name in ("gt", "ge", "lt", "le"):
        return words.format(f"{bound:g}" if isinstance(bound, float) else bound)
    thing = "character" if kind.startswith("string") else "entry"
    several = "characters" if thing == "character" else "entries"
    return words.format(f"one {thing}" if bound == 1 else f"{bound} {several}")


def _tag(path: KeyPath, document: Document, data: Any, model: type[BaseModel], context: Any) -> ConfigError:
    """The key that says which of several kinds stands at `path` is missing or wrong."""
    key = str(context["discriminator"]).strip("'")
    fields = [m.model_fields[key] for m in _models_at(model, path) if key in m.model_fields]
    known = [str(value) for info in fields for value in _options(info.annotation)]
    choices = ", ".join(map(repr, known[:-1])) + f" or {known[-1]!r}" if known[1:] else "".join(map(repr, known))
    where, holder = document.where((*path, key)), _raw(data, path)
    if not isinstance(holder, dict) or key not in holder:
        return ConfigError("CFG_MISSING_KEY", f"{where}: required key is missing", f"add {key}: {choices}")
    raw = _raw(document.data, (*path, key))
    return ConfigError("CFG_VALUE", f"{where}: expected {choices}, got {_short(raw)}", nearest(str(raw), known))


def _is_reference(raw: Any) -> bool:
    return isinstance(raw, str) and raw.startswith("${") and raw.endswith("}")


def _raw(data: Any, path: KeyPath) -> Any:
    """What stands at `path` in the text before replacement, so that a message never shows a replaced secret."""
    for part in path:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _short(value: Any) -> str:
    """A value as a person would write it. What a list or mapping holds is not shown: it may be a secret."""
    if isinstance(value, dict | list):
        kind = "a list" if isinstance(value, list) else "keys and values"
        return kind if value else f"{kind}, empty"
    words = {"None": "null", "True": "true", "False": "false", "nan": ".nan", "inf": ".inf", "-inf": "-.inf"}
    text = repr(value) if type(value) is str else words.get(str(value), str(value))
    return text if len(text) <= 60 else text[:57] + "…"


def problem(message: str, todo: str, code: str = "CFG_VALUE") -> PydanticCustomError:
    """For validators: an error whose message is shown as it is, after file, line and key."""
    return PydanticCustomError("mlci", message.replace("{", "(").replace("}", ")"), {"code": code, "todo": todo})
