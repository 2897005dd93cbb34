"""A store in a folder: one machine, or a network share that all deploying machines mount."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import InfraError, UsageError
from stages.records import jsonfile
from stages.records.atomic import file_mode
from stages.records.digest import damaged, sha256_file
from stages.records.regular import open_regular
from stages.store import record
from stages.store.base import (
    Alias,
    Log,
    Move,
    alias_of,
    busy,
    complete_history,
    find,
    follows,
    image_digest_of,
    image_file,
    image_record,
    log_line,
    logged,
    refuse_damage,
    refuse_readonly,
    warn_of_damage,
    with_aliases,
)
from stages.store.record import COMPLETE, Record, json_bytes
from stages.store.version import content_digest, digest_of_files, require_describing

PROMOTIONS = "promotions.jsonl"

#: How long a writer waits for another one, in seconds.
_PATIENCE = 60.0


class DirectoryStore:
    """A `Store` below `root`. Every file is written under a temporary name, flushed to the disk, and renamed."""

    def __init__(self, root: Path) -> None:
        self.root = root

    # ---- models --------------------------------------------------------------------------------------------

    def put(self, name: str, files: Mapping[str, Path | bytes]) -> str:
        """See `Store`. A version that a killed run left without its marker is completed; damaged files are
        replaced."""
        self.writable()
        digest = digest_of_files(files)
        home = self.root / "models" / name / digest
        with _writing(home), self._locked(home.parent / ".lock"):
            known = record.read(home)
            if known is not None and not damaged(home, known.files):
                return digest
            (home / COMPLETE).unlink(missing_ok=True)
            _clear_temporary(home)
            recorded = {}
            for file, content in files.items():
                recorded[file] = _copy(content, home / file)
            _write(home / COMPLETE, Record.now(recorded).content())
        return digest

    def describe(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """See `Store`."""
        self.writable()
        require_describing(files)
        home = self.root / "models" / name / digest
        with _writing(home), self._locked(home.parent / ".lock"):
            known = record.read(home)
            if known is None:
                raise UsageError("STO_UNKNOWN", f"the store has no version {digest!r}", "see: mlci history")
            others = {file: kept for file, kept in known.files.items() if file not in files}
            _write(home / COMPLETE, Record(others, known.when).content())
            described = {file: _copy(content, home / file) for file, content in files.items()}
            _write(home / COMPLETE, Record(others | described, known.when).content())

    def get(self, name: str, digest: str) -> Path:
        """See `Store`."""
        home = self.root / "models" / name / find(self.versions(name), digest)
        known = record.read(home)
        if known is None:
            raise UsageError("STO_UNKNOWN", f"the store has no version {digest!r}", "see: mlci history")
        wrong = damaged(home, known.files)
        own = {file: home / file for file in known.files}
        if wrong or digest_of_files(own) != home.name:
            raise record.mismatch(str(home), wrong[0] if wrong else None)
        return home

    def read(self, name: str, digest: str, file: str) -> bytes:
        """See `Store`."""
        home = self.root / "models" / name / find(self.versions(name), digest)
        known = record.read(home)
        if known is None or file not in known.files:
            raise UsageError("STO_UNKNOWN", f"the store has no {file} of version {digest!r}", "see: mlci history")
        with _reading(home / file), open_regular(home / file) as stream:
            content = stream.read(known.files[file]["size"] + 1)
        if content_digest(content) != known.files[file]["sha256"]:
            raise record.mismatch(str(home), file)
        return content

    def versions(self, name: str) -> list[str]:
        """See `Store`."""
        with _reading(self.root):
            folders = [p for p in (self.root / "models" / name).glob("*") if p.is_dir()]
            known = [(found.when, p.name) for p in folders if (found := record.read(p)) is not None]
        return [digest for _, digest in sorted(known)]

    # ---- aliases -------------------------------------------------------------------------------------------

    def alias(self, name: str, env: str) -> Alias | None:
        """See `Store`."""
        path = self._alias_path(name, env)
        with _reading(path):
            if not path.exists():
                return None
            content = _content(path)
        return alias_of(content, str(path))

    def move(self, name: str, move: Move) -> None:
        """See `Store`. The alias holds the whole entry, so that a log line that a killed run did not write is
        written next time."""
        self.writable()
        path = self._alias_path(name, move.env)
        with _writing(path), self._locked(path.parent / ".lock"):
            current = self.alias(name, move.env)
            follows(current, move, name)
            refuse_damage(self._logged(name), self._log_path(name))
            if current is not None:
                self._log(name, current.move)
            _write(path, json_bytes({"schema_version": 1, "digest": move.digest, "move": move.plain()}))
            self._log(name, move)

    def history(self, name: str, env: str) -> list[Move]:
        """See `Store`. Includes a change whose line is not in the log yet."""
        moves = warn_of_damage(self._logged(name), self._log_path(name))
        return complete_history(moves, env, self.alias(name, env))

    def promotions(self, name: str, strict: bool = True) -> list[Move]:
        """See `Store`."""
        if not strict:
            return warn_of_damage(self._logged(name), self._log_path(name))
        return with_aliases(refuse_damage(self._logged(name), self._log_path(name)), self._aliases(name))

    def alias_file(self, name: str, env: str) -> Path | None:
        """See `Store`."""
        return self._alias_path(name, env)

    def _alias_path(self, name: str, env: str) -> Path:
        return self.root / "aliases" / name / f"{env}.json"

    def _aliases(self, name: str) -> list[Alias]:
        found = (self.alias(name, path.stem) for path in sorted((self.root / "aliases" / name).glob("*.json")))
        return [alias for alias in found if alias is not None]

    def _log_path(self, name: str) -> str:
        return str(self.root / "aliases" / name / PROMOTIONS)

    def _logged(self, name: str) -> Log:
        path = Path(self._log_path(name))
        with _reading(path):
            return logged(_content(path) if path.exists() else b"", lambda: self._aliases(name))

    def _log(self, name: str, move: Move) -> None:
        moves = refuse_damage(self._logged(name), self._log_path(name))
        if any(known.env == move.env and known.generation == move.generation for known in moves):
            return
        path = self.root / "aliases" / name / PROMOTIONS
        with path.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write(log_line(move))
            stream.flush()
            os.fsync(stream.fileno())

    # ---- who may write -------------------------------------------------------------------------------------

    def writable(self) -> None:
        """See `Store`."""
        refuse_readonly()

    @contextmanager
    def deploying(self, name: str, env: str) -> Iterator[None]:
        """See `Store`. The lock is the kernel's: it ends with the process that holds it."""
        from filelock import FileLock, Timeout

        self.writable()
        path = self.root / "aliases" / name / f".{env}.deploying"
        with _writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(path)
            try:
                lock.acquire(timeout=0)
            except Timeout:
                raise busy(env) from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _locked(self, path: Path) -> Iterator[None]:
        from filelock import FileLock, Timeout

        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(path, timeout=_PATIENCE):
                yield
        except Timeout:
            raise InfraError(
                "STO_LOCKED", f"{path}: another process has been writing for {_PATIENCE:g} s", "find it, or try again"
            ) from None

    def record_image(self, reference: str, digest: str) -> None:
        """See `Store`."""
        self.writable()
        path = self.root / image_file(reference)
        with _writing(path):
            _write(path, image_record(reference, digest))

    def image_digest(self, reference: str) -> str | None:
        """See `Store`."""
        try:
            content = (self.root / image_file(reference)).read_bytes()
        except OSError:
            return None
        return image_digest_of(content, reference)

    def known_as(self) -> str:
        """See `Store`."""
        return str(self.root.resolve())

    def reached(self) -> str | None:
        """See `Store`."""
        place = self.root
        while not place.exists() and place != place.parent:
            place = place.parent
        if not os.access(place, os.R_OK | os.X_OK):
            raise InfraError("STO_READ", f"{place} cannot be read", "correct its permissions, or set store")
        return None if os.access(place, os.W_OK) else f"{place} is not writable: set store or MLCI_STORE"


