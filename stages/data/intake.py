"""From chunks of a source to train.parquet, test.parquet and what stands beside them, in two passes and bounded
memory.

The first pass converts and checks every row, spools the accepted ones and keeps their 8-byte hashes. Then
duplicates, conflicts and
sides are known, and the second pass writes each row where it belongs. What stays in memory is a few dozen bytes a
row.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from stages.config.schema import Data
from stages.data import cells, duplicates, hashing, profile, split
from stages.data.chunks import Chunk, Refusals, shown
from stages.data.contract import Contract
from stages.data.hashing import Hashes
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


@dataclass
class _Held:
    """What is kept of the accepted rows: one entry of each list a chunk, later one array."""

    rows: list[npt.NDArray[np.int64]] = field(default_factory=list)
    whole: list[Hashes] = field(default_factory=list)
    keys: list[Hashes] = field(default_factory=list)
    features: list[Hashes] = field(default_factory=list)
    groups: list[Hashes] = field(default_factory=list)
    moments: list[npt.NDArray[Any]] = field(default_factory=list)
    targets: list[npt.NDArray[np.int64]] = field(default_factory=list)
    unique: dict[str, list[Hashes]] = field(default_factory=dict)


class Intake:
    """One run of prepare over one source.

    `task`: classification or regression. `where`: how a person finds the quarantine file if the run fails.
    `advance`: told how
    many rows were read.
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
        self.contract = Contract(data.columns, decimal)
        self._by = data.split.by or ("key" if data.key else "random")
        self._held = _Held(unique={n: [] for n, c in data.columns.items() if c.unique})
        self._classes: dict[Any, int] = {}
        self._read = self._bad_rows = self._dropped = 0

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
            keep = self._settle(spool, quarantine)
            if not self._read:
                raise DataError("DAT_EMPTY", "the source has a header but no row", "give data with rows")
            quarantine.judge(data, self._read, self._bad_rows, self._where)
            self._dropped = transform.dropped if transform is not None else 0
            test = self._sides(keep)
            self._write(spool, keep, test)
            dropped = [n for n in reader.header if n not in data.columns]
            return self._finish(keep, test, quarantine, dropped, source)

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
            self._hold(accepted, chunk.rows[checked.good])

    def _hold(self, table: pa.Table, rows: npt.NDArray[np.int64]) -> None:
        data, held, n = self._data, self._held, table.num_rows
        hashes = hashing.columns_of(table, data.columns)

        def over(names: Sequence[str]) -> Hashes:
            return hashing.combine((hashes[name] for name in names), n)

        held.rows.append(rows)
        held.whole.append(over(list(data.columns)))
        held.features.append(over(data.features))
        if data.key:
            held.keys.append(over(data.key))
        if self._by == "group" and data.split.column:
            held.groups.append(over([data.split.column]))
        if self._by == "time" and data.split.column:
            held.moments.append(_moments(table.column(data.split.column), data.split.column))
        for name, found in held.unique.items():
            missing = np.asarray(table.column(name).is_null())
            # Missing values are not repeated ones: each gets a number of its own, its row.
            found.append(np.where(missing, hashing.mix(rows.astype(np.uint64)), hashes[name]))
        if self._task == "classification":
            held.targets.append(self._codes(table.column(data.target)))

    def _codes(self, column: pa.ChunkedArray) -> npt.NDArray[np.int64]:
        array = column.combine_chunks()
        encoded = array if pa.types.is_dictionary(array.type) else array.dictionary_encode()
        own = [self._classes.setdefault(v, len(self._classes)) for v in encoded.dictionary.to_pylist()]
        codes: npt.NDArray[np.int64] = np.array(own, dtype=np.int64)[encoded.indices.to_numpy(zero_copy_only=False)]
        return codes

    # ---- between -----------------------------------------------------------------------------------------------

    def _settle(self, spool: Spool, quarantine: Quarantine) -> Mask:
        """Which accepted rows stay, after identical rows, conflicting keys and repeated values."""
        held, key = self._held, self._data.key
        whole = _joined(held.whole, np.uint64)
        found = duplicates.find(whole, _joined(held.keys, np.uint64) if key else None)
        refused: list[tuple[str, str, list[str], Mask]] = []
        if found.conflict.any():
            refused.append((", ".join(key or ()), "DAT_KEY_CONFLICT", list(key or ()), found.conflict))
        for name, hashes in held.unique.items():
            again = duplicates.shared(_joined(hashes, np.uint64), ~found.identical)
            if again.any():
                refused.append((name, "DAT_UNIQUE", [name], again))
        bad = np.zeros(len(whole), dtype=np.bool_)
        for _, _, _, mask in refused:
            bad |= mask
        if refused:
            self._bad_rows += int(bad.sum())
            self._refuse(spool, quarantine, refused)
        self._duplicates = int((found.identical & ~bad).sum())
        return ~found.identical & ~bad

    def _refuse(self, spool: Spool, quarantine: Quarantine, refused: list[tuple[str, str, list[str], Mask]]) -> None:
        """Quarantine entries of accepted rows, whose values are in the spool."""
        for batch, start in _placed(spool):
            entries = []
            for column, code, names, mask in refused:
                at = np.flatnonzero(mask[start : start + len(batch)])
                if len(at):
                    picked = [batch.column(n).take(pa.array(at)).to_pylist() for n in names]
                    values = [shown(", ".join(_text(v) for v in row)) for row in zip(*picked, strict=True)]
                    entries.append(Refusals(column, code, self._rows[start + at], values))
            quarantine.add(entries)

    @property
    def _rows(self) -> npt.NDArray[np.int64]:
        self._held.rows = [_joined(self._held.rows, np.int64)]
        return self._held.rows[0]

    def _sides(self, keep: Mask) -> Mask:
        """True for the rows of the test side, among those that stay."""
        data, held, kept = self._data, self._held, int(keep.sum())
        share, column = data.split.test, data.split.column
        classes = _joined(held.targets, np.int64)[keep] if self._task == "classification" else None
        how = self._by if column is None else f"{self._by} of {column}"
        if self._by == "key":
            test = split.by_hash(_joined(held.keys, np.uint64)[keep], share)
        elif self._by == "group":
            test = split.by_hash(_joined(held.groups, np.uint64)[keep], share)
        elif self._by == "time":
            test = split.by_time(_joined(held.moments, np.int64)[keep], share)
        else:
            test = split.at_random(kept, share, data.split.seed, classes)
        names = [cells.canonical(v) for v in self._classes]
        if classes is not None:
            names, classes = _present(names, classes)
        split.check(test, how, classes, names if classes is not None else None)
        if data.positive is not None and classes is not None and cells.canonical(data.positive) not in names:
            raise DataError(
                "DAT_TARGET",
                f"data.positive {data.positive!r} is no value of {data.target}; it has {', '.join(sorted(names)[:10])}",
                "name one of them",
            )
        return test

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
            for batch, start in _placed(spool):
                here = slice(start, start + len(batch))
                for writer, mask in ((train, keep[here] & ~side[here]), (held_out, keep[here] & side[here])):
                    if mask.any():
                        writer.write_batch(batch.filter(pa.array(mask)))
        hashes = _joined(self._held.keys if self._data.key else self._held.whole, np.uint64)[keep]
        np.save(self._out / "train.rows.npy", hashes[~test])
        np.save(self._out / "test.rows.npy", hashes[test])

    def _finish(
        self, keep: Mask, test: Mask, quarantine: Quarantine, dropped: list[str], source: dict[str, Any]
    ) -> dict[str, Any]:
        data, held = self._data, self._held
        keys = _joined(held.keys, np.uint64)[keep] if data.key else None
        groups = _joined(held.groups, np.uint64)[keep] if held.groups else None
        sides = {s: profile.columns(self._out / f"{s}.parquet", data.columns) for s in ("train", "test")}
        classes = sorted(self._classes) if self._task == "classification" else None
        if classes is not None:
            codes = _joined(held.targets, np.int64)[keep]
            classes = [c for c in classes if (codes == self._classes[c]).any()]
        found = {
            "schema_version": 1,
            "source": source,
            "rows": {
                "read": self._read,
                "accepted": int(keep.sum()),
                "refused": self._bad_rows,
                "duplicates": self._duplicates,
                "dropped_by_transform": self._dropped,
                "train": int((~test).sum()),
                "test": int(test.sum()),
            },
            "refused": quarantine.counts(),
            "dropped_columns": {"count": len(dropped), "names": dropped[:1000]},
            "split": {"by": self._by, "column": data.split.column, "share": data.split.test, "seed": data.split.seed},
            "leakage": profile.leakage(test, _joined(held.features, np.uint64)[keep], keys, groups),
            "classes": None if classes is None else self._class_counts(classes, keep, test),
            "columns": {
                n: {side: {k: v for k, v in of[n].items() if k != "levels"} for side, of in sides.items()}
                for n in data.columns
            },
        }
        write_json(self._out / "schema.json", profile.schema(data.columns, data.target, sides["train"], classes))
        write_json(self._out / "profile.json", found)
        return found

    def _class_counts(self, classes: list[Any], keep: Mask, test: Mask) -> dict[str, dict[str, int]]:
        codes = _joined(self._held.targets, np.int64)[keep]
        return {
            cells.canonical(c): {
                "train": int((codes[~test] == self._classes[c]).sum()),
                "test": int((codes[test] == self._classes[c]).sum()),
            }
            for c in classes
        }


def _joined(parts: list[Any], kind: Any) -> Any:
    """One array of the parts; the list then holds that one, so that memory is not used twice."""
    if len(parts) != 1:
        parts[:] = [np.concatenate(parts) if parts else np.empty(0, dtype=kind)]
    return parts[0]


def _placed(spool: Spool) -> Iterator[tuple[pa.RecordBatch, int]]:
    start = 0
    for batch in spool.read():
        yield batch, start
        start += len(batch)


def _text(value: Any) -> str:
    return "missing" if value is None else cells.canonical(value)


def _moments(column: pa.ChunkedArray, name: str) -> npt.NDArray[Any]:
    if column.null_count:
        raise DataError(
            "DAT_SPLIT",
            f"split by time: {column.null_count:,} accepted rows have no {name}",
            "remove nullable: true from the column, so that such rows go to quarantine, or split by another one",
        )
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    return np.asarray(column.to_numpy())


def _present(names: list[str], codes: npt.NDArray[np.int64]) -> tuple[list[str], npt.NDArray[np.int64]]:
    """Names and codes of the classes that stand in accepted rows."""
    present, dense = np.unique(codes, return_inverse=True)
    return [names[i] for i in present], dense
