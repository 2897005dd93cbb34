"""One small data set with every type, nulls, rare, unicode and odd-looking categories, split as `prepare` splits it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

FEATURES: list[dict[str, Any]] = [
    {"name": "size", "type": "number", "nullable": True},
    {"name": "count", "type": "integer", "nullable": False},
    {"name": "paid", "type": "boolean", "nullable": True},
    {"name": "place", "type": "category", "nullable": True},
    {"name": "kind", "type": "category", "nullable": False},
    {"name": "seen", "type": "datetime", "nullable": True, "timezone": "UTC"},
]
PLACES = ["Zürich", "東京", "São Paulo", "", " ", "nan", "None", "a\tb", "Å", "e\u0301", "é", "😀"]


@dataclass
class Sides:
    """Training table, test table and its file, and targets of both by task."""

    train: pa.Table
    test: pa.Table
    path: Path
    targets: dict[str, tuple[np.ndarray, np.ndarray]]


def table(rows: int, seed: int) -> pa.Table:
    rng = np.random.default_rng(seed)
    places = rng.choice([*PLACES, *(f"rare{i}" for i in range(9))], rows, p=[*[0.08] * 12, *[0.04 / 9] * 9])
    return pa.table(
        {
            "size": pa.array(rng.normal(5000, 1300.1, rows), mask=rng.random(rows) < 0.1),
            "count": pa.array(rng.integers(0, 2**40, rows)),
            "paid": pa.array(rng.random(rows) < 0.3, mask=rng.random(rows) < 0.05),
            "place": pa.array(places, mask=rng.random(rows) < 0.05).dictionary_encode(),
            "kind": pa.array(rng.choice(["x", "y", "z"], rows)).dictionary_encode(),
            "seen": pa.array(
                rng.integers(-(10**15), 1_800_000_000_000_000, rows).astype("datetime64[us]"),
                mask=rng.random(rows) < 0.05,
            ).cast(pa.timestamp("us", "UTC")),
        }
    )


def targets(rows: pa.Table, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    size = np.nan_to_num(rows["size"].to_numpy(), nan=5000.0)
    score = (size - 5000) / 1300 + (np.array(rows["kind"].to_pylist()) == "x") + rng.normal(0, 0.5, len(rows))
    return {
        "two": score > 0.3,
        "three": np.array(["high", "low", "mid"])[np.digitize(score, [-0.3, 0.8]) % 3],
        "numbers": np.digitize(score, [-0.3, 0.8]).astype(np.int64),
        "value": score * 100 + 1000,
        "positive": np.exp(score),
    }


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """The data are small: threads that wait for each other take longer than the work."""
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        yield


@pytest.fixture(scope="session")
def sides(tmp_path_factory: pytest.TempPathFactory) -> Sides:
    train, test = table(1500, 1), table(800, 2)
    path = tmp_path_factory.mktemp("export") / "test.parquet"
    pq.write_table(test, path, row_group_size=300)
    one, other = targets(train, 3), targets(test, 4)
    return Sides(train, test, path, {name: (one[name], other[name]) for name in one})
