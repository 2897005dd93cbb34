"""Numbers in `MLCI_*` environment variables: one reader, so that a wrong value is an error everywhere and ignored
nowhere."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from stages.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

#: Largest value: more seconds than any timer of the standard library takes are of no use.
_MOST_SECONDS, _MOST_COUNT = 1e9, 2**53
#: A longer text is no number that anybody means.
_LONGEST = 40

#: Variables that hold a number of seconds or megabytes → the least value.
_MEASURES = {"MLCI_LOCK_TIMEOUT": 0.0, "MLCI_READY_SECONDS": 1e-3, "MLCI_IMAGE_MAX_MB": 1e-3}
#: Variables that hold a count → the least value.
_COUNTS = {"MLCI_KEEP_IMAGES": 0}


def measure(name: str, default: float, least: float = 1e-9, environment: Mapping[str, str] | None = None) -> float:
    """The number (seconds, megabytes) in the variable `name`, `default` where it is not set.

    Raises:
        UsageError: CFG_LIMIT: the value is not a finite number of at least `least`.
    """
    text = (os.environ if environment is None else environment).get(name)
    if text is None:
        return default
    try:
        value = float(text) if len(text) <= _LONGEST and text.isascii() else float("nan")
    except ValueError:
        value = float("nan")
    if not least <= value <= _MOST_SECONDS:
        raise _wrong(name, text, "a number", least, default)
    return value


def count(name: str, default: int, least: int = 1, environment: Mapping[str, str] | None = None) -> int:
    """The whole number in the variable `name`, `default` where it is not set.

    Raises:
        UsageError: CFG_LIMIT: the value is not a whole number of at least `least`.
    """
    text = (os.environ if environment is None else environment).get(name)
    if text is None:
        return default
    try:
        value = int(text) if len(text) <= _LONGEST and text.isascii() else least - 1
    except ValueError:
        value = least - 1
    if not least <= value <= _MOST_COUNT:
        raise _wrong(name, text, "a whole number", least, default)
    return value


def check() -> None:
    """Read every variable once, before a command does any work. Raises: UsageError: CFG_LIMIT."""
    for name, least in _MEASURES.items():
        measure(name, 0.0, least)
    for name, least_count in _COUNTS.items():
        count(name, 0, least_count)


def _wrong(name: str, text: str, kind: str, least: float, default: float) -> UsageError:
    shown = repr(text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…")
    bound = f"of at least {least:g}" if least >= 1 or not least else "above 0"
    return UsageError("CFG_LIMIT", f"{name}={shown} is not {kind} {bound}", "correct the value, or unset the variable")
