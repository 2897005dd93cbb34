"""Whether a verdict still holds under another `validate:` section."""

# ruff: noqa: E501  a table reads by its rows

from __future__ import annotations

from typing import Any

import pytest

from stages.gate.tightened import tightened

BEFORE: dict[str, Any] = {
    "metrics": {"roc_auc": {"min": 0.8, "margin": 0.01}, "log_loss": {"max": 0.5}},
    "slices": ["kind"],
    "drift": {"max_share": 0.3},
    "latency": {"p99_ms": 10},
    "baselines": {"dummy": "warn"},
}


@pytest.mark.parametrize(
    ("now", "found"),
    [
        (BEFORE, []),
        ({}, ["validate.baselines.dummy changed from warn to fail"]),
        (BEFORE | {"metrics": {"roc_auc": {"min": 0.7, "margin": 0.02}}}, []),
        (BEFORE | {"metrics": {"roc_auc": {"min": 0.9}}}, ["validate.metrics.roc_auc.min changed from 0.8 to 0.9"]),
        (BEFORE | {"metrics": {"roc_auc": {"margin": 0}}}, ["validate.metrics.roc_auc.margin changed from 0.01 to 0"]),
        (BEFORE | {"metrics": {"log_loss": {"max": 0.4}}}, ["validate.metrics.log_loss.max changed from 0.5 to 0.4"]),
        (BEFORE | {"metrics": {"log_loss": {"max": 0.6, "min": 0.1}}}, ["validate.metrics.log_loss.min was added"]),
        (BEFORE | {"metrics": {"accuracy": {"min": 0.1}}}, ["validate.metrics.accuracy was added"]),
        (BEFORE | {"slices": ["kind", "size"]}, ["validate.slices: size was added"]),
        (BEFORE | {"slices": []}, []),
        (BEFORE | {"drift": {"max_share": 0.2}}, ["validate.drift.max_share changed from 0.3 to 0.2"]),
        (BEFORE | {"drift": None, "latency": {"p99_ms": 20}}, []),
        (BEFORE | {"size": {"max_mb": 1}}, ["validate.size was added"]),
        (BEFORE | {"baselines": {"dummy": "off", "linear": "warn"}}, []),
        (BEFORE | {"baselines": {"dummy": "warn", "linear": "fail"}}, ["validate.baselines.linear changed from warn to fail"]),
        (BEFORE | {"on_fail": "unstable", "champion": "other"}, []),
        (BEFORE | {"metrics": {"roc_auc": {"min": "${MIN} = sha256:00"}}}, ["validate.metrics.roc_auc.min changed from 0.8 to ${MIN} = sha256:00"]),
    ],
)  # fmt: skip
def test_what_is_asked_for_now_and_was_not_before(now: dict[str, Any], found: list[str]) -> None:
    assert tightened(BEFORE, now, inconclusive=False) == found


def test_a_verdict_that_let_pass_what_nobody_can_tell() -> None:
    assert tightened({"inconclusive": "pass"}, {"inconclusive": "pass"}, inconclusive=True) == []
    assert tightened({"inconclusive": "pass"}, {}, inconclusive=True) == ["validate.inconclusive is ask now"]
    assert tightened({"inconclusive": "pass"}, {}, inconclusive=False) == []
