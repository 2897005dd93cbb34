"""reference.json: what the training data, the label and the model's answers looked like, in bins.

It is kept with a model, so that new data can be compared with what the model was trained on without having that.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from stages import console
from stages.data import hashing
from stages.data.spelling import written_before
from stages.errors import ArtefactError
from stages.gate import bins as binning
from stages.gate import drift
from stages.gate.bins import Bins, Counts
from stages.gate.outcome import Outcome, rows
from stages.model import frames
from stages.model.metrics import Answer, canonical

if TYPE_CHECKING:
    import pyarrow as pa

SCHEMA_VERSION = 1
FILE = "reference.json"


class Seen(Protocol):
    """What is needed of the evidence."""

    @property
    def signature(self) -> Mapping[str, Any]: ...

    @property
    def answer(self) -> Answer: ...


@dataclass(frozen=True)
class Reference:
    """Bins of each feature, of the label and of the predictions; `kinds`: contract types of the features."""

    features: dict[str, Bins]
    kinds: dict[str, str]
    label: Bins
    prediction: Bins

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the file."""
        return {
            "schema_version": SCHEMA_VERSION,
            "features": {n: {"type": self.kinds[n], **one.as_dict()} for n, one in self.features.items()},
            "label": self.label.as_dict(),
            "prediction": self.prediction.as_dict(),
        }

    @classmethod
    def of(cls, data: Mapping[str, Any]) -> Reference:
        """The reverse of `as_dict`.

        Raises:
            ArtefactError: GATE_REFERENCE: written by another version, or not whole.
        """
        try:
            if data["schema_version"] != SCHEMA_VERSION:
                raise KeyError("schema_version")
            kinds = {n: one["type"] for n, one in data["features"].items()}
            features = {
                n: Bins.of({k: v for k, v in one.items() if k != "type"}) for n, one in data["features"].items()
            }
            return cls(features, kinds, Bins.of(data["label"]), Bins.of(data["prediction"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ArtefactError(
                "GATE_REFERENCE", f"{FILE} cannot be used: {error}", "validate and deploy the model again"
            ) from error


def learn(train: Path, signature: Mapping[str, Any], answer: Answer) -> Reference:
    """From the training side (parquet) and the model's answers on the test side."""
    features, kinds = {}, {}
    for number, feature in enumerate(signature["features"], 1):
        console.doing(f"describing the training side: feature {number:,} of {len(signature['features']):,}")
        name, kind = feature["name"], feature["type"]
        features[name], kinds[name] = of_column(frames.column_from_parquet(train, name), kind), kind
    target = signature["target"]
    label_kind = "number" if signature["classes"] is None else "category"
    label = of_column(frames.column_from_parquet(train, target["name"]), label_kind)
    said, is_level = predictions(answer, signature)
    prediction = binning.of_levels(_tally(said), 0) if is_level else binning.of_numbers(said)
    return Reference(features, kinds, label, prediction)


def against(known: Reference, champion: Path, prepared: Path, seen: Seen, max_share: float) -> list[Outcome]:
    """Rules on features, label and predictions: rows of both sides that the champion was not trained on, against what
    it was. `champion`: its folder in the store; `prepared`: today's sides.

    Predictions are compared on today's test side: the candidate's there against the champion's on its own.
    """
    trained = np.load(champion / "train.rows.npy", allow_pickle=False)
    sides = [prepared / f"{side}.parquet" for side in ("train", "test")]
    fresh = [hashing.are_new(hashing.load(prepared, side), trained) for side in ("train", "test")]
    n = sum(int(mask.sum()) for mask in fresh)
    if n < drift.MIN_ROWS:
        said = (
            f"only {rows(n)} are new to the champion, {drift.MIN_ROWS} are needed to compare"
            if n
            else "no row is new to the champion"
        )
        return [drift.skipped(said)]

    def new(name: str) -> list[pa.ChunkedArray]:
        import pyarrow as pa

        return [
            frames.column_from_parquet(side, name).filter(pa.array(mask))
            for side, mask in zip(sides, fresh, strict=True)
        ]

    counted = {
        name: (bins, count_column(bins, new(name), known.kinds[name]))
        for name, bins in known.features.items()
        if name in {feature["name"] for feature in seen.signature["features"]}
    }
    label = new(seen.signature["target"]["name"])
    kind = "number" if seen.signature["classes"] is None else "category"
    others = {
        "label": (known.label, count_column(known.label, label, kind), n),
        "prediction": (
            known.prediction,
            count_predictions(known.prediction, seen.answer, seen.signature),
            len(seen.answer.labels),
        ),
    }
    outcomes = [drift.judge(drift.compare(counted), max_share, n)]
    for what, (bins, counts, count) in others.items():
        outcomes.append(drift.judge_one(what, drift.compare({what: (bins, counts)})[0], count))
    return outcomes


def of_column(column: pa.ChunkedArray, kind: str) -> Bins:
    """Bins of one column as `prepare` leaves it."""
    if kind in ("number", "integer", "datetime"):
        return binning.of_numbers(floats(column, kind), kind == "datetime")
    return binning.of_levels(*_levels([column]))


def count_column(bins: Bins, columns: Sequence[pa.ChunkedArray], kind: str) -> Counts:
    """New values, in one or more pieces, in the bins of the reference."""
    if bins.kind == "number":
        return binning.count_numbers(bins, np.concatenate([floats(one, kind) for one in columns]))
    seen, missing = _levels(columns)
    before = written_before([*(bins.levels or ()), *(bins.others or ())])
    counts: Counter[str] = Counter()
    for level, n in seen.items():
        counts[before.get(level, level)] += n
    return binning.count_levels(bins, counts, missing)


def predictions(answer: Answer, signature: Mapping[str, Any]) -> tuple[np.ndarray, bool]:
    """What is watched of the answers, and whether it is a class: the probability of the positive class, else the
    class; the value in regression."""
    if signature["classes"] is None:
        return np.asarray(answer.labels, dtype=float), False
    if answer.probabilities is not None and len(signature["classes"]) == 2:
        return answer.probabilities[:, signature["classes"].index(signature["positive"])], False
    return answer.labels, True


def count_predictions(bins: Bins, answer: Answer, signature: Mapping[str, Any]) -> Counts:
    """New answers in the bins of the reference."""
    said, is_level = predictions(answer, signature)
    return binning.count_levels(bins, _tally(said), 0) if is_level else binning.count_numbers(bins, said)


def _tally(labels: Iterable[Any]) -> dict[str, int]:
    values, counts = np.unique(np.asarray(labels), return_counts=True)
    return {canonical(value): int(count) for value, count in zip(values.tolist(), counts, strict=True)}


def floats(column: pa.ChunkedArray, kind: str) -> np.ndarray:
    """A number, integer or datetime column as float64 (microseconds since 1970), NaN for null."""
    import pyarrow as pa

    if kind != "datetime":
        return frames.numbers(column)
    whole = column.cast(pa.timestamp("us")).cast(pa.int64())
    return np.asarray(whole.to_numpy(), dtype=np.float64)


def texts(column: pa.ChunkedArray) -> np.ndarray:
    """A category, text or boolean column as canonical text, None for null."""
    import pyarrow as pa

    if pa.types.is_dictionary(column.type):
        column = column.cast(pa.string())
    found = np.array(column.to_pylist(), dtype=object)
    return (
        found
        if pa.types.is_string(column.type)
        else np.array([v if v is None else canonical(v) for v in found], dtype=object)
    )


def _levels(columns: Sequence[pa.ChunkedArray]) -> tuple[dict[str, int], int]:
    """(how often each level was seen, rows without one)"""
    import pyarrow as pa
    import pyarrow.compute as pc

    seen: dict[str, int] = {}
    missing = 0
    for column in columns:
        missing += column.null_count
        plain = column.cast(pa.string()) if pa.types.is_dictionary(column.type) else column
        for one in pc.value_counts(plain.drop_null()).to_pylist():
            level = canonical(one["values"])
            seen[level] = seen.get(level, 0) + one["counts"]
    return seen, missing
