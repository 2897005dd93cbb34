"""Estimators and transformers without a generator of our own, by skl2onnx, with two of its faults set right.

skl2onnx is imported only here: it takes longer to import than a whole export without it.
"""

from __future__ import annotations

import contextlib
import threading
import warnings
from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np

from stages.export.graph import ML, ML_OPSET, OPSET, Graph, NotConvertible
from stages.export.matrix import Matrix, Tensor
from stages.export.tables import name_of

if TYPE_CHECKING:
    from stages.export.estimators import Output

_PATCHING = threading.Lock()


def transform(graph: Graph, transformer: Any, matrix: Matrix) -> Matrix:
    """What a transformer of numbers makes of a matrix.

    Raises:
        NotConvertible: skl2onnx does not know it.
    """
    if not name_of(transformer):
        raise NotConvertible(f"{type(transformer).__name__} is not one of scikit-learn's own transformers")
    model = _converted(transformer, matrix.width, double=True)
    width = model.graph.output[0].type.tensor_type.shape.dim[1].dim_value
    if not width:
        raise NotConvertible(f"skl2onnx does not say how wide the answer of {type(transformer).__name__} is")
    output = graph.graft(model, {model.graph.input[0].name: matrix.tensor(graph)}, model.graph.output[0].name)
    return Matrix((Tensor(graph.cast(output, np.float64), width),))


def estimate(graph: Graph, estimator: Any, matrix: Matrix, classes: int | None) -> Output:
    """What an estimator answers, counting as `graph.double` says.

    Raises:
        NotConvertible: skl2onnx does not know it, or it gives no probabilities.
    """
    from stages.export.estimators import Output

    if classes is not None and not hasattr(estimator, "predict_proba"):
        raise NotConvertible(f"{type(estimator).__name__} without probabilities")
    model = _converted(estimator, matrix.width, graph.double)
    taken = matrix.tensor(graph) if graph.double else graph.cast(matrix.tensor(graph), np.float32)
    wanted = model.graph.output[0 if classes is None else 1]
    output = graph.graft(model, {model.graph.input[0].name: taken}, wanted.name)
    found = graph.cast(output, np.float64)
    if classes is None:
        return Output(graph.node("Reshape", found, graph.constant([-1, 1], np.int64)), np.float64, "value")
    return Output(found, np.float64, "probabilities")


def _converted(model: Any, width: int, double: bool) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import DoubleTensorType, FloatTensorType

    kind = DoubleTensorType if double else FloatTensorType
    options = {id(model): {"zipmap": False}} if hasattr(model, "classes_") else None
    with _repaired(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return convert_sklearn(
                model,
                name="part",
                initial_types=[("input", kind([None, width]))],
                options=options,
                target_opset={"": OPSET, ML: ML_OPSET},
            )
        except MemoryError:
            raise
        except Exception as error:  # it raises whatever its converters happen to
            line = " ".join(str(error).split())[:160]
            raise NotConvertible(f"skl2onnx refuses {type(model).__name__}: {line}") from error


@contextlib.contextmanager
def _repaired() -> Generator[None]:
    """skl2onnx 1.20 gives onnx booleans where it takes integers, and does not round thresholds of trees down to
    float32."""
    from skl2onnx.common import tree_ensemble

    from stages.export.trees import rounded_down

    original = tree_ensemble.add_node

    def add_node(*args: Any, **kwargs: Any) -> None:
        values = list(args)
        if values[6] == "BRANCH_LEQ" and kwargs.get("dtype") != np.float64:
            values[7] = float(rounded_down(np.asarray([values[7]], dtype=np.float64))[0])
        kwargs["adjust_threshold_for_sklearn"] = (
            False  # its search for a float32 does not end for an infinite threshold
        )
        values[5], values[8], values[9] = int(values[5]), int(values[8]), int(values[9])
        if "nodes_missing_value_tracks_true" in kwargs:
            kwargs["nodes_missing_value_tracks_true"] = int(kwargs["nodes_missing_value_tracks_true"])
        original(*values, **kwargs)

    with _PATCHING:
        tree_ensemble.add_node = add_node
        try:
            yield
        finally:
            tree_ensemble.add_node = original
