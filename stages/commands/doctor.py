"""`mlci doctor`: each line OK or what to do."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from stages import __version__
from stages.answer import Answer
from stages.errors import InfraError, MlciError, masked
from stages.records import provenance

if TYPE_CHECKING:
    from stages.project import Project

#: What the stages cannot do without: distribution → what needs it.
NEEDED = {
    "pydantic": "reading ml.yaml",
    "pandas": "data",
    "pyarrow": "data",
    "scikit-learn": "training",
    "skops": "saving models",
    "uvicorn": "serving",
    "pytest": "the test stage",
}


def doctor(config: Path, assignments: list[str]) -> Answer:
    """Look at Python, packages, disk, Docker, configuration and store. Exit code 5 when something needed is
    missing."""
    lines, bad = [f"mlci {__version__}, Python {sys.version.split()[0]}, {provenance.platform_tag()}"], 0

    def say(ok: bool | None, what: str, todo: str = "") -> None:
        nonlocal bad
        bad += ok is False
        lines.append(
            f"{'OK  ' if ok else 'note' if ok is None else 'BAD '} {what}" + (f" -> {todo}" if todo and not ok else "")
        )

    supported = (3, 11) <= sys.version_info[:2] <= (3, 13)
    say(supported, f"Python {provenance.python_version()}", "use Python 3.11, 3.12 or 3.13")
    missing = [name for name in NEEDED if provenance.installed_version(name) is None]
    say(
        not missing,
        f"packages{': missing ' + ', '.join(missing) if missing else ''}",
        "make setup, or install requirements.txt",
    )
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    say(free > 1, f"{free:.0f} GB free on disk", "free at least 1 GB")
    say(
        _docker(),
        "Docker engine answers" if _docker() else "no Docker engine answers",
        "needed by container and service targets alone",
    )
    if config.is_file():
        try:
            from stages.project import Project

            project = Project.open(config, assignments)
            say(True, f"{config}: valid")
            _store(project, say)
        except MlciError as error:
            for problem in error.problems():
                say(False, problem.what, problem.todo)
    else:
        say(None, f"{config}: not here", "mlci init DATA --target COLUMN writes one")
    failed = (
        InfraError("DEP_DOCTOR", f"{bad} of the checks failed", "do what the lines marked BAD say") if bad else None
    )
    return Answer(lines, {"ok": not bad, "lines": lines}, 5 if bad else 0, failed)


def _docker() -> bool | None:
    program = shutil.which("docker")
    if program is None:
        return None
    try:
        done = subprocess.run(
            [program, "info", "--format", "{{.ServerVersion}}"], capture_output=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return True if done.returncode == 0 and done.stdout.strip() else None


def _store(project: Project, say: Callable[[bool | None, str, str], None]) -> None:
    from stages.store import DirectoryStore, at

    store = at(project.config.store, project.root)
    try:
        against = store.reached()
    except InfraError as error:
        say(False, error.what, error.todo)
        return
    new = isinstance(store, DirectoryStore) and not store.root.exists()
    read_only = os.environ.get("MLCI_STORE_READONLY") == "1"
    say(
        None if against and read_only else not against,
        masked(f"store {store.known_as()}") + (" (made at the first deployment)" if new else ""),
        against or "",
    )
