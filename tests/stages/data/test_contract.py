"""Bounds, values and patterns of typed columns."""

import numpy as np
import pyarrow as pa
import pytest

from stages.config.schema import Column
from stages.data.chunks import Chunk, Refusals, as_table, shown
from stages.data.contract import Contract


def check(raw, **rule):
    """Values after the check, and (row, code, text) of what was refused."""
    contract = Contract({"x": Column(**rule)})
    n = len(raw)
    found = contract.check(Chunk({"x": raw}, np.arange(1, n + 1)))
    entries = [(int(row), r.code, value) for r in found.refusals for row, value in zip(r.rows, r.values, strict=True)]
    assert found.good.tolist() == [i not in {e[0] for e in entries} for i in range(1, n + 1)]
    return found.table["x"].to_pylist(), sorted(entries)


@pytest.mark.parametrize(
    ("low", "high", "refused"),
    [
        (0.5, None, [(1, "DAT_MIN", "-3"), (2, "DAT_MIN", "0")]),
        (-3, 1e300, []),
        (None, 2**53 + 0.0, [(4, "DAT_MAX", str(2**53 + 1)), (5, "DAT_MAX", str(2**63 - 1))]),
        (-1e300, 1.5, [(4, "DAT_MAX", str(2**53 + 1)), (5, "DAT_MAX", str(2**63 - 1))]),
    ],
)
def test_bounds_of_integers_of_any_size(low, high, refused):
    values, entries = check(pa.array([-3, 0, 1, 2**53 + 1, 2**63 - 1]), type="integer", min=low, max=high)
    assert entries == refused
    assert [i + 1 for i, v in enumerate(values) if v is None] == [e[0] for e in refused]


def test_bounds_are_inclusive():
    assert check(pa.array([0.0, 1.0, 1.0000001, -0.0000001]), type="number", min=0, max=1)[1] == [
        (3, "DAT_MAX", "1.0000001"),
        (4, "DAT_MIN", "-1e-07"),
    ]


def test_values_are_compared_by_canonical_text():
    raw = [1, 1.0, "1", True, "true", "2", None]
    assert check(raw, type="category", values=[1, True], nullable=True)[1] == [(6, "DAT_VALUES", "2")]
    assert check(pa.array([1, 2, None]), type="integer", values=["1", 3.0], nullable=True)[1] == [
        (2, "DAT_VALUES", "2")
    ]


def test_a_pattern_matches_the_whole_text():
    raw = pa.array(["N1", "N12x", "xN1", "n1"])
    assert [e[0] for e in check(raw, type="category", pattern="N[0-9]+")[1]] == [2, 3, 4]
    assert [e[0] for e in check(raw, type="text", pattern="(?i)n1")[1]] == [2, 3]


def test_one_reason_a_cell():
    raw = pa.array(["bad", None, "ok"])
    assert check(raw, type="category", values=["ok"], pattern="ok")[1] == [
        (1, "DAT_VALUES", "bad"),
        (2, "DAT_NULL", None),
    ]


def test_cells_that_the_reader_refused_keep_its_reason():
    contract = Contract({"x": Column(type="number"), "y": Column(type="number")})
    raw = {"x": pa.array([None, "2", "?"]), "y": pa.array(["1", "2", "3"])}
    early = [Refusals("x", "DAT_TEXT", np.array([0]), ["\\xff"]), Refusals("other", "DAT_TEXT", np.array([1]), ["z"])]
    found = contract.check(Chunk(raw, np.array([7, 8, 9]), [], early))
    assert as_table(found.refusals, ["x", "y"]).to_pylist() == [
        {"row": 7, "column": "x", "code": "DAT_TEXT", "value": "\\xff"},
        {"row": 9, "column": "x", "code": "DAT_TYPE", "value": "?"},
    ]
    assert found.good.tolist() == [False, True, False]


def test_values_are_shown_cut_and_always_as_text():
    assert shown(None) is None
    assert shown(b"a\xff") == "a\\xff"
    assert shown("\ud800") == "\\ud800"
    assert len(shown("x" * 1000) or "") == 200
