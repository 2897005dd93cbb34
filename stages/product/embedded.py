"""A model inside product code: rows in, answers out, with the service's own contract and predictor.

This module travels inside wheels. It imports nothing that a wheel has not, and numpy only when it is asked something.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages.serving.predictor import Answers, Predictor, RowsRefused

if TYPE_CHECKING:
    from stages.serving.decode import Problem

#: Package of mlci's modules here, and as saved pipelines know it.
_HERE = __name__.removesuffix(".product.embedded")
_SAVED = "stages"
#: The module of mlci whose classes a saved pipeline may hold.
_CLASSES = "model.datetimes"


class Refused(ValueError):
    """Rows that do not meet the model's contract, or that it has no answer for.

    `problems`: the first hundred, each with `pointer` (`/rows/3/age`), `code`, `expected`, `got` and perhaps `hint`,
    as in a 422 of the service. `total`: how many there are. Neither holds a value of the rows.
    """

    def __init__(self, code: str, detail: str, problems: Sequence[Problem], total: int) -> None:
        first = f": {problems[0].pointer}: expected {problems[0].expected}, got {problems[0].got}" if problems else ""
        super().__init__(detail + first)
        self.code = code
        self.detail = detail
        self.problems = [problem.plain() for problem in problems]
        self.total = total


class Embedded:
    """The model in `folder`; `code`: folder of the modules that it needs. Loaded on first use, once, by any thread."""

    def __init__(self, folder: Path, code: Path | None = None) -> None:
        self._folder = folder
        self._code = code
        self._lock = threading.Lock()
        self._predictor: Predictor | None = None

    def load(self) -> Predictor:
        """Load the model now, so that the first prediction need not.

        Raises:
            ArtefactError: the model cannot be loaded here.
        """
        with self._lock:
            if self._predictor is None:
                with _as_saved():
                    self._predictor = _loaded(self._folder, self._code)
            return self._predictor

    def predict(self, rows: Iterable[Mapping[str, Any]]) -> Answers:
        """Answer rows (column → value) in their order.

        Values are those of JSON, besides: dates and times, and numbers and booleans of numpy.

        Raises:
            Refused: no row is answered unless all are good. ArtefactError: the model cannot be loaded here.
        """
        if isinstance(rows, Mapping):
            raise TypeError("rows is one row: give a list of rows, [row]")
        predictor = self.load()
        decoded = predictor.decode([_plain(row) for row in rows])
        if decoded.refused:
            values = "1 value does" if decoded.refused == 1 else f"{decoded.refused} values do"
            raise Refused("DAT_REFUSED", f"{values} not meet the contract", decoded.problems, decoded.refused)
        try:
            return predictor.answer(decoded)
        except RowsRefused as refused:
            raise _no_answer(refused) from None


def _no_answer(refused: RowsRefused) -> Refused:
    from stages.serving.decode import Problem

    wanted = "values that the model can answer"
    problems = [Problem(f"/rows/{i}", "MOD_NO_ANSWER", wanted, "none such") for i in refused.rows]
    return Refused("MOD_NO_ANSWER", "the model has no answer for these rows", problems, len(problems))


def _plain(row: Any) -> Any:
    """A row as the service would have got it; what is no mapping is left for the contract to refuse."""
    if not isinstance(row, Mapping):
        return row
    return {name: _value(value) for name, value in row.items()}


def _value(value: Any) -> Any:
    if value is None or type(value) in (float, int, str, bool):
        return value
    if isinstance(value, date):
        return value.isoformat()
    item = getattr(value, "item", None)  # of numpy
    return item() if callable(item) and getattr(value, "shape", None) == () else value


def _loaded(folder: Path, code: Path | None) -> Predictor:
    if code is None:
        return Predictor.load(folder)
    if str(code) not in sys.path:
        sys.path.append(str(code))
    predictor = Predictor.load(folder)
    _own_modules(code)
    return predictor


def _own_modules(code: Path) -> None:
    """The product may have a module of the same name as one that the model was trained with.

    Raises:
        ArtefactError: MOD_SHADOWED.
    """
    from stages.errors import ArtefactError

    for path in sorted(code.rglob("*.py")):
        name = ".".join(path.relative_to(code).with_suffix("").parts).removesuffix(".__init__")
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and Path(file).resolve() != path.resolve():
            raise ArtefactError(
                "MOD_SHADOWED",
                f"the model needs its own module {name}, another one of that name is imported: {file}",
                "rename one of the two",
            )


@contextmanager
def _as_saved() -> Iterator[None]:
    """A saved pipeline names mlci's classes as `stages.…`; while it is loaded, those names lead to the modules here."""
    if _HERE == _SAVED:
        yield
        return
    import importlib
    import importlib.util

    if importlib.util.find_spec(f"{_HERE}.{_CLASSES}") is None:  # answers with ONNX
        yield
        return
    package = _CLASSES.split(".")[0]
    names = {f"{_SAVED}.{name}": f"{_HERE}.{name}" for name in (package, _CLASSES)} | {_SAVED: _HERE}
    before = {name: sys.modules.get(name) for name in names}
    sys.modules.update({name: importlib.import_module(here) for name, here in names.items()})
    try:
        yield
    finally:
        for name, module_before in before.items():
            if module_before is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module_before
