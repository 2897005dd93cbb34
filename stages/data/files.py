"""Opening source files as streams of bytes: plain, gzip, or the one file in a zip."""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, cast

from stages.errors import DataError

_BUFFER = 1 << 20

#: Longest line of text that is read, in bytes: an archive of a few KB may hold a line that fits into no memory.
LONGEST_LINE = 16 << 20

#: What reading a damaged archive raises.
_DAMAGED = (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


@contextmanager
def opened(path: Path, shown: str) -> Iterator[IO[bytes]]:
    """The bytes of a data file, unpacked by its suffix (.gz, .zip). `shown`: its name in messages.

    Raises:
        DataError: DAT_FORMAT: a damaged archive, or a zip that does not hold exactly one file; DAT_SOURCE: cannot
        be read.
    """
    try:
        if path.suffix.lower() == ".gz":
            with gzip.open(path, "rb") as stream:
                yield cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER))
        elif path.suffix.lower() == ".zip":
            with zipfile.ZipFile(path) as archive, archive.open(_only_member(archive, shown)) as member:
                yield io.BufferedReader(cast(io.RawIOBase, member), _BUFFER)
        else:
            with path.open("rb", buffering=_BUFFER) as stream:
                yield stream
    except _DAMAGED as error:
        raise DataError("DAT_FORMAT", f"{shown}: damaged archive: {error}", "make or fetch the file again") from error
    except OSError as error:
        raise DataError(
            "DAT_SOURCE", f"{shown}: cannot be read: {error.strerror or error}", "check the file and its permissions"
        ) from error


def too_long(shown: str, what: str, todo: str) -> DataError:
    """The error of a line beyond `LONGEST_LINE`. `what`: `row 7`, `the header`."""
    return DataError("DAT_FORMAT", f"{shown}: {what} is longer than {LONGEST_LINE >> 20} MiB", todo)


def _only_member(archive: zipfile.ZipFile, shown: str) -> zipfile.ZipInfo:
    members = [m for m in archive.infolist() if not m.is_dir() and not m.filename.startswith("__MACOSX/")]
    if len(members) != 1:
        raise DataError(
            "DAT_FORMAT",
            f"{shown}: holds {len(members)} files, expected one",
            "put the one data file into it, or unpack it and give a glob",
        )
    if members[0].flag_bits & 1:
        raise DataError("DAT_FORMAT", f"{shown}: is encrypted", "unpack it first")
    return members[0]
