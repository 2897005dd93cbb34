"""index.html from what the gate found: verdict and why first, then the evidence."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np

from stages.escaping import printable
from stages.gate import uncertainty, verdict
from stages.gate.champion import better
from stages.gate.outcome import Outcome, short
from stages.gate.report import charts
from stages.gate.report.svg import DARK, LIGHT, Canvas, Theme
from stages.model import metrics
from stages.model.metrics import Answer, Truth, canonical

_WORDS = {
    "passed": "passed",
    "failed": "failed",
    "inconclusive": "cannot tell",
    "warned": "warning",
    "skipped": "skipped",
}
_ANSWERS = {
    "approved": "Approved: this model may be deployed",
    "failed": "Not approved",
    "inconclusive": "Cannot tell: a person has to decide",
}
#: Classes beyond which the confusion matrix is left out, and slices beyond which only the worst are drawn.
_MOST_CLASSES, _MOST_SLICES = 12, 20
#: Of several classes, the commonest have a curve each.
_MOST_CURVES = 5


@dataclass(frozen=True)
class Facts:
    """What a report tells. `gate`: as in gate.json; `truth`, `answer`: of the test side; `profile`: profile.json;
    `history`: earlier champions, the newest first: when, model, by, metrics."""

    name: str
    signature: Mapping[str, Any]
    gate: Mapping[str, Any]
    outcomes: Sequence[Outcome]
    truth: Truth
    answer: Answer
    profile: Mapping[str, Any]
    environment: str | None = None
    history: Sequence[Mapping[str, Any]] = field(default_factory=list)


class _Drawn:
    """Writes charts, each for light and for dark pages, and remembers what the page needs of them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, file: str, alt: str, draw: Callable[[Theme], Canvas], caption: str = "") -> dict[str, Any]:
        light = draw(LIGHT)
        (self.folder / f"{file}.svg").write_text(light.svg(alt), encoding="utf-8")
        (self.folder / f"{file}-dark.svg").write_text(draw(DARK).svg(alt), encoding="utf-8")
        size = {"width": round(light.width), "height": round(light.height)}
        return {"file": file, "alt": alt, "caption": caption, **size}


def _shown(value: object) -> object:
    return printable(value) if type(value) is str else value


def write(folder: Path, facts: Facts) -> None:
    """Write `index.html`, `report.css` and the charts into `folder`, which is made."""
    from jinja2 import Environment, StrictUndefined

    folder.mkdir(parents=True)
    own = resources.files("stages.gate.report")
    (folder / "report.css").write_bytes(own.joinpath("report.css").read_bytes())
    drawn = _Drawn(folder)
    template = Environment(
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    ).from_string(own.joinpath("index.html").read_text(encoding="utf-8"))
    shown = {
        **_head(facts),
        "metrics": _metrics(facts),
        "champion_chart": _champion(facts, drawn),
        "slice_charts": _slices(facts, drawn),
        "charts": _behaviour(facts, drawn),
        "confusion": _confusion(facts),
        "drift": _drift(facts, drawn),
        "data": _data(facts),
        "history": _history(facts),
    }
    titles = {"metrics": "Metrics", "slices": "Slices", "behaviour": "How the model answers", "drift": "Drift"}
    titles |= {"data": "Data", "history": "History", "rules": "All rules"}
    there = {"slices": bool(shown["slice_charts"]), "drift": bool(shown["drift"]), "history": bool(shown["history"])}
    shown["sections"] = [(id_, title) for id_, title in titles.items() if there.get(id_, True)]
    (folder / "index.html").write_text(template.render(**shown), encoding="utf-8")


def _head(facts: Facts) -> dict[str, Any]:
    order = ("failed", "inconclusive", "warned", "passed", "skipped")
    rules = sorted(facts.outcomes, key=lambda one: order.index(one.status))
    stopping = [one for one in rules if one.stops]
    counts = {word: sum(one.status == word for one in rules) for word in order}
    told = ", ".join(f"{count} {_WORDS[word]}" for word, count in counts.items() if count)
    return {
        "name": facts.name,
        "task": facts.signature["task"],
        "target": facts.signature["target"]["name"],
        "rows": f"{len(facts.truth.values):,}",
        "model": facts.gate["model"],
        "champion": facts.gate.get("champion"),
        "verdict": facts.gate["verdict"],
        "answer": _ANSWERS[facts.gate["verdict"]],
        "sentence": facts.gate["sentence"] if not stopping else f"Of {len(rules)} rules: {told}.",
        "deciding": [*stopping, *(one for one in rules if one.status == "warned")],
        "rules": rules,
        "counts": told,
        "marks": verdict.MARKS,
        "words": _WORDS,
    }


# ---- sections ----------------------------------------------------------------------------------------------------


