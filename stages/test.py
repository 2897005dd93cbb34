"""Test: the repository's unit tests, then the candidate is served and its integration tests run against it."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["test", *sys.argv[1:]]))

import logging
import os
from pathlib import Path
from typing import Any

from stages import console
from stages.data import upstream
from stages.errors import ConfigError, GateError
from stages.project import Project
from stages.records.digest import damaged, sha256_file
from stages.records.keys import config_of, variables_of
from stages.records.provenance import own_files
from stages.records.regular import is_inside
from stages.records.result import Result, read
from stages.records.stage import Stage, Work, carry_out, outputs_of, same_chain

log = logging.getLogger("mlci")


def test(project: Project) -> Result:
    """Run the configured tests for the model in `.mlci/train`.

    Without tests, or with folders in which pytest collects nothing, the stage is skipped. A failing test is a
    finished stage with exit code 4 in the record.

    Raises:
        ConfigError: CFG_TEST_FOLDER: a configured folder is not there.
        ArtefactError: there is no model, or it does not match its record.
        InfraError: DEP_START: the candidate cannot be served.
    """
    found = folders(project)
    described = describe(project)
    return carry_out(project, described, lambda out: _work(project, found, described.inputs, out))


def describe(project: Project) -> Stage:
    """What the stage depends on: the model, the tests, and any Python file of the repository, since a test may use
    it."""
    upstream.require_current(project, "prepare", "train")
    same_chain(project)
    found = folders(project)
    # without tests the model is not needed, but one that is there is refused when it does not match its record
    model = outputs_of(project, "train") if found or read(project.folder("train")) is not None else {}
    files = {path for folder in found.values() for path in own_files(folder)}
    if files:
        files |= {path for path in own_files(project.root) if path.suffix == ".py"}
    tests = {os.path.relpath(path, project.root): sha256_file(path)._asdict() for path in sorted(files)}
    recorded, variables = project.loaded.recorded("test"), variables_of(project, "test")
    return Stage("test", config_of(project, "test"), recorded, model | tests, variables)


def folders(project: Project) -> dict[str, Path]:
    """Kind → folder of the configured tests. Raises: ConfigError: CFG_TEST_FOLDER."""
    section = project.config.test
    configured = {"unit": section.unit, "integration": section.integration}
    found = {kind: project.path(text) for kind, text in configured.items() if text is not None}
    for kind, folder in found.items():
        if not folder.exists():
            where = project.loaded.document.where(("test", kind))
            raise ConfigError(
                "CFG_TEST_FOLDER", f"{where}: there is no folder {project.show(folder)}", "make it, or remove the key"
            )
    return found


def _work(project: Project, found: dict[str, Path], inputs: dict[str, dict[str, Any]], out: Path) -> Work:
    from stages.trials import pytest_run

    runs: list[pytest_run.Run] = []
    if "unit" in found:
        console.doing("running unit tests")
        runs.append(pytest_run.run("unit", found["unit"], project.root, out, {}))
    if "integration" in found and not any(run.failed for run in runs):
        from stages.model.policy import Policy
        from stages.trials.candidate import served

        console.doing("running integration tests against the candidate")
        with served(project.folder("train"), project.root, out, Policy.of(project.config)) as url:
            runs.append(pytest_run.run("integration", found["integration"], project.root, out, {"MLCI_URL": url}))
    summary: dict[str, Any] = {run.kind: run.counts for run in runs}
    rewritten = [name for name in damaged(project.root, inputs) if is_inside(name)]
    if rewritten:  # by the tests themselves: no reason to refuse them afterwards
        summary["rewritten"] = rewritten
    pytest_run.merge(runs, out / "junit.xml")
    if not any(run.collected for run in runs):
        why = "no tests are configured" if not found else "pytest collects no test"
        return Work({**summary, "text": why, "skipped": why}, status="skipped")
    passed = sum(run.counts["passed"] for run in runs)
    failed = [run for run in runs if run.failed]
    if failed:
        what = "; ".join(run.sentence() for run in failed)
        todo = (
            f"read {project.show(project.folder('test') / 'junit.xml')}, mend the code or the test, then run: mlci test"
        )
        return Work({**summary, "text": what}, "failed", 4, GateError("GATE_TESTS", what, todo))
    return Work({**summary, "text": f"{passed} tests passed"})
