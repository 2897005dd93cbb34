"""An ONNX graph under construction: one input matrix, constants, nodes, one answer.

The same calls in the same order give the same bytes: names are counted, nothing is dated, no library version is
written.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import onnx
import onnx.compose
from onnx import helper, numpy_helper

ROWS, ANSWER = "rows", "answer"

#: Operator sets. TreeEnsemble came with ai.onnx.ml 5, which in turn refuses the tree operators that skl2onnx writes.
OPSET, ML_OPSET, ML_OPSET_TREES = 18, 3, 5
ML = "ai.onnx.ml"
IR_VERSION = 10


class NotConvertible(Exception):
    """Why there is no ONNX model: one line for the log."""


class Graph:
    """Collects columns of the input matrix, constants and nodes.

    `double`: whether estimators that skl2onnx writes count in float64 or in float32, which more of its operators can.
    """

    def __init__(self, double: bool = True) -> None:
        self.double = double
        self.columns: list[dict[str, Any]] = []
        self._column_of: dict[str, int] = {}
        self._nodes: list[Any] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._initializers: list[Any] = []
        self._selections: dict[str, tuple[int, ...]] = {}
        self._domains: dict[str, int] = {}
        self._count = 0

    def column(self, description: dict[str, Any]) -> int:
        """The place in the input matrix of a column; the same description is the same column."""
        key = json.dumps(description, sort_keys=True, ensure_ascii=False)
        if key not in self._column_of:
            self._column_of[key] = len(self.columns)
            self.columns.append(description)
        return self._column_of[key]

    def constant(self, values: Any, dtype: Any = np.float64) -> str:
        """Name of a constant tensor."""
        array = np.ascontiguousarray(values, dtype=dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = self._constants[key] = self._name("c")
            self._initializers.append(numpy_helper.from_array(array, name))
        return self._constants[key]

    def node(self, operator: str, *inputs: str, domain: str = "", version: int | None = None, **attributes: Any) -> str:
        """Add a node with one output; its name. An attribute that is an array holds integers."""
        name = self._name("t")
        large = {key: value for key, value in attributes.items() if isinstance(value, np.ndarray)}
        small = {key: value for key, value in attributes.items() if key not in large}
        node = helper.make_node(operator, list(inputs), [name], domain=domain, **small)
        for key, value in large.items():
            # make_node looks at each element several times, which for a forest takes longer than all the rest.
            attribute = node.attribute.add(name=key, type=onnx.AttributeProto.INTS)
            attribute.ints.extend(value)
        self._nodes.append(node)
        self.use(domain, version)
        return name

    def cast(self, name: str, dtype: Any) -> str:
        """`name` with another element type."""
        return self.node("Cast", name, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def select(self, indices: Sequence[int]) -> str:
        """Some columns of the input matrix, as a tensor (rows, len(indices)) of float64."""
        name = self.node("Gather", ROWS, "", axis=1)  # which ones is filled in by `arrange`
        self._selections[name] = tuple(indices)
        return name

    def arrange(self) -> None:
        """Put the columns of the input in the order in which the estimator takes them, if it takes each once: the
        selection is then the input itself, and every request runs one node less. Comes after the last `select`."""
        everything = tuple(range(len(self.columns)))
        whole = (chosen for chosen in self._selections.values() if tuple(sorted(chosen)) == everything)
        order = next(whole, everything)
        self.columns = [self.columns[old] for old in order]
        place = {old: new for new, old in enumerate(order)}
        moved = {name: tuple(place[old] for old in chosen) for name, chosen in self._selections.items()}
        same = {name: ROWS for name, chosen in moved.items() if chosen == everything}
        for node in self._nodes:
            _rename(node, same)
            chosen = moved.get(node.output[0])
            if chosen is not None:
                node.input[1] = self.constant(chosen, np.int64)

    def use(self, domain: str, version: int | None = None) -> None:
        """Ask for at least `version` of an operator set other than ONNX's own."""
        if domain:
            self._domains[domain] = max(self._domains.get(domain, 1), version or 1)

    def graft(self, model: Any, inputs: dict[str, str], output: str) -> str:
        """Put the nodes of a whole model into this graph.

        `inputs`: names of the model's inputs → names here. Returns the name here of its `output`.

        Raises:
            NotConvertible: it needs an operator set that this graph cannot have.
        """
        prefix = f"{self._name('m')}_"
        moved = onnx.compose.add_prefix(model, prefix).graph
        renamed = {prefix + theirs: ours for theirs, ours in inputs.items()}
        for node in moved.node:
            _rename(node, renamed)
        self._nodes += moved.node
        self._initializers += moved.initializer
        for used in model.opset_import:
            if used.domain == ML and any(n.domain == ML for n in model.graph.node) and used.version > ML_OPSET:
                raise NotConvertible(f"it needs version {used.version} of {ML}")
            self.use("" if used.domain == "ai.onnx" else used.domain, used.version)
        return prefix + output

    def serialise(self, answer: str, dtype: Any, shape: Sequence[int], metadata: dict[str, str]) -> bytes:
        """The model whose answer is the tensor `answer`. The graph is empty after it."""
        self._nodes.append(helper.make_node("Identity", [answer], [ANSWER]))
        nodes = _reached(self._nodes, ANSWER)
        used = {name for node in nodes for name in _taken(node)}
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
        model = onnx.ModelProto(ir_version=IR_VERSION, producer_name="mlci")
        for domain, version in [("", OPSET), *sorted(self._domains.items())]:
            model.opset_import.add(domain=domain, version=version)
        model.graph.name = "mlci"
        model.graph.input.append(helper.make_tensor_value_info(ROWS, onnx.TensorProto.DOUBLE, ["n", len(self.columns)]))
        model.graph.output.append(helper.make_tensor_value_info(ANSWER, kind, ["n", *shape]))
        model.graph.initializer.extend(one for one in self._initializers if one.name in used)
        self._nodes.clear()
        self._initializers.clear()
        while nodes:  # appending copies: one large node at a time exists twice
            model.graph.node.append(nodes.pop(0))
        for key, value in sorted(metadata.items()):
            model.metadata_props.add(key=key, value=value)
        return bytes(model.SerializeToString(deterministic=True))

    def _name(self, prefix: str) -> str:
        self._count += 1
        return f"{prefix}{self._count}"


def _rename(node: Any, names: dict[str, str]) -> None:
    """Replace inputs of a node, and of the graphs inside it, which see the names around them."""
    for i, name in enumerate(node.input):
        if name in names:
            node.input[i] = names[name]
    for inner in _inner(node):
        for deeper in inner.node:
            _rename(deeper, names)


def _taken(node: Any) -> Iterable[str]:
    yield from node.input
    for inner in _inner(node):
        yield from (output.name for output in inner.output)
        for deeper in inner.node:
            yield from _taken(deeper)


def _inner(node: Any) -> list[Any]:
    return [a.g for a in node.attribute if a.HasField("g")] + [g for a in node.attribute for g in a.graphs]


def _reached(nodes: list[Any], answer: str) -> list[Any]:
    """The nodes that `answer` depends on, in an order in which each comes after what it takes."""
    maker = {name: i for i, node in enumerate(nodes) for name in node.output}
    wanted, kept = [answer], set()
    while wanted:
        i = maker.get(wanted.pop())
        if i is not None and i not in kept:
            kept.add(i)
            wanted += _taken(nodes[i])
    return [nodes[i] for i in sorted(kept)]