def _metrics(facts: Facts) -> list[dict[str, Any]]:
    by_rule = {one.rule: one for one in facts.outcomes}
    rows = []
    for one in facts.outcomes:
        if not one.rule.startswith("metric."):
            continue
        name = one.rule.removeprefix("metric.")
        champion, dummy, linear = (
            by_rule.get(f"{family}.{name}") for family in ("champion", "baseline.dummy", "baseline.linear")
        )
        worst = next((o for o in (one, champion, dummy, linear) if o is not None and o.stops), one)
        limits = [
            f"{sign} {short(one.details[key])}"
            for key, sign in (("min", "≥"), ("max", "≤"))
            if one.details.get(key) is not None
        ]
        rows.append(
            {
                "name": name,
                "value": "–" if one.observed is None else short(one.observed),
                "interval": "–" if one.interval is None else f"{short(one.interval[0])} to {short(one.interval[1])}",
                "bound": ", ".join(limits) or "–",
                "champion": _detail(champion, "champion"),
                "dummy": _detail(dummy, "baseline"),
                "linear": _detail(linear, "baseline"),
                "status": worst.status,
            }
        )
    return rows


def _detail(outcome: Outcome | None, key: str) -> str:
    value = None if outcome is None else outcome.details.get(key)
    return "–" if value is None else short(value)


