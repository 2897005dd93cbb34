"""Carrying out a stage: skip it when nothing changed, else run it in a temporary folder and swap that in when it is
whole."""

from __future__ import annotations

import datetime as dt
import logging
import os
import resource
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError, MlciError
from stages.project import Project
from stages.records import freshness, provenance, result
from stages.records.atomic import disk_errors
from stages.records.lock import exclusive, recover
from stages.records.result import Result

log = logging.getLogger("mlci")


@dataclass
class Work:
    """What a stage's work found.

    `summary`: plain data for `result.json`; its `text` is one sentence for people, a log, a build description.
    `error` goes with status `failed` and exit code 4: a finished stage that says no.
    """

    summary: dict[str, Any]
    status: str = "done"
    exit_code: int = 0
    error: MlciError | None = None


@dataclass(frozen=True)
class Stage:
    """One stage of one project: its name, the config in its key, its inputs (path → digest and size), and the
    variables of the environment that its user code reads (name → value). `user_files`: files of the repository that
    were imported to find the inputs (path → SHA-256)."""

    name: str
    config: dict[str, Any]
    recorded: dict[str, Any]
    inputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    variables: dict[str, str | None] = field(default_factory=dict)
    user_files: dict[str, str] = field(default_factory=dict)

    def key(self) -> dict[str, Any]:
        """The parts of the key that are known before the stage runs."""
        return freshness.key(self.config, self.inputs, self.variables)


def carry_out(project: Project, stage: Stage, work: Callable[[Path], Work]) -> Result:
    """Run `work(folder)` unless the stage's last result still holds.

    `work` writes into an empty folder. When it returns, the folder replaces `.mlci/<stage>/` whole. When it raises,
    what it wrote becomes `.mlci/<stage>.failed/` and the last good folder stays; when it is interrupted, what it wrote
    is removed.

    Returns:
        The record; its status is `skipped` when nothing changed. Exit code 4 in a record is for the caller to act on.

    Raises:
        MlciError: whatever `work` raised; InfraError: DEP_DISK, DEP_LOCKED.
    """
    with exclusive(project.work):
        known = stage.key()
        last = result.read(project.folder(stage.name))
        why = freshness.reasons(last, known, project.root, project.folder(stage.name))
        if last is not None and not why:
            if last.exit_code == 0 and last.status != "skipped":
                last.status = "skipped"
                last.write(project.folder(stage.name))
            return last
        log.debug("%s runs: %s", stage.name, "; ".join(why))
        return _run(project, stage, known, work)


def is_current(project: Project, stage: Stage) -> bool:
    """Whether the stage's last result still holds, so that `carry_out` would skip it."""
    last = result.read(project.folder(stage.name))
    known = freshness.key(stage.config, stage.inputs)
    return last is not None and not freshness.reasons(last, known, project.root, project.folder(stage.name))


def _run(project: Project, stage: Stage, known: dict[str, Any], work: Callable[[Path], Work]) -> Result:
    provenance.forget_user_modules(project.root)
    out = project.work / ".tmp" / f"new-{stage.name}"
    with disk_errors(project.work):
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
    started, clock = dt.datetime.now(dt.UTC), time.perf_counter()

    def record(done: Work) -> Result:
        full = freshness.completed(known, project.root)
        full["user_files"] = stage.user_files | full["user_files"]
        return Result(
            stage=stage.name,
            status=done.status,
            exit_code=done.exit_code,
            started=started.isoformat(timespec="milliseconds"),
            seconds=round(time.perf_counter() - clock, 3),
            peak_rss_bytes=peak_rss_bytes(),
            inputs=stage.inputs,
            outputs=result.digests_of(out),
            config=stage.recorded,
            python=sys.version.split()[0],
            libraries=full["libraries"],
            git_commit=provenance.git_commit(project.root),
            summary=done.summary,
            key=full,
            error=None
            if done.error is None
            else {"code": done.error.code, "what": done.error.what, "todo": done.error.todo},
        )

    try:
        with disk_errors(out):
            try:
                done = work(out)
            except MlciError as error:
                _keep_failure(project, stage, out, record(Work({}, "failed", error.exit_code, error)))
                raise
            finished = record(done)
            finished.write(out)
            swap_in(project, stage.name, out)
            shutil.rmtree(project.folder(f"{stage.name}.failed"), ignore_errors=True)
            return finished
    finally:
        recover(project.work)


