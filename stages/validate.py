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

from stages import console
from stages.data import upstream
from stages.errors import ArtefactError, ConfigError, GateError
from stages.model.policy import Policy
from stages.project import Project
from stages.records.jsonfile import read_json
from stages.records.keys import config_of, variables_of
from stages.records.result import Result
from stages.records.stage import Stage, Work, carry_out, outputs_of, same_chain

if TYPE_CHECKING:
    from stages.gate.champion import Rival
    from stages.gate.evidence import Evidence
    from stages.gate.outcome import Outcome
    from stages.gate.verdict import Word

#: Whatever the verdict needs of the earlier stages.
_PREPARED = ["train.parquet", "test.parquet", "train.rows.npy", "test.rows.npy", "profile.json"]


def validate(project: Project, first: bool = False) -> Result:
    """Check every rule for the model and write the verdict.

    `first`: there is no champion yet, and that is right; `MLCI_FIRST=1` says the same. A model that is not approved is
    a finished stage with exit code 4 in the record.

    Raises:
        ArtefactError: there is no model or no data, or they do not match their records.
    """
    first = first or _first_by_environment()
    return carry_out(project, describe(project, first), lambda out: _work(project, first, out))


def _first_by_environment() -> bool:
    return os.environ.get("MLCI_FIRST") == "1"


def describe(project: Project, first: bool | None = None) -> Stage:
    """What the verdict depends on: the model, the data on both sides, the thresholds, and the champion.

    `first` unknown: as `MLCI_FIRST` says.
    """
    upstream.require_current(project, "prepare", "train")
    same_chain(project)
    config = {
        **config_of(project, "validate"),
        "first": _first_by_environment() if first is None else first,
        "in_ci": in_ci(),
        "champion": _champion_digest(project),
    }
    inputs = outputs_of(project, "train") | outputs_of(project, "prepare", _PREPARED)
    return Stage("validate", config, project.loaded.recorded("validate"), inputs, variables_of(project, "validate"))


def in_ci() -> bool:
    """Whether a CI system runs this: there, a missing champion is more likely a mistake than a beginning."""
    return bool(os.environ.get("CI") or os.environ.get("JENKINS_URL"))


def _work(project: Project, first: bool, out: Path) -> Work:
    from stages.gate import verdict
    from stages.store import model_digest

    settings, trained = project.config.validation, project.folder("train")
    outcomes, seen = _judged(project, first, out)
    word = verdict.decide(outcomes, settings.inconclusive)
    extra = {
        "on_fail": settings.on_fail,
        "inconclusive": settings.inconclusive,
        "first": any(outcome.code == "GATE_FIRST" for outcome in outcomes),
        "champion": _champion_digest(project),
    }
    gate = verdict.as_dict(word, outcomes, model_digest(trained), extra)
    (out / "gate.json").write_bytes(verdict.canonical(gate))
    (out / "summary.md").write_text(verdict.summary_markdown(project.config.name, word, outcomes), encoding="utf-8")
    verdict.write_junit(out / "junit.xml", outcomes, project.config.name)
    if seen is not None:
        _report(project, gate, outcomes, seen, out)
    return _finished(project, word, outcomes)


def _judged(project: Project, first: bool, out: Path) -> tuple[list[Outcome], Evidence | None]:
    """All outcomes, and what they rest on, if there is anything; leaves in `out` what later data are compared with."""
    from stages.gate import evidence, reference, verdict
    from stages.model import metrics, persistence

    for name in project.config.validation.metrics:
        if ":" in name:
            metrics.register(name, project.function(name))
    prepared, signature = project.folder("prepare"), read_json(project.folder("train") / "signature.json")
    pipeline = persistence.load(project.folder("train"), signature, Policy.of(project.config))
    console.doing("reading both sides, and predicting the test side")
    try:
        seen = evidence.collect(prepared, pipeline, signature, project.config.data.weight)
    except ArtefactError as error:
        if error.code in ("MOD_NOT_FINITE", "MOD_SHAPE"):
            return _unusable(project, error), None
        raise
    console.doing(f"describing {len(signature['features']):,} features of the training side")
    learned = reference.learn(prepared / "train.parquet", signature, seen.answer)
    (out / reference.FILE).write_bytes(verdict.canonical(learned.as_dict()))
    return _outcomes(project, first, seen, pipeline), seen


