"""From rules to a verdict and its files."""

from __future__ import annotations

import json
import math
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest
from junitparser import JUnitXml

from stages.errors import UsageError
from stages.gate import explain, verdict
from stages.gate.outcome import Outcome, short


def rule(status: Any, name: str = "metric.accuracy", code: str | None = None) -> Outcome:
    return Outcome(name, status, f"accuracy is 0.9 ({status} | <b>)", code, 0.9, 0.8, (0.88, 0.92), 100)


@pytest.mark.parametrize(
    ("statuses", "inconclusive", "word"),
    [
        (["passed", "warned", "skipped"], "ask", "approved"),
        (["passed", "inconclusive"], "ask", "inconclusive"),
        (["passed", "inconclusive"], "pass", "approved"),
        (["passed", "inconclusive"], "fail", "failed"),
        (["inconclusive", "failed"], "pass", "failed"),
        ([], "pass", "failed"),
    ],
)
def test_the_verdict(statuses: list[str], inconclusive: Any, word: str) -> None:
    assert verdict.decide([rule(status) for status in statuses], inconclusive) == word


def test_the_sentence_names_what_decided() -> None:
    assert verdict.sentence("approved", [rule("passed"), rule("warned"), rule("skipped")]).endswith(
        "1 of 2 rules passed, 1 warned"
    )
    failed = [rule("passed"), rule("failed", "gap.x"), rule("failed")]
    assert verdict.sentence("failed", failed).startswith("not approved: accuracy is 0.9 (failed")
    assert verdict.sentence("failed", failed).endswith("(and 1 more)")


def test_one_reason_gives_its_code_several_the_common_one() -> None:
    assert verdict.code("failed", [rule("failed", code="GATE_LEAK_ROWS")]) == "GATE_LEAK_ROWS"
    both = [rule("failed", code="GATE_LEAK_ROWS"), rule("failed", code="GATE_BELOW_BOUND")]
    assert verdict.code("failed", both) == "GATE_FAILED"
    assert verdict.code("inconclusive", [rule("inconclusive"), rule("passed")]) == "GATE_INCONCLUSIVE"


def test_gate_json_is_canonical_and_holds_no_nan() -> None:
    bad = Outcome("metric.r2", "failed", "r2 is NaN", "GATE_NOT_FINITE", math.nan, 0.5, (-math.inf, math.inf), 3)
    gate = verdict.as_dict("failed", [bad], "0" * 64, {"b": 1, "a": 2})
    written = verdict.canonical(gate)
    assert json.loads(written, parse_constant=lambda text: pytest.fail(text))["rules"][0]["observed"] == "NaN"
    assert written == verdict.canonical(dict(reversed(gate.items())))


def test_junit_has_a_case_for_each_rule(tmp_path: Path) -> None:
    statuses = ["passed", "failed", "inconclusive", "warned", "skipped"]
    outcomes = [rule(status, f"metric.m{i}") for i, status in enumerate(statuses)]
    outcomes.append(Outcome("slice.x", "failed", "slice '\x00\x1b' & <odd>", "GATE_X"))
    verdict.write_junit(tmp_path / "junit.xml", outcomes, "model")
    suite = next(iter(JUnitXml.fromfile(str(tmp_path / "junit.xml"))))
    assert (suite.tests, suite.failures, suite.skipped) == (6, 3, 1)
    cases = {case.name: case for case in suite}
    assert cases["metric.m1"].result[0].message == outcomes[1].sentence
    assert cases["metric.m1"].classname == "mlci.validate.metric"
    assert cases["metric.m0"].is_passed
    ET.parse(tmp_path / "junit.xml")


def test_the_summary_is_a_table_that_markdown_can_hold() -> None:
    text = verdict.summary_markdown("flights", "failed", [rule("passed"), rule("failed", "gap.x")])
    assert text.startswith("## flights: not approved")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    assert [row.split("`")[1] for row in rows] == ["gap.x", "metric.accuracy"]
    assert all(row.replace("\\|", "").count("|") == 4 for row in rows)
    assert "<b>" not in text


def test_explain_tells_one_rule_or_a_family(tmp_path: Path) -> None:
    gate = verdict.as_dict("failed", [rule("failed", code="GATE_BELOW_BOUND"), rule("passed", "gap.accuracy")], "d", {})
    (tmp_path / "gate.json").write_bytes(verdict.canonical(gate))
    lines = explain.explain(tmp_path, "metric")
    assert lines[0] == "metric.accuracy: failed"
    assert any("GATE_BELOW_BOUND" in line for line in lines)
    assert lines[-1].startswith("how: ")
    with pytest.raises(UsageError) as raised:
        explain.explain(tmp_path, "metric.acuracy")
    assert "metric.accuracy" in raised.value.todo
    absent = explain.explain(tmp_path, "slice")
    assert "not in the last verdict" in absent[0]
    assert absent[1].startswith("how: ")
    with pytest.raises(UsageError):
        explain.explain(tmp_path, "")


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.91234567, "0.9123"), (336776, "336,776"), (-0.005, "−0.005"), (1e-12, "1.0e−12"), (0, "0"), (math.nan, "NaN")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short(value) == text
