"""What can go wrong, and how it is said.

    MlciError
     ├── UsageError      exit 2   the command line is wrong
     ├── ConfigError     exit 2   ml.yaml or jenkins.yaml is wrong
     ├── DataError       exit 3   rows, columns or a source were refused
     ├── ArtefactError   exit 3   a file does not match its record, or must not be loaded
     ├── GateError       exit 4   the gate or the tests said no, or cannot tell
     ├── InfraError      exit 5   Docker, registry, network, store, disk
     └── Interrupted     exit 130 a person or a signal stopped it

Each error carries ``what`` (one line: what happened), ``todo`` (one line: what to do), and ``code``, a stable name
that scripts may branch on. Anything that is not an `MlciError` is a bug in mlci: exit 1, with a traceback.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping

#: A shorter value is left alone: it stands in too many texts that have nothing to do with it.
_SHORTEST_HIDDEN = 4

#: A value that may be a word of the language, or a part of one, as `admin` is of `mlci-admin`: hidden where it stands
#: alone.
_PLAIN_WORD = re.compile("[a-z]{1,11}")

_hidden: list[tuple[re.Pattern[str], str]] = []


def hide(values: Mapping[str, str]) -> None:
    """From now on show the second where a text holds the first: the value of a variable → the reference that it
    replaced. Replaces what was hidden before."""
    _hidden.clear()
    for value, reference in sorted(values.items(), key=lambda pair: -len(pair[0])):
        if len(value) >= _SHORTEST_HIDDEN:
            alone = r"(?<![\w-]){}(?![\w-])" if _PLAIN_WORD.fullmatch(value) else "{}"
            _hidden.append((re.compile(alone.format(re.escape(value))), reference))


def masked(text: str) -> str:
    """`text` without the values of variables that ml.yaml refers to: any of them may be a secret."""
    for value, reference in _hidden:
        text = value.sub(lambda _, shown=reference: shown, text)  # type: ignore[misc]
    return text


class MlciError(Exception):
    """Base class of everything that mlci reports without a traceback.

    `code` is a stable upper-case name, `what` one line of what happened, `todo` one line of what to do next.
    """

    exit_code: ClassVar[int] = 1

    def __init__(self, code: str, what: str, todo: str) -> None:
        self.code = code
        self.what = masked(what)
        self.todo = masked(todo)
        super().__init__(f"{code}: {self.what}")

    def problems(self) -> list[MlciError]:
        """All problems that this error reports; itself, unless it groups several."""
        return [self]


class UsageError(MlciError):
    """The command line cannot be understood."""

    exit_code = 2


class ConfigError(MlciError):
    """A configuration file is wrong; `others` holds further problems found in the same pass."""

    exit_code = 2

    def __init__(self, code: str, what: str, todo: str, others: tuple[ConfigError, ...] = ()) -> None:
        super().__init__(code, what, todo)
        self.others = others

    def problems(self) -> list[MlciError]:
        return [self, *self.others]

    @classmethod
    def group(cls, errors: list[ConfigError]) -> ConfigError:
        """One error that reports all of `errors`, in order.

        Raises:
            ValueError: `errors` is empty.
        """
        if not errors:
            raise ValueError("no errors to group")
        first, *rest = errors
        return cls(first.code, first.what, first.todo, tuple(rest))


class DataError(MlciError):
    """Data were refused: which rows, columns or file, and where the rejects are."""

    exit_code = 3


class ArtefactError(MlciError):
    """A file does not match its record, or is not allowed to be loaded."""

    exit_code = 3


class GateError(MlciError):
    """Tests or the quality gate did not approve: fine to look at, not to deploy."""

    exit_code = 4


class InfraError(MlciError):
    """Something outside failed; `what` or `todo` says what was rolled back."""

    exit_code = 5


class Interrupted(MlciError):
    """Stopped from outside; nothing half-written is left behind."""

    exit_code = 130
