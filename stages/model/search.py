"""Search over hyper-parameters that ends in time: grid, random and successive halving, one candidate after the other.

The loop is scikit-learn's: `BaseSearchCV` clones, fits, scores and refits, and hands `_run_search` a function that
evaluates candidates. Ours evaluates them one by one, looks at the clock in between, and keeps the best so far.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.model_selection import ParameterGrid, ParameterSampler
from sklearn.model_selection._search import BaseSearchCV

from stages.config.schema import Search
from stages.errors import ConfigError, DataError
from stages.model.answers import ask
from stages.model.estimator import nearest_name, one_line
from stages.model.folds import Folds
from stages.model.metrics import Metric, Truth

#: Rows of the results table that are kept in metrics.json, best first.
KEPT = 50

#: Each round of halving keeps one candidate in three and gives it three times the rows.
FACTOR = 3

#: Training rows below which a round of halving says too little.
LEAST_ROWS = 200


@dataclass(frozen=True)
class Task:
    """What candidates are measured on. `weight`: of each row, or None. `classes`, `positive`: None for regression.
    `coded`: `y` holds positions in `classes`."""

    y: np.ndarray
    folds: Folds
    metric: Metric
    classes: tuple[Any, ...] | None = None
    positive: Any = None
    weight: np.ndarray | None = None
    coded: bool = False


def parameters(search: Search, pipeline: Any) -> dict[str, list[Any]]:
    """The searched parameters by their full names (`estimator__max_depth`).

    Raises:
        ConfigError: CFG_SEARCH: the pipeline has no such parameter, with the nearest known one.
    """
    known = pipeline.get_params()
    full: dict[str, list[Any]] = {}
    for name, values in search.params.items():
        prefixed = f"estimator__{name}"
        chosen = name if name in known and "__" in name else prefixed if prefixed in known else None
        if chosen is None:
            own = [n.removeprefix("estimator__") for n in known if n.startswith("estimator__")]
            what = f"model.search.params.{name}: the estimator has no parameter {name!r}"
            raise ConfigError("CFG_SEARCH", what, nearest_name(name.removeprefix("estimator__"), own))
        if chosen in full:
            raise ConfigError("CFG_SEARCH", f"model.search.params: {name!r} is given twice", "remove one of them")
        full[chosen] = values
    return full


def run(
    search: Search, pipeline: Any, frame: Any, task: Task, seed: int, advance: Callable[[float, str], None]
) -> tuple[Any, dict[str, Any]]:
    """Search, then fit the best candidate on all rows.

    `advance(amount, note)` is called after each candidate. At least one candidate is evaluated, whatever the budget.

    Returns:
        The fitted pipeline, and what goes into metrics.json under `search`: method, metric, direction, candidates,
        evaluated, failed, stopped (`all` or `budget`), seconds, best params and score, the best 50 rows of the table.

    Raises:
        ConfigError: CFG_SEARCH, as `parameters`.
        DataError: MOD_SEARCH: no candidate could be fitted and scored.
    """
    searching = _Search(pipeline, search, parameters(search, pipeline), task, seed, advance)
    fit_params = {} if task.weight is None else {"estimator__sample_weight": task.weight}
    started = time.perf_counter()
    searching.fit(frame, task.y, **fit_params)
    return searching.best_estimator_, searching.report(time.perf_counter() - started)


def size(search: Search) -> int:
    """How many candidates there are to evaluate at most, rounds of halving not counted."""
    combinations = math.prod(len(values) for values in search.params.values())
    return combinations if search.method == "grid" else min(search.n_iter, combinations)


class _Search(BaseSearchCV):
    def __init__(
        self,
        estimator: Any,
        search: Search,
        grid: Mapping[str, list[Any]],
        task: Task,
        seed: int,
        advance: Callable[[float, str], None],
    ) -> None:
        super().__init__(estimator, scoring=self._score, refit=self._best, cv=task.folds, error_score=np.nan)
        self.search, self.grid, self.task, self.seed, self.advance = search, grid, task, seed, advance
        self.failures: list[str] = []
        self.stopped, self._started, self._last = "all", time.perf_counter(), 0.0

    def _score(self, pipeline: Any, frame: Any, y: np.ndarray) -> float:
        """The metric on a fold, greater is better. The frame's index holds rows' positions, which find the weights."""
        task = self.task
        weight = None if task.weight is None else task.weight[frame.index.to_numpy()]
        values = np.asarray(task.classes)[y] if task.coded else y
        truth = Truth(values, task.classes, task.positive, weight)
        answer = ask(pipeline, frame, None if task.classes is None else list(task.classes))
        value = task.metric(truth, answer)
        return value if task.metric.greater_is_better else -value

    def _best(self, results: Mapping[str, Any]) -> int:
        """The best candidate of the last round; of the earlier ones, when all of the last failed."""
        scores, rounds = np.asarray(results["mean_test_score"]), np.asarray(results["round"])
        valid = np.isfinite(scores)
        if not valid.any():
            raise self._nothing()
        last = np.flatnonzero(valid & (rounds == rounds[valid].max()))
        return int(last[np.argmax(scores[last])])

    def _run_search(self, evaluate_candidates: Callable[..., Any]) -> None:
        candidates = self._candidates()
        rounds: list[tuple[int, int | None]] = [(len(candidates), None)]
        if self.search.method == "halving":
            rounds = list(_rounds(len(candidates), len(self.task.y), self._least_rows()))
        for index, (keep, rows) in enumerate(rounds):
            scores = self._evaluate(candidates[:keep], evaluate_candidates, index, rows)
            if self.stopped == "budget":
                break
            order = sorted(range(len(scores)), key=lambda i: (math.isnan(scores[i]), -scores[i]))
            candidates = [candidates[i] for i in order]
        if len(self.failures) == len(scores) and index == 0:
            raise self._nothing()

    def _candidates(self) -> list[dict[str, Any]]:
        if self.search.method == "grid":
            return list(ParameterGrid(self.grid))
        return list(ParameterSampler(self.grid, size(self.search), random_state=self.seed))

    def _evaluate(
        self, candidates: list[dict[str, Any]], evaluate: Callable[..., Any], index: int, rows: int | None
    ) -> list[float]:
        """Scores of the candidates, NaN for those that failed; ends when the next would not fit into the budget."""
        folds = self.task.folds if rows is None else self._smaller(rows)
        used = max(len(train) for train, _ in folds)
        scores: list[float] = []
        for candidate in candidates:
            if self._over(new_round=not scores and index > 0):
                self.stopped = "budget"
                break
            begun = time.perf_counter()
            try:
                with warnings.catch_warnings():
                    # What matters is said by the final fit; a candidate that fails is counted, with its reason.
                    warnings.simplefilter("ignore")
                    found = evaluate([candidate], _Fixed(folds), {"round": [index], "rows": [used]})
                scores.append(float(found["mean_test_score"][-1]))
                best = np.nan_to_num(found["mean_test_score"], nan=-np.inf).max()
                self.advance(1, f"best {self._own_sign(float(best)):.5g}")
            except ValueError as error:  # every fold of this candidate failed
                self.failures.append(_cause(error))
                scores.append(math.nan)
                self.advance(1, "a candidate failed")
            self._last = time.perf_counter() - begun
        return scores

    def _over(self, new_round: bool) -> bool:
        """Whether the next candidate, if it takes as long as the last one (more in a new round), would end too late."""
        budget = self.search.budget_seconds
        if budget is None or self._last == 0:
            return False
        expected = self._last * (FACTOR if new_round else 1)
        return time.perf_counter() - self._started + expected > budget

    def _least_rows(self) -> int:
        """Training rows of the first round: enough for every class to be there."""
        classes = 1 if self.task.classes is None else len(self.task.classes)
        return max(LEAST_ROWS, 20 * classes)

    def _smaller(self, rows: int) -> Folds:
        """The folds with about `rows` training rows of each, every class kept; test rows stay, so scores compare."""
        generator = np.random.default_rng(self.seed)
        codes = np.zeros(len(self.task.y), int)
        if self.task.classes is not None:
            codes = np.unique(self.task.y, return_inverse=True)[1]
        out = []
        for train, test in self.task.folds:
            share = min(1.0, rows / len(train))
            kept = []
            for code in np.unique(codes[train]):
                own = train[codes[train] == code]
                kept.append(generator.permutation(own)[: max(1, round(share * len(own)))])
            out.append((np.sort(np.concatenate(kept)), test))
        return out

    def _own_sign(self, value: float) -> float:
        return float(value if self.task.metric.greater_is_better else -value)

    def _nothing(self) -> DataError:
        reason = self.failures[0] if self.failures else f"{self.task.metric.name} is not defined on the folds"
        return DataError("MOD_SEARCH", f"no candidate of the search could be fitted: {reason}", "correct search.params")

    def report(self, seconds: float) -> dict[str, Any]:
        """What metrics.json says about the search."""
        results = self.cv_results_
        scores = np.asarray(results["mean_test_score"])
        order = np.lexsort((-np.nan_to_num(scores, nan=-np.inf), -np.asarray(results["round"])))
        table = [
            {
                "params": _short(results["params"][i]),
                "mean": _number(self._own_sign(float(scores[i]))),
                "std": _number(results["std_test_score"][i]),
                "fit_seconds": round(float(results["mean_fit_time"][i]), 4),
                "rows": int(results["rows"][i]),
            }
            for i in order
        ]
        return {
            "method": self.search.method,
            "metric": self.task.metric.name,
            "greater_is_better": self.task.metric.greater_is_better,
            "folds": len(self.task.folds),
            "candidates": size(self.search),
            "evaluated": len({tuple(sorted(map(repr, p.items()))) for p in results["params"]}),
            "failed": len(self.failures),
            "reason": self.failures[0] if self.failures else None,
            "stopped": self.stopped,
            "seconds": round(seconds, 3),
            "best": {
                "params": _short(self.best_params_),
                "mean": _number(self._own_sign(float(scores[self.best_index_]))),
            },
            "results": table[:KEPT],
            "results_left_out": max(0, len(table) - KEPT),
        }


class _Fixed:
    """Folds as scikit-learn's loop takes them."""

    def __init__(self, pairs: Folds) -> None:
        self.pairs = pairs

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        yield from self.pairs


def _rounds(candidates: int, rows: int, least: int) -> Iterator[tuple[int, int | None]]:
    """(candidates, rows) of each round of halving (Jamieson & Talwalkar 2016): the last one has all rows.

    Rounds that would have fewer than `least` rows are left out, so the first one starts with more.
    """
    count = 1 + math.floor(math.log(candidates, FACTOR) + 1e-9) if candidates > 1 else 1
    while count > 1 and rows / FACTOR ** (count - 1) < least:
        count -= 1
    keep = candidates
    for index in range(count):
        yield keep, None if index == count - 1 else int(rows / FACTOR ** (count - 1 - index))
        keep = math.ceil(keep / FACTOR)


def _cause(error: ValueError) -> str:
    """The last line that says something in scikit-learn's summary of failed fits."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if ": " in line and not line.startswith(("File ", "All the", "Below"))]
    return one_line(ValueError(said[-1] if said else str(error)))


def _short(params: Mapping[str, Any]) -> dict[str, Any]:
    return {name.removeprefix("estimator__"): _plain(value) for name, value in params.items()}


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | bool | int | float | list | dict | None) else repr(value)


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
