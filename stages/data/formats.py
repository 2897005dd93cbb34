"""Which format a data file has, by its name, and what its first bytes say against that. Standard library only: it is
asked before a stage knows whether it has to run."""

from __future__ import annotations

from pathlib import Path

from stages.config.suffixes import SUFFIXES, Format, format_by_suffix
from stages.errors import DataError, UsageError

#: How many first bytes `check_content` looks at.
LOOK = 512
_LFS = "a Git LFS pointer, not the data"
_PULL = "fetch the file itself with: git lfs pull (in CI, have the checkout fetch LFS files)"
_PAGE = ("an HTML page, not data", "a login or error page was saved in place of the file: fetch the file again")
_EXCEL = ("an Excel workbook", "save the sheet as CSV")
#: First bytes → what such a file is, and what to do about it.
_BINARY: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "a gzip file", "unpack it: one layer of gzip is read, around CSV and JSON lines"),
    (b"PK\x03\x04", "a zip archive", "unpack it: one zip is read, around one CSV or JSON lines file"),
    (b"PAR1", "a Parquet file", "set data.format: parquet, or name it .parquet"),
    (b"ARROW1", "an Arrow file (Feather)", "write it as Parquet"),
    (b"Obj\x01", "an Avro file", "write it as Parquet"),
    (b"\xd0\xcf\x11\xe0", *_EXCEL),
    (b"SQLite format 3\0", "an SQLite data base", "name it in data.source: {sql: …, url: sqlite:///FILE}"),
    (b"BZh", "packed with bzip2", "unpack it, or pack it with gzip"),
    (b"\xfd7zXZ\0", "packed with xz", "unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "packed with zstd", "unpack it, or pack it with gzip"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "unpack it, or pack it with gzip"),
    (b"%PDF-", "a PDF document", "give the data as CSV"),
    (b"\x80\x04\x95", "a Python pickle", "write it as Parquet"),
)
_POINTERS: tuple[tuple[bytes, str, str], ...] = (
    (b"version https://git-lfs.github.com/spec/", _LFS, _PULL),
    (b"version https://hawser.github.com/spec/", _LFS, _PULL),
    (b"/annex/objects/", "a git-annex pointer, not the data", "fetch the file itself with: git annex get"),
)
_TAGS = (b"<!doctype html", b"<html", b"<head")


def is_page(start: bytes) -> bool:
    """Whether the first bytes of a file are those of an HTML page."""
    return start.removeprefix(b"\xef\xbb\xbf").lstrip().lower().startswith(_TAGS)


def check_content(start: bytes, name: str) -> None:
    """Refuse a file that is something else than its name says. `start`: its first bytes, `LOOK` of them, unpacked.

    Raises: DataError: DAT_FORMAT.
    """
    found = next(((what, todo) for mark, what, todo in (*_POINTERS, *_BINARY) if start.startswith(mark)), None)
    if found is None and is_page(start):
        found = _PAGE
    if found is not None:
        raise DataError("DAT_FORMAT", f"{name}: is {found[0]}", found[1])


def format_of(name: str, given: Format | None = None) -> Format:
    """The format of a file by its name, unless it is given.

    Raises: DataError: DAT_FORMAT.
    """
    found = given or format_by_suffix(name)
    if found is not None:
        return found
    raise DataError(
        "DAT_FORMAT",
        f"{name}: the name does not say which format it is",
        "set data.format: csv, parquet or jsonl (known suffixes: .csv, .csv.gz, .csv.zip, .parquet, .jsonl, .jsonl.gz)",
    )


def check_given(path: Path, shown: str) -> None:
    """Refuse what is no data file, before anything is loaded. `path`: as given on the command line.

    Raises: UsageError: CFG_FILE. DataError: DAT_FORMAT.
    """
    if path.is_dir():
        inside = sorted(p.name for p in path.iterdir() if format_by_suffix(p.name) is not None)
        todo = f"name one of its files, for example {Path(shown) / inside[0]}" if inside else "name a file"
        raise UsageError("CFG_FILE", f"{shown}: is a folder", todo)
    if not path.is_file():
        import difflib

        there = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        close = difflib.get_close_matches(
            path.name, [name for name in there if format_by_suffix(name) is not None], n=1
        )
        hint = f"did you mean {close[0]}? " if close else ""
        raise UsageError("CFG_FILE", f"{shown}: there is no such file", f"{hint}give a csv, parquet or jsonl file")
    if format_by_suffix(path.name) is None:
        what = f"{shown}: the name does not say which format it is"
        raise DataError("DAT_FORMAT", what, f"give it a name that ends in one of: {', '.join(SUFFIXES)}")
