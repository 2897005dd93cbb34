"""The estimator at the end of a pipeline: trees and linear models by generators of our own, others by skl2onnx."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from stages.export import foreign, trees
from stages.export.graph import Graph, NotConvertible
from stages.export.matrix import Matrix, Tensor
from stages.export.tables import name_of
from stages.export.transformers import apply, as_matrix, function

Kind = Literal["positive", "probabilities", "label", "value"]


@dataclass(frozen=True)
class Output:
    """The answer: a tensor's name, its element type, and what it says.

    `positive`: (rows, 1) probability of the second of two classes. `probabilities`: (rows, classes). `label`: (rows,)
    index of the class, int64. `value`: (rows, 1).
    """

    name: str
    dtype: Any
    kind: Kind

    def shape(self, classes: int) -> list[int]:
        """Its dimensions after the first."""
        return {"positive": [1], "probabilities": [classes], "label": [], "value": [1]}[self.kind]


def answer(graph: Graph, estimator: Any, matrix: Matrix, classes: int | None) -> Output:
    """What a fitted estimator answers; `classes`: how many, None for regression.

    Raises:
        NotConvertible: it has no equal in the graph.
    """
    name = name_of(estimator)
    if name == "Pipeline":
        state: Any = matrix
        for _, step in estimator.steps[:-1]:
            state = apply(graph, step, state)
        return answer(graph, estimator.steps[-1][1], as_matrix(graph, state), classes)
    if name in ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV"):
        return answer(graph, estimator.best_estimator_, matrix, classes)
    if classes is not None and (classes < 2 or len(estimator.classes_) != classes):
        raise NotConvertible("it was fitted on other classes than the signature has")
    own = _OWN.get(name)
    if own is not None:
        return own(graph, estimator, matrix)
    return foreign.estimate(graph, estimator, matrix, classes)


# ---- trees


def _histogram(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    if getattr(estimator, "is_categorical_", None) is not None and np.any(estimator.is_categorical_):
        raise NotConvertible("histogram boosting with categorical splits")
    per_iteration = estimator.n_trees_per_iteration_
    flat = [trees.histogram(p) for iteration in estimator._predictors for p in iteration]
    base = np.asarray(estimator._baseline_prediction, dtype=np.float64).reshape(1, -1)
    if flat:
        targets = [i % per_iteration for i in range(len(flat))]
        raw = trees.ensemble(graph, trees.raised(flat, base[0]), targets, matrix, np.float64)
    else:
        sums = graph.node("MatMul", matrix.tensor(graph), graph.constant(np.zeros((matrix.width, per_iteration))))
        raw = graph.node("Add", sums, graph.constant(base))
    if not hasattr(estimator, "classes_"):
        return Output(_inverse_link(graph, estimator._loss.link, raw), np.float64, "value")
    return _chances(graph, raw, per_iteration)


def _boosting(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    if not isinstance(estimator.init_, str) and not name_of(estimator.init_).startswith("Dummy"):
        raise NotConvertible("gradient boosting that starts from another estimator")
    width = estimator.estimators_.shape[1]
    flat = [
        trees.plain(one.tree_, one.tree_.value[:, 0, 0] * estimator.learning_rate)
        for iteration in estimator.estimators_
        for one in iteration
    ]
    base = np.asarray(estimator._raw_predict_init(np.zeros((1, estimator.n_features_in_), dtype=np.float32)))
    # Compared in float32, summed in float64: a cast up again keeps every value, and thresholds stay as they are.
    narrow = graph.cast(graph.cast(matrix.tensor(graph), np.float32), np.float64)
    values = Matrix((Tensor(narrow, matrix.width),))
    sums = trees.ensemble(graph, flat, [i % width for i in range(len(flat))], values, np.float64)
    raw = graph.node("Add", sums, graph.constant(base.reshape(1, -1)))
    if not hasattr(estimator, "classes_"):
        return Output(raw, np.float64, "value")
    if type(estimator._loss).__name__ == "ExponentialLoss":
        raw = graph.node("Add", raw, raw)
    return _chances(graph, raw, width)


def _forest(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    return _trees(graph, [one.tree_ for one in estimator.estimators_], matrix, getattr(estimator, "classes_", None))


def _tree(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    return _trees(graph, [estimator.tree_], matrix, getattr(estimator, "classes_", None))


def _trees(graph: Graph, found: list[Any], matrix: Matrix, classes: Any) -> Output:
    if any(tree.n_outputs != 1 for tree in found):
        raise NotConvertible("trees with several outputs")
    if classes is not None and len(classes) > 2:
        return Output(*trees.mean(graph, [trees.plain(t, t.value[:, 0, :]) for t in found], matrix), "probabilities")
    column = 0 if classes is None else 1
    name, dtype = trees.mean(graph, [trees.plain(t, t.value[:, 0, column]) for t in found], matrix)
    return Output(name, dtype, "value" if classes is None else "positive")


# ---- linear models


def _linear(graph: Graph, estimator: Any, matrix: Matrix) -> str:
    weights = np.asarray(estimator.coef_, dtype=np.float64)
    weights = weights.reshape(1, -1) if weights.ndim == 1 else weights
    less = np.broadcast_to(np.asarray(estimator.intercept_, dtype=np.float64).reshape(1, -1), (1, len(weights)))
    return graph.node(
        "Add", graph.node("MatMul", matrix.tensor(graph), graph.constant(weights.T)), graph.constant(less)
    )


def _linear_value(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    raw = _linear(graph, estimator, matrix)
    loss = getattr(estimator, "_base_loss", None)
    return Output(raw if loss is None else _inverse_link(graph, loss.link, raw), np.float64, "value")


def _linear_chances(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    return _chances(graph, _linear(graph, estimator, matrix), len(np.atleast_2d(estimator.coef_)))


def _linear_label(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    raw = _linear(graph, estimator, matrix)
    if len(np.atleast_2d(estimator.coef_)) > 1:
        return Output(graph.node("ArgMax", raw, axis=1, keepdims=0), np.int64, "label")
    above = graph.cast(graph.node("Greater", raw, graph.constant(0.0)), np.int64)
    return Output(graph.node("Squeeze", above, graph.constant([1], np.int64)), np.int64, "label")


def _sgd(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    if estimator.loss == "log_loss":
        raw = _linear(graph, estimator, matrix)
        if len(estimator.coef_) == 1:
            return _chances(graph, raw, 1)
        each = graph.node("Sigmoid", raw)
        total = graph.node("ReduceSum", each, graph.constant([1], np.int64), keepdims=1)
        return Output(graph.node("Div", each, total), np.float64, "probabilities")
    if hasattr(estimator, "predict_proba"):
        raise NotConvertible(f"SGDClassifier with loss {estimator.loss}")
    return _linear_label(graph, estimator, matrix)


# ---- shared


def _chances(graph: Graph, raw: str, width: int) -> Output:
    """Logistic function of one raw score, softmax of several."""
    if width == 1:
        return Output(graph.node("Sigmoid", raw), np.float64, "positive")
    return Output(graph.node("Softmax", raw, axis=1), np.float64, "probabilities")


def _inverse_link(graph: Graph, link: Any, raw: str) -> str:
    name = type(link).__name__
    if name == "IdentityLink":
        return raw
    if name == "LogLink":
        return graph.node("Exp", raw)
    raise NotConvertible(f"the link function {name}")


def _transformed_target(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    inner = answer(graph, estimator.regressor_, matrix, None)
    back = estimator.transformer_
    if name_of(back) != "FunctionTransformer" or back.inverse_func is None or back.inv_kw_args:
        raise NotConvertible("a target that is transformed by more than a function")
    name = inner.name if inner.dtype == np.float64 else graph.cast(inner.name, np.float64)
    return Output(function(graph, back.inverse_func, name), np.float64, "value")


# ---- estimators of estimators


def _probabilities(graph: Graph, output: Output) -> str:
    """A tensor (rows, classes) of float64."""
    if output.kind == "label":
        raise NotConvertible("an estimator without probabilities inside another one")
    name = output.name if output.dtype == np.float64 else graph.cast(output.name, np.float64)
    if output.kind != "positive":
        return name
    return graph.node("Concat", graph.node("Sub", graph.constant(1.0), name), name, axis=1)


def _mean(graph: Graph, outputs: list[Output], weights: Any = None) -> Output:
    shares = np.ones(len(outputs)) if weights is None else np.asarray(weights, dtype=np.float64)
    parts = [
        graph.node("Mul", _probabilities(graph, output), graph.constant(share / shares.sum()))
        for output, share in zip(outputs, shares, strict=True)
    ]
    total = parts[0]
    for part in parts[1:]:
        total = graph.node("Add", total, part)
    return Output(total, np.float64, "value" if outputs[0].kind == "value" else "probabilities")


def _classes(estimator: Any) -> int | None:
    return len(estimator.classes_) if hasattr(estimator, "classes_") else None


def _voting(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    if getattr(estimator, "voting", "soft") != "soft":
        raise NotConvertible("hard voting")
    outputs = [answer(graph, one, matrix, _classes(estimator)) for one in estimator.estimators_]
    return _mean(graph, outputs, estimator._weights_not_none)


def _bagging(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    chosen = zip(estimator.estimators_, estimator.estimators_features_, strict=True)
    return _mean(graph, [answer(graph, one, matrix.take(graph, list(at)), _classes(estimator)) for one, at in chosen])


def _stacking(graph: Graph, estimator: Any, matrix: Matrix) -> Output:
    classes = _classes(estimator)
    matrices = []
    for one, method in zip(estimator.estimators_, estimator.stack_method_, strict=True):
        output = answer(graph, one, matrix, classes)
        if (method == "predict") is not (classes is None) or method == "decision_function":
            raise NotConvertible(f"stacking by {method}")
        if output.kind == "probabilities" and classes == 2:
            output = Output(
                graph.node("Gather", output.name, graph.constant([1], np.int64), axis=1), output.dtype, "positive"
            )
        name = output.name if output.dtype == np.float64 else graph.cast(output.name, np.float64)
        matrices.append(Matrix((Tensor(name, (classes or 1) if output.kind == "probabilities" else 1),)))
    if estimator.passthrough:
        matrices.append(matrix)
    return answer(graph, estimator.final_estimator_, Matrix.beside(matrices), classes)


_REGRESSORS = (
    "ARDRegression", "BayesianRidge", "ElasticNet", "ElasticNetCV", "GammaRegressor", "HuberRegressor",
    "Lars", "LarsCV", "Lasso", "LassoCV", "LassoLars", "LassoLarsCV", "LassoLarsIC", "LinearRegression",
    "LinearSVR", "OrthogonalMatchingPursuit", "OrthogonalMatchingPursuitCV", "PassiveAggressiveRegressor",
    "PoissonRegressor", "QuantileRegressor", "Ridge", "RidgeCV", "SGDRegressor", "TheilSenRegressor",
    "TweedieRegressor",
)  # fmt: skip
_FORESTS = ("ExtraTreesClassifier", "ExtraTreesRegressor", "RandomForestClassifier", "RandomForestRegressor")
_TREES = ("DecisionTreeClassifier", "DecisionTreeRegressor", "ExtraTreeClassifier", "ExtraTreeRegressor")

_OWN: dict[str, Callable[[Graph, Any, Matrix], Output]] = {
    **dict.fromkeys(_REGRESSORS, _linear_value),
    **dict.fromkeys(("LogisticRegression", "LogisticRegressionCV", "LinearDiscriminantAnalysis"), _linear_chances),
    **dict.fromkeys(("RidgeClassifier", "RidgeClassifierCV", "LinearSVC", "Perceptron"), _linear_label),
    "PassiveAggressiveClassifier": _linear_label,
    "SGDClassifier": _sgd,
    **dict.fromkeys(_FORESTS, _forest),
    **dict.fromkeys(_TREES, _tree),
    **dict.fromkeys(("HistGradientBoostingClassifier", "HistGradientBoostingRegressor"), _histogram),
    **dict.fromkeys(("GradientBoostingClassifier", "GradientBoostingRegressor"), _boosting),
    "TransformedTargetRegressor": _transformed_target,
    **dict.fromkeys(("VotingClassifier", "VotingRegressor"), _voting),
    **dict.fromkeys(("BaggingClassifier", "BaggingRegressor"), _bagging),
    **dict.fromkeys(("StackingClassifier", "StackingRegressor"), _stacking),
}
