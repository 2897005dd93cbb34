"""Quotes in CSV that are escaped with a backslash, which Arrow reads without a complaint and cuts cells at."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from stages.data.chunks import shown
from stages.data.files import opened
from stages.errors import DataError

#: Characters of a row that are looked at and shown.
_KEPT = 100_000


def refuse_escaped(path: Path, name: str, encoding: str, sep: str, above: int) -> None:
    """Refuse a file in which a backslash stands for doubling a quote: read as it is, its cells would be cut in two.

    A backslash in front of a closing quote, as in the names of folders, is one of the cell.

    `above`: lines above the header.

    Raises: DataError: DAT_FORMAT.
    """
    with opened(path, name) as stream:
        text = io.TextIOWrapper(stream, encoding=encoding, errors="replace", newline="")
        lines = _Remembering(text)
        reader = csv.reader(lines, delimiter=sep, strict=True)
        number = -above - 1
        try:
            for row in reader:
                number += bool(row)
                lines.forget()
        except csv.Error as error:
            if '\\"' not in lines.kept:
                return
            raise DataError(
                "DAT_FORMAT",
                f"{name}: row {number + 1:,} escapes quotes with a backslash: {shown(lines.kept.strip())}",
                'set data.read: {escape: "\\\\"}, or double the quotes in the file ("a ""b"" c")',
            ) from error


class _Remembering:
    """Lines, and those since `forget` as one text, of bounded length."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines = lines
        self.kept = ""

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = next(self._lines)
        if len(self.kept) < _KEPT:
            self.kept += line
        return line

    def forget(self) -> None:
        """The row is read."""
        self.kept = ""
