"""The pipeline's transformers, walked: each turns raw columns or a matrix into a matrix, in float64 like
scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stages.export import foreign
from stages.export.graph import Graph, NotConvertible
from stages.export.matrix import Frame, Matrix, Numbers, Tensor, is_number, numbers
from stages.export.tables import ENCODERS, encoded, name_of
from stages.model.datetimes import PARTS, DatetimeParts

State = Frame | Matrix


def apply(graph: Graph, transformer: Any, state: State) -> State:
    """What a fitted transformer makes of raw columns or of a matrix.

    Raises:
        NotConvertible: it, or something inside it, has no equal in the graph.
    """
    if transformer is None or (isinstance(transformer, str) and transformer == "passthrough"):
        return state
    if isinstance(transformer, DatetimeParts):
        return _datetimes(graph, state)
    structure = _STRUCTURES.get(name_of(transformer))
    if structure is not None:
        return structure(graph, transformer, state)
    if not isinstance(state, Matrix):
        if name_of(transformer) in ENCODERS and not all(is_number(f) for f in state):
            return encoded(graph, [transformer], state)
        state = numbers(graph, state)
    if hasattr(transformer, "get_support") and type(transformer).__module__.startswith("sklearn.feature_selection"):
        return state.take(graph, transformer.get_support(indices=True).tolist())
    own = _OWN.get(name_of(transformer))
    if own is not None:
        return own(graph, transformer, state)
    return foreign.transform(graph, transformer, state)


def as_matrix(graph: Graph, state: State) -> Matrix:
    """The end of the walk: what the estimator is given.

    Raises:
        NotConvertible: text or datetimes would reach it.
    """
    return state if isinstance(state, Matrix) else numbers(graph, state)


# ---- structure


def _pipeline(graph: Graph, pipeline: Any, state: State) -> State:
    steps = [
        step for _, step in pipeline.steps if step is not None and not (isinstance(step, str) and step == "passthrough")
    ]
    if not isinstance(state, Matrix) and any(f["type"] in ("category", "text") for f in state):
        names = [name_of(step) for step in steps]
        end = next((i + 1 for i, name in enumerate(names) if name in ENCODERS), 0)
        if end > 1 and set(names[: end - 1]) == {"SimpleImputer"}:
            state, steps = encoded(graph, steps[:end], state), steps[end:]
    for step in steps:
        state = apply(graph, step, state)
    return state


def _column_transformer(graph: Graph, transformer: Any, state: State) -> State:
    if not isinstance(state, Matrix):
        expected = list(getattr(transformer, "feature_names_in_", [f["name"] for f in state]))
        if expected != [f["name"] for f in state]:
            raise NotConvertible("a ColumnTransformer was fitted on other columns")
    if transformer.transformer_weights:
        raise NotConvertible("a ColumnTransformer with weights")
    parts = []
    for name, fitted, _ in transformer.transformers_:
        places = list(transformer._transformer_to_input_indices.get(name, ()))
        if not places or (isinstance(fitted, str) and fitted == "drop"):
            continue
        part = state.take(graph, places) if isinstance(state, Matrix) else tuple(state[i] for i in places)
        parts.append(apply(graph, fitted, part))
    return _beside(graph, parts)


def _union(graph: Graph, union: Any, state: State) -> State:
    if union.transformer_weights:
        raise NotConvertible("a FeatureUnion with weights")
    kept = [t for _, t in union.transformer_list if not (isinstance(t, str) and t == "drop")]
    return _beside(graph, [apply(graph, transformer, state) for transformer in kept])


def _beside(graph: Graph, parts: list[State]) -> State:
    if parts and all(not isinstance(part, Matrix) for part in parts):
        return tuple(feature for part in parts if not isinstance(part, Matrix) for feature in part)
    return Matrix.beside(as_matrix(graph, part) for part in parts)


def _function(graph: Graph, transformer: Any, state: State) -> State:
    if transformer.func is None:
        return state
    if transformer.kw_args:
        raise NotConvertible("a FunctionTransformer with arguments")
    matrix = as_matrix(graph, state)
    return Matrix((Tensor(function(graph, transformer.func, matrix.tensor(graph)), matrix.width),))


def function(graph: Graph, func: Any, name: str) -> str:
    """One of numpy's elementary functions of a float64 tensor.

    Raises:
        NotConvertible: it is none of them.
    """
    one = graph.constant(1.0)
    made: dict[Any, Callable[[], str]] = {
        np.log1p: lambda: graph.node("Log", graph.node("Add", name, one)),
        np.expm1: lambda: graph.node("Sub", graph.node("Exp", name), one),
        np.log: lambda: graph.node("Log", name),
        np.exp: lambda: graph.node("Exp", name),
        np.sqrt: lambda: graph.node("Sqrt", name),
        np.square: lambda: graph.node("Mul", name, name),
        np.abs: lambda: graph.node("Abs", name),
        np.sign: lambda: graph.node("Sign", name),
        np.negative: lambda: graph.node("Neg", name),
    }
    try:
        return made[func]()
    except (KeyError, TypeError):
        shown = getattr(func, "__name__", type(func).__name__)
        raise NotConvertible(f"the function {shown} is not one of numpy's elementary ones") from None


def _datetimes(graph: Graph, state: State) -> State:
    if isinstance(state, Matrix) or any(f["type"] != "datetime" for f in state):
        raise NotConvertible("DatetimeParts is given something else than datetime columns")
    indices = [graph.column({"feature": f["name"], "kind": "datetime", "part": part}) for f in state for part in PARTS]
    return Matrix((Numbers(tuple(indices)),))


# ---- one matrix to another


def _impute(graph: Graph, imputer: Any, matrix: Matrix) -> Matrix:
    if not (isinstance(imputer.missing_values, float) and np.isnan(imputer.missing_values)):
        raise NotConvertible(f"an imputer of {imputer.missing_values!r}")
    values = np.asarray(imputer.statistics_, dtype=np.float64)
    if np.isnan(values).any():
        raise NotConvertible("an imputer that drops columns that were empty in training")
    tensor = matrix.tensor(graph)
    missing = graph.node("IsNaN", tensor)
    filled = Tensor(graph.node("Where", missing, graph.constant(values[None, :]), tensor), matrix.width)
    if not imputer.add_indicator:
        return Matrix((filled,))
    return Matrix.beside([Matrix((filled,)), _indicated(graph, imputer.indicator_, missing)])


def _indicated(graph: Graph, indicator: Any, missing: str) -> Matrix:
    places = np.asarray(indicator.features_)
    if not len(places):
        return Matrix(())
    chosen = graph.node("Gather", missing, graph.constant(places, np.int64), axis=1)
    return Matrix((Tensor(graph.cast(chosen, np.float64), len(places)),))


def _missing(graph: Graph, indicator: Any, matrix: Matrix) -> Matrix:
    if not (isinstance(indicator.missing_values, float) and np.isnan(indicator.missing_values)):
        raise NotConvertible(f"an indicator of {indicator.missing_values!r}")
    return _indicated(graph, indicator, graph.node("IsNaN", matrix.tensor(graph)))


def _standard(graph: Graph, scaler: Any, matrix: Matrix) -> Matrix:
    return _scaled(
        graph, matrix, scaler.mean_ if scaler.with_mean else None, scaler.scale_ if scaler.with_std else None
    )


def _robust(graph: Graph, scaler: Any, matrix: Matrix) -> Matrix:
    return _scaled(graph, matrix, scaler.center_, scaler.scale_)


def _max_abs(graph: Graph, scaler: Any, matrix: Matrix) -> Matrix:
    scaled = _scaled(graph, matrix, None, scaler.scale_)
    return _clipped(graph, scaled, (-1.0, 1.0)) if getattr(scaler, "clip", False) else scaled


def _min_max(graph: Graph, scaler: Any, matrix: Matrix) -> Matrix:
    tensor = graph.node("Mul", matrix.tensor(graph), graph.constant(np.asarray(scaler.scale_)[None, :]))
    tensor = graph.node("Add", tensor, graph.constant(np.asarray(scaler.min_)[None, :]))
    scaled = Matrix((Tensor(tensor, matrix.width),))
    return _clipped(graph, scaled, scaler.feature_range) if scaler.clip else scaled


def _scaled(graph: Graph, matrix: Matrix, less: Any, by: Any) -> Matrix:
    tensor = matrix.tensor(graph)
    if less is not None:
        tensor = graph.node("Sub", tensor, graph.constant(np.asarray(less)[None, :]))
    if by is not None:
        tensor = graph.node("Div", tensor, graph.constant(np.asarray(by)[None, :]))
    return Matrix((Tensor(tensor, matrix.width),))


def _clipped(graph: Graph, matrix: Matrix, ends: tuple[float, float]) -> Matrix:
    low, high = (graph.constant(float(end)) for end in ends)
    return Matrix((Tensor(graph.node("Clip", matrix.tensor(graph), low, high), matrix.width),))


def _one_hot(graph: Graph, encoder: Any, matrix: Matrix) -> Matrix:
    """One-hot columns of numbers; of text it is `tables.py`."""
    from stages.export.matrix import Flags

    if not matrix.as_numbers() or encoder.handle_unknown != "ignore" or encoder._infrequent_enabled:
        raise NotConvertible("one-hot columns of numbers that were changed before, or with rare or refused values")
    indices = [index for piece in matrix.pieces if isinstance(piece, Numbers) for index in piece.indices]
    dropped = encoder.drop_idx_ if encoder.drop_idx_ is not None else [None] * len(indices)
    pairs = [
        (index, float(level))
        for index, levels, without in zip(indices, encoder.categories_, dropped, strict=True)
        for i, level in enumerate(levels)
        if i != without
    ]
    if any(np.isnan(value) for _, value in pairs):
        raise NotConvertible("a one-hot column for missing numbers")
    return Matrix((Flags(tuple(pairs)),))


_STRUCTURES: dict[str, Callable[[Graph, Any, State], State]] = {
    "Pipeline": _pipeline,
    "ColumnTransformer": _column_transformer,
    "FeatureUnion": _union,
    "FunctionTransformer": _function,
}
_OWN: dict[str, Callable[[Graph, Any, Matrix], Matrix]] = {
    "SimpleImputer": _impute,
    "MissingIndicator": _missing,
    "StandardScaler": _standard,
    "RobustScaler": _robust,
    "MaxAbsScaler": _max_abs,
    "MinMaxScaler": _min_max,
    "OneHotEncoder": _one_hot,
}
