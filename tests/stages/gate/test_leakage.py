"""Features that give the target away; rows and keys on both sides."""

from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from stages.gate import leakage

N = 3000


def features(table: pd.DataFrame) -> list[dict[str, str]]:
    kinds = {"M": "datetime", "O": "category"}
    return [{"name": n, "type": kinds.get(table[n].dtype.kind, "number")} for n in table]


def base(n: int = N) -> tuple[pd.DataFrame, np.random.Generator]:
    rng = np.random.default_rng(0)
    levels = np.array([f"level {i}" for i in range(20)], dtype=object)
    return pd.DataFrame({"x": rng.normal(size=n), "c": levels[rng.integers(0, 20, n)]}), rng


def codes(values: np.ndarray, n_classes: int) -> np.ndarray:
    return np.digitize(values, np.quantile(values, np.linspace(0, 1, n_classes + 1)[1:-1]))


@pytest.mark.parametrize("n_classes", [2, 3, None])
@pytest.mark.parametrize("how", ["copy", "scaled", "category", "datetime", "missing", "not monotone"])
def test_a_copy_of_the_target_is_found(how: str, n_classes: int | None) -> None:
    table, rng = base()
    y = rng.normal(size=N) if n_classes is None else codes(rng.normal(size=N), n_classes)
    match how:
        case "copy":
            table["leak"] = y.astype(float)
        case "scaled":
            table["leak"] = 3 - 0.01 * y + 1e-5 * rng.normal(size=N)
        case "category":
            y = np.round(y) if n_classes is None else y
            table["leak"] = np.array([f"v{v}" for v in y], dtype=object)
        case "datetime":
            table["leak"] = np.datetime64("2024-01-01", "us") + (y * 3.6e9).astype("timedelta64[us]")
        case "missing":
            if n_classes != 2:
                pytest.skip("missing or not has two values")
            table["leak"] = np.where(y == 1, np.nan, rng.normal(size=N))
        case "not monotone":
            if n_classes is None:
                y = rng.random(N)
                table["leak"] = y * rng.choice([-1, 1], N)
            else:
                table["leak"] = np.where(rng.random(N) < 0.5, -1.0, 1.0) * (y + 1)
    outcome = leakage.check_features(table, features(table), y, n_classes)
    assert (outcome.status, outcome.code) == ("failed", "GATE_LEAK_FEATURE"), outcome
    assert outcome.sentence.startswith("leak alone")


@pytest.mark.parametrize("n_classes", [2, 4, None])
def test_ordinary_features_pass(n_classes: int | None) -> None:
    table, rng = base()
    y = table["x"].to_numpy() + 0.5 * rng.normal(size=N)
    table["id"] = np.array([f"row {i}" for i in range(N)], dtype=object)  # unique: knows nothing of other rows
    table["gone"] = np.nan
    y = y if n_classes is None else codes(y, n_classes)
    outcome = leakage.check_features(table, features(table), y, n_classes)
    assert outcome.status == "passed", outcome
    assert outcome.details["features"]["id"] < 0.55


def test_almost_a_copy_warns() -> None:
    table, rng = base()
    y = rng.normal(size=N)
    table["near"] = y + 0.1 * rng.normal(size=N)
    assert leakage.check_features(table, features(table), y, None).status == "warned"


def test_few_rows_are_not_judged() -> None:
    table, _ = base(4)
    assert leakage.check_features(table, features(table), np.array([0, 1, 0, 1]), 2).status == "skipped"


def test_it_is_cheap() -> None:
    n = 270_000
    rng = np.random.default_rng(0)
    levels = np.array([f"level {i}" for i in range(200)], dtype=object)
    table = pd.DataFrame({f"x{i}": rng.normal(size=n) for i in range(10)})
    for i in range(5):
        table[f"c{i}"] = levels[rng.integers(0, 200, n)]
    y = (rng.random(n) < 0.3).astype(int)
    started = time.process_time()
    leakage.check_features(table, features(table), y, 2)
    assert time.process_time() - started < 2  # 0.2 s on an idle machine


@pytest.mark.parametrize(
    ("figures", "statuses"),
    [
        ({"duplicate_feature_rows_share": 0.02}, {"leakage.rows": "failed"}),
        ({"duplicate_feature_rows_share": 0.01}, {"leakage.rows": "warned"}),
        ({"duplicate_feature_rows_share": 0.0}, {"leakage.rows": "passed"}),
        ({"overlapping_keys": 1}, {"leakage.keys": "failed"}),
        ({"overlapping_keys": 0, "overlapping_groups": 3}, {"leakage.keys": "passed", "leakage.groups": "failed"}),
    ],
)
def test_rows_and_keys_on_both_sides(figures: dict[str, float], statuses: dict[str, str]) -> None:
    assert {o.rule: o.status for o in leakage.check_sides(figures, 1000)} == statuses


def test_many_classes_fit_into_memory() -> None:
    table, rng = base()
    y = rng.integers(0, 2000, N)
    table["leak"] = np.array([f"v{v}" for v in y], dtype=object)
    assert leakage._columns(y, 2000).shape == (N, 20)
