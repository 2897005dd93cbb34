"""Fitted pipeline and signature → the bytes of model.onnx, within bounds of time and size."""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from stages.export.estimators import answer
from stages.export.graph import Graph, NotConvertible
from stages.export.transformers import apply, as_matrix

#: Seconds that a conversion may take, and bytes that its result may have.
MOST_SECONDS = 20.0
MOST_BYTES = 200_000_000

#: The key of the model's metadata that serving reads.
METADATA = "mlci"

T = TypeVar("T")


@dataclass(frozen=True)
class Converted:
    """`content`: the file. `about`: what stands in its metadata."""

    content: bytes
    about: dict[str, Any]


def candidates(
    pipeline: Any, signature: Mapping[str, Any], refuses_missing: Sequence[str] = (), seconds: float = MOST_SECONDS
) -> Iterator[Converted]:
    """Conversions of a pipeline, the most exact first; more than one only when skl2onnx writes the estimator.

    `refuses_missing`: nullable features of which the pipeline raises for a null.

    Raises:
        NotConvertible: there is none, or it takes too long or too much space.
    """
    first = within(seconds, lambda: convert(pipeline, signature, refuses_missing))
    yield first
    second = within(seconds, lambda: convert(pipeline, signature, refuses_missing, double=False))
    if second.content != first.content:
        yield second


def convert(
    pipeline: Any, signature: Mapping[str, Any], refuses_missing: Sequence[str] = (), double: bool = True
) -> Converted:
    """One conversion. `double`: whether an estimator that skl2onnx writes counts in float64 or in float32.

    Raises:
        NotConvertible: some part has no equal in ONNX.
    """
    graph = Graph(double)
    state: Any = tuple(signature["features"])
    for _, step in pipeline.steps[:-1]:
        state = apply(graph, step, state)
    classes = None if signature["classes"] is None else len(signature["classes"])
    output = answer(graph, pipeline.steps[-1][1], as_matrix(graph, state), classes)
    if not graph.columns:
        raise NotConvertible("the model looks at no column")
    graph.arrange()
    about = {
        "version": 1,
        "columns": graph.columns,
        "refuses_missing": sorted(refuses_missing),
        "output": output.kind,
    }
    text = json.dumps(about, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    content = graph.serialise(output.name, output.dtype, output.shape(classes or 1), {METADATA: text})
    if len(content) > MOST_BYTES:
        raise NotConvertible(f"it would have {len(content) / 1e6:.0f} MB, {MOST_BYTES / 1e6:.0f} are the most")
    return Converted(content, about)


class _OutOfTime(BaseException):
    """Raised in a thread from outside. No `except Exception` on its way stops it."""


def within(seconds: float, work: Callable[[], T]) -> T:
    """`work()`, given up after that many seconds.

    It runs in a thread of its own that an exception ends at its next line of Python: a process would have to import
    scikit-learn again.

    Raises:
        NotConvertible: it took longer, or it raised: a model that nobody thought of shall be served by scikit-learn.
    """
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001  raised again by the caller
            errors.append(error)

    thread = threading.Thread(target=run, name="export", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_OutOfTime))
        raise NotConvertible(f"the conversion took more than {seconds:g} s")
    if errors and isinstance(errors[0], NotConvertible):
        raise errors[0]
    if errors:
        line = " ".join(str(errors[0]).split())[:160]
        raise NotConvertible(f"the conversion failed: {type(errors[0]).__name__}: {line}") from errors[0]
    return results[0]
