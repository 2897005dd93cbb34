"""A stage's record as an answer of the command line."""

from __future__ import annotations

from typing import Any

from stages.answer import Answer
from stages.errors import GateError
from stages.project import Project
from stages.records.result import Result


def line(result: Result) -> str:
    """One line for people: stage, what became of it, how long, and the stage's own sentence."""
    text = result.summary.get("text", "")
    took = (
        "unchanged"
        if result.status == "skipped" and result.summary.get("skipped") is None
        else f"{result.seconds:.1f} s"
    )
    return f"{result.stage:<9}{result.status:<8} {took:>9}  {text}".rstrip()


def data(project: Project, result: Result) -> dict[str, Any]:
    """What `--json` says of a stage."""
    return {
        "stage": result.stage,
        "status": result.status,
        "exit_code": result.exit_code,
        "seconds": result.seconds,
        "folder": project.show(project.folder(result.stage)),
        "summary": result.summary,
    }


def of_stage(project: Project, result: Result) -> Answer:
    """The answer for one stage; a stage that finished with a no carries its error."""
    return Answer([line(result)], data(project, result), result.exit_code, error_of(result))


def error_of(result: Result) -> GateError | None:
    """The error of a finished stage that said no, as recorded."""
    if result.error is None:
        return None
    return GateError(result.error["code"], result.error["what"], result.error["todo"])
