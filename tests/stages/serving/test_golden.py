"""Recorded answers, and when two answers count as the same."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from stages.serving import golden
from stages.serving.predictor import Predictor
from tests.stages import modelkit


def ask(predictor: Predictor, body: dict[str, Any]) -> dict[str, Any]:
    predictions, probabilities = predictor.predict(predictor.decode(body["rows"]).columns)
    return {"predictions": predictions, "probabilities": probabilities}


def test_what_was_recorded_is_answered_again(predictor: Predictor) -> None:
    recorded = golden.record(predictor.signature, predictor.predict, modelkit.table())
    again = json.loads(json.dumps(recorded))
    assert golden.compare(again, lambda body: ask(predictor, body)) == []
    assert again == golden.record(predictor.signature, predictor.predict, modelkit.table()), "the same file each time"


def test_unusual_rows_are_among_the_recorded(predictor: Predictor) -> None:
    table = modelkit.table(500)
    rows = golden.record(predictor.signature, predictor.predict, table)["requests"][0]["rows"]
    assert 20 <= len(rows) <= 40
    delays = [row.get("delay") for row in rows]
    assert None in delays
    assert any("delay" not in row and "windy" not in row for row in rows), "nullable columns left out"
    assert min(table["delay"].drop_null().to_pylist()) in delays
    assert max(table["delay"].drop_null().to_pylist()) in delays
    assert {row["carrier"] for row in rows} == {"AA", "B6", "DL"}
    assert any(row["when"].endswith("+01:00") for row in rows), "local times of the column's zone, with their offset"
    assert any(row["when"].endswith("+02:00") for row in rows)


def test_rows_without_an_answer_are_left_out(predictor: Predictor) -> None:
    def moody(columns: Any) -> Any:
        if any(seats > 150 for seats in columns["seats"]):
            raise ValueError("too many")
        return predictor.predict(columns)

    rows = golden.record(predictor.signature, moody, modelkit.table())["requests"][0]["rows"]
    assert rows
    assert max(row["seats"] for row in rows) <= 150


def test_nothing_to_ask_for_is_an_error(predictor: Predictor) -> None:
    with pytest.raises(ValueError, match="no row"):
        golden.record(predictor.signature, predictor.predict, modelkit.table()[:0])


def both(chance: float, now: float) -> list[str]:
    def said(p: float) -> dict[str, Any]:
        return {"predictions": [p > 0.5], "probabilities": [{"true": p, "false": 1 - p}]}

    return golden.differences(said(chance), said(now))


@pytest.mark.parametrize(
    ("recorded", "now", "same"),
    [
        (0.7, 0.700009, True),
        (0.7, 0.70002, False),
        (0.500004, 0.499996, True),  # the label turns, but nobody could tell the classes apart
        (0.7, float("nan"), False),
    ],
)
def test_probabilities_within_tolerance(recorded: float, now: float, same: bool) -> None:
    assert (both(recorded, now) == []) is same


def test_a_turned_label_counts_where_the_classes_are_apart() -> None:
    chances = [{"true": 0.7, "false": 0.3}]
    old = {"predictions": [True], "probabilities": chances}
    assert golden.differences(old, {"predictions": [False], "probabilities": chances}) == [
        "row 1: the predicted class differs"
    ]


@pytest.mark.parametrize(
    ("recorded", "now", "same"),
    [
        (1000.0, 1000.09, True),
        (1000.0, 1000.2, False),
        (0.0, 0.00009, True),
        (0.0, 0.0002, False),
        ("a", "a", True),
        ("a", "b", False),
    ],
)
def test_values_within_tolerance(recorded: Any, now: Any, same: bool) -> None:
    assert (golden.differences({"predictions": [recorded]}, {"predictions": [now]}) == []) is same


@pytest.mark.parametrize(
    "now",
    [
        {},
        {"predictions": None},
        {"predictions": []},
        {"predictions": [True]},
        {"predictions": [True], "probabilities": [{"x": 1.0}]},
    ],
)
def test_answers_of_another_shape_differ(now: dict[str, Any]) -> None:
    old = {"predictions": [True], "probabilities": [{"true": 0.7, "false": 0.3}]}
    assert golden.differences(old, now)


def test_regression_has_no_probabilities(predictor: Predictor) -> None:
    recorded = golden.record(
        predictor.signature, lambda columns: (list(columns["seats"]), None), pa.table(modelkit.table())
    )
    assert all("probabilities" not in answer for answer in recorded["answers"])
