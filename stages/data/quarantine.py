"""Refused cells: written to quarantine.parquet as they are found, counted, and judged in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq

from stages.config.schema import Column, Data
from stages.config.suffixes import format_by_suffix
from stages.data.chunks import SCHEMA, Refusals, as_table
from stages.errors import DataError

FILE = "quarantine.parquet"


class Quarantine:
    """The refused cells of one source. A context manager; the file is whole when it is left.

    `order`: column names, which entries of the same row are sorted by.
    """

    def __init__(self, path: Path, order: Sequence[str]) -> None:
        self._order = list(order)
        self._writer = pq.ParquetWriter(path, SCHEMA, compression="zstd")
        self.by_cell: Counter[tuple[str, str]] = Counter()
        self._examples: dict[tuple[str, str], tuple[int, str | None]] = {}

    def __enter__(self) -> Quarantine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()

    def add(self, refusals: Sequence[Refusals]) -> None:
        """Write the refused cells of one chunk."""
        if not refusals:
            return
        for one in refusals:
            if len(one):
                self.by_cell[(one.column, one.code)] += len(one)
                self._examples.setdefault((one.column, one.code), (int(one.rows[0]), one.values[0]))
        self._writer.write_table(as_table(refusals, self._order))

    def counts(self) -> dict[str, Any]:
        """Refused cells by code, and by column and code; whole rows stand under the column ''."""
        codes: Counter[str] = Counter()
        columns: dict[str, dict[str, int]] = {}
        for (column, code), n in sorted(self.by_cell.items()):
            codes[code] += n
            columns.setdefault(column, {})[code] = n
        return {"by_code": dict(sorted(codes.items())), "by_column": columns}

    def worst(self, count: int = 3) -> str:
        """The commonest reasons in words, each with a row."""
        parts = []
        for (column, code), n in sorted(self.by_cell.items(), key=lambda item: (-item[1], item[0]))[:count]:
            row, value = self._examples[(column, code)]
            said = "missing" if value is None else repr(value if len(value) <= 40 else value[:39] + "…")
            parts.append(f"{column + ' ' if column else ''}{code} {n:,} (row {row:,}: {said})")
        return "; ".join(parts)

    def judge(self, data: Data, read: int, bad_rows: int, where: str) -> None:
        """Decide whether so many refused rows are too many. `where`: how a person finds the quarantine file.

        Raises:
            DataError: DAT_BAD_ROWS, DAT_TOLERATE, DAT_TOO_MANY_BAD, or DAT_ENCODING when most of it is undecodable
            text.
        """
        if not bad_rows:
            return
        if data.bad_rows == "fail":
            raise DataError(
                "DAT_BAD_ROWS",
                f"{bad_rows:,} of {read:,} rows were refused, and bad_rows is fail: {self.worst()}",
                f"correct the data or the contract; all refused cells are in {where}",
            )
        self._judge_columns(data.columns, read, where)
        if bad_rows > data.max_bad_fraction * read:
            self._refuse(data, read, bad_rows, where)

    def _judge_columns(self, columns: dict[str, Column], read: int, where: str) -> None:
        for name, column in columns.items():
            bad = sum(n for (refused, _), n in self.by_cell.items() if refused == name)
            if column.tolerate is not None and bad > column.tolerate * read:
                raise DataError(
                    "DAT_TOLERATE",
                    f"{name}: {bad:,} of {read:,} values ({_percent(bad, read)}) were refused, more than tolerate: "
                    f"{column.tolerate:g}: {self._worst_of(name)}",
                    f"correct the data or the contract; all refused cells are in {where}",
                )

    def _worst_of(self, name: str) -> str:
        codes = {code: n for (column, code), n in self.by_cell.items() if column == name}
        code = max(sorted(codes), key=lambda c: codes[c])
        row, value = self._examples[(name, code)]
        return f"{code} {codes[code]:,} (row {row:,}: {'missing' if value is None else repr(value[:40])})"

    def _refuse(self, data: Data, read: int, bad_rows: int, where: str) -> None:
        share = f"{bad_rows:,} of {read:,} rows ({_percent(bad_rows, read)}) were refused, more than max_bad_fraction: "
        undecodable = sum(n for (_, code), n in self.by_cell.items() if code == "DAT_TEXT")
        if undecodable * 2 > sum(self.by_cell.values()):
            if not _is_text(data):
                raise DataError(
                    "DAT_TOO_MANY_BAD",
                    f"{share}{data.max_bad_fraction:g}, most for bytes that are no UTF-8 text: {self.worst()}",
                    "have the source give text (for example in hexadecimal), or take the column out of data.columns",
                )
            raise DataError(
                "DAT_ENCODING",
                f"{share}{data.max_bad_fraction:g}, most for bytes that are not {data.read.encoding}: {self.worst()}",
                "set data.read.encoding to what wrote the file: utf-8, cp1252 (Windows), latin-1, utf-16",
            )
        raise DataError(
            "DAT_TOO_MANY_BAD",
            f"{share}{data.max_bad_fraction:g}: {self.worst()}",
            f"correct the data, the contract or the limit; all refused cells are in {where}",
        )


def _is_text(data: Data) -> bool:
    """Whether the source is text, which has an encoding."""
    if not isinstance(data.source, str) or data.source.startswith("python:"):
        return False
    return (data.format or format_by_suffix(urlsplit(data.source).path)) != "parquet"


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.1f} %" if share >= 1 else f"{share:.2g} %"
