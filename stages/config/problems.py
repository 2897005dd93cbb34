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
    """One problem a place: the alternatives of a union, of which none fits, are said together."""
    places: dict[KeyPath, list[Any]] = {}
    for problem in problems:
        places.setdefault(_real_path(tuple(problem["loc"]), data), []).append(problem)
    merged = []
    for found in places.values():
        kinds = [_EXPECTED[problem["type"]] for problem in found if problem["type"] in _EXPECTED]
        if len(kinds) > 1 and len(kinds) == len(found):
            merged.append({**found[0], "type": "mlci_union", "ctx": {"expected": " or ".join(dict.fromkeys(kinds))}})
        else:
            merged += found
    return merged


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


def _real_path(location: tuple[Any, ...], data: Any) -> KeyPath:
    """pydantic's location without the tags of unions, which are not in the file."""
    path: list[str | int] = []
    at = data
    for index, part in enumerate(location):
        last = index == len(location) - 1
        if isinstance(at, dict) and part in at:
            at = at[part]
        elif isinstance(at, list) and isinstance(part, int) and part < len(at):
            at = at[part]
        elif last and isinstance(at, dict) and part != "[key]":
            at = None
        else:
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


_EXPECTED: Mapping[str, str] = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "string_type": "text",
    "list_type": "a list",
    "dict_type": "keys and values",
    "model_type": "keys and values",
    "model_attributes_type": "keys and values",
    "none_required": "nothing (null)",
}


def _translate(problem: Any, document: Document, data: Any, model: type[BaseModel]) -> ConfigError:
    path = _real_path(tuple(problem["loc"]), data)
    where, kind, context = document.where(path), problem["type"], problem.get("ctx") or {}
    key = str(path[-1]) if path else ""
    if kind == "missing":
        return ConfigError("CFG_MISSING_KEY", f"{where}: required key is missing", f"add {key}: …")
    if kind == "extra_forbidden":
        names = [n for m in _models_at(model, path[:-1]) for n in (i.alias or n for n, i in m.model_fields.items())]
        return ConfigError("CFG_UNKNOWN_KEY", f"{where}: unknown key {key!r}", nearest(key, list(dict.fromkeys(names))))
    raw = _raw(document.data, path)
    shown = "" if SECRET_KEYS & set(map(str, path)) else f", got {_short(raw)}"
    mend = f"set {raw[2:-1].split(':-')[0]} to what is expected" if _is_reference(raw) else "correct the value"
    if kind == "mlci_union":
        return ConfigError("CFG_VALUE", f"{where}: expected {context['expected']}{shown}", mend)
    if kind == "string_pattern_mismatch" and "a-z0-9-" in str(context.get("pattern")):
        expected = "lower-case letters, digits and dashes, beginning with a letter"
        shown = f", got {key!r}" if problem["loc"][-1] == "[key]" else shown
        return ConfigError("CFG_VALUE", f"{where}: expected {expected}{shown}", mend)
    if kind == "literal_error":
        choices = context.get("expected", "")
        return ConfigError("CFG_VALUE", f"{where}: expected {choices}{shown}", "use one of these")
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        return ConfigError("CFG_VALUE", f"{where}: {problem['msg']}", "use one of these")
    if kind == "mlci":
        return ConfigError(
            context.get("code", "CFG_VALUE"),
            f"{where}: {problem['msg']}",
            context.get("todo", "correct the value"),
        )
    if kind in _EXPECTED:
        return ConfigError("CFG_VALUE", f"{where}: expected {_EXPECTED[kind]}{shown}", mend)
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    return ConfigError("CFG_VALUE", f"{where}: {message}{shown}", mend)


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
    text = str(value) if isinstance(value, Untyped) else repr(value)
    return text if len(text) <= 60 else text[:57] + "…"


def problem(message: str, todo: str, code: str = "CFG_VALUE") -> PydanticCustomError:
    """For validators: an error whose message is shown as it is, after file, line and key."""
    return PydanticCustomError("mlci", message.replace("{", "(").replace("}", ")"), {"code": code, "todo": todo})
