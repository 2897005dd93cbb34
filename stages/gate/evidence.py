"""What the rules judge: the truth on both sides, what the model says on the test side, and a sample of the training
side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.config.schema import Column
from stages.gate import linear, reference, slices
from stages.gate.slices import Slices
from stages.model import answers, frames
from stages.model.metrics import Answer, Truth, canonical

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evidence:
    """`truth`, `train_truth`: targets of the two sides. `test`: features of the test side. `answer`: the model's.

    `sample`, `sample_target`, `sample_weight`: at most 100,000 training rows, their class codes (or values) and
    weights.
    """

    signature: Mapping[str, Any]
    truth: Truth
    train_truth: Truth
    test: pd.DataFrame
    answer: Answer
    sample: pd.DataFrame
    sample_target: np.ndarray
    sample_weight: np.ndarray | None

    @property
    def n_classes(self) -> int | None:
        """How many classes there are, None for regression."""
        return None if self.truth.classes is None else len(self.truth.classes)

    @property
    def features(self) -> Sequence[Mapping[str, Any]]:
        """The features, as in signature.json."""
        found: Sequence[Mapping[str, Any]] = self.signature["features"]
        return found


def collect(prepared: Path, pipeline: Any, signature: Mapping[str, Any], weight: str | None) -> Evidence:
    """Read both sides, each column once, and ask the model for the test side.

    Raises:
        ArtefactError: MOD_NOT_FINITE, MOD_SHAPE: the model's answers cannot be judged.
    """
    truth = truth_of(prepared / "test.parquet", signature, weight)
    train_truth = truth_of(prepared / "train.parquet", signature, weight)
    test = frames.frame_from_parquet(prepared / "test.parquet", signature["features"])
    answer = answers.ask(pipeline, test, signature["classes"])
    chosen = sampled(len(train_truth.values), linear.MAX_ROWS)
    sample = read_rows(prepared / "train.parquet", signature["features"], chosen)
    part = train_truth.take(chosen)
    target = part.codes if part.classes is not None else np.asarray(part.values, dtype=float)
    return Evidence(signature, truth, train_truth, test, answer, sample, target, part.weight)


def truth_of(path: Path, signature: Mapping[str, Any], weight: str | None) -> Truth:
    """Target and weights of one side."""
    named = signature["target"]
    column = frames.column_from_parquet(path, named["name"])
    values = frames.target(column, named["type"], signature["task"])
    weights = None if weight is None else frames.numbers(frames.column_from_parquet(path, weight))
    return Truth.of(values, signature["classes"], signature["positive"], weights)


def slices_of(test: Path, name: str, contract: Column) -> Slices:
    """The test side cut along one column, a feature or not."""
    column = frames.column_from_parquet(test, name)
    if contract.type in ("number", "integer", "datetime"):
        return slices.by_quantile(name, reference.floats(column, contract.type), contract.type == "datetime")
    named = tuple(canonical(value) for value in contract.values or ())
    return slices.by_level(name, reference.texts(column), named)


def sampled(n: int, most: int) -> np.ndarray:
    """At most `most` row numbers below `n`, evenly drawn by a fixed seed, in order."""
    if n <= most:
        return np.arange(n)
    return np.sort(np.random.default_rng(0).permutation(n)[:most])


def read_rows(path: Path, features: Sequence[Mapping[str, Any]], chosen: np.ndarray) -> pd.DataFrame:
    """Some rows of a side as the model's frame; one column at a time, so that the whole side is never in memory."""
    import pyarrow as pa

    taken = {f["name"]: frames.column_from_parquet(path, f["name"]).take(pa.array(chosen)) for f in features}
    return frames.frame(pa.table(taken), features)
