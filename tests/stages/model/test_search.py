"""Searching within a budget, and folds that keep the promise of the split."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from stages.config.schema import Search
from stages.errors import ConfigError, DataError
from stages.model import search, training
from stages.model.folds import folds
from tests.stages.model.conftest import COLUMNS, TARGETS, Bench, rows

LOGISTIC = "sklearn.linear_model.LogisticRegression"
FEW: dict[str, dict[str, Any]] = {name: COLUMNS[name] for name in ("size", "kind", "when", "group", "weight")}
GRID = {"C": [0.001, 0.1, 1.0], "fit_intercept": [True, False]}


def _found(bench: Bench, estimator: str = LOGISTIC, target: str = "late", **settings: Any) -> dict[str, Any]:
    settings = {"method": "grid", "params": GRID, "cv": 3, **settings}
    config = bench.config(
        target, estimator, FEW, search=settings, params={"max_iter": 300} if estimator == LOGISTIC else {}
    )
    trained = training.train(config, bench.prepared, bench.out, None)
    fitted = trained.pipeline.get_params() | trained.pipeline.steps[-1][1].get_params()
    found: dict[str, Any] = trained.metrics["search"]
    assert all(fitted[name] == value for name, value in found["best"]["params"].items())
    assert set(found["best"]["params"]) <= set(trained.given)
    return found


def test_a_grid_tries_every_combination_and_keeps_the_best(bench: Bench) -> None:
    found = _found(bench)
    assert (found["evaluated"], found["candidates"], found["stopped"]) == (6, 6, "all")
    means = [row["mean"] for row in found["results"]]
    assert means == sorted(means, reverse=True)
    assert found["best"]["mean"] == means[0]
    assert found["metric"] == "roc_auc"
    assert found["best"]["params"]["C"] > 0.001


def test_scores_are_those_of_scikit_learns_own_search(bench: Bench) -> None:
    from sklearn.model_selection import GridSearchCV

    from stages.model import frames
    from stages.model.metrics import Truth

    config = bench.config(
        "late", LOGISTIC, FEW, params={"max_iter": 300}, search={"method": "grid", "params": GRID, "cv": 3}
    )
    found = training.train(config, bench.prepared, bench.out, None)
    frame = frames.frame_from_parquet(bench.prepared / "train.parquet", found.signature["features"])
    y = np.array(rows(300)["late"])
    own = GridSearchCV(
        training.assemble(config, None),
        {f"estimator__{k}": v for k, v in GRID.items()},
        cv=folds(3, y, classes=True, seed=config.model.seed),
        scoring="roc_auc",
    ).fit(frame, y)
    assert found.metrics["search"]["best"]["mean"] == pytest.approx(own.best_score_)
    assert Truth.of(y, (False, True)).kind == "binary"


def test_lower_is_better_keeps_the_metrics_own_sign(bench: Bench) -> None:
    found = _found(bench, metric="log_loss")
    means = [row["mean"] for row in found["results"]]
    assert means == sorted(means)
    assert found["greater_is_better"] is False
    assert 0 < found["best"]["mean"] < 0.693
    assert _found(bench, metric="neg_log_loss")["best"]["mean"] == -found["best"]["mean"]


@pytest.mark.parametrize("method", ["grid", "random", "halving"])
def test_a_budget_that_is_too_small_still_gives_a_model(bench: Bench, method: str) -> None:
    more: dict[str, Any] = {} if method == "grid" else {"n_iter": 6}
    found = _found(bench, method=method, budget_seconds=1e-9, **more)
    assert (found["evaluated"], found["stopped"]) == (1, "budget")


def test_random_search_is_seeded_and_bounded(bench: Bench) -> None:
    first, second = (_found(bench, method="random", n_iter=3) for _ in range(2))
    assert first["evaluated"] == first["candidates"] == 3
    assert [r["params"] for r in first["results"]] == [r["params"] for r in second["results"]]
    assert _found(bench, method="random", n_iter=100)["evaluated"] == 6


def test_halving_drops_two_thirds_and_ends_with_all_rows(bench: Bench) -> None:
    table = rows(2400)
    bench.sides({**FEW, "late": {"type": "boolean"}}, table, rows(80, seed=1))
    params = {"C": [10.0**-k for k in range(9)]}
    found = _found(bench, method="halving", params=params, n_iter=9)
    by_rows: dict[int, int] = {}
    for row in found["results"]:
        by_rows[row["rows"]] = by_rows.get(row["rows"], 0) + 1
    assert sorted(by_rows.values(), reverse=True) == [9, 3, 1]
    assert max(by_rows) == 1600
    assert by_rows[1600] == 1
    assert found["results"][0]["rows"] == 1600


@pytest.mark.parametrize(
    ("candidates", "count", "least", "expected"),
    [
        (9, 9000, 200, [(9, 1000), (3, 3000), (1, None)]),
        (1, 9000, 200, [(1, None)]),
        (9, 300, 200, [(9, None)]),
        (20, 9000, 200, [(20, 1000), (7, 3000), (3, None)]),
        (27, 2000, 200, [(27, 222), (9, 666), (3, None)]),
    ],
)
def test_rounds_of_halving(candidates: int, count: int, least: int, expected: list[tuple[int, int | None]]) -> None:
    assert list(search._rounds(candidates, count, least)) == expected


def test_failing_candidates_are_counted_and_the_others_win(bench: Bench) -> None:
    found = _found(bench, params={"C": [-1.0, 1.0]})
    assert found["failed"] == 1
    assert "'C' parameter" in found["reason"]
    assert found["best"]["params"] == {"C": 1.0}


def test_weights_are_used_in_fitting_and_scoring(bench: Bench) -> None:
    plain = _found(bench)
    config = bench.config(
        "late", LOGISTIC, FEW, search={"method": "grid", "params": GRID, "cv": 3}, data={"weight": "weight"}
    )
    weighted = training.train(config, bench.prepared, bench.out, None).metrics["search"]
    assert weighted["best"]["mean"] != plain["best"]["mean"]


def test_preprocessing_can_be_searched_by_its_full_name(bench: Bench) -> None:
    found = _found(bench, params={"preprocess__categories__min_frequency": [2, 50]})
    assert found["evaluated"] == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"params": {"c": [1]}}, "'C'"),
        ({"params": {"estimator__max_itr": [1]}}, "'max_iter'"),
        ({"params": {"C": [1], "estimator__C": [2]}}, "remove one"),
    ],
)
def test_wrong_parameters(bench: Bench, settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _found(bench, **settings)
    assert caught.value.code == "CFG_SEARCH"
    assert words in caught.value.todo


def test_a_metric_of_probabilities_needs_an_estimator_that_gives_them(bench: Bench) -> None:
    svc = "sklearn.svm.LinearSVC"
    with pytest.raises(ConfigError, match="gives none"):
        _found(bench, svc, params={"C": [1.0]}, metric="log_loss")
    found = _found(bench, svc, params={"C": [0.1, 1.0]})
    assert (found["metric"], found["failed"]) == ("roc_auc", 0)
    assert 0.5 < found["best"]["mean"] <= 1


def test_progress_is_told_for_each_candidate(bench: Bench) -> None:
    told: list[tuple[float, str]] = []
    config = bench.config(
        "amount", "sklearn.linear_model.Ridge", search={"params": {"alpha": [0.1, 1, 10]}, "n_iter": 3, "cv": 2}
    )
    training.train(config, bench.prepared, bench.out, None, lambda amount, note: told.append((amount, note)))
    assert [amount for amount, _ in told] == [1, 1, 1]
    assert all(note.startswith("best ") for _, note in told)
    assert search.size(Search(params={"alpha": [0.1, 1, 10]}, n_iter=20)) == 3


def test_only_fifty_results_are_kept(bench: Bench) -> None:
    found = _found(
        bench, "sklearn.dummy.DummyClassifier", params={"constant": list(range(60))}, metric="accuracy", cv=2
    )
    assert len(found["results"]) == 50
    assert found["results_left_out"] == 10


# ---- folds -------------------------------------------------------------------------------------------------------


def test_folds_are_stratified_and_cover_every_row_once() -> None:
    y = np.array([0] * 90 + [1] * 10)
    made = folds(5, y, classes=True, seed=1)
    assert sorted(np.concatenate([test for _, test in made]).tolist()) == list(range(100))
    assert [int(y[test].sum()) for _, test in made] == [2] * 5
    assert not any(set(train) & set(test) for train, test in made)


def test_groups_stay_whole() -> None:
    rng = np.random.default_rng(0)
    groups, y = rng.integers(0, 12, 300), rng.integers(0, 2, 300)
    for classes in (True, False):
        for train, test in folds(4, y, classes=classes, seed=1, groups=groups):
            assert not set(groups[train]) & set(groups[test])


def test_time_runs_forward_and_ties_stay_together() -> None:
    rng = np.random.default_rng(0)
    times = rng.integers(0, 40, 500)
    made = folds(4, np.zeros(500), classes=False, seed=1, times=times)
    assert len(made) == 4
    for train, test in made:
        assert times[train].max() < times[test].min()
    assert len(made[-1][0]) + len(made[-1][1]) == 500


def test_a_split_by_time_and_by_group_reaches_the_search(bench: Bench) -> None:
    for split in ({"by": "time", "column": "when"}, {"by": "group", "column": "group"}):
        config = bench.config("late", LOGISTIC, FEW, data={"split": split}, cv=3, params={"max_iter": 300})
        assert training.train(config, bench.prepared, bench.out, None).metrics["cv"]["folds"] == 3


@pytest.mark.parametrize(
    ("y", "options", "expected"),
    [
        (np.array([0] * 9 + [1] * 3), {"classes": True}, 3),
        (np.array([0] * 9 + [1]), {"classes": True}, 2),
        (np.arange(3.0), {"classes": False}, 3),
        (np.zeros(20), {"classes": False, "groups": np.repeat([1, 2], 10)}, 2),
        (np.zeros(20), {"classes": False, "times": np.repeat([1, 2], 10)}, 1),
    ],
)
def test_fewer_folds_where_the_data_do_not_allow_more(y: np.ndarray, options: dict[str, Any], expected: int) -> None:
    assert len(folds(5, y, seed=1, **options)) == expected


@pytest.mark.parametrize("options", [{"groups": np.zeros(20)}, {"times": np.zeros(20)}])
def test_no_folds_at_all(options: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        folds(5, np.zeros(20), classes=False, seed=1, **options)
    assert caught.value.code == "MOD_FOLDS"


def test_every_target_of_the_bench_has_folds() -> None:
    for target, (task, _) in TARGETS.items():
        made = folds(3, np.array(rows(60)[target]), classes=task == "classification", seed=1)
        assert len(made) == 3
