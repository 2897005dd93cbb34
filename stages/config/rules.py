"""Rules of ml.yaml that look at several keys at once.

They read plain data, not the model, so that they speak in the same pass as the errors of single keys.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from stages.bucket import Address
from stages.config.problems import nearest
from stages.config.yamlfile import Document, KeyPath, walk
from stages.errors import ConfigError

_Problem = tuple[KeyPath, str, str]


def check(document: Document, data: Any) -> list[ConfigError]:
    """Everything in `data` (after substitution) that contradicts itself."""
    if not isinstance(data, dict):
        return []
    found = [
        *_columns_exist(data),
        *_target(data),
        *_split(data),
        *_model(data),
        *_gate(data),
        *_ports(data),
        *_store(data),
        *_whole_numbers(data),
    ]
    return [ConfigError("CFG_VALUE", f"{document.where(path)}: {what}", todo) for path, what, todo in found]


def _mapping(value: Any, *keys: str) -> dict[str, Any]:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _columns_exist(data: dict[str, Any]) -> Iterator[_Problem]:
    columns = _mapping(data, "data", "columns")
    if not columns:
        return
    section, gate = _mapping(data, "data"), _mapping(data, "validate")
    named: list[tuple[KeyPath, Any]] = [(("data", key), section.get(key)) for key in ("target", "weight")]
    named += [(("data", "key", i), name) for i, name in enumerate(_texts(section.get("key")))]
    named += [(("data", "split", "column"), _mapping(section, "split").get("column"))]
    named += [(("validate", "slices", i), name) for i, name in enumerate(_texts(gate.get("slices")))]
    for path, name in named:
        if isinstance(name, str) and name not in columns:
            yield (
                path,
                f"{name!r} is not a listed column",
                nearest(name, list(columns)) + " (or list it under data.columns)",
            )
    features = [n for n, c in columns.items() if _mapping(c).get("feature", True) is not False]
    if not [n for n in features if n not in (section.get("target"), section.get("weight"))]:
        yield (
            ("data", "columns"),
            "no column is a feature",
            "list at least one column besides the target, without feature: false",
        )


def _target(data: dict[str, Any]) -> Iterator[_Problem]:
    section, task = _mapping(data, "data"), data.get("task")
    target, columns = section.get("target"), _mapping(section, "columns")
    column = _mapping(columns.get(target)) if isinstance(target, str) else {}
    kind = column.get("type")
    fits = {
        "regression": ("number", "integer"),
        "classification": ("boolean", "category", "integer", "text"),
    }.get(str(task))
    if kind and fits and kind not in fits:
        yield (
            ("data", "columns", str(target), "type"),
            f"a {kind} target does not fit {task}",
            f"{task} takes: {', '.join(fits)}",
        )
    if column.get("nullable") is True:
        yield (
            ("data", "columns", str(target), "nullable"),
            "the target may not be missing",
            "remove nullable: true; rows without a target go to quarantine",
        )
    if section.get("positive") is not None:
        if task == "regression":
            yield ("data", "positive"), "regression has no positive class", "remove positive"
        elif kind == "boolean" and not isinstance(section["positive"], bool):
            yield (
                ("data", "positive"),
                f"the target is boolean, positive is {section['positive']!r}",
                "write true or false",
            )
    weight = section.get("weight")
    if isinstance(weight, str) and weight in columns:
        if _mapping(columns[weight]).get("type") not in ("number", "integer", None):
            yield ("data", "weight"), f"{weight!r} is not a number", "weights are a number column"
        if weight == target:
            yield ("data", "weight"), "the target cannot be its own weight", "name another column"
    if isinstance(target, str) and target in _texts(section.get("key")):
        yield (
            ("data", "key"),
            "the target cannot be part of the key",
            "name what identifies a row without its label",
        )


def _split(data: dict[str, Any]) -> Iterator[_Problem]:
    section = _mapping(data, "data")
    split, columns = _mapping(section, "split"), _mapping(section, "columns")
    by, column = split.get("by"), split.get("column")
    if by == "key" and not section.get("key"):
        yield (
            ("data", "split", "by"),
            "split by key needs data.key",
            "add key: [column, …], or use by: random",
        )
    if by in ("time", "group") and column is None:
        yield ("data", "split", "by"), f"split by {by} needs a column", "add column: NAME beside it"
    if by in ("key", "random", None) and column is not None:
        yield (
            ("data", "split", "column"),
            f"split by {by or 'default'} takes no column",
            "use by: time or by: group, or remove column",
        )
    kind = _mapping(columns.get(column)).get("type") if isinstance(column, str) else None
    if by == "time" and kind in ("category", "text", "boolean"):
        yield (
            ("data", "split", "column"),
            f"{column!r} is a {kind} column, which has no order in time",
            "use a datetime, number or integer column",
        )
    if column is not None and column == section.get("target") and by == "group":
        yield (
            ("data", "split", "column"),
            "grouping by the target would keep whole classes on one side",
            "use by: random",
        )


def _model(data: dict[str, Any]) -> Iterator[_Problem]:
    columns, model = _mapping(data, "data", "columns"), _mapping(data, "model")
    section = _mapping(data, "data")
    if model.get("preprocess", "auto") == "auto":
        for name, column in columns.items():
            if (
                _mapping(column).get("type") == "text"
                and _mapping(column).get("feature", True) is True
                and name != section.get("target")
            ):
                yield (
                    ("data", "columns", str(name), "type"),
                    "preprocess: auto has no treatment for text columns",
                    "set feature: false, make it a category, or give model.preprocess: module:function",
                )
    search = _mapping(model, "search")
    if search.get("method") == "grid" and "n_iter" in search:
        yield (
            ("model", "search", "n_iter"),
            "a grid search tries every combination",
            "remove n_iter, or use method: random",
        )


def _gate(data: dict[str, Any]) -> Iterator[_Problem]:
    champion, deploy = _mapping(data, "validate").get("champion"), _mapping(data, "deploy")
    if isinstance(champion, str) and champion not in deploy:
        yield (
            ("validate", "champion"),
            f"no environment is called {champion!r}",
            nearest(champion, [str(k) for k in deploy]),
        )


def _ports(data: dict[str, Any]) -> Iterator[_Problem]:
    taken: dict[Any, str] = {}
    for name, target in _mapping(data, "deploy").items():
        place = (_mapping(target).get("host", "127.0.0.1"), _mapping(target).get("port"))
        if place[1] is not None and place in taken:
            yield ("deploy", name, "port"), f"port {place[1]} is that of {taken[place]} too", "give each its own port"
        taken.setdefault(place, name)


def _whole_numbers(data: dict[str, Any]) -> Iterator[_Problem]:
    """What counts, seeds or limits a column of whole numbers fits into 64 bits."""
    columns = _mapping(data, "data", "columns")
    for path, value in walk(data):
        if type(value) is not int or abs(value) < 2**63 or path[-2:-1] == ("values",):  # a level is any text
            continue
        bounds = path[-1] in ("min", "max")
        whole = path[:2] == ("data", "columns") and _mapping(columns.get(str(path[2]))).get("type") == "integer"
        if not bounds or whole:
            yield (
                path,
                f"a whole number of {len(str(abs(value)))} digits, at most 64 bits are taken",
                "correct the value",
            )


#: Characters of a path that Linux takes.
_LONGEST_PATH = 4095


def _store(data: dict[str, Any]) -> Iterator[_Problem]:
    store = data.get("store")
    if isinstance(store, str) and ("\0" in store or len(store) > _LONGEST_PATH):
        yield ("store",), "this can be no path: it is too long, or holds a NUL character", "name a directory"
        return
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]*)://", store) if isinstance(store, str) else None
    if scheme is None:
        return
    if scheme[1] != "s3":
        yield ("store",), f"{scheme[1]}:// is no kind of store", "use a directory, or s3://bucket/prefix"
        return
    try:
        Address.of(str(store))
    except ValueError as error:
        yield ("store",), f"no address of an s3 store: {error}", "write s3://bucket or s3://bucket/prefix"