def _report(project: Project, gate: dict[str, Any], outcomes: list[Outcome], seen: Evidence, out: Path) -> None:
    from stages.gate import incumbent, report
    from stages.gate.whose import environment
    from stages.targets.environment import store_of

    env = environment(project.config)
    facts = report.Facts(
        name=project.config.name,
        signature=seen.signature,
        gate=gate,
        outcomes=outcomes,
        truth=seen.truth,
        answer=seen.answer,
        profile=read_json(project.folder("prepare") / "profile.json"),
        environment=env,
        history=incumbent.history(store_of(project), project.config.name, env),
    )
    console.doing("writing the report")
    report.write(out / "report", facts)


def _unusable(project: Project, error: ArtefactError) -> list[Outcome]:
    """The model's answers are no numbers, or not one for each row: nothing can be measured."""
    from stages.gate.outcome import Outcome

    code = "GATE_NOT_FINITE" if error.code == "MOD_NOT_FINITE" else "GATE_METRIC_UNDEFINED"
    names = project.config.validation.metrics or ["none"]
    return [Outcome(f"metric.{name}", "failed", error.what, code) for name in names]


def _outcomes(project: Project, first: bool, seen: Evidence, pipeline: Any) -> list[Outcome]:
    """Every rule, in the order in which people read them."""
    from stages.gate import bounds, gap, leakage

    settings, trained = project.config.validation, project.folder("train")
    console.doing("metrics against their bounds")
    outcomes = bounds.check(settings.metrics, seen.truth, seen.answer)
    names = _comparable(project, seen)
    console.doing("comparison with the champion")
    against, rival = _champion(project, first, seen)
    outcomes += against
    console.doing("comparison with the baselines")
    outcomes += _baselines(project, names, seen, pipeline)
    console.doing("metrics of the slices")
    outcomes += _slices(project, names, seen, rival)
    console.doing("drift of the test side")
    outcomes += _drift(project, seen)
    console.doing(f"leakage through {len(seen.features):,} features")
    outcomes.append(leakage.check_features(seen.sample, seen.features, seen.sample_target, seen.n_classes))
    profile = read_json(project.folder("prepare") / "profile.json")
    outcomes += leakage.check_sides(profile["leakage"], len(seen.truth.values))
    measured = read_json(trained / "metrics.json")
    outcomes += gap.check(names, measured.get("train") or {}, measured.get("test") or {})
    console.doing("latency and size")
    outcomes += _budget(project, seen)
    return outcomes


def _comparable(project: Project, seen: Evidence) -> list[str]:
    """The configured metrics that can be computed for this model, else the first two default ones."""
    from stages.model import metrics

    names = []
    for name in project.config.validation.metrics or metrics.defaults(project.config.task, seen.n_classes)[:2]:
        try:
            needs = metrics.check(name, seen.truth.kind).needs
        except ConfigError:
            continue  # `bounds` has said so
        if seen.answer.has(needs):
            names.append(name)
    return names


def _champion_digest(project: Project) -> str | None:
    """The model that the candidate is compared with; None where nothing asks for one, or there is none yet."""
    from stages.gate.whose import environment, needed
    from stages.targets.environment import store_of

    if not needed(project.config):
        return None
    env = environment(project.config)
    alias = None if env is None else store_of(project).alias(project.config.name, env)
    return None if alias is None else alias.digest


