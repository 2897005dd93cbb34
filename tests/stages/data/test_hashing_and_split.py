"""Hashes that never change, and sides made from them."""

import datetime as dt

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stages.data import cells, duplicates, hashing, split
from stages.errors import DataError


def test_hashes_are_the_same_for_ever():
    assert f"{hashing.cell_hash('age', '5'):016x}" == "cbb0884163f51525"
    assert f"{hashing.cell_hash('age', None):016x}" == "fa3209a33474eedc"
    table = pa.table(
        {
            "n": pa.array([5.0, -0.0, 0.1, None, 1e300]),
            "b": pa.array([True, False, None, True, False]),
            "c": pa.array(["x", "é", "", None, "x"]).dictionary_encode(),
            "t": pa.array([dt.datetime(2024, 1, 2, 3, 4, 5, 6, dt.UTC)] * 4 + [None], pa.timestamp("us", tz="UTC")),
        }
    )
    assert [f"{h:016x}" for h in hashing.row_hashes(table, table.column_names)] == [
        "4c0caeecca07b357",
        "b3facc6bd8c834ad",
        "85cb0f3c88a9aaba",
        "1b9194f1e9915d60",
        "ec2ec5aba522a244",
    ]


def test_a_cell_has_one_hash_whatever_it_was_written_as():
    def of(values, kind):
        return hashing.column_hashes("x", pa.array(values, kind)).tolist()

    five = hashing.cell_hash("x", "5")
    assert of([5], pa.int64()) == of([5.0], pa.float64()) == of(["5"], pa.string()) == [five]
    assert of([-0.0, 0.0], pa.float64()) == [hashing.cell_hash("x", "0")] * 2
    assert of([2**53 + 1], pa.int64()) != of([2**53], pa.int64())
    assert of([True], pa.bool_()) == [hashing.cell_hash("x", "true")]
    moment = dt.datetime(2024, 1, 2, 3, 4, 5, 6)  # noqa: DTZ001
    assert of([moment], pa.timestamp("us")) == of([moment], pa.timestamp("us", tz="UTC"))
    assert of([moment], pa.timestamp("us")) == [hashing.cell_hash("x", cells.moment_text(moment))]
    assert of([None, ""], pa.string()) == [hashing.cell_hash("x", None), hashing.cell_hash("x", "")]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text("ab", max_size=2), st.text("ab", max_size=2)), max_size=8))
def test_rows_hash_alike_exactly_when_they_are_alike(rows):
    table = pa.table(
        {"a": pa.array([r[0] for r in rows], pa.string()), "b": pa.array([r[1] for r in rows], pa.string())}
    )
    hashes = hashing.row_hashes(table, ["a", "b"])
    assert hashes.tolist() == hashing.row_hashes(table, ["b", "a"]).tolist()
    assert len(set(hashes.tolist())) == len(set(rows))


def test_shares_are_uniform():
    hashes = hashing.column_hashes("id", pa.array(range(20_000)))
    share = hashing.share(hashing.mix(hashes))
    counts = np.histogram(share, bins=10, range=(0, 1))[0]
    assert counts.sum() == 20_000
    assert abs(counts - 2000).max() < 200  # 4.7 standard deviations
    assert ((share >= 0) & (share < 1)).all()


def test_a_row_keeps_its_side_as_data_grows():
    hashes = hashing.row_hashes(pa.table({"id": list(range(1000))}), ["id"])
    assert split.by_hash(hashes, 0.2)[:300].tolist() == split.by_hash(hashes[:300], 0.2).tolist()
    wider = split.by_hash(hashes, 0.4)
    assert wider[split.by_hash(hashes, 0.2)].all()


def test_two_groups_are_one_on_each_side():
    hashes = np.array([7, 7, 9, 9], dtype=np.uint64)
    assert split.by_hash(hashes, 0.5).tolist() == [True, True, False, False]
    assert split.by_hash(np.array([2**64 - 1, 2**64 - 9], dtype=np.uint64), 0.1).tolist() == [False, True]


@pytest.mark.parametrize(
    ("times", "share", "test"),
    [
        ([1, 2, 3, 4, 5], 0.2, [0, 0, 0, 0, 1]),
        ([5, 4, 3, 2, 1], 0.4, [1, 1, 0, 0, 0]),
        ([1, 2, 2, 2, 2], 0.2, [0, 1, 1, 1, 1]),
        ([1, 1, 1, 1, 2], 0.6, [0, 0, 0, 0, 1]),
        ([1, 2, 3, 3, 3], 0.4, [0, 0, 1, 1, 1]),
        ([1, 2, 3, 3, 4], 0.4, [0, 0, 1, 1, 1]),
        ([1, 1, 1], 0.5, [0, 0, 0]),
    ],
)
def test_time_puts_the_latest_aside_and_keeps_ties_together(times, share, test):
    assert split.by_time(np.array(times, dtype=np.int64), share).tolist() == [bool(t) for t in test]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=2, max_size=200), st.floats(0.05, 0.9), st.integers(-5, 2**70))
def test_random_takes_the_share_and_leaves_every_class_in_training(classes, share, seed):
    codes = np.array(classes, dtype=np.int64)
    test = split.at_random(len(codes), share, seed, codes)
    assert set(codes[~test].tolist()) == set(classes)
    for code in set(classes):
        size = classes.count(code)
        assert abs(int(test[codes == code].sum()) - min(share * size, size - 1)) <= 1
    assert test.tolist() == split.at_random(len(codes), share, seed, codes).tolist()


def test_seeds_differ_and_are_the_same_for_ever():
    assert np.flatnonzero(split.at_random(20, 0.2, 42)).tolist() == [0, 4, 7, 13]
    assert (
        np.flatnonzero(split.at_random(20, 0.2, 43)).tolist() != np.flatnonzero(split.at_random(20, 0.2, 42)).tolist()
    )
    assert split.at_random(20, 0.2, 42).sum() == 4


def test_what_cannot_be_learned_from_is_refused():
    with pytest.raises(DataError, match="training side is empty"):
        split.check(np.ones(3, dtype=bool), "random")
    with pytest.raises(DataError, match="'b' is absent"):
        split.check(np.array([False, True]), "key", np.array([0, 1]), ["a", "b"])


def test_copies_and_conflicts():
    rows = np.array([1, 2, 1, 3, 4, 3], dtype=np.uint64)
    keys = np.array([7, 8, 7, 9, 9, 9], dtype=np.uint64)
    found = duplicates.find(rows, keys)
    assert found.identical.tolist() == [False, False, True, False, False, False]
    assert found.conflict.tolist() == [False, False, False, True, True, True]
    assert not duplicates.find(rows, None).conflict.any()
    assert not duplicates.find(np.empty(0, np.uint64), np.empty(0, np.uint64)).identical.size
