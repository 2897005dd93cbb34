"""Versions of a remote store as folders of this machine, below MLCI_CACHE: brought once, checked at every use."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from stages.records.atomic import disk_errors
from stages.records.digest import damaged
from stages.store import record
from stages.store.record import COMPLETE, Record, mismatch
from stages.store.version import digest_of_files
from stages.venvs import place


class LocalCopy:
    """The copies of one store. `known_as`: which."""

    def __init__(self, known_as: str) -> None:
        self._name = f"store-{hashlib.sha256(known_as.encode()).hexdigest()[:16]}"

    @property
    def place(self) -> Path:
        """The folder. Raises: InfraError: DEP_CACHE: there is no place for it."""
        return place.choose(os.environ, [self._name]) / self._name

    def version(self, name: str, digest: str, content: bytes, fetch: Callable[[str], Iterator[bytes]]) -> Path:
        """Folder of a version whose files match the record `content`.

        `fetch`: relative name → pieces of the file's content.

        Raises:
            ArtefactError: STO_DIGEST: the store's own files do not match. InfraError: DEP_DISK, DEP_CACHE.
        """
        from filelock import FileLock

        home = self.place / "models" / name / digest
        with disk_errors(home):
            home.parent.mkdir(parents=True, exist_ok=True)
        with disk_errors(home), FileLock(home.parent / f".{digest}.lock"):
            wanted = Record.of(content)
            if wanted is None:
                raise mismatch(home.name, COMPLETE)
            if not self._is(home, content, wanted):
                self._bring(home, content, wanted, fetch)
            return home

    @staticmethod
    def _is(home: Path, content: bytes, wanted: Record) -> bool:
        with suppress(OSError):
            return (home / COMPLETE).read_bytes() == content and not damaged(home, wanted.files)
        return False

    @staticmethod
    def _bring(home: Path, content: bytes, wanted: Record, fetch: Callable[[str], Iterator[bytes]]) -> None:
        prefix = f".{home.name}.new-"
        for left in home.parent.glob(f"{prefix}*"):  # of killed runs: the lock is ours
            shutil.rmtree(left, ignore_errors=True)
        new = Path(tempfile.mkdtemp(dir=home.parent, prefix=prefix))
        try:
            for file in wanted.files:
                path = new / file
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("wb") as stream:
                    for piece in fetch(file):
                        stream.write(piece)
            wrong = damaged(new, wanted.files)
            if wrong or digest_of_files({file: new / file for file in wanted.files}) != home.name:
                raise record.mismatch(home.name, wrong[0] if wrong else None)
            (new / COMPLETE).write_bytes(content)
            new.chmod(0o750)
            shutil.rmtree(home, ignore_errors=True)
            new.rename(home)
        except BaseException:
            shutil.rmtree(new, ignore_errors=True)
            raise
