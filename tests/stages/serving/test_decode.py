"""Requests against the contract."""

# ruff: noqa: DTZ001  columns without a time zone hold naive times

from __future__ import annotations

import datetime as dt
import json
import math
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.config.schema import Column
from stages.data import chunks, contract
from stages.serving.decode import MAX_PROBLEMS, Decoder

FEATURES: dict[str, dict[str, Any]] = {
    "number": {"type": "number", "min": -10, "max": 10},
    "maybe": {"type": "number", "nullable": True},
    "whole": {"type": "integer", "min": 0},
    "flag": {"type": "boolean"},
    "kind": {"type": "category", "values": ["a", 1, True]},
    "code": {"type": "text", "pattern": "[A-Z]{2}[0-9]*"},
    "open": {"type": "category"},
    "zoned": {"type": "datetime", "timezone": "Europe/Berlin"},
    "naive": {"type": "datetime"},
    "day": {"type": "datetime", "format": "%d.%m.%Y"},
}
GOOD: dict[str, Any] = {
    "number": 1.5,
    "maybe": None,
    "whole": 3,
    "flag": True,
    "kind": "a",
    "code": "AB1",
    "open": "x",
    "zoned": "2024-06-01T12:00:00",
    "naive": "2024-06-01 12:00",
    "day": "31.12.2024",
}


def signature(features: dict[str, dict[str, Any]] = FEATURES, **more: Any) -> dict[str, Any]:
    return {
        "features": [{"name": n, "nullable": False, **f} for n, f in features.items()],
        "ignored": ["target"],
        **more,
    }


DECODER = Decoder(signature())


def one(name: str, value: Any) -> Any:
    """What a value becomes, or the code it is refused with."""
    decoded = DECODER.decode([{**GOOD, name: value}])
    if decoded.problems:
        assert [p.pointer for p in decoded.problems] == [f"/rows/0/{name}"]
        return decoded.problems[0].code
    return decoded.columns[name][0]


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("number", 5, 5.0),
        ("number", -10, -10.0),
        ("number", -10.001, "DAT_MIN"),
        ("number", 11, "DAT_MAX"),
        ("number", "5", "DAT_TYPE"),
        ("number", True, "DAT_TYPE"),
        ("number", [5], "DAT_TYPE"),
        ("number", {"a": 5}, "DAT_TYPE"),
        ("number", None, "DAT_NULL"),
        ("number", math.nan, "DAT_INFINITE"),
        ("number", math.inf, "DAT_INFINITE"),
        ("maybe", 10**400, "DAT_INFINITE"),
        ("maybe", None, None),
        ("maybe", 2**60, float(2**60)),
        ("whole", 5.0, 5),
        ("whole", 5.5, "DAT_TYPE"),
        ("whole", 1e300, "DAT_TYPE"),
        ("whole", 2**63 - 1, 2**63 - 1),
        ("whole", 2**63, "DAT_TYPE"),
        ("whole", -1, "DAT_MIN"),
        ("whole", False, "DAT_TYPE"),
        ("flag", False, False),
        ("flag", 1, "DAT_TYPE"),
        ("flag", "true", "DAT_TYPE"),
        ("kind", 1, "1"),
        ("kind", 1.0, "1"),
        ("kind", "1", "1"),
        ("kind", True, "true"),
        ("kind", "b", "DAT_VALUES"),
        ("kind", ["a"], "DAT_TYPE"),
        ("code", "AB", "AB"),
        ("code", "AB1 ", "DAT_PATTERN"),
        ("code", "xAB1", "DAT_PATTERN"),
        ("open", "never seen", "never seen"),
        ("open", "", ""),
        ("open", "nul\0", "DAT_TEXT"),
        ("open", 2.5, "2.5"),
        ("zoned", "2024-06-01T12:00:00", dt.datetime(2024, 6, 1, 10)),
        ("zoned", "2024-06-01T12:00:00+00:00", dt.datetime(2024, 6, 1, 12)),
        ("zoned", "2024-06-01T12:00:00Z", dt.datetime(2024, 6, 1, 12)),
        ("zoned", "2024-03-31T02:30:00", "DAT_TIME_GAP"),
        ("zoned", "2024-10-27T02:30:00", "DAT_TIME_AMBIGUOUS"),
        ("zoned", "2024-10-27T02:30:00+02:00", dt.datetime(2024, 10, 27, 0, 30)),
        ("zoned", "0001-01-01T00:00:00+14:00", "DAT_DATETIME"),
        ("zoned", 1717236000, "DAT_DATETIME"),
        ("zoned", "yesterday", "DAT_DATETIME"),
        ("naive", "2024-06-01", dt.datetime(2024, 6, 1)),
        ("naive", "2024-06-01T12:00:00+02:00", "DAT_DATETIME"),
        ("naive", "2024-13-01", "DAT_DATETIME"),
        ("day", "1.2.2024", dt.datetime(2024, 2, 1)),
        ("day", "2024-02-01", "DAT_DATETIME"),
    ],
)
def test_each_value_is_taken_or_refused_with_its_code(name: str, value: Any, wanted: Any) -> None:
    found = one(name, value)
    assert found == wanted
    assert type(found) is type(wanted)


