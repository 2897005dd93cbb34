"""From the outcomes of all rules to one verdict and the files that say it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from stages.escaping import markdown, markdown_code, printable
from stages.gate.outcome import Outcome

SCHEMA_VERSION = 1

Word = Literal["approved", "failed", "inconclusive"]
WhenUnclear = Literal["ask", "pass", "fail"]

#: What stands before a rule in a text.
MARKS = {"passed": "✓", "failed": "✗", "inconclusive": "?", "warned": "!", "skipped": "–"}


def decide(outcomes: Sequence[Outcome], inconclusive: WhenUnclear) -> Word:
    """`failed` when a rule failed, `inconclusive` when none failed and one cannot tell, else `approved`.

    `inconclusive`: what cannot be told is asked about, passes or fails. No rule at all approves nothing.
    """
    statuses = {outcome.status for outcome in outcomes}
    if "failed" in statuses or not outcomes:
        return "failed"
    if "inconclusive" not in statuses or inconclusive == "pass":
        return "approved"
    return "failed" if inconclusive == "fail" else "inconclusive"


def sentence(word: Word, outcomes: Sequence[Outcome]) -> str:
    """One sentence for a log line: the verdict and what decided it."""
    if word == "approved":
        leading = next((o for o in outcomes if o.rule.startswith("metric.") and o.status == "passed"), None)
        shown = f"{leading.sentence.split(';')[0].rstrip(')')}), " if leading else ""
        judged = [o for o in outcomes if o.status != "skipped"]
        passed = sum(o.status == "passed" for o in judged)
        warned = sum(o.status == "warned" for o in judged)
        unclear = sum(o.status == "inconclusive" for o in judged)
        rest = f", {warned} warned" * (warned > 0) + f", {unclear} could not tell" * (unclear > 0)
        return f"approved: {shown}{passed} of {len(judged)} rules passed{rest}"
    wanted = "failed" if any(o.status == "failed" for o in outcomes) else "inconclusive"
    stopping = [o for o in outcomes if o.status == wanted]
    more = f" (and {len(stopping) - 1} more)" if stopping[1:] else ""
    lead = "not approved" if word == "failed" else "cannot tell"
    return f"{lead}: {stopping[0].sentence}{more}" if stopping else f"{lead}: no rule was checked"


def code(word: Word, outcomes: Sequence[Outcome]) -> str:
    """The verdict's stable code: that of the only rule that stopped it, else one for the verdict."""
    codes = {o.code for o in outcomes if o.stops and o.code}
    if len(codes) == 1:
        return codes.pop()
    return "GATE_INCONCLUSIVE" if word == "inconclusive" else "GATE_FAILED"


def as_dict(word: Word, outcomes: Sequence[Outcome], model: str, extra: dict[str, Any]) -> dict[str, Any]:
    """What `gate.json` holds. `model`: the digest that is approved; `extra`: further plain data."""
    return {
        "schema_version": SCHEMA_VERSION,
        "approved": word == "approved",
        "verdict": word,
        "model": model,
        "sentence": sentence(word, outcomes),
        "rules": [outcome.as_dict() for outcome in outcomes],
        **extra,
    }


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no numbers that JSON does not know: the same verdict gives the same bytes."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, indent=1, allow_nan=False)
    return (text + "\n").encode()


def write_junit(path: Path, outcomes: Sequence[Outcome], name: str) -> None:
    """One test case a rule, with the sentence as message; what stops a model is a failure, so that Jenkins shows
    it."""
    import xml.etree.ElementTree as ET

    failures, skipped = sum(o.stops for o in outcomes), sum(o.status == "skipped" for o in outcomes)
    suites = ET.Element("testsuites")
    counts = {"tests": len(outcomes), "failures": failures, "errors": 0, "skipped": skipped}
    suite = ET.SubElement(
        suites, "testsuite", {"name": f"mlci.validate.{name}", **{k: str(v) for k, v in counts.items()}}
    )
    for outcome in outcomes:
        family = outcome.rule.split(".", 1)[0]
        attributes = {"classname": printable(f"mlci.validate.{family}"), "name": printable(outcome.rule), "time": "0"}
        case = ET.SubElement(suite, "testcase", attributes)
        if outcome.stops:
            kind = outcome.code or f"GATE_{outcome.status.upper()}"
            failure = ET.SubElement(case, "failure", {"type": kind, "message": printable(outcome.sentence)})
            failure.text = f"{outcome.status}: {printable(outcome.sentence)}"
        elif outcome.status == "skipped":
            ET.SubElement(case, "skipped", {"message": printable(outcome.sentence)})
        else:
            ET.SubElement(case, "system-out").text = f"{outcome.status}: {printable(outcome.sentence)}"
    ET.indent(suites)
    path.write_bytes(ET.tostring(suites, encoding="utf-8", xml_declaration=True) + b"\n")


def summary_markdown(name: str, word: Word, outcomes: Sequence[Outcome]) -> str:
    """A few lines for a pull request: the verdict, what stopped it, and every rule in a table."""
    heading = {"approved": "approved", "failed": "not approved", "inconclusive": "cannot tell"}[word]
    lines = [f"## {name}: {heading}", "", markdown(sentence(word, outcomes)), ""]
    lines += ["| | rule | finding |", "|---|---|---|"]
    order = ("failed", "inconclusive", "warned", "passed", "skipped")
    for outcome in sorted(outcomes, key=lambda o: order.index(o.status)):
        cells = (MARKS[outcome.status], markdown_code(outcome.rule), markdown(outcome.sentence))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
