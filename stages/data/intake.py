"""From chunks of a source to train.parquet, test.parquet and what stands beside them, in two passes and bounded
memory.

The first pass converts and checks every row, spools the accepted ones and keeps their 8-byte hashes. Then duplicates,
conflicts and sides are known, and the second pass writes each row where it belongs. What stays in memory is a few
dozen bytes a row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from stages import console
from stages.config.schema import Data
from stages.data import cells, duplicates, hashing, profile, split
from stages.data.chunks import Chunk, Refusals, shown
from stages.data.contract import Contract
from stages.data.held import Held
from stages.data.levels import Levels, respelled_table
from stages.data.quarantine import FILE, Quarantine
from stages.data.reading import Reader
from stages.data.spool import Spool
from stages.errors import DataError
from stages.records.atomic import write_json

Mask = npt.NDArray[np.bool_]


class Step(Protocol):
    """What a transform is to the intake."""

    dropped: int

    def apply(self, chunk: Chunk) -> Chunk:
        """The chunk that the contract is checked on."""
        ...


class Intake:
    """One run of prepare over one source.

    `task`: classification or regression. `where`: how a person finds the quarantine file if the run fails.
    `advance`: told how many rows were read.
    """

    def __init__(
        self,
        data: Data,
        task: str,
        out: Path,
        *,
        decimal: str = ".",
        where: str = FILE,
        advance: Callable[[int], None] = lambda rows: None,
    ) -> None:
        self._data, self._task, self._out, self._where, self._advance = data, task, out, where, advance
        unique = [name for name, column in data.columns.items() if column.unique]
        groups = [data.split.column] if data.split.column and data.split.by == "group" else []
        self.contract = Contract(data.columns, decimal, exact=[*(data.key or ()), *unique, *groups])
        self._levels, self._decimal = Levels(data, decimal), decimal
        self._changed: list[str] = []
        self._written: npt.NDArray[np.uint64] | None = None
        self._by = data.split.by or ("key" if data.key else "random")
        self._held = Held(data, task, self._by)
        self._read = self._bad_rows = self._duplicates = 0

    def run(self, reader: Reader, transform: Step | None, source: dict[str, Any]) -> dict[str, Any]:
        """Both passes. Writes the stage's files into `out` and returns the profile. `source`: its description, for
        the profile.

        Raises:
            DataError: everything that is in the list of docs/data.md.
        """
        data = self._data
        listed = list(data.columns)
        if transform is None:
            reader.require(listed)
        wanted = listed if transform is None else reader.header
        with (
            Quarantine(self._out / FILE, listed) as quarantine,
            Spool(self._out / "accepted.arrow", self.contract.schema) as spool,
        ):
            for chunk in reader.chunks(wanted):
                self._take(chunk, transform, quarantine, spool)
            self._respell(spool)
            console.doing(f"{self._read:,} rows read; looking for duplicates")
            keep = self._settle(spool, quarantine)
            if not self._read:
                raise DataError("DAT_EMPTY", "the source has a header but no row", "give data with rows")
            quarantine.judge(data, self._read, self._bad_rows, self._where)
            self._held.select(keep)
            test = self._sides(int(keep.sum()))
            console.doing(f"{self._read:,} rows read; writing both sides")
            self._write(spool, keep, test)
        rows = {
            "read": self._read,
            "accepted": len(test),
            "refused": self._bad_rows,
            "duplicates": self._duplicates,
            "dropped_by_transform": transform.dropped if transform is not None else 0,
            "train": int((~test).sum()),
            "test": int(test.sum()),
        }
        dropped = [n for n in reader.header if n not in data.columns]
        return self._describe(
            test,
            {
                "schema_version": 1,
                "source": source,
                "rows": rows,
                "refused": quarantine.counts(),
                "dropped_columns": {"count": len(dropped), "names": dropped[:1000]},
            },
        )

    # ---- first pass ------------------------------------------------------------------------------------------

    def _take(self, chunk: Chunk, transform: Step | None, quarantine: Quarantine, spool: Spool) -> None:
        self._read += chunk.read
        self._advance(chunk.read)
        if transform is not None:
            chunk = transform.apply(chunk)
        checked = self.contract.check(chunk)
        quarantine.add([*chunk.lost, *checked.refusals])
        self._bad_rows += sum(len(r) for r in chunk.lost) + int((~checked.good).sum())
        accepted = checked.table if checked.good.all() else checked.table.filter(pa.array(checked.good))
        if accepted.num_rows:
            spool.write(accepted)
            self._held.add(accepted, chunk.rows[checked.good])
            self._levels.look(accepted, chunk.columns)

    # ---- between -----------------------------------------------------------------------------------------------

    def _respell(self, spool: Spool) -> None:
        """Bring levels into their canonical text, which is known now. The hashes of the rows as they were written are
        kept: models know the rows that they were trained on by them."""
        self._changed = self._levels.changed()
        if not self._changed:
            return
        before = self._held
        self._written = before.array("keys" if self._data.key else "whole")
        rows = before.array("rows")
        self._held = Held(self._data, self._task, self._by)
        for batch, start in self._placed(spool):
            self._held.add(pa.Table.from_batches([batch]), rows[start : start + len(batch)])

    def _placed(self, spool: Spool) -> Iterator[tuple[pa.RecordBatch, int]]:
        """Accepted rows in their canonical text, and the place of the first."""
        start = 0
        for batch in spool.read():
            yield respelled_table(batch, dict.fromkeys(self._changed), self._decimal), start
            start += len(batch)

    def _settle(self, spool: Spool, quarantine: Quarantine) -> Mask:
        """Which accepted rows stay, after identical rows, conflicting keys and repeated values."""
        held, key = self._held, self._data.key
        found = duplicates.find(held.array("whole"), held.array("keys") if key else None)
        refused: list[tuple[str, str, list[str], Mask]] = []
        if found.conflict.any():
            refused.append((", ".join(key or ()), "DAT_KEY_CONFLICT", list(key or ()), found.conflict))
        for name, hashes in held.unique().items():
            again = duplicates.shared(hashes, ~found.identical)
            if again.any():
                refused.append((name, "DAT_UNIQUE", [name], again))
        bad = np.zeros(len(held), dtype=np.bool_)
        for _, _, _, mask in refused:
            bad |= mask
        if refused:
            self._bad_rows += int(bad.sum())
            self._refuse(spool, quarantine, refused)
        self._duplicates = int((found.identical & ~bad).sum())
        return ~found.identical & ~bad

    def _refuse(self, spool: Spool, quarantine: Quarantine, refused: list[tuple[str, str, list[str], Mask]]) -> None:
        """Quarantine entries of accepted rows, whose values are in the spool."""
        rows = self._held.array("rows")
        for batch, start in self._placed(spool):
            entries = []
            for column, code, names, mask in refused:
                at = np.flatnonzero(mask[start : start + len(batch)])
                if len(at):
                    picked = [batch.column(n).take(pa.array(at)).to_pylist() for n in names]
                    values = [shown(", ".join(_text(v) for v in row)) for row in zip(*picked, strict=True)]
                    entries.append(Refusals(column, code, rows[start + at], values))
            quarantine.add(entries)

    def _sides(self, rows: int) -> Mask:
        """True for the rows of the test side, among the `rows` that stay."""
        data, held, by = self._data, self._held, self._by
        share, column = data.split.test, data.split.column
        codes = held.array("targets") if held.has("targets") else None
        if by == "time":
            test = split.by_time(held.array("moments"), share)
        elif by == "random":
            test = split.at_random(rows, share, data.split.seed, codes)
        else:
            test = split.by_hash(held.array("keys" if by == "key" else "groups"), share)
        names, classes = self._present(codes) if codes is not None else ([], None)
        split.check(
            test, by if column is None else f"{by} of {column}", classes, names if classes is not None else None
        )
        if data.positive is not None and classes is not None and cells.canonical(data.positive) not in names:
            raise DataError(
                "DAT_TARGET",
                f"data.positive {data.positive!r} is no value of {data.target}; it has {', '.join(sorted(names)[:10])}",
                "name one of them",
            )
        return test

    def _present(self, codes: npt.NDArray[Any]) -> tuple[list[str], npt.NDArray[np.int64]]:
        """Names of the classes that stand in rows that stay, and those rows' codes among them."""
        present, dense = np.unique(codes, return_inverse=True)
        return [cells.canonical(self._held.classes[i]) for i in present], dense

    # ---- second pass -------------------------------------------------------------------------------------------

    def _write(self, spool: Spool, keep: Mask, test: Mask) -> None:
        side = np.zeros(len(keep), dtype=np.bool_)
        side[np.flatnonzero(keep)] = test
        schema = self.contract.schema
        options: dict[str, Any] = {"compression": "snappy", "write_statistics": False}
        with (
            pq.ParquetWriter(self._out / "train.parquet", schema, **options) as train,
            pq.ParquetWriter(self._out / "test.parquet", schema, **options) as held_out,
        ):
            for batch, start in self._placed(spool):
                here = slice(start, start + len(batch))
                for writer, mask in ((train, keep[here] & ~side[here]), (held_out, keep[here] & side[here])):
                    if mask.any():
                        writer.write_batch(batch.filter(pa.array(mask)))
        hashes = self._held.array("keys" if self._data.key else "whole")
        np.save(self._out / "train.rows.npy", hashes[~test])
        np.save(self._out / "test.rows.npy", hashes[test])
        if self._written is not None:
            np.save(self._out / f"train{hashing.AS_WRITTEN}", self._written[keep][~test])
            np.save(self._out / f"test{hashing.AS_WRITTEN}", self._written[keep][test])

    def _describe(self, test: Mask, found: dict[str, Any]) -> dict[str, Any]:
        """Complete and write the profile `found`, and write schema.json."""
        data, held = self._data, self._held
        given = data.split
        found["split"] = {"by": self._by, "column": given.column, "share": given.test, "seed": given.seed}
        keys, groups = (held.array(part) if held.has(part) else None for part in ("keys", "groups"))
        found["leakage"] = profile.leakage(test, held.array("features"), keys, groups)
        classes = None
        if held.has("targets"):
            counts = {v: n for v, n in zip(held.classes, self._class_counts(test), strict=True) if any(n.values())}
            classes = sorted(counts)
            found["classes"] = {cells.canonical(v): counts[v] for v in classes}
        del self._held, held, keys, groups  # the columns are read now, one at a time
        sides = {s: profile.columns(self._out / f"{s}.parquet", data.columns) for s in ("train", "test")}
        found["columns"] = {
            n: {side: {k: v for k, v in of[n].items() if k != "levels"} for side, of in sides.items()}
            for n in data.columns
        }
        described = profile.schema(data.columns, data.target, sides["train"], classes, self._levels.spellings())
        write_json(self._out / "schema.json", described)
        write_json(self._out / "profile.json", found)
        return found

    def _class_counts(self, test: Mask) -> list[dict[str, int]]:
        codes, size = self._held.array("targets"), len(self._held.classes)
        sides = {"train": np.bincount(codes[~test], minlength=size), "test": np.bincount(codes[test], minlength=size)}
        return [{side: int(counts[i]) for side, counts in sides.items()} for i in range(size)]


def _text(value: Any) -> str:
    return "missing" if value is None else cells.canonical(value)
