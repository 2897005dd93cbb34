"""The whole of training, from the two sides that `prepare` left to a fitted, measured and saved pipeline.

The order keeps memory low: columns are read one by one, the training frame is dropped when it is transformed, the
test side is read when the model is fitted.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from stages import console
from stages.config import Config
from stages.errors import ArtefactError, ConfigError, DataError
from stages.model import (
    answers,
    estimator,
    families,
    fitting,
    folds,
    frames,
    metrics,
    persistence,
    preprocess,
    rehearsal,
)
from stages.model.metrics import Answer, Truth
from stages.model.signature import features, signature
from stages.records.jsonfile import read_json

if TYPE_CHECKING:
    from stages.model.search import Task

log = logging.getLogger("mlci")

#: Test rows that a saved model has to answer as the fitted one did.
SAMPLE = 1000

Advance = Callable[[float, str], None]


@dataclass(frozen=True)
class Trained:
    """What training leaves: the signature with the file's digest, metrics.json, the pipeline as fitted, a digest of
    what it says about the test side, the names of the parameters that were set or searched, and for the test side what
    was right and what the pipeline said."""

    signature: dict[str, Any]
    metrics: dict[str, Any]
    pipeline: Any
    predictions: str
    given: list[str]
    truth: Truth
    said: Answer


@dataclass(frozen=True)
class _Side:
    """Target and weights of one side."""

    y: np.ndarray
    weight: np.ndarray | None

    def truth(self, classes: tuple[Any, ...] | None, positive: Any) -> Truth:
        return Truth.of(self.y, classes, positive, self.weight)


def train(
    config: Config,
    prepared: Path,
    out: Path,
    own_preprocess: Callable[..., Any] | None,
    advance: Advance = lambda amount, note: None,
) -> Trained:
    """Train on `prepared/train.parquet`, measure on both sides, save the model into `out`.

    `own_preprocess`: the function that model.preprocess names, None for `auto`. `advance(amount, note)` is called
    after each candidate of a search.

    Raises:
        ConfigError: CFG_ESTIMATOR, CFG_PREPROCESS, CFG_SEARCH, CFG_METRIC, CFG_POSITIVE.
        DataError: MOD_ONE_CLASS, MOD_WEIGHT, MOD_NO_FEATURE, MOD_FOLDS, MOD_SEARCH, MOD_PREPROCESS, MOD_FIT.
        ArtefactError: MOD_NOT_FINITE, MOD_SHAPE, MOD_UNTRUSTED, MOD_NOT_SKOPS, MOD_NOT_SAVED.
    """
    side = _side(config, prepared / "train.parquet")
    classes = _classes(config, side.y)
    positive = (
        metrics.positive_class(classes, config.data.positive) if classes is not None and len(classes) == 2 else None
    )
    wanted = signature(config, classes, positive, _spellings(prepared))
    pipeline = assemble(config, own_preprocess)
    names = metrics.defaults(config.task, None if classes is None else len(classes))
    searched = search_metric(config, pipeline, classes)

    console.doing("reading the training side")
    frame = frames.frame_from_parquet(prepared / "train.parquet", features(config))
    empty = _empty(frame)
    if empty and own_preprocess is None:
        pipeline = assemble(config, None, empty)
    y = metrics.encode(side.y, classes) if classes and families.wants_codes(pipeline.steps[-1][1]) else side.y
    console.doing("fitting on a few rows, to see what the model holds")
    rehearsal.check(pipeline, wanted, frame, y)
    found: dict[str, Any] = {"test": {}, "train": {}, "cv": None, "search": None, "absent": {}}
    parts = _folds(config, prepared, side, classes)
    own = None if config.model.preprocess == "auto" else config.model.preprocess
    if config.model.cv:
        found["cv"] = _cross(config, pipeline, frame, y, side, parts(config.model.cv), (classes, positive), names, own)
    if searched is not None and config.model.search is not None:
        from stages.model import search

        task = search.Task(y, parts(config.model.search.cv), searched, classes, positive, side.weight, y is not side.y)
        pipeline, found["search"] = _search(config, pipeline, frame, task, advance)
        said = _ask(pipeline, frame, classes, own)
        del frame
    else:
        held = [frame]
        del frame
        said = _fit(pipeline, held, y, side.weight, classes, own)
    _measure(found, "train", names, side.truth(classes, positive), said)

    console.doing("predicting the test side")
    frame = frames.frame_from_parquet(prepared / "test.parquet", features(config))
    test = _side(config, prepared / "test.parquet")
    said = _ask(pipeline, frame, classes, own)
    truth = test.truth(classes, positive)
    _measure(found, "test", names, truth, said)
    found["rows"] = {"train": len(side.y), "test": len(test.y)}
    few = np.arange(min(SAMPLE, len(frame)))
    console.doing("saving the model, and comparing what is loaded from the file")
    saved = persistence.save(pipeline, out, wanted, frame.iloc[few], said.take(few))
    best = (found["search"] or {}).get("best", {}).get("params", {})
    return Trained(saved, found, pipeline, digest(said), [*config.model.params, *best], truth, said)


def assemble(config: Config, own_preprocess: Callable[..., Any] | None, empty: Sequence[str] = ()) -> Any:
    """The unfitted, seeded pipeline; `preprocess: auto` leaves out the features in `empty`.

    Raises:
        ConfigError: CFG_ESTIMATOR, CFG_PREPROCESS. DataError: MOD_PREPROCESS.
    """
    model = config.model
    with fitting.blamed(None):
        chosen = estimator.build(model.estimator, model.params, config.task)
    if config.data.weight and not families.takes_weights(chosen):
        name = type(chosen).__name__
        raise ConfigError(
            "CFG_ESTIMATOR", f"data.weight: {name} takes no sample weights", "remove weight, or use another"
        )
    listed = features(config)
    if own_preprocess is None:
        before = preprocess.auto([f for f in listed if f["name"] not in empty], chosen)
    else:
        before = preprocess.of_user(own_preprocess, model.preprocess, listed)
    return fitting.seeded(preprocess.pipeline(before, chosen), model.seed)


def _fit(
    pipeline: Any,
    held: list[pd.DataFrame],
    y: np.ndarray,
    weight: np.ndarray | None,
    classes: tuple[Any, ...] | None,
    own: str | None,
) -> Answer:
    """Fit the pipeline on all rows. Returns what it says about them.

    `held`: the training frame, taken out of the list and let go of as soon as it is transformed.
    """
    frame = held.pop()
    console.doing(f"preprocessing {len(frame):,} rows of {frame.shape[1]:,} features")
    inputs = fitting.transform(pipeline, frame, y, own)
    same = _same_when_asked(pipeline, frame, inputs, own)
    if same:
        del frame
    name, width = type(pipeline.steps[-1][1]).__name__, getattr(inputs, "shape", (0, 1))[1]
    console.doing(f"fitting {name} on {len(y):,} rows of {width:,} columns")
    fitting.fit(pipeline, inputs, y, weight)
    console.doing("predicting the training side")
    if not same:
        inputs = answers.transformed(pipeline, frame)
    with fitting.blamed(None):
        return answers.ask_estimator(pipeline, inputs, classes)


def search_metric(config: Config, pipeline: Any, classes: tuple[Any, ...] | None) -> metrics.Metric | None:
    """The metric that the search optimises, None without a search; also checks the searched parameters.

    Raises:
        ConfigError: CFG_SEARCH, CFG_METRIC.
    """
    search = config.model.search
    if search is None:
        return None
    from stages.model.search import parameters

    parameters(search, pipeline)
    kind = Truth(np.empty(0), classes).kind
    lacking = _lacking(pipeline.steps[-1][1], classes)
    name = search.metric
    if name is None:
        options = metrics.defaults(config.task, None if classes is None else len(classes))
        name = next(n for n in options if metrics.get(n).needs not in lacking)
    try:
        metric = metrics.check(name, kind)
    except ConfigError as error:
        raise ConfigError(error.code, f"model.search.metric: {error.what}", error.todo) from error
    if metric.needs in lacking:
        what = f"model.search.metric: {name} needs {metrics.lacking(metric.needs)}, and the estimator gives none"
        raise ConfigError("CFG_METRIC", what, "use for example balanced_accuracy, or another estimator")
    return metric


def _lacking(estimator: Any, classes: tuple[Any, ...] | None) -> set[metrics.Needs]:
    """What metrics may need and the estimator does not give."""
    if classes is None or answers.gives_probabilities(estimator):
        return set()
    return {"probability"} if answers.gives_scores(estimator, len(classes)) else {"probability", "score"}


def check_needs(name: str, estimator: Any) -> None:
    """Refuse a metric for which one of scikit-learn's estimators never gives what it is computed from.

    Other estimators tell when they are fitted.

    Raises:
        ConfigError: CFG_METRIC.
    """
    needs = metrics.get(name).needs
    if type(estimator).__module__.startswith("sklearn.") and needs in _lacking(estimator, (False, True)):
        what = f"{name} needs {metrics.lacking(needs)}, and {type(estimator).__name__} gives none"
        raise ConfigError("CFG_METRIC", what, "use for example balanced_accuracy, or another estimator")


def digest(said: Answer) -> str:
    """SHA-256 of an answer in single precision: the last bits, which threads leave open, do not count."""
    whole = hashlib.sha256()
    for part in (said.labels, said.probabilities, said.scores):
        if part is not None:
            whole.update(
                part.astype(np.float32).tobytes() if part.dtype.kind == "f" else "\0".join(map(str, part)).encode()
            )
    return whole.hexdigest()


def schema_of(prepared: Path) -> dict[str, Any]:
    """What prepare says of the columns: `columns` maps each name to an object; empty in the folder of an old release.

    Raises:
        ArtefactError: MOD_RECORD: schema.json cannot be read, or is none.
    """
    path = prepared / "schema.json"
    found: dict[str, Any] = read_json(path) if path.is_file() else {"columns": {}}
    columns = found.get("columns")
    if not isinstance(columns, dict) or not all(isinstance(one, dict) for one in columns.values()):
        raise ArtefactError("MOD_RECORD", f"{path}: its columns cannot be read", "write it again with: mlci prepare")
    return found


def _spellings(prepared: Path) -> dict[str, str]:
    """Column → spelling of its levels, as prepare found them."""
    columns = schema_of(prepared)["columns"]
    return {name: column["spelling"] for name, column in columns.items() if "spelling" in column}


def _side(config: Config, path: Path) -> _Side:
    data = config.data
    y = frames.target(frames.column_from_parquet(path, data.target), data.columns[data.target].type, config.task)
    if data.weight is None:
        return _Side(y, None)
    weight = frames.numbers(frames.column_from_parquet(path, data.weight))
    bad = ~(np.isfinite(weight) & (weight >= 0))
    if bad.any():
        what = f"the weight column {data.weight!r} is missing or negative in {int(bad.sum())} of {len(weight)} rows"
        raise DataError(
            "MOD_WEIGHT", what, "set min: 0 and leave nullable out in its contract, or repair it in data.transform"
        )
    if not weight.sum() > 0:
        raise DataError("MOD_WEIGHT", f"every weight in {data.weight!r} is 0", "look at the weight column")
    return _Side(y, weight)


def _empty(frame: pd.DataFrame) -> list[str]:
    """Features without a single value on the training side: nothing can be learned from them, and histogram boosting
    cannot bin them."""
    found = [name for name in frame.columns if frame[name].isna().all()]
    if len(found) == frame.shape[1]:
        raise DataError(
            "MOD_NO_FEATURE", "every feature is empty in every training row", "look at the source's columns"
        )
    if found:
        log.warning("empty in every training row, nothing learned from it: %s", ", ".join(found[:10]))
    return found


def _classes(config: Config, y: np.ndarray) -> tuple[Any, ...] | None:
    if config.task == "regression":
        if len(y) and (y == y[0]).all():
            log.warning("the target is %g in every training row: there is nothing to learn", y[0])
        return None
    found = tuple(value.item() for value in np.unique(y))
    if len(found) < 2:
        only = metrics.canonical(found[0]) if found else "none"
        what = f"the target {config.data.target!r} has one class only on the training side: {only}"
        raise DataError("MOD_ONE_CLASS", what, "look at data.transform, at the contract's values and at the split")
    return found


def _folds(config: Config, prepared: Path, side: _Side, classes: Any) -> Callable[[int], folds.Folds]:
    """A function from a number of folds to the folds, which follow data.split."""

    def make(n: int) -> folds.Folds:
        split, path = config.data.split, prepared / "train.parquet"
        groups = times = None
        if split.by == "group" and split.column:
            groups = frames.group_codes(frames.column_from_parquet(path, split.column))
        if split.by == "time" and split.column:
            column = frames.column_from_parquet(path, split.column)
            is_time = config.data.columns[split.column].type == "datetime"
            times = frames.moments(column) if is_time else frames.numbers(column)
        return folds.folds(n, side.y, classes=classes is not None, seed=config.model.seed, groups=groups, times=times)

    return make


def _search(
    config: Config, pipeline: Any, frame: pd.DataFrame, task: Task, advance: Advance
) -> tuple[Any, dict[str, Any]]:
    from stages.model import search

    assert config.model.search is not None
    console.doing("searching: fitting the first candidate")
    with fitting.blamed(None):
        pipeline, found = search.run(config.model.search, pipeline, frame, task, config.model.seed, advance)
    if found["stopped"] == "budget":
        log.warning("the search ended by its budget: %d of %d candidates", found["evaluated"], found["candidates"])
    if found["failed"]:
        log.warning("%d candidates of the search could not be fitted: %s", found["failed"], found["reason"])
    return pipeline, found


def _cross(
    config: Config,
    pipeline: Any,
    frame: pd.DataFrame,
    y: np.ndarray,
    side: _Side,
    parts: folds.Folds,
    named: tuple[tuple[Any, ...] | None, Any],
    names: list[str],
    own: str | None,
) -> dict[str, Any]:
    """Metrics of each fold, their mean and standard deviation."""
    from sklearn.base import clone

    truth = side.truth(*named)
    each: list[dict[str, float]] = []
    for number, (training, testing) in enumerate(parts, 1):
        console.doing(f"cross-validation: fold {number} of {len(parts)}")
        part = fitting.seeded(clone(pipeline), config.model.seed)
        try:
            inputs = fitting.transform(part, frame.iloc[training], y[training], own)
            fitting.fit(part, inputs, y[training], None if side.weight is None else side.weight[training])
            said = _ask(part, frame.iloc[testing], named[0], own)
        except DataError as error:  # a part of the rows may lack what the whole has
            log.warning("cross-validation: a fold has no result: %s", error.what)
            each.append({})
            continue
        each.append(metrics.compute(names, truth.take(testing), said))
    known = next((list(one) for one in each if one), [])
    table = {name: np.array([one.get(name, np.nan) for one in each]) for name in known}
    return {
        "folds": len(each),
        "mean": {name: _number(values.mean()) for name, values in table.items()},
        "std": {name: _number(values.std()) for name, values in table.items()},
        "each": {name: [_number(v) for v in values] for name, values in table.items()},
    }


def _same_when_asked(pipeline: Any, frame: pd.DataFrame, inputs: Any, own: str | None) -> bool:
    """Whether `transform` gives what `fit_transform` gave, so that training rows need not be transformed twice.

    It is so for all but transformers that cross-fit (TargetEncoder), which some rows show.
    """
    with fitting.blamed(own, " in transform"):
        again = pipeline.steps[0][1].transform(frame.iloc[:200])
    try:
        first, second = (
            part.toarray() if hasattr(part, "toarray") else np.asarray(part) for part in (inputs[:200], again)
        )
        return bool(first.shape == second.shape and np.array_equal(first, second, equal_nan=first.dtype.kind == "f"))
    except (TypeError, ValueError, KeyError, AttributeError, IndexError):
        return False


def _ask(pipeline: Any, frame: pd.DataFrame, classes: tuple[Any, ...] | None, own: str | None) -> Answer:
    with fitting.blamed(own, " in transform"):
        inputs = answers.transformed(pipeline, frame)
    with fitting.blamed(None):
        return answers.ask_estimator(pipeline, inputs, classes)


def _measure(found: dict[str, Any], side: str, names: list[str], truth: Truth, said: Answer) -> None:
    values = metrics.compute(names, truth, said)
    found[side] = {name: _number(value) for name, value in values.items()}
    missing = [name for name in names if found[side].get(name) is None]
    if missing:
        found["absent"][side] = metrics.absent(missing, truth, said)


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def headline(found: Mapping[str, Any]) -> str:
    """The first metrics of the test side in one sentence."""
    shown = [f"{name} {value:.4g}" for name, value in found["test"].items() if value is not None][:2]
    return f"{', '.join(shown) or 'no metric'} on {found['rows']['test']:,} test rows"
