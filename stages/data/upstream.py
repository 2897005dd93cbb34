"""Whether the results of earlier stages still hold for the configuration, the code and the data of now.

The configuration can be compared everywhere. Data are looked at where they are files of this machine and some are
there: on an agent that has only the results, or where they come from a server, nothing can be said of them.
"""

from __future__ import annotations

import datetime as dt
import os
from functools import lru_cache
from pathlib import Path
from typing import Any

from stages.data import sources
from stages.errors import ArtefactError, DataError
from stages.project import WORK, Project
from stages.records import freshness, result
from stages.records.digest import sha256_file
from stages.records.keys import config_of, is_keyed, variables_of
from stages.records.provenance import own_files
from stages.records.result import Result

#: Files above this size are read again only when the file system says that they changed after the stage began.
_LARGE = 64 << 20
#: Seconds by which the clocks of this machine and of a file server may differ.
_CLOCKS = 600.0
_MARK = " = sha256:"


def require_current(project: Project, *stages: str, data: bool = True) -> None:
    """Refuse to go on from a stage whose configuration, code or data are others than when it ran.

    `data`: look at the source's files as well. A stage without a result, or whose record has no key, is for the caller
    to judge.

    Raises:
        ArtefactError: MOD_STALE, naming the first such stage, what changed, and the command to run.
    """
    for stage in stages:
        found = changes(project, stage, data)
        if found:
            raise stale(stage, found)


def stale(stage: str, found: list[str]) -> ArtefactError:
    """The error of a later stage that finds an earlier one out of date. `found`: what changed."""
    more = f" (and {len(found) - 5} more)" if found[5:] else ""
    return ArtefactError(
        "MOD_STALE",
        f"the result of {stage} is stale: {'; '.join(found[:5])}{more}",
        f"run: mlci run, or mlci {stage} and the stages after it; or undo the change",
    )


def changes(project: Project, stage: str, data: bool = True) -> list[str]:
    """What `stage` depends on and is another now than in its record, a sentence each.

    A variable of the environment that is not set here is not compared: agents get what their own stages need.
    """
    last = result.read(project.folder(stage))
    if last is None or not isinstance(last.key.get("config"), dict):
        return []
    now = config_of(project, stage)
    before = {name: value for name, value in last.key["config"].items() if name in now or is_keyed(stage, name)}
    found = freshness.config_differences(before, now)
    if stage == "prepare":
        found = _without_moved_source(project, last, before, now, found)
        found += _data_changes(project, last) if data else []
    found += freshness.user_file_differences(last, project.root)
    found += _test_changes(project, last) if stage == "test" else []
    present = {name: value for name, value in variables_of(project, stage).items() if value is not None}
    return found + freshness.variable_differences(last, present)


def input_changes(project: Project, last: Result) -> list[str]:
    """The outputs of earlier stages that a stage read and that are others now, by their records."""
    found = []
    for name, digest in last.inputs.items():
        work, _, rest = name.partition("/")
        stage, _, file = rest.partition("/")
        earlier = result.read(project.folder(stage)) if work == WORK and file else None
        if earlier is not None and earlier.outputs.get(file, {}).get("sha256") != digest.get("sha256"):
            found.append(f"{name} changed")
    return found


def _without_moved_source(
    project: Project, last: Result, before: dict[str, Any], now: dict[str, Any], found: list[str]
) -> list[str]:
    """`found` without a `data.source` whose variables have other values but whose data are the same, or a place that
    cannot be seen from here: agents keep the same files in different folders."""
    line = "data.source changed"
    texts = [side["data"].get("source") for side in (before, now)]
    if line not in found or not all(isinstance(text, str) and _MARK in text for text in texts):
        return found
    if texts[0].partition(_MARK)[0] != texts[1].partition(_MARK)[0]:
        return found
    from stages.data.fetch import without_secrets

    source = str(project.config.data.source)
    moved = without_secrets(source) in last.inputs if sources.is_remote(source) else not source.startswith("python:")
    return [other for other in found if other != line] if moved else found


def _data_changes(project: Project, last: Result) -> list[str]:
    try:
        files = sources.visible(project)
    except DataError as error:
        return [error.what]
    if not files:
        return []
    before = {name: str(digest.get("sha256")) for name, digest in last.inputs.items()}
    started = _seconds(last.started)
    now = {name: _digest(path, last.inputs.get(name, {}), started) for name, path in files.items()}
    if list(before.values()) == list(now.values()):
        return []
    found = [f"file {name} changed" for name in before if name in now and now[name] != before[name]]
    found += [f"file {name} was removed" for name in before if name not in now]
    found += [f"file {name} is new" for name in now if name not in before]
    return found or ["the files of data.source are in another order"]


def _digest(path: Path, recorded: dict[str, Any], started: float | None) -> str:
    """SHA-256 of a file; the recorded one where it is large and was not touched since, or cannot be read here."""
    try:
        known = path.stat()
        large = known.st_size > _LARGE and known.st_size == recorded.get("size")
        if large and started is not None and max(known.st_ctime, known.st_mtime) < started - _CLOCKS:
            return str(recorded.get("sha256"))
        return _of_content(path, known.st_size, known.st_mtime_ns, known.st_ctime_ns)
    except OSError:
        return str(recorded.get("sha256"))


def _test_changes(project: Project, last: Result) -> list[str]:
    """Tests and modules that are others than when the tests ran. What the tests themselves wrote does not count, nor
    does a module outside of their folders that is not here or that they did not know."""
    root, rewritten = project.root, last.summary.get("rewritten")
    rewritten = rewritten if isinstance(rewritten, list) else []
    configured = [text for text in (project.config.test.unit, project.config.test.integration) if text is not None]
    folders = [project.path(text) for text in configured]
    found = []
    for name, digest in last.inputs.items():
        path = root / name
        if name.startswith(f"{WORK}/") or name in rewritten:
            continue
        if path.is_file():
            found += [f"file {name} changed"] if sha256_file(path).sha256 != digest.get("sha256") else []
        elif path.suffix == ".py" and any(folder.is_dir() and _lies_in(path, folder) for folder in folders):
            found.append(f"file {name} was removed")
    there = {os.path.relpath(path, root) for folder in folders for path in own_files(folder) if path.suffix == ".py"}
    return found + [f"file {name} is new" for name in sorted(there - last.inputs.keys())]


def _lies_in(path: Path, folder: Path) -> bool:
    return Path(os.path.abspath(path)).is_relative_to(os.path.abspath(folder))


@lru_cache(maxsize=10_000)
def _of_content(path: Path, size: int, modified: int, changed: int) -> str:
    """Once in a process, so that `mlci run` does not read the data before every stage."""
    return sha256_file(path).sha256


def _seconds(started: str) -> float | None:
    try:
        return dt.datetime.fromisoformat(started).timestamp()
    except ValueError:
        return None
