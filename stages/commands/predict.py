"""`mlci predict FILE`: one answer for every row of a file."""

from __future__ import annotations

from pathlib import Path

from stages import console
from stages.answer import Answer
from stages.data.formats import check_given
from stages.errors import UsageError
from stages.project import Project


def predict(project: Project, file: Path, output: Path | None, env: str | None, version: str | None) -> Answer:
    """Score `file` into `output`, or as CSV on standard output.

    Raises:
        UsageError: no such file, a suffix that cannot be written, no such environment or version.
        DataError: the file cannot be read; DAT_ALL_REFUSED: no row could be predicted.
    """
    check_given(file, project.show(file))
    if env is not None and version is not None:
        raise UsageError("CFG_USAGE", "--env and --version name two models", "give one of them")
    from stages.serving import batch
    from stages.targets import operate

    batch.check_output(file, output)
    predictor = operate.predictor(project, env, version)
    with console.progress("predict") as advance:
        done = batch.score(predictor, file, output, project.config.data.read, advance)
    console.log.info(
        "%s rows, %s refused%s", f"{done.rows:,}", f"{done.refused:,}", f", in {project.show(output)}" if output else ""
    )
    return Answer(data={"rows": done.rows, "refused": done.refused, "output": None if output is None else str(output)})
