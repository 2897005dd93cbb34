"""ml.yaml without the defaults that somebody wrote down: writing one out is no change of the configuration."""

from __future__ import annotations

import typing
from collections.abc import Mapping
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import BaseModel

from stages.config.schema import Config
from stages.config.suffixes import format_by_suffix


def without_defaults(sections: Mapping[str, Any]) -> dict[str, Any]:
    """`sections` (top-level keys as `Loaded.keyed` gives them) without what equals its default, in the same order."""
    found = _stripped(sections, Config)
    if isinstance(found.get("data"), Mapping):
        found["data"] = _without_derived(found["data"])
    return found


def _without_derived(data: Mapping[str, Any]) -> dict[str, Any]:
    """`data` without the defaults that follow from its other keys."""
    found = dict(data)
    if "format" in found and found["format"] == format_by_suffix(str(data.get("source"))):
        del found["format"]
    split = found.get("split")
    if isinstance(split, Mapping) and split.get("by") == ("key" if data.get("key") else "random"):
        found["split"] = {key: value for key, value in split.items() if key != "by"}
        if not found["split"]:
            del found["split"]
    return found


def _stripped(values: Mapping[str, Any], model: type[BaseModel]) -> dict[str, Any]:
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    found = {}
    for key, value in values.items():
        if key not in fields:
            found[key] = value
            continue
        inner = _inside(value, fields[key].annotation)
        if fields[key].is_required() or inner != _inside(_plain(fields[key].get_default()), fields[key].annotation):
            found[key] = inner
    return found


def _plain(default: Any) -> Any:
    return default.model_dump(by_alias=True) if isinstance(default, BaseModel) else default


def _inside(value: Any, annotation: Any) -> Any:
    """`value` with the sections in it stripped, as `annotation` says where they are."""
    if not isinstance(value, Mapping):
        return value
    if get_origin(annotation) is typing.Annotated:
        return _inside(value, get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part not in (str, type(None))]
        return _inside(value, parts[0]) if len(parts) == 1 else value
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return _stripped(value, annotation)
    if get_origin(annotation) is dict:
        return {key: _inside(item, get_args(annotation)[1]) for key, item in value.items()}
    return value
