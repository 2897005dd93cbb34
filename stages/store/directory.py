"""A store in a folder: one machine, or a network share that all deploying machines mount."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError, InfraError, UsageError
from stages.records.digest import sha256_file
from stages.store.base import Alias, Move, find
from stages.store.version import content_digest, digest_of_files

COMPLETE = "complete.json"
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
            known = _marker(home)
            if known is not None and not _damaged(home, known):
                return digest
            (home / COMPLETE).unlink(missing_ok=True)
            _clear_temporary(home)
            recorded = {}
            for file, content in files.items():
                recorded[file] = _copy(content, home / file)
            _write(home / COMPLETE, _json({"schema_version": 1, "files": recorded, "when": time.time()}))
        return digest

    def get(self, name: str, digest: str) -> Path:
        """See `Store`."""
        home = self.root / "models" / name / find(self.versions(name), digest)
        known = _marker(home)
        if known is None:
            raise UsageError("STO_UNKNOWN", f"the store has no version {digest!r}", "see: mlci history")
        damaged = _damaged(home, known)
        own = {file: home / file for file in known["files"]}
        if damaged or digest_of_files(own) != home.name:
            raise ArtefactError(
                "STO_DIGEST",
                f"{home}: {damaged[0] if damaged else 'the model'} does not match its record",
                "it is not loaded; deploy the model again, or restore the store from a backup",
            )
        return home

    def versions(self, name: str) -> list[str]:
        """See `Store`."""
        with _reading(self.root):
            folders = [p for p in (self.root / "models" / name).glob("*") if p.is_dir()]
            known = [(marker["when"], p.name) for p in folders if (marker := _marker(p)) is not None]
        return [digest for _, digest in sorted(known)]

    # ---- aliases -------------------------------------------------------------------------------------------

    def alias(self, name: str, env: str) -> Alias | None:
        """See `Store`."""
        path = self._alias_path(name, env)
        try:
            data = json.loads(path.read_bytes())
            return Alias(Move.of(data["move"]))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InfraError(
                "STO_READ", f"{path}: cannot be read: {error}", "restore the file, or the store"
            ) from error

    def move(self, name: str, move: Move) -> None:
        """See `Store`. The alias holds the whole entry, so that a log line that a killed run did not write is
        written next time."""
        self.writable()
        path = self._alias_path(name, move.env)
        with _writing(path), self._locked(path.parent / ".lock"):
            current = self.alias(name, move.env)
            generation = current.generation if current else 0
            if move.generation != generation + 1:
                raise InfraError(
                    "STO_CONFLICT",
                    f"another deployment changed {move.env} of {name} meanwhile",
                    "see: mlci history; then deploy again",
                )
            if current is not None:
                self._log(name, current.move)
            _write(path, _json({"schema_version": 1, "digest": move.digest, "move": move.plain()}))
            self._log(name, move)

    def history(self, name: str, env: str) -> list[Move]:
        """See `Store`. Includes a change whose line is not in the log yet."""
        moves = [move for move in self._logged(name) if move.env == env]
        current = self.alias(name, env)
        if current is not None and current.generation not in {move.generation for move in moves}:
            moves.append(current.move)
        return sorted(moves, key=lambda move: move.generation)

    def alias_file(self, name: str, env: str) -> Path | None:
        """See `Store`."""
        return self._alias_path(name, env)

    def _alias_path(self, name: str, env: str) -> Path:
        return self.root / "aliases" / name / f"{env}.json"

    def _logged(self, name: str) -> list[Move]:
        path = self.root / "aliases" / name / PROMOTIONS
        moves = []
        with _reading(path):
            lines = path.read_bytes().splitlines() if path.exists() else []
        for line in lines:
            try:
                moves.append(Move.of(json.loads(line)))
            except (ValueError, KeyError, TypeError):
                continue  # a line that a killed run did not finish; the alias has its content
        return moves

    def _log(self, name: str, move: Move) -> None:
        if any(known.env == move.env and known.generation == move.generation for known in self._logged(name)):
            return
        path = self.root / "aliases" / name / PROMOTIONS
        with path.open("ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.write(b"\n")
            stream.write(json.dumps(move.plain(), ensure_ascii=False).encode() + b"\n")
            stream.flush()
            os.fsync(stream.fileno())

    # ---- who may write -------------------------------------------------------------------------------------

    def writable(self) -> None:
        """See `Store`."""
        if os.environ.get("MLCI_STORE_READONLY") == "1":
            raise InfraError(
                "STO_READONLY",
                "MLCI_STORE_READONLY=1: the store is not written to here",
                "pull requests are validated, never deployed; unset it where a deployment is wanted",
            )

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
                raise InfraError(
                    "DEP_BUSY", f"another deployment of {env} is under way", "wait for it to end, then deploy again"
                ) from None
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

    def known_as(self) -> str:
        """See `Store`."""
        return str(self.root.resolve())


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()


def _marker(home: Path) -> dict[str, Any] | None:
    """What `complete.json` says; None where the version is not complete."""
    try:
        data = json.loads((home / COMPLETE).read_bytes())
        return data if isinstance(data["files"], dict) and isinstance(data["when"], float) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _damaged(home: Path, marker: Mapping[str, Any]) -> list[str]:
    damaged = []
    for file, recorded in marker["files"].items():
        try:
            if (home / file).stat().st_size != recorded["size"] or sha256_file(home / file).sha256 != recorded[
                "sha256"
            ]:
                damaged.append(file)
        except OSError:
            damaged.append(file)
    return damaged


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
        os.chmod(temporary, 0o644)
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
