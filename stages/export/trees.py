"""Decision trees and their ensembles as one TreeEnsemble node (ai.onnx.ml 5).

scikit-learn's plain trees compare float32 values with float64 thresholds, histogram boosting float64 with float64.
Here values are rounded where scikit-learn rounds them and compared in float64, so every row goes the same way. In a
large forest, which counts in float32, thresholds are rounded *down*: x ≤ t holds for a float32 x exactly when x is
not above the largest float32 that is not above t.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from onnx import numpy_helper

from stages.export.graph import ML, ML_OPSET_TREES, Graph, NotConvertible
from stages.export.matrix import Matrix, Tensor

#: Nodes of all trees together. A million takes onnxruntime some 200 MB to load, and a service should have less.
MOST_NODES = 1_500_000

#: Nodes up to which plain trees count in float64, so that answers are exact to the last bits.
MOST_EXACT_NODES = 300_000

#: The mode of a node: x ≤ threshold.
_LEQ = 0


@dataclass
class Tree:
    """One tree as arrays, one entry per node; node 0 is the root.

    `values`: what a leaf gives.
    """

    left: np.ndarray
    right: np.ndarray
    leaf: np.ndarray
    feature: np.ndarray
    threshold: np.ndarray
    missing_left: np.ndarray
    values: np.ndarray


def plain(tree: Any, values: np.ndarray) -> Tree:
    """A tree of `sklearn.tree` (its `tree_`) whose nodes give `values`."""
    return Tree(
        left=tree.children_left,
        right=tree.children_right,
        leaf=tree.children_left < 0,
        feature=np.maximum(tree.feature, 0),
        threshold=tree.threshold,
        missing_left=np.asarray(tree.missing_go_to_left, dtype=bool),
        values=values,
    )


def histogram(predictor: Any) -> Tree:
    """A tree of histogram gradient boosting."""
    nodes = predictor.nodes
    return Tree(
        left=nodes["left"].astype(np.int64),
        right=nodes["right"].astype(np.int64),
        leaf=nodes["is_leaf"].astype(bool),
        feature=nodes["feature_idx"].astype(np.int64),
        threshold=nodes["num_threshold"],
        missing_left=nodes["missing_go_to_left"].astype(bool),
        values=nodes["value"],
    )


def rounded_down(thresholds: np.ndarray) -> np.ndarray:
    """For each float64 the largest float32 that is not above it."""
    with np.errstate(over="ignore"):
        nearest = thresholds.astype(np.float32)
    above = nearest.astype(np.float64) > thresholds
    nearest[above] = np.nextafter(nearest[above], np.float32(-np.inf))
    return nearest


def raised(trees: Sequence[Tree], by: np.ndarray) -> list[Tree]:
    """The trees, the leaves of the first ones raised: tree i by `by[i]`. A node that adds afterwards takes longer."""
    return [replace(tree, values=tree.values + by[i]) if i < len(by) else tree for i, tree in enumerate(trees)]


def ensemble(graph: Graph, trees: Sequence[Tree], targets: Sequence[int], matrix: Matrix, dtype: Any) -> str:
    """The sum over the trees of each target, a tensor (rows, number of targets) of `dtype`.

    `targets`: for each tree, which sum it belongs to.

    Raises:
        NotConvertible: there are more than `MOST_NODES` nodes.
    """
    nodes = _count(trees)
    if nodes > MOST_NODES:
        raise NotConvertible(f"its trees have {nodes:,} nodes, {MOST_NODES:,} are the most")
    tensor = matrix.tensor(graph)
    if dtype == np.float32:
        tensor = graph.cast(tensor, np.float32)
    attributes = _attributes(trees, targets, dtype)
    return graph.node("TreeEnsemble", tensor, domain=ML, version=ML_OPSET_TREES, **attributes)


def mean(graph: Graph, trees: Sequence[Tree], matrix: Matrix) -> tuple[str, Any]:
    """The mean over plain trees: a tensor (rows, 1), or (rows, width) where `values` are (nodes, width), and its type.

    The sum is divided at last, as scikit-learn does: votes of whole trees add up to exact numbers, and a tie stays one.
    Large forests count in float32, which halves the file; their inputs are float32 in any case.

    Raises:
        NotConvertible: there are too many nodes.
    """
    dtype = np.float64 if _count(trees) <= MOST_EXACT_NODES else np.float32
    narrow = Tensor(graph.cast(graph.cast(matrix.tensor(graph), np.float32), np.float64), matrix.width)
    rounded = Matrix((narrow,))
    if trees[0].values.ndim == 1:
        total = ensemble(graph, trees, [0] * len(trees), rounded, dtype)
    else:
        total = _vectors(graph, trees, rounded, dtype)
    return graph.node("Div", total, graph.constant(len(trees), dtype)), dtype


def _vectors(graph: Graph, trees: Sequence[Tree], matrix: Matrix, dtype: Any) -> str:
    """The sum over trees of vectors that stand at the leaves.

    A leaf of TreeEnsemble holds one number. Here it is its place in a table of all leaves' vectors.
    """
    numbered, tables, start = [], [], 0
    for tree in trees:
        ends = np.flatnonzero(tree.leaf)
        places = np.zeros(len(tree.leaf))
        places[ends] = np.arange(start, start + len(ends))
        start += len(ends)
        tables.append(tree.values[ends])
        numbered.append(Tree(tree.left, tree.right, tree.leaf, tree.feature, tree.threshold, tree.missing_left, places))
    if start >= 2**24:
        raise NotConvertible(f"its trees have {start:,} leaves")
    place = ensemble(graph, numbered, range(len(trees)), matrix, np.float32)
    table = graph.constant(np.concatenate(tables), dtype)
    vectors = graph.node("Gather", table, graph.cast(place, np.int64), axis=0)
    return graph.node("ReduceSum", vectors, graph.constant([1], np.int64), keepdims=0)


def _count(trees: Sequence[Tree]) -> int:
    return sum(len(tree.left) for tree in trees)


def _attributes(trees: Sequence[Tree], targets: Sequence[int], dtype: Any) -> dict[str, Any]:
    parts: dict[str, list[np.ndarray]] = {}
    roots, inner, outer = [], 0, 0
    for tree, target in zip(trees, targets, strict=True):
        tree = tree if not tree.leaf[0] else _with_root(tree)
        branch = ~tree.leaf
        place = np.where(tree.leaf, np.cumsum(tree.leaf) - 1 + outer, np.cumsum(branch) - 1 + inner)
        left, right = tree.left[branch], tree.right[branch]
        found = {
            "nodes_featureids": tree.feature[branch],
            "nodes_splits": tree.threshold[branch],
            "nodes_truenodeids": place[left],
            "nodes_falsenodeids": place[right],
            "nodes_trueleafs": tree.leaf[left],
            "nodes_falseleafs": tree.leaf[right],
            "nodes_missing_value_tracks_true": tree.missing_left[branch],
            "leaf_targetids": np.full(int(tree.leaf.sum()), target),
            "leaf_weights": tree.values[tree.leaf],
        }
        for name, values in found.items():
            parts.setdefault(name, []).append(values)
        roots.append(inner)
        inner, outer = inner + len(left), outer + int(tree.leaf.sum())
    joined = {name: np.concatenate(values) for name, values in parts.items()}
    splits, weights = joined.pop("nodes_splits"), joined.pop("leaf_weights")
    splits = rounded_down(splits) if dtype == np.float32 else splits.astype(dtype)
    return {
        "n_targets": int(max(targets)) + 1,
        "post_transform": 0,
        "aggregate_function": 1,
        "tree_roots": np.array(roots),
        "nodes_splits": numpy_helper.from_array(splits),
        "nodes_modes": numpy_helper.from_array(np.full(len(splits), _LEQ, dtype=np.uint8)),
        "leaf_weights": numpy_helper.from_array(weights.astype(dtype)),
        **{name: values.astype(np.int64) for name, values in joined.items()},
    }


def _with_root(tree: Tree) -> Tree:
    """A tree that is one leaf, below a question whose two answers lead to the same value: a root has to be a
    question."""
    return Tree(
        left=np.array([1, -1, -1]),
        right=np.array([2, -1, -1]),
        leaf=np.array([False, True, True]),
        feature=np.zeros(3, dtype=np.int64),
        threshold=np.zeros(3),
        missing_left=np.zeros(3, dtype=bool),
        values=np.repeat(tree.values[:1], 3, axis=0),
    )
