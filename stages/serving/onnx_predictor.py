"""model.onnx behind the same calls as a pipeline: numpy and onnxruntime, neither scikit-learn nor pandas.

The class of a row is the one with the largest probability, the first of equal ones, as in scikit-learn; parity compared
it with the pipeline's own.
"""

from __future__ import annotations

import hashlib
import math
import struct
import threading
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime

from stages.data.cells import canonical
from stages.errors import ArtefactError
from stages.model.inputs import Inputs
from stages.model.onnxlog import quiet_options
from stages.records import jsonfile
from stages.records.regular import read_regular
from stages.serving.decode import Decoded
from stages.serving.predictor import Answers, Columns, Predictor, RowsRefused, levels_of
from stages.serving.single import picker

if TYPE_CHECKING:
    import pyarrow as pa

_PROVIDER = "CPUExecutionProvider"
_NAN = float("nan")
_AGAIN = "train again: mlci train"

#: Rows that the model is asked for at once: one-hot columns of many rows would fill the memory.
_ROWS = 2048

#: Seconds that a call may take and still be made where requests are read, without a thread.
_INLINE_SECONDS, _INLINE_ROWS = 0.001, 512


class OnnxPredictor(Predictor):
    """A session, the signature and its decoder. `inline_rows`: so many rows take at most about a millisecond."""

    runtime = "onnxruntime"

    def __init__(
        self, content: bytes, signature: Mapping[str, Any], levels: Mapping[str, list[str]] | None = None
    ) -> None:
        super().__init__(None, signature, levels)
        self._session = _session(content)
        about = _about(self._session)
        self._inputs = Inputs(about["columns"], about["refuses_missing"])
        self._output: str = about["output"]
        classes = signature.get("classes")
        self._classes: list[Any] | None = None if classes is None else list(classes)
        self._names = [canonical(one) for one in classes or ()]
        self._one_row()
        self.inline_rows = self._measured()

    @classmethod
    def open(cls, folder: Path, signature: Mapping[str, Any]) -> OnnxPredictor:
        """Load `model.onnx`, whose digest stands in the signature.

        Raises:
            ArtefactError: MOD_RECORD: it is not there or has another digest; MOD_UNREADABLE.
        """
        path = folder / "model.onnx"
        try:
            content = read_regular(path)
        except OSError as error:
            raise ArtefactError("MOD_RECORD", f"model.onnx: {error.strerror}", _AGAIN) from error
        if hashlib.sha256(content).hexdigest() != signature["onnx"].get("sha256"):
            raise ArtefactError("MOD_RECORD", "model.onnx does not match the digest in signature.json", _AGAIN)
        return cls(content, signature, levels_of(folder))

    @property
    def gives_probabilities(self) -> bool:
        """Whether answers have probabilities."""
        return self._classes is not None and self._output != "label"

    def answer(self, decoded: Decoded) -> Answers:
        """Answer the rows of a request, one that came alone in memory of its own.

        Raises:
            RowsRefused: as `predict`.
        """
        row = decoded.row
        if row is None or self._inputs.refuses or not self._free.acquire(False):
            return self.predict(decoded.columns)
        try:
            values = list(row if self._pick is None else self._pick(row))
            for place, maker in self._made:
                values[place] = maker(values[place])
            try:
                self._write_row(*values)
            except struct.error:  # a null
                self._write_row(*[_NAN if value is None else value for value in values])
            self._session.run_with_iobinding(self._binding)
            return self._single(self._said.tolist())
        finally:
            self._free.release()

    def predict(self, columns: Columns) -> Answers:
        """Answer decoded rows.

        Raises:
            RowsRefused: the trained pipeline takes none such, or the answer is not finite.
        """
        rows = len(next(iter(columns.values()), ()))
        refused = self._inputs.refused(columns)
        if refused:
            raise RowsRefused(refused[:10])
        if not rows:
            return Answers([], None if self._classes is None or self._output == "label" else [])
        return self._many(self._inputs.matrix(columns))

    def predict_table(self, table: pa.Table) -> Answers:
        """Answer the rows of an arrow table with contract types, as `prepare` leaves them.

        Raises:
            RowsRefused: as `predict`.
        """
        if self._inputs.refuses:
            names = [feature["name"] for feature in self.signature["features"]]
            refused = self._inputs.refused({name: table.column(name).to_pylist() for name in names})
            if refused:
                raise RowsRefused(refused[:10])
        return self._many(self._inputs.from_table(table))

    def _many(self, matrix: np.ndarray) -> Answers:
        parts = [self._run(matrix[start : start + _ROWS]) for start in range(0, max(1, len(matrix)), _ROWS)]
        out = parts[0] if len(parts) == 1 else np.concatenate(parts)
        if out.dtype.kind == "f":
            finite = np.isfinite(out).all(axis=1)
            if not finite.all():
                raise RowsRefused(np.flatnonzero(~finite)[:10].tolist())
        return self._told(out)

    def _run(self, matrix: np.ndarray) -> np.ndarray:
        found: np.ndarray = self._session.run(["answer"], {"rows": matrix})[0]
        return found

    def _told(self, out: np.ndarray) -> Answers:
        classes = self._classes
        if classes is None:
            return Answers(out[:, 0].astype(float).tolist(), None)
        if self._output == "label":
            return Answers([classes[i] for i in out.tolist()], None)
        if self._output == "positive":
            first, second = self._names
            chances = out[:, 0].tolist()
            said = [classes[p > 0.5] for p in chances]
            return Answers(said, [{first: 1.0 - p, second: p} for p in chances])
        names = self._names
        said = [classes[i] for i in out.argmax(axis=1).tolist()]
        return Answers(said, [dict(zip(names, row, strict=True)) for row in out.tolist()])

    def _single(self, out: Any) -> Answers:
        """As `_told`, for one row."""
        classes = self._classes
        if self._output == "positive":
            first, second = self._names
            p = out[0]
            if p - p != 0.0:  # infinite or NaN
                raise RowsRefused([0])
            return Answers([(classes or [])[p > 0.5]], [{first: 1.0 - p, second: p}])
        if self._output == "label":
            return Answers([(classes or [])[out[0]]], None)
        if not all(map(math.isfinite, out)):
            raise RowsRefused([0])
        if classes is None:
            return Answers(out, None)
        return Answers([classes[out.index(max(out))]], [dict(zip(self._names, out, strict=True))])

    def _one_row(self) -> None:
        """Memory for one row and its answer that every call uses again: it saves a third of the call."""
        described = self._session.get_outputs()[0]
        kind = {"tensor(double)": np.float64, "tensor(float)": np.float32, "tensor(int64)": np.int64}[described.type]
        place = np.zeros((1, len(self._inputs.columns)))
        out = np.zeros((1, *described.shape[1:]), dtype=kind)
        self._said = out.reshape(-1).data
        names = self.decoder.names
        wanted = [names.index(name) for name, _ in self._inputs.makers]
        self._pick = None if wanted == list(range(len(names))) else picker(wanted)
        self._made = [(place, maker) for place, (_, maker) in enumerate(self._inputs.makers) if maker is not None]
        self._write_row = partial(struct.Struct(f"{place.shape[1]}d").pack_into, place.data.cast("B"), 0)
        self._binding = self._session.io_binding()
        self._binding.bind_input("rows", "cpu", 0, np.float64, place.shape, place.ctypes.data)
        self._binding.bind_output("answer", "cpu", 0, kind, out.shape, out.ctypes.data)
        self._free = threading.Lock()

    def _measured(self) -> int:
        """How many rows can be answered at once without keeping other requests waiting; also the first use."""
        rows = 64
        matrix = np.zeros((rows, len(self._inputs.columns)))
        seconds = math.inf
        for _ in range(3):
            started = time.perf_counter()
            self._run(matrix)
            seconds = min(seconds, time.perf_counter() - started)
        return min(_INLINE_ROWS, int(rows * _INLINE_SECONDS / seconds))


def _session(content: bytes) -> Any:
    options = quiet_options()
    options.intra_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    try:
        session = onnxruntime.InferenceSession(content, options, providers=[_PROVIDER])
    except Exception as error:  # its exceptions share no base class of their own
        what = f"onnxruntime cannot read model.onnx: {' '.join(str(error).split())[:200]}"
        raise ArtefactError("MOD_UNREADABLE", what, _AGAIN) from error
    if session.get_providers() != [_PROVIDER]:
        raise ArtefactError(
            "MOD_PROVIDER",
            f"onnxruntime runs on {', '.join(session.get_providers())}, parity was proved on {_PROVIDER}",
            "install the onnxruntime package for CPUs",
        )
    return session


def _about(session: Any) -> dict[str, Any]:
    try:
        found: dict[str, Any] = jsonfile.parse(session.get_modelmeta().custom_metadata_map["mlci"])
    except (KeyError, ValueError) as error:
        raise ArtefactError("MOD_UNREADABLE", "model.onnx does not say what its inputs are", _AGAIN) from error
    return found