def _content(path: Path) -> bytes:
    try:
        return jsonfile.content(path)
    except ValueError as error:
        raise InfraError("STO_READ", f"{path}: cannot be read: {error}", "restore the file, or the store") from error


def _copy(content: Path | bytes, to: Path) -> dict[str, Any]:
    """Write one file and read it back. Returns its record."""
    wanted = content_digest(content)
    _write(to, content)
    found = sha256_file(to)
    if found.sha256 != wanted:
        raise OSError(0, "what was written does not read back", str(to))
    return {"sha256": found.sha256, "size": found.size}


def _write(path: Path, content: Path | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".new-")
    try:
        with os.fdopen(handle, "wb") as stream:
            if isinstance(content, bytes):
                stream.write(content)
            else:
                with content.open("rb") as source:
                    shutil.copyfileobj(source, stream, 2**20)
            stream.flush()
            os.fsync(stream.fileno())
        os.chmod(temporary, file_mode())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _clear_temporary(home: Path) -> None:
    for left in home.rglob(".new-*"):
        left.unlink(missing_ok=True)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfraError(
            "STO_WRITE",
            f"the store cannot be written: {error.filename or path}: {error.strerror or error}",
            "free space or correct the permissions there, then run the command again; nothing half-written counts",
        ) from error


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise InfraError(
            "STO_READ",
            f"the store cannot be read: {error.filename or path}: {error.strerror or error}",
            "correct the permissions there",
        ) from error
