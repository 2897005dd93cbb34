"""`mlci validate --explain RULE`: how a rule of the last verdict was decided."""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any

from stages.errors import UsageError
from stages.records.jsonfile import read_json

#: Family of rules → how they decide, in a line or two. docs/gate.md says it at length.
HOW = {
    "metrics": "Without a bound under validate.metrics nothing is approved: forgetting them lets no model through.",
    "metric": "The value on the test side is held against min and max, both inclusive. NaN, an infinity, an absent "
    "class or a metric that cannot be computed fails.",
    "baseline": "Paired comparison on the test rows. dummy: the lower one-sided 95 % bound of the advantage over a "
    "constant answer must be above 0. linear: it fails or warns when the upper bound is below 0.",
    "leakage": "features: cross-validated R² or ROC AUC of each feature alone, at most 20,000 training rows, must stay "
    "below 0.999. rows: share of test rows whose features stand in the training side, at most 1 %. keys, "
    "groups: none on both sides.",
    "gap": "Relative loss from the training to the test side; more than 10 % warns.",
    "champion": "One-sided 95 % interval of candidate − champion on the test rows that the champion was not trained "
    "on. Passed: its lower end is not below −margin. Failed: its upper end is. Else inconclusive.",
    "slice": "Each slice of at least 30 rows; it fails when it is beyond doubt (one-sided 95 %, corrected by Holm for "
    "the number of slices) beyond the bound, or worse than the champion by more than the margin.",
    "drift": "PSI against the champion's training data, above max(0.1, its critical value for these row counts and "
    "bins) and significant after Benjamini–Hochberg over all columns.",
    "latency": "Best of three windows of single-row predictions; the 99th percentile of the window.",
    "size": "Bytes of the artefact that is deployed.",
    "parity": "The exported model and the trained one are asked for the same rows.",
}


def explain(folder: Path, rule: str) -> list[str]:
    """Lines about one rule (or a family of rules, `metric`) of the verdict in `folder`.

    Raises:
        ArtefactError: there is no verdict yet. UsageError: it has no such rule.
    """
    gate = read_json(folder / "gate.json")
    known = [found["rule"] for found in gate["rules"]]
    wanted = [found for found in gate["rules"] if found["rule"] == rule or found["rule"].startswith(rule + ".")]
    if not wanted:
        if rule in HOW:
            configured = "nothing in ml.yaml asks for it, or there was nothing to compare with"
            return [f"{rule}: not in the last verdict: {configured}", f"how: {HOW[rule]}"]
        close = difflib.get_close_matches(rule, known, n=1)
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError("CFG_USAGE", f"the last verdict has no rule {rule!r}", f"{hint}rules: {', '.join(known)}")
    lines: list[str] = []
    for found in wanted:
        lines += [f"{found['rule']}: {found['status']}", f"  {found['sentence']}"]
        for key in ("code", "observed", "bound", "interval", "n"):
            if found.get(key) is not None:
                lines.append(f"  {key}: {_shown(found[key])}")
        lines += [f"  {key}: {_shown(value)}" for key, value in found.get("details", {}).items()]
    lines.append(f"how: {HOW.get(wanted[0]['rule'].split('.', 1)[0], 'see docs/gate.md')}")
    return lines


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
