"""The typed face of a wheel, written from the signature."""

from __future__ import annotations

import keyword
import sys
from collections.abc import Mapping
from typing import Any

from stages.data.cells import canonical
from stages.serving.decode import expectation

#: Type of a column → type that a caller gives.
_TAKES = {"number": "float", "integer": "int", "boolean": "bool", "datetime": "str | datetime.datetime"}
#: Type of a class, or of the target → type of a prediction.
_GIVES = {bool: "bool", int: "int", float: "float", str: "str"}


def import_name(name: str) -> str:
    """The package that a model's wheel installs: its name with underscores, `_model` added to what Python itself
    uses."""
    plain = name.replace("-", "_").strip("_")
    return f"{plain}_model" if keyword.iskeyword(plain) or plain in sys.stdlib_module_names else plain


def init(package: str, signature: Mapping[str, Any], digest: str, with_code: bool) -> str:
    """Text of `__init__.py`: `Row`, `Answers`, `Refused`, `predict`, `load`, `SIGNATURE_VERSION`."""
    classes = signature.get("classes")
    columns = "\n".join(_column(feature) for feature in signature["features"])
    target = signature["target"]["name"]
    code = '_HERE / "_code"' if with_code else "None"
    kinds = sorted({_GIVES[type(value)] for value in classes}) if classes else ["float"]
    gives = " | ".join(kinds)
    chances = "list[dict[str, float]]"
    about = f"for each row the probability of each class: {', '.join(map(canonical, classes))}" if classes else "None"
    return f'''"""Predicts {_quiet(target)}. Made by mlci from model {digest}."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple, NotRequired, TypedDict

from {package}._runtime.product.embedded import Embedded, Refused

__all__ = ["MODEL", "Answers", "Refused", "Row", "load", "predict"]

#: Digest of the model in mlci's store.
MODEL = "{digest}"

Row = TypedDict(
    "Row",
    {{
{columns}
    }},
)


class Answers(NamedTuple):
    """In row order. `probabilities`: {_quiet(about)}."""

    predictions: list[{gives}]
    probabilities: {chances} | None


_HERE = Path(__file__).resolve().parent
_embedded = Embedded(_HERE / "_model", {code})


def predict(rows: Iterable[Row]) -> Answers:
    """Predict {_quiet(target)}. Thread-safe; the model is loaded with the first call.

    Raises:
        Refused: values that do not meet the contract; no row is answered unless all are good.
    """
    return Answers(*_embedded.predict(rows))


def load() -> None:
    """Load the model now."""
    _embedded.load()
'''


def main(package: str) -> str:
    """Text of `__main__.py`."""
    return f'''"""Request bodies as lines of JSON on standard input, answers as lines on standard output."""

import sys

from {package} import _embedded
from {package}._runtime.product.lines import main

sys.exit(main(_embedded))
'''


def _column(feature: Mapping[str, Any]) -> str:
    takes = _TAKES.get(feature["type"], "str | int | float | bool")
    if feature.get("nullable"):
        takes = f"NotRequired[{takes} | None]"
    return f"        {feature['name']!r}: {takes},  # {_quiet(expectation(feature))}"


def _quiet(text: str) -> str:
    """One line that ends no docstring and no comment."""
    shown = "".join(c if c.isprintable() else " " for c in text)
    return shown.replace("\\", "/").replace('"', "'")