def _champion(facts: Facts, drawn: _Drawn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in facts.outcomes:
        if not one.rule.startswith("champion.") or one.interval is None or one.observed is None:
            continue
        name, margin, (low, high) = one.details["metric"], one.details["margin"], one.interval
        row = charts.Interval(name, one.observed, low, high, better(one.observed), one.stops)
        alt = (
            f"{name}: the candidate against the champion is {better(one.observed)}, "
            f"bounds {short(low)} and {short(high)}, margin {short(margin)}"
        )
        lines, axis = [(-margin, f"−margin {short(margin)}")], "candidate − champion, positive is better"
        draw = partial(charts.forest, [row], lines, axis)
        found.append(drawn(f"champion-{len(found) + 1}", alt, draw, one.sentence))
    return found


def _slices(facts: Facts, drawn: _Drawn) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for one in facts.outcomes:
        table = [row for row in one.details.get("slices", []) if row["value"] is not None]
        if not one.rule.startswith("slice.") or not table:
            continue
        name, column = one.details["metric"], one.details["column"]
        better = metrics.get(name).greater_is_better
        rows = [
            charts.Interval(
                row["slice"],
                row["value"],
                row["interval"][0],
                row["interval"][1],
                f"{short(row['value'])}, n {row['n']:,}",
                row["status"] == "failed",
            )
            for row in sorted(table, key=lambda row: row["value"] if better else -row["value"])[:_MOST_SLICES]
        ]
        limits = (("min", "≥"), ("max", "≤"))
        lines = [
            (one.details[k], f"{sign} {short(one.details[k])}") for k, sign in limits if one.details[k] is not None
        ]
        alt = f"{name} by {column}, the worst first: " + "; ".join(f"{row.name} {short(row.value)}" for row in rows[:8])
        draw = partial(charts.forest, rows, lines, f"{name} by {column}")
        found.append(drawn(f"slice-{len(found) + 1}", alt, draw, one.sentence))
    return found


def _behaviour(facts: Facts, drawn: _Drawn) -> list[dict[str, Any]]:
    truth, answer = facts.truth, facts.answer
    if truth.kind == "regression":
        return _residuals(np.asarray(truth.values, dtype=float), np.asarray(answer.labels, dtype=float), drawn)
    if answer.probabilities is None:
        return []
    if truth.kind == "multiclass":
        return _of_classes(truth, answer.probabilities, drawn)
    positive, name = truth.codes == truth.positive_index, canonical(truth.positive)
    if not 0 < positive.sum() < len(positive):
        return []
    score = answer.probabilities[:, truth.positive_index]
    area, precision = (short(metrics.get(one)(truth, answer)) for one in ("roc_auc", "average_precision"))
    share = float(np.average(positive, weights=truth.weights))
    roc = charts.roc_points(positive, score, truth.weights)
    recall = charts.precision_points(positive, score, truth.weights)
    rates = ("false positive rate", "true positive rate")
    return [
        drawn(
            "roc",
            f"ROC curve, area {area}",
            partial(charts.curve, roc, rates, diagonal=True),
            f"ROC curve for {name}, area {area}. Dashed: a coin.",
        ),
        drawn(
            "precision",
            f"Precision and recall, average precision {precision}",
            partial(charts.curve, recall, ("recall", "precision"), level=share),
            f"Precision and recall for {name}, average precision {precision}. Dashed: a coin.",
        ),
        drawn(
            "calibration",
            "Calibration in ten bins",
            partial(charts.calibration, charts.calibration_points(positive, score), "positive"),
            "Calibration: ten equally filled bins, 95 % intervals. On the diagonal a probability means what it says.",
        ),
    ]


def _of_classes(truth: Truth, chances: np.ndarray, drawn: _Drawn) -> list[dict[str, Any]]:
    """Several classes: how sure the model is of what it says, and each of the commonest classes against the rest."""
    said = chances.argmax(axis=1)
    found = [
        drawn(
            "calibration",
            "Calibration of the most likely class in ten bins",
            partial(charts.calibration, charts.calibration_points(said == truth.codes, chances.max(axis=1)), "right"),
            "Calibration of the most likely class: ten equally filled bins, 95 % intervals. On the diagonal a "
            "probability means what it says.",
        )
    ]
    counts = np.bincount(truth.codes[truth.codes >= 0], minlength=chances.shape[1])
    for at in np.argsort(-counts, kind="stable")[:_MOST_CURVES]:
        positive, name = truth.codes == at, canonical((truth.classes or ())[at])
        if not 0 < positive.sum() < len(positive):
            continue
        points = charts.roc_points(positive, chances[:, at], truth.weights)
        area = short(charts.area(points))
        caption = f"ROC curve for {name} against all others, area {area}. Dashed: a coin."
        draw = partial(charts.curve, points, ("false positive rate", "true positive rate"), diagonal=True)
        found.append(drawn(f"roc-{at + 1}", f"ROC curve for {name}, area {area}", draw, caption))
    return found


def _residuals(y: np.ndarray, said: np.ndarray, drawn: _Drawn) -> list[dict[str, Any]]:
    return [
        drawn(
            "predicted",
            "Predicted against true values",
            partial(charts.cloud, said, y, ("predicted", "true")),
            "Predicted and true values.",
        ),
        drawn(
            "residuals",
            "Residuals against predictions",
            partial(charts.cloud, said, y - said, ("predicted", "true − predicted")),
            "Residuals; a pattern here is something that the model has not learned.",
        ),
    ]


def _confusion(facts: Facts) -> dict[str, Any] | None:
    truth = facts.truth
    if truth.classes is None or len(truth.classes) > _MOST_CLASSES:
        return None
    n, names = len(truth.classes), [canonical(one) for one in truth.classes]
    said = metrics.encode(facts.answer.labels, truth.classes)
    known = (truth.codes >= 0) & (said >= 0)
    counts = np.bincount(truth.codes[known] * n + said[known], minlength=n * n).reshape(n, n)
    rows = [
        {
            "name": names[i],
            "counts": [f"{count:,}" for count in counts[i]],
            "right": f"{counts[i, i] / max(counts[i].sum(), 1):.1%}",
        }
        for i in range(n)
    ]
    return {"classes": names, "rows": rows}


def _drift(facts: Facts, drawn: _Drawn) -> dict[str, Any] | None:
    rules = [one for one in facts.outcomes if one.rule.startswith("drift.")]
    if not rules:
        return None
    tables = [(row, "") for one in rules for row in one.details.get("columns", [])]
    tables += [
        (one.details, " of the training side" if one.rule == "drift.label" else " on the test side")
        for one in rules
        if "bins" in one.details
    ]
    columns: list[dict[str, Any]] = []
    for row, what in tables:
        before, now = row["reference"], row["current"]
        biggest = int(np.abs(np.subtract(now, before)).argmax())
        alt = f"largest change: {row['bins'][biggest]} from {before[biggest]:.1%} to {now[biggest]:.1%}"
        columns.append(
            {
                "name": row["column"] + what,
                "chart": drawn(f"drift-{len(columns) + 1}", alt, partial(charts.pairs, before, now)),
                "psi": short(row["psi"]),
                "least": short(max(0.1, row["critical"])),
                "p": f"{row['p']:.2g}",
                "drifted": row["drifted"],
            }
        )
    return {"sentence": rules[0].sentence, "columns": columns}


def _data(facts: Facts) -> dict[str, Any]:
    rows = facts.profile.get("rows", {})
    told = {"read": "rows read", "train": "for training", "test": "for testing", "refused": "refused"}
    told |= {"duplicates": "identical, dropped", "dropped_by_transform": "dropped by the transform"}
    shown = [(what, f"{rows[key]:,}") for key, what in told.items() if isinstance(rows.get(key), int)]
    by_code = (facts.profile.get("refused") or {}).get("by_code") or {}
    if by_code:
        shown.append(("refused by", ", ".join(f"{code} {count:,}" for code, count in by_code.items())))
    return {"facts": shown, "missing": _missing(facts.profile.get("columns") or {}, rows.get("train"))}


def _missing(columns: Any, total: Any) -> list[tuple[str, str]]:
    pairs = columns.items() if isinstance(columns, dict) else [(one.get("name"), one) for one in columns]
    nulls = [(str(name), one.get("nulls") or 0) for name, one in pairs if isinstance(one, dict)]
    return [
        (n, f"{c:,}" + (f" ({c / total:.1%})" if total else "")) for n, c in sorted(nulls, key=lambda p: -p[1]) if c
    ]


def _history(facts: Facts) -> dict[str, Any] | None:
    if not facts.history:
        return None
    names = [one.rule.removeprefix("metric.") for one in facts.outcomes if one.rule.startswith("metric.")][:5]
    rows = []
    for one in facts.history:
        measured = one["metrics"]
        values = [
            measured.get(n, measured.get(uncertainty.base(n)[0])) if n in metrics.known() else None for n in names
        ]
        told = {"when": one["when"], "model": one["model"][:12], "by": one["by"]}
        rows.append({**told, "metrics_values": ["–" if value is None else short(value) for value in values]})
    return {"env": facts.environment, "metrics": names, "rows": rows}
