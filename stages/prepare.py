"""Prepare: from the source to two sides of accepted rows, with what was refused and why beside them."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["prepare", *sys.argv[1:]]))

from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.console import progress
from stages.project import Project
from stages.records import provenance
from stages.records.keys import config_of, variables_of
from stages.records.lock import exclusive
from stages.records.result import Result
from stages.records.stage import Stage, Work, carry_out

if TYPE_CHECKING:
    from stages.data.intake import Step
    from stages.data.reading import Reader
    from stages.data.sources import Located


def prepare(project: Project) -> Result:
    """Fetch, check and split the data. Unchanged inputs: skipped.

    Raises:
        DataError: the source or its rows were refused; `.mlci/prepare.failed/quarantine.parquet` holds the refused
        cells.
        ConfigError: the transform or a Python source cannot be imported.
        InfraError: the network, a data base or the disk failed.
    """
    with exclusive(project.work):  # from here on, because fetching writes into the folder too
        located = _locate(project)
        return carry_out(project, _stage(project, located), lambda out: _work(project, located, out))


def describe(project: Project) -> Stage:
    """What the stage depends on: the content of the source, and `task` and `data` of the configuration."""
    with exclusive(project.work):
        return _stage(project, _locate(project))


def _locate(project: Project) -> Located:
    from stages.data import sources

    return sources.locate(project, project.work / "cache")


def _stage(project: Project, located: Located) -> Stage:
    recorded = project.loaded.recorded("task", "data")
    variables = variables_of(project, "prepare")
    imported = provenance.user_files(project.root) if located.kind == "python" else {}
    return Stage("prepare", config_of(project, "prepare"), recorded, dict(located.digests), variables, imported)


def _work(project: Project, located: Located, out: Path) -> Work:
    from stages.data.intake import Intake
    from stages.data.quarantine import FILE

    config = project.config
    reader = located.reader(config.data)
    where = project.show(project.folder("prepare.failed") / FILE)
    with progress("prepare") as advance:
        intake = Intake(
            config.data,
            config.task,
            out,
            decimal=config.data.read.decimal if located.format == "csv" else ".",
            where=where,
            advance=lambda rows: advance(rows, "rows read"),
        )
        profile = intake.run(reader, _transform(project, reader, intake), located.description())
    return Work(summary=_summary(profile))


def _transform(project: Project, reader: Reader, intake: Any) -> Step | None:
    data = project.config.data
    if data.transform is None:
        return None
    from stages.data.rawframe import RawFrames
    from stages.data.transform import Transform

    function = project.function(data.transform)
    frames = RawFrames(reader, data.columns)
    return Transform(data.transform, function, project.where, frames, intake.contract)


def _summary(profile: dict[str, Any]) -> dict[str, Any]:
    rows, leakage = profile["rows"], profile["leakage"]
    parts = [f"{rows['read']:,} rows read", f"{rows['train']:,} for training", f"{rows['test']:,} for testing"]
    for key, words in (
        ("refused", "refused"),
        ("duplicates", "identical ones dropped"),
        ("dropped_by_transform", "dropped by the transform"),
    ):
        if rows[key]:
            parts.append(f"{rows[key]:,} {words}")
    return {
        "text": ", ".join(parts),
        "rows": rows,
        "refused": profile["refused"]["by_code"],
        "dropped_columns": profile["dropped_columns"]["count"],
        "split": profile["split"],
        "leakage": leakage,
        "order": profile["source"]["order"],
    }
