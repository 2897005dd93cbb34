"""MODEL_CARD.md: what the model is for, what it learned from, how good it is, how to use it. Written from the run
itself.

Sections follow the model cards of skops and of Mitchell et al. 2019. Nothing is left to fill in: what nobody said reads
'not stated'.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stages.config import Config
from stages.model.metrics import canonical

NOT_STATED = "not stated"

_MARKS = "\\`*_{}[]<>()#+!|~&"


@dataclass(frozen=True)
class Facts:
    """What the run found. `metrics`: as in metrics.json; `params`: of the fitted estimator; `given`: names that the
    configuration set or the search chose; `digests`: file → SHA-256; `source`: text of data.source as written."""

    signature: Mapping[str, Any]
    metrics: Mapping[str, Any]
    params: Mapping[str, Any]
    given: Sequence[str]
    preprocessing: Sequence[str]
    digests: Mapping[str, str]
    source: str
    profile: Mapping[str, Any] = field(default_factory=dict)


def text(value: Any) -> str:
    """`value` in one line with Markdown's marks escaped."""
    flat = " ".join(str(value).split())
    return "".join(f"\\{c}" if c in _MARKS else c for c in flat)


def card(config: Config, facts: Facts) -> str:
    """The whole card, in Markdown."""
    parts = [
        f"# {text(config.name)}",
        _description(config, facts),
        f"## Intended use\n\n{text(config.card.intended_use or NOT_STATED)}",
        f"## Limits\n\n{text(config.card.limits or NOT_STATED)}",
        f"## Owner\n\n{text(config.card.owner or NOT_STATED)}",
        _data(config, facts),
        _features(facts),
        _estimator(config, facts),
        _evaluation(facts),
        _use(config, facts),
        _versions(facts),
    ]
    return "\n\n".join(parts) + "\n"


def steps(transformer: Any) -> list[str]:
    """What a transformer consists of, one short text a part."""
    if not hasattr(transformer, "transformers"):
        return [type(transformer).__name__]
    named = [f"{name}: {_chain(part)} of {len(columns)} columns" for name, part, columns in _fitted(transformer)]
    return named or [type(transformer).__name__]


def _fitted(transformer: Any) -> list[tuple[str, Any, Any]]:
    parts = getattr(transformer, "transformers_", transformer.transformers)
    return [(name, part, columns) for name, part, columns in parts if part != "drop" and len(columns)]


def _chain(part: Any) -> str:
    if isinstance(part, str):
        return part
    inner = getattr(part, "steps", None)
    return " → ".join(type(step).__name__ for _, step in inner) if inner else type(part).__name__


def _description(config: Config, facts: Facts) -> str:
    target, names = facts.signature["target"], facts.signature["features"]
    lines = [
        "## Description",
        "",
        f"A {_class_name(config)} that predicts `{_code(target['name'])}`: {config.task}, {len(names)} features.",
    ]
    classes = facts.signature["classes"]
    if classes is not None:
        shown = ", ".join(text(canonical(c)) for c in classes[:20]) + (" …" if classes[20:] else "")
        lines += ["", f"Classes: {shown}."]
    if facts.signature["positive"] is not None:
        lines[-1] += f" Positive: {text(canonical(facts.signature['positive']))}."
    return "\n".join(lines)


def _data(config: Config, facts: Facts) -> str:
    rows = facts.metrics["rows"]
    split = config.data.split
    by = split.by or ("key" if config.data.key else "random")
    column = f" ({text(split.column)})" if split.column else ""
    lines = [
        "## Training data",
        "",
        f"Source: {text(facts.source)}.",
        "",
        f"{rows['train']:,} rows to train, {rows['test']:,} to test, divided by {by}{column}.",
    ]
    quarantined = facts.profile.get("quarantined")
    if isinstance(quarantined, Mapping) and quarantined:
        counts = ", ".join(
            f"{text(code)} {number:,}" for code, number in quarantined.items() if isinstance(number, int)
        )
        lines += ["", f"Values refused by the contract: {counts}."] if counts else []
    if config.data.weight:
        lines += ["", f"Rows are weighted by `{_code(config.data.weight)}`."]
    return "\n".join(lines)