def _keep_failure(project: Project, stage: Stage, out: Path, failed: Result) -> None:
    failed.write(out)
    home = project.folder(f"{stage.name}.failed")
    shutil.rmtree(home, ignore_errors=True)
    os.replace(out, home)


def swap_in(project: Project, name: str, new: Path) -> None:
    """Replace `.mlci/<name>` by the folder `new`; `recover` undoes a swap that was killed between its two renames."""
    home, old = project.folder(name), project.work / ".tmp" / f"old-{name}"
    old.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(old, ignore_errors=True)
    if home.exists():
        os.replace(home, old)
    os.replace(new, home)
    shutil.rmtree(old, ignore_errors=True)


def outputs_of(project: Project, stage: str, names: list[str] | None = None) -> dict[str, dict[str, Any]]:
    """Recorded outputs of an earlier stage, as inputs of a later one, checked against the files.

    `names`: which of them; default all. Keys are paths relative to the project's root.

    Raises:
        ArtefactError: DAT_NOT_PREPARED, MOD_NOT_TRAINED, GATE_NOT_VALIDATED when the stage has no result;
        DAT_RECORD, MOD_RECORD when
            a file does not match its record.
    """
    folder = project.folder(stage)
    last = result.read(folder)
    if last is None or (last.status == "failed" and last.exit_code != 4):
        code = {"prepare": "DAT_NOT_PREPARED", "train": "MOD_NOT_TRAINED"}.get(stage, "GATE_NOT_VALIDATED")
        raise ArtefactError(code, f"{project.show(folder)}: there is no result of {stage} here", f"run: mlci {stage}")
    changed = [name for name in last.changed_outputs(folder) if names is None or name in names]
    if changed:
        code = "DAT_RECORD" if stage == "prepare" else "MOD_RECORD"
        raise ArtefactError(
            code,
            f"{project.show(folder / changed[0])}: does not match the record in {stage}/result.json"
            + (f" (and {len(changed) - 1} more)" if changed[1:] else ""),
            f"something changed or removed it after {stage}; rebuild it with: mlci run, or mlci {stage}",
        )
    wanted = last.outputs if names is None else {n: last.outputs[n] for n in names if n in last.outputs}
    return {(folder / name).relative_to(project.root).as_posix(): digest for name, digest in wanted.items()}


def same_chain(project: Project) -> None:
    """Check that the model in `.mlci/train` was trained on the data in `.mlci/prepare`.

    Raises:
        ArtefactError: MOD_OTHER_DATA.
    """
    trained, prepared = result.read(project.folder("train")), result.read(project.folder("prepare"))
    if trained is None or prepared is None:
        return
    folder = project.folder("prepare").relative_to(project.root).as_posix()
    for name in ("train.parquet", "test.parquet"):
        recorded = trained.inputs.get(f"{folder}/{name}", {}).get("sha256")
        if recorded != prepared.outputs.get(name, {}).get("sha256"):
            raise ArtefactError(
                "MOD_OTHER_DATA",
                f"the model was trained on another {name} than the one in {folder}",
                "run: mlci train",
            )


def peak_rss_bytes() -> int:
    """Largest resident memory of this process so far, in bytes."""
    try:
        # ru_maxrss of a child begins with what its parent had when it was started
        status = Path("/proc/self/status").read_text()
        return int(status.split("VmHWM:", 1)[1].split()[0]) * 1024
    except (OSError, IndexError, ValueError):
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
