"""One run of pytest over a folder of the user's tests, and its JUnit report."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import stages
from stages.errors import InfraError


@dataclass(frozen=True)
class Run:
    """What came out: `kind` (unit or integration), pytest's exit status, counts, names of failed tests, the
    report's path."""

    kind: str
    status: int
    counts: dict[str, int]
    failures: list[str]
    report: Path

    @property
    def failed(self) -> bool:
        """Whether anything went wrong; that nothing was collected is no failure."""
        return self.status not in (0, 5)

    @property
    def collected(self) -> int:
        """Number of tests that pytest found."""
        return sum(self.counts.values())

    def sentence(self) -> str:
        """`2 of 14 unit tests failed: tests.unit.test_x.test_y, …`."""
        bad = self.counts["failed"] + self.counts["errors"]
        names = ", ".join(self.failures[:3]) + (", …" if self.failures[3:] else "")
        return (
            f"{bad} of {self.collected} {self.kind} tests failed: {names}"
            if bad
            else f"pytest ended with status {self.status}"
        )


def run(kind: str, folder: Path, root: Path, out: Path, environment: dict[str, str]) -> Run:
    """Run pytest over `folder` with the repository's root as working directory and on `sys.path`, mlci behind it.

    What it prints goes to standard error. It runs in a session of its own, so that nothing it starts is left when
    mlci is stopped.

    Raises:
        InfraError: DEP_PYTEST: pytest cannot be started.
    """
    report = out / f"{kind}.xml"
    command = [sys.executable, "-m", "pytest", str(folder), f"--junitxml={report}", "--rootdir", str(root)]
    command += ["-p", "no:cacheprovider", "-q", *(() if _own_settings(root) else ("-c", os.devnull))]
    values = {**os.environ, "PYTHONPATH": _import_path(), "PYTHONDONTWRITEBYTECODE": "1", **environment}
    try:
        process = subprocess.Popen(
            command, cwd=root, env=values, stdout=sys.stderr, stdin=subprocess.DEVNULL, start_new_session=True
        )
    except OSError as error:
        raise InfraError(
            "DEP_PYTEST", f"pytest cannot be started: {error}", "check the Python environment with: mlci doctor"
        ) from error
    try:
        status = process.wait()
    finally:
        _end_session(process)
    counts, failures = _read(report)
    if status not in (0, 1, 5) and not failures:
        failures = [f"pytest itself ended with status {status}"]
        counts["errors"] += 1
    return Run(kind, status, counts, failures, report)


def _import_path() -> str:
    """What the tests' process finds besides the repository: `stages` too, which no package installs under mlci.pyz."""
    ours = str(Path(stages.__file__).parent.parent)
    return os.pathsep.join(part for part in (os.environ.get("PYTHONPATH", ""), ours) if part)


def _own_settings(root: Path) -> bool:
    """Whether the repository configures pytest itself; settings of folders above it are not its own."""
    return any(
        (root / name).is_file() for name in ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")
    )


def _end_session(process: subprocess.Popen[bytes]) -> None:
    try:
        os.killpg(process.pid, signal.SIGTERM if process.poll() is None else signal.SIGKILL)
        process.wait(10)
    except (ProcessLookupError, PermissionError):
        return
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(report: Path) -> tuple[dict[str, int], list[str]]:
    from junitparser import Error, Failure, JUnitXml, Skipped

    counts = {"passed": 0, "failed": 0, "errors": 0, "skipped": 0}
    failures: list[str] = []
    if not report.is_file():
        return counts, failures
    for suite in JUnitXml.fromfile(str(report)):
        for case in suite:
            kinds = {type(outcome) for outcome in case.result}
            outcome = (
                "errors"
                if Error in kinds
                else "failed"
                if Failure in kinds
                else "skipped"
                if Skipped in kinds
                else "passed"
            )
            counts[outcome] += 1
            if outcome in ("errors", "failed"):
                failures.append(f"{case.classname}.{case.name}" if case.classname else str(case.name))
    return counts, failures


def merge(runs: list[Run], target: Path) -> None:
    """One report of all runs, a suite each, named by its kind; the single ones go."""
    from junitparser import JUnitXml

    whole: Any = JUnitXml()
    for one in runs:
        if not one.report.is_file():
            continue
        for suite in JUnitXml.fromfile(str(one.report)):
            suite.name = one.kind
            whole.add_testsuite(suite)
        one.report.unlink()
    whole.update_statistics()
    whole.write(str(target), pretty=False)
