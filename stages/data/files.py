"""Opening text files of a source as streams of bytes: plain, gzip, or the one file in a zip.

Which of them a file is, its first bytes say, not its name: a server may have unpacked a `.csv.gz` on the way, or packed
a `.csv`.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from stages.data.formats import LOOK, check_content
from stages.errors import DataError

_BUFFER = 1 << 20

#: Longest line of text that is read, in bytes: an archive of a few KB may hold a line that fits into no memory.
LONGEST_LINE = 16 << 20

#: What reading a damaged archive raises.
_DAMAGED = (gzip.BadGzipFile, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError)


@contextmanager
def opened(path: Path, shown: str) -> Iterator[io.BufferedReader]:
    """The bytes of a text file, unpacked if it is packed. `shown`: its name in messages.

    Raises:
        DataError: DAT_FORMAT: a damaged archive, a zip that does not hold exactly one file, or no text at all: a Git
        LFS pointer, an HTML page, another format; DAT_SOURCE: cannot be read.
    """
    try:
        with io.BufferedReader(path.open("rb", buffering=0), _BUFFER) as file, _unpacked(file, shown) as stream:
            check_content(stream.peek(LOOK)[:LOOK], shown)
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


@contextmanager
def _unpacked(file: Any, shown: str) -> Iterator[io.BufferedReader]:
    start = file.peek(4)
    if start.startswith(b"\x1f\x8b"):
        with gzip.open(file, "rb") as stream:
            yield io.BufferedReader(cast(io.RawIOBase, stream), _BUFFER)
    elif start.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        with zipfile.ZipFile(file) as archive, archive.open(_only_member(archive, shown)) as member:
            yield io.BufferedReader(cast(io.RawIOBase, member), _BUFFER)
    else:
        yield file


def _only_member(archive: zipfile.ZipFile, shown: str) -> zipfile.ZipInfo:
    if "[Content_Types].xml" in archive.namelist():
        raise DataError("DAT_FORMAT", f"{shown}: is an Excel workbook", "save the sheet as CSV")
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
