"""A store in a bucket of S3, or of a server that speaks its protocol: for machines that share no folder.

The same keys as the folders of `DirectoryStore`. What makes two deployments safe there, a lock of the kernel, are
conditional writes here: `If-None-Match: *` makes what must not exist yet, `If-Match` replaces what nobody else has
replaced. A server that ignores them is found out before the first write, and refused.
"""

from __future__ import annotations

import hashlib
import logging
import random
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from stages.bucket import Address, Bucket, Failure, Object
from stages.errors import InfraError, UsageError
from stages.records.atomic import disk_errors, write_bytes
from stages.records.digest import sha256_file
from stages.store import conditions
from stages.store.base import (
    Alias,
    Log,
    Move,
    alias_of,
    busy,
    complete_history,
    conflict,
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
from stages.store.failures import told
from stages.store.lease import Lease
from stages.store.local_copy import LocalCopy
from stages.store.record import COMPLETE, Record, json_bytes, mismatch
from stages.store.version import content_digest, digest_of_files, require_describing
from stages.store.who import who

log = logging.getLogger("mlci")

#: Seconds after which the hold of a killed deployment no longer counts.
LEASE = 60.0
#: How long a writer waits for another one, in seconds.
_PATIENCE = 90.0
#: How often a line of the promotion log is tried while others write theirs.
_TRIES = 20
#: How often the download of a file is tried; each request has its own tries besides.
_DOWNLOADS = 3

#: Where the server's obedience is tried out.
_PROBE = "conditions.json"
_DIGEST = 64


class S3Store:
    """A `Store` at `s3://bucket/prefix`. `lease`: seconds that a hold lasts without renewal.

    Raises:
        ValueError: `address` is no such address.
    """

    def __init__(self, address: str, lease: float = LEASE) -> None:
        self.address = Address.of(address)
        self.bucket = Bucket(self.address.bucket)
        self._copies = LocalCopy(str(self.address))
        self._lease = lease
        self._held: dict[tuple[str, str], Lease] = {}

    # ---- models --------------------------------------------------------------------------------------------

    def put(self, name: str, files: Mapping[str, Path | bytes]) -> str:
        """See `Store`. A version that a killed run left without its marker is completed; damaged files are
        replaced."""
        self._before_writing()
        digest = digest_of_files(files)
        with told("STO_WRITE"), disk_errors(Path(name)):
            if self._is_whole(name, digest):
                return digest
            with self._alone(self._key(f"models/{name}/.{digest}.writing")):
                if not self._is_whole(name, digest):
                    recorded = {file: self._upload(name, digest, file, content) for file, content in files.items()}
                    self.bucket.put(self._file(name, digest, COMPLETE), Record.now(recorded).content())
        return digest

    def describe(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """See `Store`."""
        self._before_writing()
        require_describing(files)
        with told("STO_WRITE"), self._alone(self._key(f"models/{name}/.{digest}.writing")):
            known = Record.of(self._marker(name, digest)[1].content)
            if known is None:
                raise mismatch(digest, COMPLETE)
            others = {file: kept for file, kept in known.files.items() if file not in files}
            self.bucket.put(self._file(name, digest, COMPLETE), Record(others, known.when).content())
            described = {file: self._upload(name, digest, file, content) for file, content in files.items()}
            self.bucket.put(self._file(name, digest, COMPLETE), Record(others | described, known.when).content())

    def get(self, name: str, digest: str) -> Path:
        """See `Store`. The folder is a copy below MLCI_CACHE."""
        digest, marker = self._marker(name, digest)
        return self._copies.version(name, digest, marker.content, lambda file: self._pieces(name, digest, file))

    def read(self, name: str, digest: str, file: str) -> bytes:
        """See `Store`."""
        digest, marker = self._marker(name, digest)
        known = Record.of(marker.content)
        if known is None or file not in known.files:
            raise UsageError("STO_UNKNOWN", f"the store has no {file} of version {digest!r}", "see: mlci history")
        content = b"".join(self._pieces(name, digest, file))
        if content_digest(content) != known.files[file]["sha256"]:
            raise mismatch(digest, file)
        return content

    def versions(self, name: str) -> list[str]:
        """See `Store`."""
        home = self._key(f"models/{name}/")
        with told("STO_READ"):
            found = []
            for item in self.bucket.listed(home):
                digest, _, file = item.key.removeprefix(home).partition("/")
                if file == COMPLETE and _is_digest(digest):
                    found.append((item.modified, digest))
        return [digest for _, digest in sorted(found)]

    def _marker(self, name: str, digest: str) -> tuple[str, Object]:
        """The whole digest that `digest` begins, and its `complete.json`."""
        if not _is_digest(digest):
            digest = find(self.versions(name), digest)
        with told("STO_READ"):
            marker = self._found(self._file(name, digest, COMPLETE))
        if marker is None:
            find(self.versions(name), digest)
            raise UsageError("STO_UNKNOWN", f"the store has no version {digest!r}", "see: mlci history")
        return digest, marker

    def _is_whole(self, name: str, digest: str) -> bool:
        """Whether a version is there with every file as recorded: by ETag, else, where it was copied, by content."""
        marker = self._found(self._file(name, digest, COMPLETE))
        known = None if marker is None else Record.of(marker.content)
        if known is None:
            return False
        home = self._file(name, digest, "")
        there = {item.key.removeprefix(home): item for item in self.bucket.listed(home)}
        for file, recorded in known.files.items():
            item = there.get(file)
            if item is None or item.size != recorded["size"]:
                return False
            if item.etag != recorded.get("etag"):
                found = hashlib.sha256()
                for piece in self.bucket.pieces(item.key):
                    found.update(piece)
                if found.hexdigest() != recorded["sha256"]:
                    return False
        return True

    def _upload(self, name: str, digest: str, file: str, content: Path | bytes) -> dict[str, str | int]:
        """Write one file. Returns its record. The request is signed for its SHA-256, which the server compares."""
        size = len(content) if isinstance(content, bytes) else sha256_file(content).size
        etag = self.bucket.put(self._file(name, digest, file), content)
        return {"sha256": content_digest(content), "size": size, "etag": etag}

    def _pieces(self, name: str, digest: str, file: str) -> Iterator[bytes]:
        """A file's content. What was received before a connection broke is not received again."""
        received = 0
        for attempt in range(1, _DOWNLOADS + 1):
            skip = received
            with told("STO_READ"):
                try:
                    for piece in self.bucket.pieces(self._file(name, digest, file)):
                        rest = piece[skip:]
                        skip = max(0, skip - len(piece))
                        received += len(rest)
                        yield rest
                except Failure as failure:
                    if failure.kind == "missing":
                        raise mismatch(digest, file) from failure
                    if failure.kind != "network" or attempt == _DOWNLOADS:
                        raise
                    log.warning("%s; trying again", failure.what)
                    continue
            return

    # ---- aliases -------------------------------------------------------------------------------------------

    def alias(self, name: str, env: str) -> Alias | None:
        """See `Store`."""
        return self._alias(name, env)[0]

    def _alias(self, name: str, env: str) -> tuple[Alias | None, str | None]:
        """The alias and its ETag."""
        key = self._key(f"aliases/{name}/{env}.json")
        with told("STO_READ"):
            found = self._found(key)
        if found is None:
            return None, None
        return alias_of(found.content, f"s3://{self.bucket.name}/{key}"), found.etag

    def move(self, name: str, move: Move) -> None:
        """See `Store`. The alias holds the whole entry, so that a log line that a killed run did not write is
        written next time."""
        self._before_writing()
        held = self._held.get((name, move.env))
        if held is not None and held.lost():
            raise InfraError(
                "STO_LEASE",
                f"the hold on {move.env} of {name} was lost: the store did not answer for {self._lease:g} s",
                "see: mlci history; then deploy again",
            )
        current, etag = self._alias(name, move.env)
        follows(current, move, name)
        refuse_damage(self._logged(name), self._log_place(name))
        content = json_bytes(
            {"schema_version": 1, "digest": move.digest, "move": move.plain(), "write": uuid.uuid4().hex}
        )
        with told("STO_WRITE"):
            if current is not None:
                self._log(name, current.move)
            if not self._swap(self._key(f"aliases/{name}/{move.env}.json"), content, etag):
                raise conflict(name, move.env)
            write_bytes(self._mirror(name, move.env), content)
            self._log(name, move)

    def history(self, name: str, env: str) -> list[Move]:
        """See `Store`. Includes a change whose line is not in the log yet."""
        moves = warn_of_damage(self._logged(name), self._log_place(name))
        return complete_history(moves, env, self.alias(name, env))

    def promotions(self, name: str, strict: bool = True) -> list[Move]:
        """See `Store`."""
        if not strict:
            return warn_of_damage(self._logged(name), self._log_place(name))
        return with_aliases(refuse_damage(self._logged(name), self._log_place(name)), self._aliases(name))

    def _logged(self, name: str) -> Log:
        with told("STO_READ"):
            found = self._found(self._log_key(name))
        return logged(b"" if found is None else found.content, lambda: self._aliases(name))

    def _aliases(self, name: str) -> list[Alias]:
        home = self._key(f"aliases/{name}/")
        with told("STO_READ"):
            names = [item.key.removeprefix(home) for item in self.bucket.listed(home)]
        envs = [one.removesuffix(".json") for one in names if one.endswith(".json") and "/" not in one]
        return [alias for alias in (self.alias(name, env) for env in envs) if alias is not None]

    def _log_place(self, name: str) -> str:
        return f"s3://{self.bucket.name}/{self._log_key(name)}"

    def alias_file(self, name: str, env: str) -> Path | None:
        """See `Store`. A service whose deployer was killed looks there whether it was promoted."""
        return self._mirror(name, env)

    def _mirror(self, name: str, env: str) -> Path:
        return self._copies.place / "aliases" / name / f"{env}.json"

    def _log(self, name: str, move: Move) -> None:
        """Add a line to the log, unless it is there."""
        for _ in range(_TRIES):
            found = self._found(self._log_key(name))
            content = b"" if found is None else found.content
            moves = refuse_damage(logged(content, lambda: self._aliases(name)), self._log_place(name))
            if any(known.env == move.env and known.generation == move.generation for known in moves):
                return
            whole = content if not content or content.endswith(b"\n") else content + b"\n"
            if self._swap(self._log_key(name), whole + log_line(move), None if found is None else found.etag):
                return
            time.sleep(random.uniform(0.02, 0.3))
        raise InfraError("STO_LOCKED", f"{self.known_as()}: others keep writing the promotion log", "try again")

    def _log_key(self, name: str) -> str:
        return self._key(f"aliases/{name}/promotions.jsonl")

    # ---- who may write -------------------------------------------------------------------------------------

    def writable(self) -> None:
        """See `Store`."""
        refuse_readonly()

    @contextmanager
    def deploying(self, name: str, env: str) -> Iterator[None]:
        """See `Store`. The hold is renewed while this process lives."""
        self._before_writing()
        lease = Lease(self.bucket, self._key(f"aliases/{name}/.{env}.deploying"), who(), self._lease)
        with told("STO_WRITE"):
            holder = lease.acquire()
        if holder is not None:
            raise busy(env, f"wait for it; one that was killed counts as ended after {self._lease:g} s", f" ({holder})")
        try:
            with disk_errors(self._mirror(name, env)):
                self._mirror(name, env).unlink(missing_ok=True)  # of another machine's past; it may name the candidate
            self._held[name, env] = lease
            yield
        finally:
            self._held.pop((name, env), None)
            _give_back(lease)

    @contextmanager
    def _alone(self, key: str) -> Iterator[None]:
        """Hold `key` against other writers, waiting for them."""
        until = time.monotonic() + _PATIENCE
        while True:
            lease = Lease(self.bucket, key, who(), self._lease)
            holder = lease.acquire()
            if holder is None:
                break
            if time.monotonic() > until:
                raise InfraError("STO_LOCKED", f"another process is writing: {holder}", "find it, or try again")
            time.sleep(0.5)
        try:
            yield
        finally:
            _give_back(lease)

    def _before_writing(self) -> None:
        self.writable()
        with told("STO_WRITE"):
            conditions.try_out(self.bucket, self._key(_PROBE))

    def reached(self) -> str | None:
        """See `Store`."""
        with told("STO_READ"):
            self.bucket.reached(self.address.prefix)
        try:
            self._before_writing()
        except InfraError as error:
            if error.code not in ("STO_READONLY", "STO_ACCESS"):
                raise
            return f"it is only read here: {error.what}"
        return None

    def record_image(self, reference: str, digest: str) -> None:
        """See `Store`."""
        self.writable()
        with told("STO_WRITE"):
            self.bucket.put(self._key(image_file(reference)), image_record(reference, digest))

    def image_digest(self, reference: str) -> str | None:
        """See `Store`."""
        try:
            found = self._found(self._key(image_file(reference)))
        except Failure as failure:
            log.warning("whether %s is recorded is not known: %s", reference, failure.what)
            return None
        return None if found is None else image_digest_of(found.content, reference)

    def known_as(self) -> str:
        """See `Store`. Through whichever endpoint: one machine may know one server by several names."""
        return str(self.address)

    # ---- objects -------------------------------------------------------------------------------------------

    def _key(self, name: str) -> str:
        return self.address.prefix + name

    def _file(self, name: str, digest: str, file: str) -> str:
        return self._key(f"models/{name}/{digest}/{file}")

    def _found(self, key: str) -> Object | None:
        """A small object, or None where there is none."""
        try:
            return self.bucket.get(key)
        except Failure as failure:
            if failure.kind != "missing":
                raise
            return None

    def _swap(self, key: str, content: bytes, etag: str | None) -> bool:
        """Put `content` where `etag` is, or nothing if that is None. Returns whether it is there; False: somebody else
        was faster."""
        try:
            self.bucket.put(key, content, absent=etag is None, etag=etag)
        except Failure as failure:
            if failure.kind not in ("condition", "network"):
                raise
            # An attempt whose answer was lost may have been carried out, and the next one met its own content.
            found = self._found(key)
            if found is not None and found.content == content:
                return True
            if failure.kind == "network":
                raise
            return False
        return True


def _is_digest(text: str) -> bool:
    return len(text) == _DIGEST and not set(text) - set("0123456789abcdef")


def _give_back(lease: Lease) -> None:
    try:
        lease.release()
    except Failure as failure:  # what was held for is done; the hold ends by itself
        log.warning("the hold on %s was not given back: %s", lease.key, failure.what)
