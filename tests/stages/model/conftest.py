"""Small projects as `prepare` leaves them: parquet files with the contract's types, and a Config that fits."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.config import Config

ARROW = {
    "number": pa.float64(),
    "integer": pa.int64(),
    "boolean": pa.bool_(),
    "category": pa.dictionary(pa.int32(), pa.string()),
    "text": pa.string(),
    "datetime": pa.timestamp("us"),
}

COLUMNS: dict[str, dict[str, Any]] = {
    "size": {"type": "number", "nullable": True},
    "count": {"type": "integer", "min": 0},
    "open": {"type": "boolean", "nullable": True},
    "kind": {"type": "category", "nullable": True},
    "when": {"type": "datetime", "timezone": "UTC"},
    "seen": {"type": "datetime", "nullable": True},
    "group": {"type": "category", "feature": False},
    "weight": {"type": "number", "feature": False},
}

KINDS = ["a", "b", "ç", "d"]


def rows(n: int, seed: int = 0, unseen: bool = False) -> dict[str, list[Any]]:
    """Columns of `n` rows with nulls, a rare category, and a target that depends on them."""
    rng = np.random.default_rng(seed)
    size, count = rng.normal(size=n), rng.integers(0, 20, n)
    kind = rng.choice(KINDS, n, p=[0.5, 0.3, 0.19, 0.01])
    start = dt.datetime(2024, 1, 1)  # noqa: DTZ001  naive, as a column without a zone
    when = [start + dt.timedelta(hours=int(h)) for h in rng.integers(0, 5000, n)]
    score = size + (kind == "b") * 1.5 - (count > 10) + rng.normal(scale=0.5, size=n)
    table: dict[str, list[Any]] = {
        "size": [None if i % 17 == 3 else float(v) for i, v in enumerate(size)],
        "count": [int(v) for v in count],
        "open": [None if i % 13 == 5 else bool(v) for i, v in enumerate(rng.random(n) < 0.5)],
        "kind": [None if i % 19 == 7 else str(v) for i, v in enumerate(kind)],
        "when": when,
        "seen": [None if i % 11 == 2 else w + dt.timedelta(days=1) for i, w in enumerate(when)],
        "group": [f"g{v}" for v in rng.integers(0, 9, n)],
        "weight": [float(v) for v in rng.integers(0, 3, n)],
        "late": [bool(v) for v in score > 0],
        "level": [["low", "mid", "høy"][int(v > -0.5) + int(v > 0.8)] for v in score],
        "grade": [int(v) for v in np.digitize(score, [-0.5, 0.8]) * 10],
        "amount": [float(v) for v in score * 3 + 7],
    }
    if unseen:
        table["kind"][0] = "never seen before"
    return table


TARGETS = {
    "late": ("classification", {"type": "boolean"}),
    "level": ("classification", {"type": "category"}),
    "grade": ("classification", {"type": "integer"}),
    "amount": ("regression", {"type": "number"}),
}


def write(folder: Path, name: str, columns: dict[str, dict[str, Any]], table: dict[str, list[Any]]) -> None:
    """One side as `prepare` writes it."""
    arrays = {}
    for column, contract in columns.items():
        kind = pa.timestamp("us", "UTC") if contract.get("timezone") else ARROW[contract["type"]]
        if contract["type"] == "category":
            arrays[column] = pa.array(table[column], pa.string()).dictionary_encode()
        else:
            arrays[column] = pa.array(table[column], kind)
    pq.write_table(pa.table(arrays), folder / f"{name}.parquet")


class Bench:
    """A prepared folder, and configurations over its columns."""

    def __init__(self, folder: Path) -> None:
        self.prepared = folder / "prepare"
        self.out = folder / "train"
        self.prepared.mkdir(parents=True)
        self.out.mkdir()

    def sides(
        self, columns: dict[str, dict[str, Any]], train: dict[str, list[Any]], test: dict[str, list[Any]]
    ) -> None:
        write(self.prepared, "train", columns, train)
        write(self.prepared, "test", columns, test)

    def config(
        self,
        target: str,
        estimator: str,
        columns: dict[str, dict[str, Any]] | None = None,
        data: dict[str, Any] | None = None,
        **model: Any,
    ) -> Config:
        """A configuration for one of `TARGETS`, its sides written: 300 and 80 rows."""
        task, contract = TARGETS[target]
        chosen = {**(COLUMNS if columns is None else columns), target: contract}
        if not (self.prepared / "train.parquet").exists():
            self.sides(chosen, rows(300), rows(80, seed=1, unseen=True))
        return Config.model_validate(
            {
                "name": "bench",
                "task": task,
                "data": {"source": "data.csv", "target": target, "columns": chosen, **(data or {})},
                "model": {"estimator": estimator, **model},
            }
        )


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


@pytest.fixture
def write_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Write a user's module and make it importable for the test."""
    import sys

    def make(name: str, source: str) -> None:
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.syspath_prepend(str(tmp_path))
        monkeypatch.delitem(sys.modules, name, raising=False)

    return make
