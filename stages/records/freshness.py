"""Whether a stage has to run, and why.

A stage is a function of its config sections, input digests, mlci's code, the user's imported files, library versions,
Python and platform (DVC's lock keeps the first two alone, so a changed library reuses an old result there). The parts
are compared one by one, so that the answer can be given in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stages.config.defaults import without_defaults
from stages.records import provenance
from stages.records.concealed import digest_of, is_digest_of
from stages.records.digest import sha256_file
from stages.records.result import Result


def key(
    config: dict[str, Any], inputs: dict[str, dict[str, Any]], variables: Mapping[str, str | None] | None = None
) -> dict[str, Any]:
    """The parts of a stage's key that are known before it runs. `variables`: those of the environment that its user
    code reads, with their values, None for one that is not set; `completed` makes digests of them."""
    return {
        "config": config,
        "inputs": inputs,
        "variables": dict(variables or {}),
        "code": provenance.code_digest(),
        "python": provenance.python_version(),
        "platform": provenance.platform_tag(),
    }


def completed(known: dict[str, Any], root: Path) -> dict[str, Any]:
    """`known` with the parts that are known only after the run: the user's files and the libraries that were
    loaded."""
    return {
        **known,
        "variables": {name: digest_of(value) for name, value in known["variables"].items()},
        "user_files": provenance.user_files(root),
        "libraries": provenance.loaded_libraries(),
    }


def reasons(result: Result | None, known: dict[str, Any], root: Path, folder: Path) -> list[str]:
    """Why the stage has to run, a sentence each; empty when its last result still holds."""
    if result is None:
        return ["it has no result yet"]
    recorded = result.key
    found = [f"config {line}" for line in config_differences(recorded.get("config"), known["config"])]
    found += [f"input {line}" for line in _input_differences(recorded.get("inputs") or {}, known["inputs"])]
    found += variable_differences(result, known["variables"])
    if recorded.get("code") != known["code"]:
        found.append("mlci itself changed")
    for part, shown in (("python", "Python"), ("platform", "platform")):
        if recorded.get(part) != known[part]:
            found.append(f"{shown} changed from {recorded.get(part)} to {known[part]}")
    found += user_file_differences(result, root)
    for name, version in (recorded.get("libraries") or {}).items():
        now = provenance.installed_version(name)
        if now != version:
            found.append(f"library {name} changed from {version} to {now or 'not installed'}")
    found += [f"output {name} does not match its record" for name in result.changed_outputs(folder)]
    return found


def variable_differences(result: Result, now: Mapping[str, str | None]) -> list[str]:
    """The listed variables of the environment whose value is another one now, a sentence each."""
    recorded = result.key.get("variables")
    before = recorded if isinstance(recorded, dict) else {}
    found = []
    for name, value in now.items():
        if name not in before:
            found.append(f"variable {name} is new in environment.variables")
        elif (value is None) != (before[name] is None):
            found.append(f"variable {name} is {'no longer set' if value is None else 'set now'}")
        elif value is not None and not is_digest_of(value, before[name]):
            found.append(f"variable {name} changed")
    return found


def user_file_differences(result: Result, root: Path) -> list[str]:
    """The files of the repository that the stage imported and that are others now, a sentence each."""
    found = []
    for name, sha256 in (result.key.get("user_files") or {}).items():
        path = root / name
        if not path.is_file():
            found.append(f"your file {name} is gone")
        elif sha256_file(path).sha256 != sha256:
            found.append(f"your file {name} changed")
    return found


def config_differences(before: Any, now: Any) -> list[str]:
    """What differs between two configs of a key, a sentence for each key of ml.yaml. A default that is written out is
    no difference."""
    if isinstance(before, dict) and isinstance(now, dict):
        before, now = without_defaults(before), without_defaults(now)
    return _differences(before, now)


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
        if path == "data.columns" and before.keys() == now.keys() and list(before) != list(now):
            lines.append(f"{path} are in another order")
        for name in sorted({*before, *now}, key=str):
            here = f"{path}.{name}" if path else str(name)
            if name not in now:
                lines.append(f"{here} was removed")
            elif name not in before:
                lines.append(f"{here} was added")
            else:
                lines += _differences(before[name], now[name], here)
        return lines
    same = before == now or (before != before and now != now)
    return [] if same and isinstance(before, bool) == isinstance(now, bool) else [f"{path} changed"]


def _input_differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    lines = [f"{name} was removed" for name in before if name not in now]
    for name, digest in now.items():
        if name not in before:
            lines.append(f"{name} is new")
        elif before[name].get("sha256") != digest.get("sha256"):
            lines.append(f"{name} changed")
    return lines
