"""Fetch what a build archived, and check that it arrived as it was made."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from jenkins_admin.connection import JenkinsError
from jenkins_admin.follow import Build
from jenkins_admin.reading import each
from jenkins_admin.server import Server
from stages.errors import ArtefactError, InfraError, UsageError

_LIMIT = 64 * 2**20  # of a JSON document that is read into memory


@dataclass(frozen=True)
class Artifact:
    """An archived file: its path within the build, and the MD5 that Jenkins recorded if it was fingerprinted."""

    path: str
    md5: str | None = None


@dataclass(frozen=True)
class Fetched:
    """A file that was fetched: where it lies, its size, and which records its digest was compared with."""

    artifact: Artifact
    file: Path
    size: int
    sha256: str
    checked: tuple[str, ...]


def listed(server: Server, build: Build, patterns: Sequence[str] = ()) -> list[Artifact]:
    """The artifacts of a build, or those that match a pattern (`*.json`, `.mlci/**`).

    Raises:
        JenkinsError: JEN_NOT_FOUND: no such build, or patterns of which none matches.
    """
    tree = "artifacts[fileName,relativePath],fingerprint[fileName,hash]"
    answer = server.build(build.job.path, build.number, tree)
    if answer is None:
        what = f"{build.job.label} #{build.number} is not there"
        raise JenkinsError("JEN_NOT_FOUND", what, "mlci-admin status shows the last build", 404)
    hashes: dict[str, set[str]] = {}
    for one in answer.get("fingerprint", []):
        hashes.setdefault(PurePosixPath(str(one.get("fileName"))).name, set()).add(str(one["hash"]))
    found = []
    for one in answer.get("artifacts", []):
        path = str(one["relativePath"])
        if patterns and not any(
            fnmatch.fnmatch(path, p) or fnmatch.fnmatch(str(one.get("fileName")), p) for p in patterns
        ):
            continue
        known = hashes.get(str(one.get("fileName")), set())
        # Fingerprints go by file name: several files of one name cannot be told apart.
        found.append(Artifact(path, next(iter(known)) if len(known) == 1 else None))
    if patterns and not found:
        # Exit 0 with nothing fetched would surprise whoever unpacks it next.
        what = f"no artifact of {build.job.label} #{build.number} matches {', '.join(patterns)}"
        paths = [str(one["relativePath"]) for one in answer.get("artifacts", [])]
        more = f" and {len(paths) - 10} more" if len(paths) > 10 else ""
        todo = f"it archived {', '.join(paths[:10])}{more}" if paths else "it archived nothing"
        raise JenkinsError("JEN_NOT_FOUND", what, todo, 404)
    return found


def fetch(
    server: Server, build: Build, artifacts: Sequence[Artifact], target: Path, tick: Callable[[], None] | None = None
) -> list[Fetched]:
    """Write the artifacts below `target`, each complete or not at all.

    Digests are compared with Jenkins' fingerprints and with the records (`result.json`) that mlci archived beside its
    outputs.

    Raises:
        ArtefactError: JEN_DIGEST: a file is not the one that was recorded; it is not kept.
        UsageError: JEN_PATH: a path leads out of `target`.
    """
    for artifact in artifacts:
        parts = PurePosixPath(artifact.path)
        if parts.is_absolute() or ".." in parts.parts or "\\" in artifact.path:
            what = f"artifact {artifact.path!r} would be written outside the target folder"
            raise UsageError("JEN_PATH", what, "leave it out with a pattern")
    workers = server.connection.server.workers
    got = each(lambda one: _one(server, build, one, target), artifacts, workers, tick)
    records = _records(got)
    for index, one in enumerate(got):
        wanted = records.get(one.artifact.path)
        if wanted is None:
            continue
        if wanted != one.sha256:
            _refuse(one, wanted, f"sha256 {one.sha256}", "mlci's record")
        got[index] = Fetched(one.artifact, one.file, one.size, one.sha256, (*one.checked, "record"))
    return got


def document(server: Server, build: Build, path: str) -> Any:
    """A JSON artifact, read. None when it is too large or not JSON. Raises: JenkinsError."""
    content = bytearray()
    try:
        with server.artifact(build.job.path, build.number, path) as response:
            for block in response.iter_content(65536):
                content += block
                if len(content) > _LIMIT:
                    return None
    except OSError as error:
        what = f"{path} of {build.job.label} #{build.number} did not arrive whole"
        raise InfraError("JEN_FETCH", what, "try again") from error
    try:
        return json.loads(bytes(content))
    except (ValueError, RecursionError):
        return None


def _one(server: Server, build: Build, artifact: Artifact, target: Path) -> Fetched:
    file = target / artifact.path
    sha256, md5, size = hashlib.sha256(), hashlib.md5(usedforsecurity=False), 0
    temporary = ""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with (
            server.artifact(build.job.path, build.number, artifact.path) as response,
            tempfile.NamedTemporaryFile(dir=file.parent, prefix=".", suffix=".part", delete=False) as out,
        ):
            temporary = out.name
            for block in response.iter_content(1 << 20):
                out.write(block)
                sha256.update(block)
                md5.update(block)
                size += len(block)
        if artifact.md5 is not None and artifact.md5 != md5.hexdigest():
            what = f"{artifact.path}: md5 {md5.hexdigest()}, recorded {artifact.md5}"
            raise ArtefactError("JEN_DIGEST", what, "fetch it again; if it stays so, the archive is damaged")
        Path(temporary).chmod(0o644)
        Path(temporary).replace(file)
    except OSError as error:
        what = f"{file}: {error.strerror or 'could not be fetched whole'}"
        raise InfraError("JEN_FETCH", what, "check space and permissions there, then fetch again") from error
    finally:
        if temporary and os.path.exists(temporary):  # noqa: PTH110  a plain name
            os.unlink(temporary)  # noqa: PTH108
    return Fetched(artifact, file, size, sha256.hexdigest(), ("fingerprint",) if artifact.md5 else ())


def _records(got: Sequence[Fetched]) -> dict[str, str]:
    """Artifact path → sha256 that a record beside it names."""
    known: dict[str, str] = {}
    for one in got:
        if one.file.name != "result.json":
            continue
        try:
            if one.file.stat().st_size > _LIMIT:
                continue
            outputs = json.loads(one.file.read_bytes()).get("outputs", {})
        except (ValueError, AttributeError, RecursionError):
            continue
        folder = PurePosixPath(one.artifact.path).parent
        for name, entry in outputs.items() if isinstance(outputs, dict) else ():
            if isinstance(entry, dict) and isinstance(entry.get("sha256"), str):
                known[str(folder / name)] = entry["sha256"]
    return known


def _refuse(one: Fetched, wanted: str, got: str, record: str) -> None:
    one.file.unlink(missing_ok=True)
    what = f"{one.artifact.path}: {got}, {record} says {wanted}"
    raise ArtefactError("JEN_DIGEST", what, "fetch it again; if it stays so, the build's archive was changed")