def _features(facts: Facts) -> str:
    rows = [
        (
            f"`{_code(feature['name'])}`",
            feature["type"],
            "yes" if feature["nullable"] else "no",
            text(_allowed(feature)),
        )
        for feature in facts.signature["features"]
    ]
    return "## Features\n\n" + _table(("feature", "type", "may be missing", "allowed"), rows)


def _allowed(feature: Mapping[str, Any]) -> str:
    if "values" in feature:
        values = [canonical(v) for v in feature["values"]]
        return ", ".join(values[:10]) + (f" and {len(values) - 10} more" if values[10:] else "")
    parts = [f"{sign} {feature[key]:g}" for key, sign in (("min", "≥"), ("max", "≤")) if key in feature]
    parts += [f"{key} {feature[key]}" for key in ("pattern", "timezone", "format") if key in feature]
    return ", ".join(parts) or "any"


def _estimator(config: Config, facts: Facts) -> str:
    rows = [
        (f"`{_code(name)}`", f"`{_code(value)}`", _source(name, facts.given, config.model.seed, value))
        for name, value in sorted(facts.params.items())
    ]
    lines = ["## Estimator", "", f"`{_code(config.model.estimator)}`, seed {config.model.seed}.", ""]
    lines += [f"Preprocessing: {', '.join(f'`{_code(step)}`' for step in facts.preprocessing) or 'none'}.", ""]
    search = facts.metrics.get("search")
    if search:
        ended = ", ended by its time budget" if search["stopped"] == "budget" else ""
        tried = f"{search['evaluated']} of {search['candidates']} candidates, {search['folds']} folds{ended}"
        lines += [f"Chosen by {search['method']} search for {text(search['metric'])}: {tried}.", ""]
    return "\n".join([*lines, _table(("parameter", "value", "source"), rows)])


def _source(name: str, given: Sequence[str], seed: int, value: Any) -> str:
    if name in given or f"estimator__{name}" in given:
        return "set"
    return "seed" if name in ("random_state", "random_seed") and value == seed else "default"


def _evaluation(facts: Facts) -> str:
    found = facts.metrics
    cv = (found.get("cv") or {}).get("mean") or {}
    spread = (found.get("cv") or {}).get("std") or {}
    rows = []
    for name in dict.fromkeys([*found["test"], *found["absent"].get("test", {})]):
        row = [f"`{_code(name)}`", _number(found["test"].get(name)), _number(found["train"].get(name))]
        if cv:
            row.append(f"{_number(cv.get(name))} ± {_number(spread.get(name))}" if name in cv else "–")
        rows.append(tuple(row))
    head = ("metric", "test rows", "training rows", *(["cross-validation"] if cv else []))
    notes = [f"- `{_code(name)}`: {text(why)}" for name, why in found["absent"].get("test", {}).items()]
    return "\n\n".join(["## Evaluation", _table(head, rows), *(["Not computed:", "\n".join(notes)] if notes else [])])


def _use(config: Config, facts: Facts) -> str:
    return "\n".join(
        [
            "## How to use",
            "",
            "```",
            "mlci serve                        # POST /predict on port 8080",
            "mlci predict rows.csv -o out.csv  # one answer per row",
            "```",
            "",
            "The service describes its requests at `/openapi.json`; `signature.json` says the same for programs.",
            f"`{_code(facts.signature['model']['file'])}` is read only with its digest and the versions below.",
        ]
    )


def _versions(facts: Facts) -> str:
    versions = [(text(name), text(version)) for name, version in facts.signature["versions"].items()]
    digests = [(f"`{_code(name)}`", f"`{digest}`") for name, digest in facts.digests.items()]
    return "\n\n".join(
        ["## Versions", _table(("library", "version"), versions), "## Digests", _table(("file", "SHA-256"), digests)]
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _class_name(config: Config) -> str:
    return text(config.model.estimator.rpartition(".")[2])


def _code(value: Any) -> str:
    """Text for a code span inside a table: no back-ticks, no bars, one line, not endless."""
    flat = " ".join(str(value).split()).replace("`", "'").replace("|", "\\|")
    return flat if len(flat) <= 120 else flat[:117] + "…"


def _number(value: Any) -> str:
    return "–" if value is None else f"{value:.4g}"
