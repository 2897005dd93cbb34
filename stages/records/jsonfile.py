"""Reading JSON that others may have written: records, manifests, aliases, answers. Bounded in size, depth and the
number of values. A service reads with it too, and imports nothing else of the stages for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError
from stages.records.regular import read_regular

#: Largest text, in bytes.
LARGEST = 64 * 2**20
#: Levels of lists and objects inside each other. Records have six; what walks through them recurses.
DEEPEST = 64
#: Lists, objects and values: each takes about 60 bytes of memory for 2 bytes of text.
MOST_VALUES = 4_000_000
#: Digits of a whole number; a longer one fits into no float and no column.
_LONGEST_NUMBER = 300


def read_json(path: Path) -> Any:
    """The JSON object in a stage's file. Raises: ArtefactError: MOD_RECORD when it is missing, not JSON, not an object
    or beyond the limits."""
    try:
        found = parse(content(path))
        if not isinstance(found, dict):
            raise ValueError("it holds no object")
        return found
    except (OSError, ValueError) as error:
        raise ArtefactError(
            "MOD_RECORD", f"{path}: cannot be read: {error}", "run the stage that writes it again"
        ) from error


def content(path: Path, largest: int = LARGEST) -> bytes:
    """A regular file's bytes. Raises: OSError: also when it is another kind of file, or larger than `largest`."""
    return read_regular(path, largest)


def parse(text: bytes | str, largest: int = LARGEST) -> Any:
    """JSON text as plain data, in memory of at most about 20 times `largest`.

    Raises:
        ValueError: not JSON, not UTF-8, or beyond `largest`, `DEEPEST`, `MOST_VALUES` or the digits of a number.
    """
    if len(text) > largest:
        raise ValueError(f"it is larger than {largest >> 20} MiB")
    if len(text) > MOST_VALUES and _values(text) > MOST_VALUES:
        raise ValueError(f"it holds more than {MOST_VALUES:,} values")
    try:
        found = json.loads(text, parse_int=_integer)
    except RecursionError:
        raise _too_deep() from None
    _check_depth(found)
    return found


def _values(text: bytes | str) -> int:
    """No more than this many values begin in `text`."""
    if isinstance(text, bytes):
        return text.count(b",") + text.count(b"[") + text.count(b"{")
    return text.count(",") + text.count("[") + text.count("{")


def _check_depth(found: Any) -> None:
    level = [found]
    for _ in range(DEEPEST + 1):
        items = (one.values() if isinstance(one, dict) else one for one in level if isinstance(one, dict | list))
        level = [item for values in items for item in values if isinstance(item, dict | list)]
        if not level:
            return
    raise _too_deep()


def _too_deep() -> ValueError:
    return ValueError(f"it is nested deeper than {DEEPEST} levels")


def _integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"it holds a number of {len(digits):,} digits")
    return int(digits)