def _champion(project: Project, first: bool, seen: Evidence) -> tuple[list[Outcome], Rival | None]:
    """Outcomes of the comparison for each metric with a margin, and the champion's answers."""

    from stages.gate import champion, incumbent
    from stages.gate.whose import environment
    from stages.targets.environment import store_of

    names = project.config.validation.metrics
    margins = {name: bound.margin for name, bound in names.items() if bound.margin is not None}
    margins = {name: margin for name, margin in margins.items() if name in _comparable(project, seen)}
    if not margins:
        return [], None
    env = environment(project.config)
    found = incumbent.find(store_of(project), project.config.name, env)
    if found is None:
        where = f"{env} has no model yet" if env else "no environment is configured"
        if in_ci() and not first:
            sentence = f"there is no champion to compare with: {where}; if that is right, run: mlci validate --first"
            return champion.missing(margins, "failed", sentence, "GATE_NO_CHAMPION"), None
        return champion.missing(margins, "skipped", f"the first model: {where}", "GATE_FIRST"), None
    from stages.data import hashing

    prepared = project.folder("prepare")
    try:
        rows = hashing.load(prepared, "test")
        rival = incumbent.score(
            found, prepared / "test.parquet", rows, seen.signature, list(margins), Policy.of(project.config)
        )
    except incumbent.CannotScore as error:
        sentence = f"the champion of {env} ({found.version[:12]}) cannot be compared with: {error}"
        return champion.missing(margins, "failed", sentence, "GATE_CHAMPION_ENV"), None
    return champion.compare(margins, seen.truth, seen.answer, rival), rival


def _baselines(project: Project, names: list[str], seen: Evidence, pipeline: Any) -> list[Outcome]:
    from stages.gate import baselines, linear

    wanted = project.config.validation.baselines
    outcomes: list[Outcome] = []
    if wanted.dummy != "off":
        outcomes += baselines.check_dummy(names, seen.train_truth, seen.truth, seen.answer, wanted.dummy)
    if wanted.linear == "off":
        return outcomes
    if linear.is_linear(pipeline.steps[-1][1]):
        return [*outcomes, baselines.skipped_linear("the model is linear itself")]
    simple = linear.Linear(seen.features, seen.truth.classes)
    simple.fit(seen.sample, seen.sample_target, seen.sample_weight)
    return outcomes + baselines.check_linear(names, seen.truth, seen.answer, simple.answer(seen.test), wanted.linear)


def _slices(project: Project, names: list[str], seen: Evidence, rival: Rival | None) -> list[Outcome]:
    from stages.gate import evidence, slices

    outcomes: list[Outcome] = []
    bounds = {name: bound for name, bound in project.config.validation.metrics.items() if name in names}
    for column in project.config.validation.slices:
        contract = project.config.data.columns[column]
        cut = evidence.slices_of(project.folder("prepare") / "test.parquet", column, contract)
        outcomes += slices.check(cut, bounds, seen.truth, seen.answer, rival)
    return outcomes


def _drift(project: Project, seen: Evidence) -> list[Outcome]:
    """New rows, those that the champion was not trained on, against the champion's training data."""
    from stages.gate import drift, incumbent, reference
    from stages.gate.whose import environment
    from stages.targets.environment import store_of

    settings = project.config.validation.drift
    if settings is None:
        return []
    found = incumbent.find(store_of(project), project.config.name, environment(project.config))
    if found is None:
        return [drift.skipped("there is no champion yet, whose training data could be compared with")]
    for name in (reference.FILE, "train.rows.npy"):
        if not (found.folder / name).is_file():
            return [drift.skipped(f"the champion ({found.version[:12]}) was stored without {name}")]
    known = reference.Reference.of(read_json(found.folder / reference.FILE))
    return reference.against(known, found.folder, project.folder("prepare"), seen, settings.max_share)


def _budget(project: Project, seen: Evidence) -> list[Outcome]:
    from stages.gate import budget

    settings, trained = project.config.validation, project.folder("train")
    outcomes = [budget.parity(seen.signature.get("onnx"), project.config.model.onnx)]
    if settings.latency is not None:
        outcomes.append(budget.latency_of(trained, settings.latency.p99_ms, Policy.of(project.config)))
    if settings.size is not None:
        outcomes.append(budget.size(trained, settings.size.max_mb))
    return [outcome for outcome in outcomes if outcome is not None]


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
