"""Whole columns convert as their single values do: `cells` is the definition, `convert` the quick way."""

# ruff: noqa: DTZ001, RUF005  naive times are what is converted
from __future__ import annotations

import datetime as dt
from collections import defaultdict
from decimal import Decimal
from functools import partial
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data import cells
from stages.data.convert import CATEGORY, convert

BERLIN = ZoneInfo("Europe/Berlin")

NUMBERS = st.one_of(
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=True, allow_infinity=True).map(repr),
    st.sampled_from(
        [
            "5",
            " 5",
            "5 ",
            "+5",
            "-5",
            "5.",
            ".5",
            "5.0",
            "5.5",
            "5e0",
            "1e5",
            "1E5",
            "1e999",
            "-1e999",
            "0x10",
            "0X1F",
            "1_0",
            "1,5",
        ]
        + [
            "1.234,5",
            "nan",
            "NaN",
            "nan(1)",
            "inf",
            "-inf",
            "Infinity",
            "+INF",
            "",
            " ",
            "-",
            ".",
            "e5",
            "٣",
            "½",
            "-0",
            "-0.0",
            "007",
        ]
        + [
            "9223372036854775807",
            "9223372036854775808",
            "-9223372036854775808",
            "9007199254740993",
            "9007199254740993.0",
            "true",
        ]
    ),
    st.text(max_size=5),
)
MOMENTS = st.one_of(
    st.datetimes(dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31)).map(dt.datetime.isoformat),
    st.datetimes(timezones=st.sampled_from([dt.UTC, dt.timezone(dt.timedelta(hours=5, minutes=45))])).map(
        dt.datetime.isoformat
    ),
    st.datetimes(dt.datetime(2024, 3, 30, 22), dt.datetime(2024, 3, 31, 5)).map(lambda m: m.isoformat(" ", "minutes")),
    st.datetimes(dt.datetime(2024, 10, 26, 22), dt.datetime(2024, 10, 27, 5)).map(
        lambda m: m.isoformat(" ", "minutes")
    ),
    st.dates().map(str),
    st.sampled_from(
        [
            "2013-01-01T10",
            "2013-01-01 10:00Z",
            "2013-01-01T10:00:00.1",
            "2013-01-01T10:00:00.1234567",
            "2013-02-30",
            "0000-01-01",
        ]
        + [
            "2013-01-01T24:00",
            "2013-01-01 10:00+0100",
            " 2013-01-01 ",
            "2013-13-01",
            "20130101",
            "now",
            "",
            "1356998400",
            "01/02/2013",
        ]
        + ["0001-01-01", "9999-12-31T23:59:59.999999", "0001-01-01T00:00+05:00", "2024-03-31 02:30", "2024-10-27 02:30"]
    ),
)


def by_hand(values, scalar):
    found, bad = [], defaultdict(list)
    for i, value in enumerate(values):
        try:
            found.append(None if value is None else scalar(value))
        except cells.Refused as refused:
            found.append(None)
            bad[refused.code].append(i)
    return found, bad


def assert_same(raw, values, kind, scalar, **options):
    expected, bad = by_hand(values, scalar)
    found = convert(raw, kind, **options)
    assert {code: at.tolist() for code, at in found.bad.items()} == bad
    typed = found.values.to_pylist()
    if kind == "datetime":
        typed = [None if v is None else v.replace(tzinfo=None) for v in typed]
    assert typed == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.none() | NUMBERS, max_size=8), st.sampled_from([".", ","]))
def test_numbers_of_text(values, decimal):
    raw = pa.array(values, pa.string())
    assert_same(raw, values, "number", partial(cells.number, decimal=decimal), decimal=decimal)
    assert_same(raw, values, "integer", partial(cells.integer, decimal=decimal), decimal=decimal)
    assert_same(raw.dictionary_encode(), values, "number", partial(cells.number, decimal=decimal), decimal=decimal)


def test_many_plain_numbers_and_some_others():
    values = [str(i) for i in range(50)] + [" 7", "x", "inf", "1e999", None, "nan", "+3"]
    assert_same(pa.array(values), values, "number", cells.number)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.none() | MOMENTS, max_size=6),
    st.sampled_from([None, ZoneInfo("UTC"), BERLIN, ZoneInfo("America/New_York")]),
)
def test_moments_of_text(values, zone):
    assert_same(pa.array(values, pa.string()), values, "datetime", partial(cells.moment, zone=zone), zone=zone)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.none() | st.sampled_from(["TRUE", "t", "Yes", "n", "0", "1", "2", "", "on", " true"]) | st.text(max_size=3),
        max_size=8,
    )
)
def test_booleans_and_texts(values):
    raw = pa.array(values, pa.string())
    assert_same(raw, values, "boolean", cells.boolean)
    assert_same(raw, values, "text", cells.text)
    assert_same(raw, values, "category", cells.text)


MIXED = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**66), 2**66),
    st.floats(),
    st.sampled_from(["5", "x", "true", "2013-01-01", "a\0b", "\ud800"]),
    st.just({"a": 1}),
    st.just([1]),
    st.just(Decimal("1.5")),
    st.just(dt.date(2013, 1, 1)),
    st.just(b"\xff"),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(MIXED, max_size=6), st.sampled_from(["number", "integer", "boolean", "text", "category", "datetime"]))
def test_values_of_mixed_types(values, kind):
    scalar = {"number": cells.number, "integer": cells.integer, "boolean": cells.boolean, "datetime": cells.moment}.get(
        kind, cells.text
    )
    assert_same(values, values, kind, scalar)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
