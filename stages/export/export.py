"""The last part of training: model.onnx, written only when it is proved to answer like the pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.export.graph import NotConvertible

if TYPE_CHECKING:
    from stages.export.convert import Converted
    from stages.export.parity import Case, Lists, Model
    from stages.model.metrics import Answer, Truth

#: Rows that are asked for with missing and unseen values put in.
_ROWS = 4


@dataclass(frozen=True)
class Exported:
    """`content`: the file, None when it is not proved. `record`: `proved`, `reason` and the figures of `parity.py`."""

    content: bytes | None
    record: dict[str, Any]


def export(pipeline: Any, signature: Mapping[str, Any], test: Path, truth: Truth, said: Answer) -> Exported:
    """Convert a fitted pipeline and compare it on the test side.

    `test`: test.parquet of `prepare`. `truth` and `said`: what was right and what the pipeline answered, in its row
    order.
    """
    from stages.export import convert, parity

    columns = [feature["name"] for feature in signature["features"]]
    found: Exported | None = None
    try:
        cases = parity.variants(_head(test, columns), signature["features"])
        expected = parity.refusals(pipeline, cases, signature)
        pairs = zip(cases, expected, strict=True)
        refusing = [name for (name, kind, _), answer in pairs if name and kind == "missing" and answer is None]
        for converted in convert.candidates(pipeline, signature, refusing):
            found = _judged(converted, signature, test, (truth, said), (cases, expected))
            if found.content is not None:
                break
    except NotConvertible as error:
        found = found or _refused(str(error))
    return found or _refused("it has no conversion")


def _judged(
    converted: Converted,
    signature: Mapping[str, Any],
    test: Path,
    sides: tuple[Truth, Answer],
    strange: tuple[list[Case], list[Answer | None]],
) -> Exported:
    """One conversion, and whether it is proved."""
    from stages.export import parity

    try:
        model = _opened(converted, signature)
        different = parity.strange(model, *strange)
        if different is not None:
            return _refused(different)
        used = list(dict.fromkeys(column["feature"] for column in converted.about["columns"]))
        found = parity.verdict(*sides, parity.ask_all(model, test, used))
    except NotConvertible as error:
        return _refused(str(error))
    found.figures["bytes"] = len(converted.content)
    return Exported(converted.content if found.proved else None, found.record())


def _refused(reason: str) -> Exported:
    return Exported(None, {"proved": False, "reason": reason})


def _opened(converted: Converted, signature: Mapping[str, Any]) -> Model:
    import onnxruntime

    from stages.export.graph import ANSWER, ROWS
    from stages.export.parity import Model
    from stages.model.inputs import Inputs
    from stages.model.onnxlog import quiet_options

    options = quiet_options()
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest batch
    try:
        session = onnxruntime.InferenceSession(converted.content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class of their own
        raise NotConvertible(f"onnxruntime refuses the model: {' '.join(str(error).split())[:160]}") from error
    classes = None if signature["classes"] is None else tuple(signature["classes"])
    inputs = Inputs(converted.about["columns"], converted.about["refuses_missing"])

    def run(matrix: np.ndarray) -> np.ndarray:
        try:
            return np.asarray(session.run([ANSWER], {ROWS: matrix})[0])
        except Exception as error:  # as above
            raise NotConvertible(f"onnxruntime fails: {' '.join(str(error).split())[:160]}") from error

    return Model(run, inputs, converted.about["output"], classes)


def _head(test: Path, columns: list[str]) -> Lists:
    """A few rows as a request would bring them."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(test) as file:
        batch = next(file.iter_batches(batch_size=_ROWS, columns=columns, use_threads=False), None)
    if batch is None:
        raise NotConvertible("there are no test rows")
    found: Lists = {name: batch.column(name).to_pylist() for name in columns}
    return found
