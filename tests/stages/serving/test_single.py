"""A row that comes alone is decoded as rows that come together are."""

from __future__ import annotations

import math
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from stages.serving.decode import Decoder
from tests.stages.serving.test_decode import FEATURES, GOOD, VALUES, signature

DECODER = Decoder(signature(), {"open": ["x", "y"], "kind": ["a"]})
ANYTHING = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=3), st.just([]))
ROWS = st.fixed_dictionaries({}, optional={n: st.one_of(VALUES[n], st.just(GOOD[n]), ANYTHING) for n in FEATURES})
STRANGERS = st.dictionaries(st.sampled_from(["target", "x", "nubmer"]), st.integers(), max_size=2)


@settings(max_examples=400, deadline=None, derandomize=True)
@given(ROWS, STRANGERS, st.integers(0, 3))
def test_alone_or_twice(row: dict[str, Any], more: dict[str, int], left_out: int) -> None:
    row = {**GOOD, **row, **more}
    for name in list(FEATURES)[10 - left_out :]:
        row.pop(name)
    alone, twice = DECODER.decode([row]), DECODER.decode([row, row])
    assert list(alone.problems) == [p for p in twice.problems if p.pointer.startswith("/rows/0")]
    assert 2 * alone.refused == twice.refused
    assert (2 * alone.ignored, 2 * alone.unknown) == (twice.ignored, twice.unknown)
    assert {name: 2 * count for name, count in alone.unseen.items()} == dict(twice.unseen)
    assert {name: values * 2 for name, values in alone.columns.items()} == twice.columns


def test_the_types_that_came_before_do_not_matter() -> None:
    decoder = Decoder(signature({"a": {"type": "number", "nullable": True}}))
    sent = [1.5, None, 2, "x", True, 1.5, math.inf, -math.inf, math.nan, 2, None, "x"]
    wanted = [1.5, None, 2.0, "DAT_TYPE", "DAT_TYPE", 1.5, *["DAT_INFINITE"] * 3, 2.0, None, "DAT_TYPE"]
    answers = [decoder.decode([{"a": value}]) for value in sent]
    assert [d.problems[0].code if d.problems else d.columns["a"][0] for d in answers] == wanted


def test_the_largest_numbers_are_no_infinity_together() -> None:
    decoder = Decoder(signature({"a": {"type": "number"}, "b": {"type": "number"}}))
    assert decoder.decode([{"a": 1.7e308, "b": 1.7e308}]).columns == {"a": [1.7e308], "b": [1.7e308]}


def test_ever_new_combinations_of_types_are_not_kept() -> None:
    names = [f"c{i}" for i in range(10)]
    decoder = Decoder(signature({name: {"type": "category", "nullable": True} for name in names}))
    for number in range(1024):
        row = {name: "x" if number >> i & 1 else None for i, name in enumerate(names)}
        assert decoder.decode([row]).columns == {name: [value] for name, value in row.items()}
    assert len(decoder._single._plans) <= 256
