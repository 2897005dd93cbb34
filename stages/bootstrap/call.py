"""One command whose arguments come as JSON and whose answer goes into a file: how a Jenkins step calls mlci.

A value never becomes part of a shell line that way, and what the step needs to know comes back whole, apart from the
log. `MLCI_CALL` is {"arguments": […]}, or the name of a file that holds it; `MLCI_ANSWER` names the answer's file.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from pathlib import Path
from typing import Any, TextIO

from stages.escaping import printable

#: Exit codes of a stage that finished: what it left behind belongs to this run.
_FINISHED = (0, 4)
_OURS = ("MLCI_CALL", "MLCI_ANSWER", "MLCI_PYZ", "MLCI_PYZ_SHA256", "MLCI_PART")


def words(given: str) -> list[str]:
    """The command line that `MLCI_CALL` holds or names."""
    text = given if given.startswith("{") else Path(given).read_text(encoding="utf-8")
    return list(json.loads(text)["arguments"])


def call() -> int:
    """Run the command, write its answer, return its exit code."""
    given = {name: os.environ.pop(name, "") for name in _OURS}
    line = words(given["MLCI_CALL"])
    start = Path.cwd()
    out = _HeldBack(sys.stdout)
    with contextlib.redirect_stdout(out):
        from stages.cli import main

        code = main([*line, "--json"])
    answer = out.answer() | {"exit_code": code}
    try:
        answer |= _found(answer, start, line)
    except Exception as error:  # noqa: BLE001  the command is over; its exit code must reach Jenkins all the same
        print(printable(f"mlci: what {line[0]} left behind was not read: {error}"), file=sys.stderr)
    Path(given["MLCI_ANSWER"]).write_text(json.dumps(answer, ensure_ascii=False, default=str), encoding="utf-8")
    return code


class _HeldBack(io.TextIOBase):
    """Passes on what is printed, but the last line, which is for the machine."""

    def __init__(self, through: TextIO) -> None:
        super().__init__()
        self._through, self._line = through, ""

    def write(self, text: str) -> int:
        *whole, rest = (self._line + text).split("\n")
        if whole and not rest:
            rest = whole.pop() + "\n"
        for line in whole:
            self._through.write(line + "\n")
        self._line = rest
        return len(text)

    def flush(self) -> None:
        self._through.flush()

    def fileno(self) -> int:
        return self._through.fileno()

    def answer(self) -> dict[str, Any]:
        """The last line as data; printed like the others when it is not."""
        try:
            data = json.loads(self._line)
        except ValueError:
            data = None
        if isinstance(data, dict) and "exit_code" in data:
            return data
        self._through.write(self._line)
        return {}


def _found(answer: dict[str, Any], start: Path, words: list[str]) -> dict[str, Any]:
    """What Jenkins is to publish and to decide by. Paths are relative to `start`, where the step stands."""
    summary = answer.get("summary") or {}
    found: dict[str, Any] = {"text": summary.get("text", "")}
    if "verdict" in summary:
        found["verdict"] = summary["verdict"]
    if answer.get("folder") and answer["exit_code"] in _FINISHED:
        found |= _published(Path.cwd() / answer["folder"], start)
    if words[0] == "check" and answer["exit_code"] == 0:
        found["plan"] = plan(words)
    if words[0] in ("test", "validate") and answer["exit_code"] == 4:
        validation = _project(words).config.validation
        found |= {"on_fail": validation.on_fail, "inconclusive": validation.inconclusive}
        found.setdefault("verdict", "failed")
    return found


def _published(folder: Path, start: Path) -> dict[str, Any]:
    shown = os.path.relpath(folder, start)
    if shown.startswith(".."):
        print(
            printable(f"mlci: {folder} lies outside of the current folder; Jenkins cannot archive it"), file=sys.stderr
        )
        return {"folder": None}
    junit = folder / "junit.xml"
    if junit.is_file():
        os.utime(junit)  # Jenkins takes results from before the build for left over; a skipped stage's still hold
    card = folder / "MODEL_CARD.md"
    page = folder.parent / "card"
    if card.is_file():
        from stages.bootstrap import card as page_of

        page_of.write(card, page)
    summary = folder / "summary.md"
    return {
        "folder": shown,
        "model": _place(folder.parent.parent),
        "card": os.path.relpath(page, start) if card.is_file() else None,
        "junit": junit.is_file(),
        "report": (folder / "report" / "index.html").is_file(),
        "checks": f"{shown}/summary.md" if summary.is_file() else None,
        "summary_text": summary.read_text("utf-8") if summary.is_file() and os.environ.get("CHANGE_ID") else None,
    }


def _place(root: Path) -> str:
    """The model's folder, from the build's workspace; empty where it is the workspace, or outside of it."""
    workspace = os.environ.get("WORKSPACE")
    if not workspace:
        return ""
    shown = os.path.relpath(root.resolve(), Path(workspace).resolve())
    return "" if shown == "." or shown.startswith("..") else shown


def plan(words: list[str]) -> dict[str, Any]:
    """What a pipeline has to know of the configuration before it starts.

    `store.identity` tells whether two agents see one store: of a folder its file number and the time of its last new
    entry, of a bucket its address if it answers; `store.problem` why it does not.
    """
    project = _project(words)
    config = project.config
    if config.store.startswith("s3://"):
        store = _object_store(config.store, project.root)
    else:
        with contextlib.suppress(OSError):
            if os.environ.get("MLCI_STORE_READONLY") != "1":
                project.store.mkdir(parents=True, exist_ok=True)
        store = {"kind": "directory", "path": str(project.store), "identity": None}
        with contextlib.suppress(OSError):
            status = project.store.stat()
            store["identity"] = f"{status.st_ino}:{status.st_mtime_ns}"
    environments: list[dict[str, Any]] = []
    for name, target in config.deploy.items():
        kept = {"keep": True} if target.target == "process" and target.keep else {}
        environments.append({"name": name, "target": target.target, **kept})
    return {"name": config.name, "environments": environments, "store": store}


def _object_store(address: str, root: Path) -> dict[str, Any]:
    from stages.errors import MlciError
    from stages.store import at

    store: dict[str, Any] = {"kind": "object store", "path": address, "identity": None, "problem": ""}
    try:
        at(address, root).reached()
    except MlciError as error:
        return store | {"problem": f"{error.what}; {error.todo}"}
    return store | {"identity": address}


def _project(words: list[str]) -> Any:
    from stages.cli import _parser
    from stages.project import Project

    arguments = _parser(words).parse_args(words)
    return Project.open(Path(arguments.config), arguments.assignments)
