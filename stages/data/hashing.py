"""8-byte hashes of typed rows, stable for ever: they decide sides, find duplicates and are kept with models.

A cell's hash is BLAKE2b with 8 bytes over a prefix that names the column, then the canonical text of the typed
value (`cells.canonical`:
5, 5.0 and "5" of a number column are one); a missing value has a text of its own. Each distinct value of a chunk is
hashed once.
A row's hash is the sum modulo 2^64 of its cells' hashes, passed through the finaliser of SplitMix64 (Steele, Lea,
Flood 2014, constants of
Stafford's mix 13). The sum makes the order of the columns in the contract irrelevant, the prefix keeps columns apart.

Two different rows out of n share a hash with probability n² / 2^65: 3e-9 for 336,776 rows, 3e-6 for ten million.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from hashlib import blake2b
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stages.data import cells

#: Beside train.rows.npy and test.rows.npy where levels were respelled: the hashes of the rows as they were written,
#: which models know that were trained before.
AS_WRITTEN = ".written.npy"

Hashes = npt.NDArray[np.uint64]


def load(folder: Path, side: str) -> Hashes:
    """Hashes of the rows of a side in `folder`, a line for each text that they have had. Shape (1 or 2, n)."""
    files = [folder / f"{side}.rows.npy", folder / f"{side}{AS_WRITTEN}"]
    return np.stack([np.load(file, allow_pickle=False) for file in files if file.is_file() or file == files[0]])


def are_new(rows: Hashes, trained: Hashes) -> npt.NDArray[np.bool_]:
    """True for rows of which no hash is among `trained`. `rows`: as `load` gives them, or of shape (n,)."""
    known: npt.NDArray[np.bool_] = np.isin(np.atleast_2d(rows), trained)
    return ~np.logical_or.reduce(known)  # type: ignore[no-any-return]


def cell_hash(column: str, text: str | None) -> int:
    """Hash of one cell, by its canonical text; None for a missing value."""
    return int.from_bytes(_digest(_prefix(column), text), "little")


def _prefix(column: str) -> bytes:
    name = column.encode()
    return b"%d:%s" % (len(name), name)


def _digest(prefix: bytes, text: str | None) -> bytes:
    return blake2b(prefix + (b"=" + text.encode() if text is not None else b"-"), digest_size=8).digest()


def column_hashes(name: str, values: pa.Array) -> Hashes:
    """Cell hashes of one typed column. Shape (n,)."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
        texts_of = _moments
    else:
        texts_of = _texts
    encoded = values if pa.types.is_dictionary(values.type) else values.dictionary_encode()
    prefix = _prefix(name)
    start = prefix + b"="
    digests = [blake2b(start + text, digest_size=8).digest() for text in texts_of(encoded.dictionary)]
    digests.append(_digest(prefix, None))
    table = np.frombuffer(b"".join(digests), dtype="<u8").astype(np.uint64)
    hashes: Hashes = table[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
    return hashes


def _texts(distinct: pa.Array) -> list[bytes]:
    values = distinct.to_pylist()
    if pa.types.is_string(distinct.type):
        return [text.encode() for text in values]
    return [cells.canonical(value).encode() for value in values]


def _moments(distinct: pa.Array) -> list[bytes]:
    if not len(distinct):
        return []
    texts = np.datetime_as_string(distinct.to_numpy(zero_copy_only=False).astype("datetime64[us]"))
    return [text.encode() + b"Z" for text in texts.tolist()]


def combine(hashes: Iterable[Hashes], rows: int) -> Hashes:
    """Row hashes from the cell hashes of some columns. Shape (rows,)."""
    total = np.zeros(rows, dtype=np.uint64)
    for column in hashes:
        total += column
    return mix(total)


def mix(values: Hashes) -> Hashes:
    """The finaliser of SplitMix64: a bijection of 64-bit numbers that spreads every bit."""
    z = values + np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def row_hashes(table: pa.Table, names: Iterable[str]) -> Hashes:
    """Hashes of the rows of a typed table over the columns `names`. Shape (n,)."""
    return combine(columns_of(table, names).values(), table.num_rows)


def columns_of(table: pa.Table, names: Iterable[str]) -> Mapping[str, Hashes]:
    """Cell hashes of several columns of a typed table."""
    return {name: column_hashes(name, _array(table.column(name))) for name in names}


def _array(column: pa.ChunkedArray) -> pa.Array:
    if column.num_chunks == 1:
        return column.chunk(0)
    if pa.types.is_dictionary(column.type):
        column = column.unify_dictionaries()
    joined = column.combine_chunks()
    return joined if isinstance(joined, pa.Array) else pa.array([], column.type)


def share(hashes: Hashes) -> npt.NDArray[np.float64]:
    """Hashes as uniform numbers in [0, 1): their upper 53 bits."""
    return (hashes >> np.uint64(11)).astype(np.float64) * 2.0**-53