def test_every_problem_is_told_in_row_order_without_the_callers_values() -> None:
    secret = "hunter2-secret"
    rows = [
        {**GOOD, "flag": secret, "number": secret},
        GOOD,
        {**GOOD, "kind": secret},
        [secret],
        {k: v for k, v in GOOD.items() if k != "whole"},
    ]
    decoded = DECODER.decode(rows)
    assert [(p.pointer, p.code, p.got) for p in decoded.problems] == [
        ("/rows/0/number", "DAT_TYPE", "string"),
        ("/rows/0/flag", "DAT_TYPE", "string"),
        ("/rows/2/kind", "DAT_VALUES", "string"),
        ("/rows/3", "DAT_ROW_SHAPE", "array"),
        ("/rows/4/whole", "DAT_COLUMN_MISSING", "nothing"),
    ]
    assert decoded.refused == 5
    assert decoded.columns == {}
    assert secret not in json.dumps([p.plain() for p in decoded.problems])


def test_pointers_are_escaped() -> None:
    decoder = Decoder(signature({"a/b~c": {"type": "number"}}))
    assert decoder.decode([{"a/b~c": "x"}]).problems[0].pointer == "/rows/0/a~1b~0c"


def test_problems_are_capped_but_counted() -> None:
    decoded = DECODER.decode([{}] * 500)
    required = sum(not f.get("nullable") for f in FEATURES.values())
    assert len(decoded.problems) == MAX_PROBLEMS
    assert decoded.refused == 500 * required
    # the first rows, all of their columns
    assert {p.pointer.split("/")[2] for p in decoded.problems} == {str(i) for i in range(12)}


def test_a_misspelt_column_is_named_but_only_if_it_nearly_is_one() -> None:
    row = {k: v for k, v in GOOD.items() if k != "number"}
    near = DECODER.decode([{**row, "nubmer": 1}]).problems[0]
    far = DECODER.decode([{**row, "my card is 1234": 1}]).problems[0]
    assert near.hint is not None
    assert "nubmer" in near.hint
    assert far.hint is None


def test_other_columns_are_ignored_and_counted() -> None:
    decoded = DECODER.decode([{**GOOD, "target": 1, "x": 1, "y": 2}, GOOD])
    assert not decoded.problems
    assert (decoded.ignored, decoded.unknown) == (1, 2)
    assert list(decoded.columns) == list(FEATURES)


def test_a_nullable_column_may_be_left_out() -> None:
    decoded = DECODER.decode([{k: v for k, v in GOOD.items() if k != "maybe"}])
    assert decoded.columns["maybe"] == [None]


def test_unseen_categories_are_counted() -> None:
    decoder = Decoder(signature(), {"open": ["x", "y"], "kind": ["a"]})
    decoded = decoder.decode([{**GOOD, "open": value} for value in ("x", "y", "z", "w")])
    assert decoded.unseen == {"open": 2}


def test_no_rows_are_no_problem() -> None:
    assert DECODER.decode([]).columns == {name: [] for name in FEATURES}


# --- the same contract in files and in requests --------------------------------------------------------

TEXTS = ("category", "text")
_moments = st.datetimes(dt.datetime(1950, 1, 1), dt.datetime(2037, 1, 1)).map(lambda moment: moment.isoformat())
_berlin = st.sampled_from(
    ["2024-03-31T02:30:00", "2024-10-27T02:30:00", "2024-10-27T02:30:00+02:00", "2024-13-40", "x"]
)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "number": st.one_of(st.floats(-20, 20), st.integers(-20, 20)),
    "maybe": st.one_of(st.none(), st.floats(allow_nan=False), st.integers(-(2**53), 2**53)),
    "whole": st.one_of(st.integers(-5, 2**63 - 1), st.floats(-5, 1e17), st.integers(-5, 5).map(float)),
    "flag": st.booleans(),
    "kind": st.sampled_from(["a", "b", 1, 1.0, "1", True, "true", 2, 1.5]),
    "code": st.text("AB1 x", max_size=4),
    "open": st.one_of(
        st.text(max_size=5),
        st.sampled_from(["1.0", "True", "-0.0", "007", "2.10", "9007199254740993.0"]),
        st.integers(-9, 9),
        st.floats(-1e20, 1e20),
        st.booleans(),
    ),
    "zoned": st.one_of(_moments, _berlin),
    "naive": st.one_of(_moments, _berlin),
    "day": st.one_of(st.dates(dt.date(1900, 1, 1)).map(lambda d: d.strftime("%d.%m.%Y")), st.just("2024-01-01")),
}


SPELLINGS = [
    (n, s) for n, f in FEATURES.items() for s in (None, "canonical", "exact")[: 3 if f["type"] in TEXTS else 1]
]


@pytest.mark.parametrize(("name", "spelling"), SPELLINGS)
def test_files_and_requests_are_read_by_one_contract(name: str, spelling: str | None) -> None:
    """What prepare makes of a value of a JSON lines file is what a request with it becomes, or both refuse it alike."""
    known = {key: value for key, value in FEATURES[name].items() if key in Column.model_fields}
    rules = contract.Contract({name: Column(**known)}, spellings={name: spelling})
    spelled = {"spelling": spelling} if spelling else {}
    decoder = Decoder(signature({name: FEATURES[name] | spelled}))

    @settings(max_examples=150, deadline=None, derandomize=True)
    @given(VALUES[name])
    def agree(value: Any) -> None:
        sent = orjson.loads(orjson.dumps({name: value}))
        decoded = decoder.decode([sent])
        checked = rules.check(chunk(name, sent[name]))
        codes = [refusal.code for refusal in checked.refusals]
        assert [problem.code for problem in decoded.problems] == codes
        if not codes:
            kept = checked.table.column(name)[0].as_py()
            kept = kept.replace(tzinfo=None) if isinstance(kept, dt.datetime) else kept
            assert decoded.columns[name] == [kept]

    agree()


def chunk(name: str, value: Any) -> chunks.Chunk:
    """One cell as a reader of mixed types hands it over."""
    import numpy as np

    return chunks.Chunk({name: [value]}, np.array([1], dtype=np.int64), [])