@pytest.mark.parametrize("zone", [None, BERLIN])
def test_typed_timestamps(unit, zone):
    moments = [dt.datetime(1969, 12, 31, 23, 59, 58), None, dt.datetime(2024, 7, 1, 12)]
    found = convert(pa.array(moments, pa.timestamp(unit)), "datetime", zone=zone)
    hours = [0, 0, 0] if zone is None else [1, 0, 2]
    expected = [None if m is None else m - dt.timedelta(hours=h) for m, h in zip(moments, hours, strict=True)]
    assert [None if v is None else v.replace(tzinfo=None) for v in found.values.to_pylist()] == expected
    assert found.values.type == pa.timestamp("us", tz=None if zone is None else "UTC")


def test_a_gap_and_an_hour_shown_twice_are_refused_alone():
    local = [
        "2024-03-31 01:59:59",
        "2024-03-31 02:30",
        "2024-03-31 03:00",
        "2024-10-27 01:59",
        "2024-10-27 02:30",
        "2024-10-27 03:00",
    ]
    for raw in (pa.array(local), pa.array([dt.datetime.fromisoformat(t) for t in local], pa.timestamp("ns"))):
        found = convert(raw, "datetime", zone=BERLIN)
        assert {c: at.tolist() for c, at in found.bad.items()} == {"DAT_TIME_GAP": [1], "DAT_TIME_AMBIGUOUS": [4]}
        assert [None if v is None else v.hour for v in found.values.to_pylist()] == [0, None, 1, 23, None, 2]


def test_an_offset_needs_a_time_zone():
    assert convert(pa.array(["2013-01-01T10:00Z"]), "datetime").bad["DAT_DATETIME"].tolist() == [0]
    assert convert(pa.array([dt.datetime(2013, 1, 1, tzinfo=dt.UTC)]), "datetime").bad["DAT_DATETIME"].tolist() == [0]
    mixed = convert(
        pa.array(["2013-07-01T10:00+02:00", "2013-07-01T10:00"]), "datetime", zone=ZoneInfo("America/New_York")
    )
    assert [v.hour for v in mixed.values.to_pylist()] == [8, 14]


def test_a_format_is_read_as_strptime_has_it():
    found = convert(
        pa.array(["31.12.2013 23:15", "2013-12-31", "31.02.2013 00:00"]), "datetime", layout="%d.%m.%Y %H:%M"
    )
    assert found.values.to_pylist() == [dt.datetime(2013, 12, 31, 23, 15), None, None]
    assert found.bad["DAT_DATETIME"].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("raw", "kind", "expected", "bad"),
    [
        (pa.array([1, 2], pa.uint64()), "integer", [1, 2], {}),
        (pa.array([2**63], pa.uint64()), "integer", [None], {"DAT_TYPE": [0]}),
        (
            pa.array([1.0, 1.5, float("nan"), float("inf")]),
            "integer",
            [1, None, None, None],
            {"DAT_TYPE": [1], "DAT_INFINITE": [3]},
        ),
        (pa.array([1.5, float("nan")], pa.float32()), "number", [1.5, None], {}),
        (pa.array([True, None]), "number", [None, None], {"DAT_TYPE": [0]}),
        (pa.array([1, 0, 2]), "boolean", [True, False, None], {"DAT_TYPE": [2]}),
        (pa.array([1, 2]), "category", ["1", "2"], {}),
        (pa.array([1.0, 2.5]), "category", ["1", "2.5"], {}),
        (pa.array([True]), "text", ["true"], {}),
        (pa.array([Decimal("1.50")]), "number", [1.5], {}),
        (pa.array(["a", "b", "a"]).dictionary_encode(), "category", ["a", "b", "a"], {}),
        (pa.array([3, 1]).dictionary_encode(), "integer", [3, 1], {}),
        (pa.array([b"a", b"\xff"]), "text", ["a", None], {"DAT_TEXT": [1]}),
        (pa.array([[1]]), "number", [None], {"DAT_TYPE": [0]}),
        (pa.array([{"a": 1}]), "category", [None], {"DAT_TYPE": [0]}),
        (pa.nulls(2), "category", [None, None], {}),
        (pa.nulls(2), "datetime", [None, None], {}),
        (pa.array([dt.date(2013, 1, 2)]), "datetime", [dt.datetime(2013, 1, 2)], {}),
        (pa.array([1]), "datetime", [None], {"DAT_DATETIME": [0]}),
        (pa.array([2**60 + 1]), "category", [str(2**60 + 1)], {}),
        (pa.array([], pa.string()), "number", [], {}),
        (pa.array(pd.Series(["x", None], dtype="str")), "text", ["x", None], {}),
    ],
)
def test_typed_columns(raw, kind, expected, bad):
    found = convert(raw, kind)
    assert found.values.to_pylist() == expected
    assert {code: at.tolist() for code, at in found.bad.items()} == bad


def test_categories_are_dictionaries_and_slices_keep_their_place():
    raw = pa.array(["x", "5", "6", "bad", "7"])
    assert convert(raw, "category").values.type == CATEGORY
    assert convert(raw.slice(1, 2), "integer").values.to_pylist() == [5, 6]
    assert convert(raw.slice(2), "integer").bad["DAT_TYPE"].tolist() == [1]
    assert np.flatnonzero(convert(raw, "number").refused()).tolist() == [0, 3]
