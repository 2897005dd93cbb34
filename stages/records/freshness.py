"""Whether a stage has to run, and why.

A stage is a function of its config sections, input digests, mlci's code, the user's imported files, library versions,
Python and platform (DVC's lock keeps the first two alone, so a changed library reuses an old result there). The parts
are compared one by one, so that the answer can be given in words.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from stages.records import provenance
from stages.records.digest import sha256_file
from stages.records.result import Result


def key(config: dict[str, Any], inputs: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The parts of a stage's key that are known before it runs."""
    return {
        "config": config,
        "inputs": inputs,
        "code": provenance.code_digest(),
        "python": provenance.python_version(),
        "platform": provenance.platform_tag(),
    }


def completed(known: dict[str, Any], root: Path) -> dict[str, Any]:
    """`known` with the parts that are known only after the run: the user's files and the libraries that were
    loaded."""
    return {**known, "user_files": provenance.user_files(root), "libraries": provenance.loaded_libraries()}


def reasons(result: Result | None, known: dict[str, Any], root: Path, folder: Path) -> list[str]:
    """Why the stage has to run, a sentence each; empty when its last result still holds."""
    if result is None:
        return ["it has no result yet"]
    recorded = result.key
    found = [f"config {line}" for line in _differences(recorded.get("config"), known["config"])]
    found += [f"input {line}" for line in _input_differences(recorded.get("inputs") or {}, known["inputs"])]
    if recorded.get("code") != known["code"]:
        found.append("mlci itself changed")
    for part, shown in (("python", "Python"), ("platform", "platform")):
        if recorded.get(part) != known[part]:
            found.append(f"{shown} changed from {recorded.get(part)} to {known[part]}")
    for name, sha256 in (recorded.get("user_files") or {}).items():
        path = root / name
        if not path.is_file():
            found.append(f"your file {name} is gone")
        elif sha256_file(path).sha256 != sha256:
            found.append(f"your file {name} changed")
    for name, version in (recorded.get("libraries") or {}).items():
        now = provenance.installed_version(name)
        if now != version:
            found.append(f"library {name} changed from {version} to {now or 'not installed'}")
    found += [f"output {name} does not match its record" for name in result.changed_outputs(folder)]
    return found


def _differences(before: Any, now: Any, path: str = "") -> list[str]:
    if isinstance(before, dict) and isinstance(now, dict):
        lines = []
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
