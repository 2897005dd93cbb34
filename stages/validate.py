"""Validate: ask the gate whether the model in `.mlci/train` may be deployed."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["validate", *sys.argv[1:]]))

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.errors import ArtefactError, GateError
from stages.project import Project
from stages.records.jsonfile import read_json
from stages.records.result import Result
from stages.records.stage import Stage, Work, carry_out, outputs_of, same_chain

if TYPE_CHECKING:
    from stages.gate.outcome import Outcome
    from stages.gate.verdict import Word

#: Whatever the verdict needs of the earlier stages.
_PREPARED = ["train.parquet", "test.parquet", "train.rows.npy", "test.rows.npy", "profile.json"]


def validate(project: Project, first: bool = False) -> Result:
    """Check every rule for the model and write the verdict.

    `first`: there is no champion yet, and that is right. A model that is not approved is a finished stage with exit
    code 4 in the record.

    Raises:
        ArtefactError: there is no model or no data, or they do not match their records.
    """
    return carry_out(project, describe(project, first), lambda out: _work(project, first, out))


def describe(project: Project, first: bool | None = None) -> Stage:
    """What the verdict depends on: the model, the data on both sides, the thresholds.

    `first` unknown: as `MLCI_FIRST` says.
    """
    same_chain(project)
    data = project.config.data
    config = {
        **project.loaded.keyed("validate", "task"),
        "weight": data.weight,
        "first": os.environ.get("MLCI_FIRST") == "1" if first is None else first,
    }
    inputs = outputs_of(project, "train") | outputs_of(project, "prepare", _PREPARED)
    return Stage("validate", config, project.loaded.recorded("validate"), inputs)


def _work(project: Project, first: bool, out: Path) -> Work:
    from stages.gate import verdict
    from stages.store import model_digest

    outcomes = _outcomes(project)
    settings = project.config.validation
    word = verdict.decide(outcomes, settings.inconclusive)
    extra = {"on_fail": settings.on_fail, "inconclusive": settings.inconclusive, "first": first}
    gate = verdict.as_dict(word, outcomes, model_digest(project.folder("train")), extra)
    (out / "gate.json").write_bytes(verdict.canonical(gate))
    (out / "summary.md").write_text(verdict.summary_markdown(project.config.name, word, outcomes), encoding="utf-8")
    verdict.write_junit(out / "junit.xml", outcomes, project.config.name)
    return _finished(project, word, outcomes)


def _outcomes(project: Project) -> list[Outcome]:
    """Every rule, in the order in which people read them."""
    from stages.gate import baselines, bounds, evidence, gap, leakage, linear
    from stages.gate.outcome import Outcome
    from stages.model import metrics, persistence

    settings, prepared, trained = project.config.validation, project.folder("prepare"), project.folder("train")
    signature, profile = read_json(trained / "signature.json"), read_json(prepared / "profile.json")
    pipeline = persistence.load(trained, signature)
    try:
        seen = evidence.collect(prepared, pipeline, signature, project.config.data.weight)
    except ArtefactError as error:
        if error.code not in ("MOD_NOT_FINITE", "MOD_SHAPE"):
            raise
        code = "GATE_NOT_FINITE" if error.code == "MOD_NOT_FINITE" else "GATE_METRIC_UNDEFINED"
        return [Outcome(f"metric.{name}", "failed", error.what, code) for name in settings.metrics or ["any"]]

    outcomes = bounds.check(settings.metrics, seen.truth, seen.answer)
    judged = [
        name
        for name in settings.metrics or metrics.defaults(project.config.task, seen.n_classes)[:2]
        if _fits(name, seen)
    ]
    if settings.baselines.dummy != "off":
        severity = settings.baselines.dummy
        outcomes += baselines.check_dummy(judged, seen.train_truth, seen.truth, seen.answer, severity)
    if settings.baselines.linear != "off":
        if linear.is_linear(pipeline.steps[-1][1]):
            outcomes.append(baselines.skipped_linear("the model is linear itself"))
        else:
            simple = linear.Linear(seen.features, seen.truth.classes)
            simple.fit(seen.sample, seen.sample_target, seen.sample_weight)
            severity = settings.baselines.linear
            outcomes += baselines.check_linear(judged, seen.truth, seen.answer, simple.answer(seen.test), severity)
    outcomes.append(leakage.check_features(seen.sample, seen.features, seen.sample_target, seen.n_classes))
    outcomes += leakage.check_sides(profile["leakage"], len(seen.truth.values))
    recorded = read_json(trained / "metrics.json")
    outcomes += gap.check(judged, recorded.get("train") or {}, recorded.get("test") or {})
    return outcomes


def _fits(name: str, seen: Any) -> bool:
    from stages.errors import ConfigError
    from stages.model import metrics

    try:
        return bool(metrics.check(name, seen.truth.kind))
    except ConfigError:
        return False  # `bounds` has said so


def _finished(project: Project, word: Word, outcomes: list[Outcome]) -> Work:
    from stages.gate import verdict

    text = verdict.sentence(word, outcomes)
    counts = {status: sum(o.status == status for o in outcomes) for status in sorted({o.status for o in outcomes})}
    summary = {"text": text, "verdict": word, "approved": word == "approved", "rules": counts}
    if word == "approved":
        return Work(summary)
    stopping = next((o.rule for o in outcomes if o.stops), "metrics")
    todo = f"see {project.show(project.folder('validate') / 'summary.md')}, or run: mlci validate --explain {stopping}"
    if outcomes[0].code == "GATE_NOTHING_CONFIGURED":
        todo = "add for example validate: {metrics: {accuracy: {min: 0.8}}} to ml.yaml"
    return Work(summary, "failed", 4, GateError(verdict.code(word, outcomes), text, todo))
