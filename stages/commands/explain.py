"""`mlci explain STAGE`: why a stage would run or be skipped. `mlci validate --explain RULE`: how a rule was
decided."""

from __future__ import annotations

import difflib

from stages.answer import Answer
from stages.errors import MlciError, UsageError
from stages.project import Project
from stages.records import freshness, result
from stages.records.stage import Stage, outputs_of

STAGES = ("prepare", "train", "test", "validate", "deploy")


def stage(project: Project, name: str) -> Answer:
    """Why the stage would run now, a line a reason, or that it would be skipped.

    Raises:
        UsageError: CFG_USAGE: no such stage.
    """
    if name not in STAGES:
        close = difflib.get_close_matches(name, STAGES, n=1)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise UsageError("CFG_USAGE", f"there is no stage {name!r}", f"{hint}stages: {', '.join(STAGES)}")
    if name == "deploy":
        from stages.deploy import would_run

        why = would_run(project)
    else:
        why = _reasons(project, name)
    verdict = "would run" if why else "would be skipped: nothing that it depends on changed"
    lines = [f"{name} {verdict}" + (":" if why else ""), *(f"  - {reason}" for reason in why)]
    return Answer(lines, {"stage": name, "runs": bool(why), "reasons": why})


def _reasons(project: Project, name: str) -> list[str]:
    try:
        described = describe(project, name)
    except MlciError as error:
        if error.code == "MOD_STALE":
            return [error.what]
        return [f"its inputs are not there: {error.what}"]
    folder = project.folder(name)
    last = result.read(folder)
    return freshness.reasons(last, described.key(), project.root, folder)


def describe(project: Project, name: str) -> Stage:
    """The stage's key as its script would make it now. Raises: MlciError: its inputs are not there."""
    from importlib import import_module

    script = import_module(f"stages.{name}")
    found: Stage = script.describe(project)
    return found


def rule(project: Project, name: str) -> Answer:
    """How a rule of the last verdict was decided. Raises: UsageError, ArtefactError: no verdict yet, no such rule."""
    from stages.gate.explain import explain

    outputs_of(project, "validate", ["gate.json"])
    lines = explain(project.folder("validate"), name)
    return Answer(lines, {"rule": name, "lines": lines})
