"""Where the data is: `data.source` as local files with digests.

Local files stay where they are. What comes from elsewhere (HTTP, object stores, SQL, Python) is brought into the
cache folder first, so that one run reads one content, whose digest is the stage's input.
"""

from __future__ import annotations

import glob
import os
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from stages import console
from stages.config.schema import Data, SqlSource
from stages.config.suffixes import SUFFIXES, Format
from stages.data.formats import format_of
from stages.errors import DataError, masked
from stages.project import Project
from stages.records.digest import sha256_file

if TYPE_CHECKING:
    from stages.data.reading import Reader

_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_PYTHON = "python:"


@dataclass(frozen=True)
class Located:
    """A source on this machine. `files`: name without secrets → path; `digests`: name → sha256 and size; `kind`:
    path, url, sql, python. `order`: what the order of the rows comes from."""

    kind: str
    shown: str
    files: dict[str, Path]
    format: Format
    digests: dict[str, dict[str, Any]]
    order: str = "as written"

    def reader(self, data: Data, size: int | None = None) -> Reader:
        """The rows of the source."""
        from stages.data.reading import Reader, partition

        partitions = {name: partition(name) for name in self.files} if self.kind in ("path", "url") else {}
        return Reader(self.files, self.format, data.read, size, partitions)

    def description(self) -> dict[str, Any]:
        """For `profile.json`."""
        return {
            "kind": self.kind,
            "source": self.shown,
            "format": self.format,
            "files": self.digests,
            "order": self.order,
        }


def locate(project: Project, cache: Path) -> Located:
    """The files that `data.source` means now, fetched if they are elsewhere. `cache`: where fetched files are kept.

    Raises:
        DataError: DAT_SOURCE_MISSING: nothing is there; DAT_SOURCE: the source refused or failed; DAT_FORMAT,
        DAT_HEADER, DAT_EMPTY.
        InfraError: DAT_NETWORK: the network, the server or the data base did not answer; DEP_DISK.
        ConfigError: CFG_IMPORT: the function of a Python source cannot be imported.
    """
    data = project.config.data
    found = _found(project, data, cache)
    console.doing(f"digests of {len(found.files):,} files")
    try:
        digests = {name: sha256_file(path)._asdict() for name, path in found.files.items()}
    except OSError as error:
        raise DataError(
            "DAT_SOURCE",
            f"{found.shown}: cannot be read: {error.strerror or error}",
            "check the file and its permissions",
        ) from error
    return replace(found, digests=digests)


def is_remote(source: str) -> bool:
    """Whether a source is the address of a server."""
    scheme = _SCHEME.match(source)
    return scheme is not None and scheme[1].lower() != "file"


def visible(project: Project) -> dict[str, Path]:
    """The files of this machine that `data.source` means now, found without reading or fetching anything: name → path,
    in the order in which they are read. Empty where none is here, or the source is no file.

    Raises:
        DataError: DAT_FORMAT: files of several formats.
    """
    source = project.config.data.source
    if isinstance(source, SqlSource) or source.startswith(_PYTHON) or is_remote(source):
        return {}
    try:
        return _local(project, project.config.data, _from_url(source) if _SCHEME.match(source) else source).files
    except DataError as error:
        if error.code == "DAT_FORMAT":
            raise
        return {}


def _found(project: Project, data: Data, cache: Path) -> Located:
    source = data.source
    reuse = data.refresh == "never"
    if isinstance(source, SqlSource):
        from stages.data import sqlsource

        console.doing("reading the rows of the query")
        path = sqlsource.snapshot(source, project.root, cache, reuse)
        order = "by the query" if sqlsource.is_ordered(source) else sqlsource.UNORDERED
        return Located("sql", sqlsource.shown(source), {sqlsource.shown(source): path}, "parquet", {}, order)
    if source.startswith(_PYTHON):
        from stages.data import pythonsource

        console.doing(f"reading the rows of {source}")
        path = pythonsource.snapshot(project, source.removeprefix(_PYTHON), cache, reuse)
        return Located("python", source, {source: path}, "parquet", {})
    scheme = _SCHEME.match(source)
    if scheme is not None and scheme[1].lower() != "file":
        from stages.data import fetch

        fetched = fetch.fetch(source, cache, reuse)
        name = fetch.without_secrets(source)
        return Located("url", name, {name: fetched}, format_of(fetched.name, data.format), {})
    return _local(project, data, _from_url(source) if scheme else source)


def _from_url(source: str) -> str:
    parts = urlsplit(source)
    if parts.netloc not in ("", "localhost"):
        raise DataError(
            "DAT_SOURCE", f"{source}: a file URL names a path of this machine", "write file:///folder/file.csv"
        )
    return unquote(parts.path)


def _local(project: Project, data: Data, source: str) -> Located:
    path = project.path(source)
    matches = [path]
    if not path.exists() and glob.has_magic(source):
        matches = sorted(
            Path(p)
            for p in glob.iglob(str(path), recursive=True)  # noqa: PTH207  Path.glob takes no absolute pattern
            if Path(p).is_file()
        )
        if not matches:
            raise DataError(
                "DAT_SOURCE_MISSING",
                f"data.source {source}: no file matches",
                f"put files there; looked in {_folder(project, path, source)}",
            )
    elif path.is_dir():
        raise DataError(
            "DAT_SOURCE_MISSING",
            f"data.source {source}: is a folder",
            f"name its files, for example {source.rstrip('/')}/{_pattern(path)}",
        )
    elif not path.is_file():
        raise DataError(
            "DAT_SOURCE_MISSING",
            f"data.source {source}: there is no such file{_near(path, source)}",
            "correct data.source, or fetch the file",
        )
    kinds = {format_of(match.name, data.format) for match in matches}
    if len(kinds) > 1:
        raise DataError(
            "DAT_FORMAT",
            f"data.source {source}: matches files of several formats: {', '.join(sorted(kinds))}",
            "narrow the pattern",
        )
    files = {Path(os.path.relpath(match, project.root)).as_posix(): match for match in matches}
    return Located("path", source, files, kinds.pop(), {})


def _pattern(folder: Path) -> str:
    """A pattern for the data files of a folder, by the first that is there."""
    for path in folder.rglob("*"):
        suffix = next((s for s in SUFFIXES if path.name.lower().endswith(s)), None)
        if suffix is not None:
            return f"*{suffix}" if path.parent == folder else f"**/*{suffix}"
    return "*.csv"


def _folder(project: Project, path: Path, source: str) -> str:
    if masked(source) != source:  # a folder's name may be a part of a variable's value
        return "its folder"
    fixed = path
    while glob.has_magic(str(fixed)):
        fixed = fixed.parent
    return project.show(fixed)


def _near(path: Path, source: str) -> str:
    import difflib

    try:
        close = difflib.get_close_matches(path.name, [p.name for p in path.parent.iterdir()], n=1, cutoff=0.6)
    except OSError:
        return " (nor its folder)" if masked(source) != source else f" (nor its folder {path.parent.name}/)"
    return f"; did you mean {close[0]}?" if close else ""
