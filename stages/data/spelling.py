"""One text for a category level whatever the source. Standard library only.

A column of numbers reaches us as 1 (JSON, Parquet, SQL), 1.0 (a float column, or CSV by pandas where a value is
missing) or 1,0 (the same with a decimal comma), booleans as true or True. The levels of the training side decide what
such text means, and the model keeps the decision:

- `canonical`: each level that reads as a number is written as programs write numbers (1, 1.0, 0.25). Text is brought to
  the one form (1.0 is `1`, True is `true`), as numbers and booleans are.
- `exact`: some are not, so they are codes (007, 2.10, 1e3). Text stays as it is, and numbers and booleans are refused:
  7 may be 7 or 007.

Models that were trained before this was recorded have no spelling: text as written, numbers as canonical text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from stages.data.cells import EXACT, NUMBER

Spelling = Literal["canonical", "exact"]

_WORDS = frozenset({"true", "false"})
_INTEGRAL = re.compile(r"(-?(?:0|[1-9][0-9]{0,15}))\.0")
_WITH_COMMA = re.compile(r"-?(?:0|[1-9][0-9]*),[0-9]+")
#: Integers as everything writes them; most levels that read as numbers are such.
PLAIN = r"^(0|-?[1-9][0-9]*)$"
_PLAIN = re.compile(PLAIN)


def canonical(text: str, decimal: str = ".") -> str:
    """The canonical text of a level of a column whose spelling is canonical. `decimal`: the decimal point of the
    source."""
    if len(text) in (4, 5) and text.lower() in _WORDS:
        return text.lower()
    if decimal != "." and _WITH_COMMA.fullmatch(text):
        pointed = text.replace(",", ".")
        text = text if is_code(pointed) else pointed
    if text[-2:] == ".0" and (found := _INTEGRAL.fullmatch(text)) and abs(int(found[1])) < EXACT:
        return str(int(found[1]))
    return text


def is_code(text: str, decimal: str = ".") -> bool:
    """Whether `text` reads as a number, but is not written as a program writes that number."""
    if decimal != "." and _WITH_COMMA.fullmatch(text):
        text = text.replace(",", ".")
    if _PLAIN.fullmatch(text) or not NUMBER.fullmatch(text.strip()):
        return False
    number = float(text)
    if number.is_integer() and abs(number) >= EXACT:
        return True
    return repr(number) != text


def spelling_of(levels: Iterable[str]) -> Spelling:
    """The spelling of a column with these levels."""
    return "exact" if any(map(is_code, levels)) else "canonical"


def written_before(known: Iterable[str]) -> dict[str, str]:
    """Canonical text → level, for levels of a model that were kept as they were written."""
    levels = set(known)
    return {canonical(one): one for one in levels if canonical(one) not in levels}
