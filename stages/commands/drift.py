"""`mlci drift FILE`: have new data drifted from what the deployed model was trained on? Made for a schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import console
from stages.answer import Answer
from stages.config.schema import Drift
from stages.data.formats import check_given
from stages.errors import ArtefactError, DataError, GateError, UsageError
from stages.project import Project

if TYPE_CHECKING:
    from stages.data.scoring import Rows
    from stages.gate.drift import Compared
    from stages.gate.reference import Reference
    from stages.targets.operate import Model


def drift(project: Project, file: Path, env: str | None, version: str | None) -> Answer:
    """Compare the rows of `file`, columns as the service is asked for them, with the bins that were kept with the
    model. Exit code 4 when more than `validate.drift.max_share` of the features have drifted (half of them unless
    configured), or when the model takes no row of the file.

    Raises:
        UsageError: no such file, environment or version. ArtefactError: GATE_REFERENCE: the model was stored without
        its bins. DataError: the file cannot be read, or has fewer than 100 rows.
    """
    check_given(file, project.show(file))
    if env is not None and version is not None:
        raise UsageError("CFG_USAGE", "--env and --version name two models", "give one of them")
    from stages.data.scoring import read_for_scoring
    from stages.gate import drift as rule
    from stages.gate.outcome import rows as show_rows
    from stages.gate.watch import watch
    from stages.targets import operate

    model = operate.model(project, env, version)
    known = _reference(project, model)
    predictor = operate.predictor(project, env, version)
    with console.progress("drift") as advance:
        parts = read_for_scoring(file, predictor.signature, project.config.data.read)
        found = watch(known, predictor, _counted(parts, advance))
    if found.rows < rule.MIN_ROWS:
        what = f"{project.show(file)}: {show_rows(found.rows)}, too few to tell drift from chance"
        raise DataError("DAT_TOO_FEW", what, f"collect at least {rule.MIN_ROWS}")
    settings = project.config.validation.drift or Drift()
    outcome = rule.judge(found.features, settings.max_share, found.rows)
    every = [*found.features, *([] if found.prediction is None else [found.prediction])]
    said = outcome.sentence.replace("the champion's training data", "the model's training data")
    told = [said]
    if found.refused:
        told.append(f"{found.refused:,} of {found.rows:,} rows break the contract; refused values count as missing")
    unasked = found.prediction is None
    data: dict[str, Any] = {
        "rows": found.rows,
        "refused": found.refused,
        "model": model.digest,
        "status": "failed" if unasked else outcome.status,
        "share": outcome.observed,
        "columns": [one.as_dict() for one in every],
    }
    if outcome.status != "failed" and not unasked:
        return Answer([*_table(every), *told], data)
    if unasked:
        what = f"{project.show(file)}: the model takes none of its {show_rows(found.rows)}"
        error = GateError("GATE_DRIFT", what, "look at the source: the service would refuse all of these requests")
    else:
        error = GateError("GATE_DRIFT", said, "look at the source; if the world has changed, train again: mlci run")
    return Answer([*_table(every), *(line for line in told if line != error.what)], data, error.exit_code, error)


def _counted(parts: Iterable[Rows], advance: Callable[[float, str], None]) -> Iterator[Rows]:
    for part in parts:
        yield part
        advance(len(part.errors), "rows")


def _reference(project: Project, model: Model) -> Reference:
    """The bins kept with a stored model, or of the last verdict for the candidate. Raises: ArtefactError."""
    from stages.data import upstream
    from stages.gate.reference import FILE, Reference
    from stages.records import result
    from stages.records.jsonfile import read_json

    folder = project.folder("validate") if model.digest is None else model.folder
    judged = result.read(folder) if model.digest is None else None
    if judged is not None and (changed := upstream.input_changes(project, judged)):
        raise upstream.stale("validate", changed)
    if not (folder / FILE).is_file():
        raise ArtefactError(
            "GATE_REFERENCE", f"there is no {FILE} of this model", "run: mlci validate, then mlci deploy"
        )
    return Reference.of(read_json(folder / FILE))


def _table(compared: list[Compared]) -> list[str]:
    width = max([len(one.column) for one in compared] + [6])
    lines = [f"{'column':<{width}}  {'PSI':>8}  {'limit':>8}  {'p':>8}  largest change"]
    for one in compared:
        bins = list(zip(one.names, one.reference, one.current, strict=True))
        name, before, now = max(bins, key=lambda bin_: abs(bin_[2] - bin_[1]))
        change = f"{name}: {before:.1%} -> {now:.1%}"
        mark = "  DRIFTED" if one.drifted else ""
        least = max(0.1, one.critical)
        lines.append(f"{one.column:<{width}}  {one.psi:>8.4f}  {least:>8.4f}  {one.p:>8.2g}  {change}{mark}")
    return lines
