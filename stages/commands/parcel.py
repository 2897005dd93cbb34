"""`mlci pack` and `unpack`: the `.mlci` folder as one file, the way between agents, jobs and CI systems."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from stages.answer import Answer
from stages.errors import ArtefactError, UsageError
from stages.project import Project
from stages.records import jsonfile, result
from stages.records.atomic import disk_errors
from stages.records.digest import canonical_json
from stages.records.lock import exclusive, recover
from stages.records.regular import is_inside
from stages.records.stage import swap_in

#: Stages that travel; a deployment belongs to the machine that made it.
STAGES = ("prepare", "train", "test", "validate")
MANIFEST = "mlci-pack.json"
#: The largest manifest or header of an entry, in bytes.
_MAX_READ = 64 << 20


def pack(project: Project, file: Path) -> Answer:
    """Write the records and files of all stages into `file`, a tar with a manifest of digests first.

    Raises:
        UsageError: CFG_FILE: no such folder, or `file` is one. ArtefactError: MOD_NOTHING_TO_PACK, MOD_RECORD: a file
        does not match its record. InfraError: DEP_DISK.
    """
    if file.is_dir():
        raise UsageError(
            "CFG_FILE", f"{project.show(file)}: is a folder", "name the file to write, for example mlci.tar"
        )
    if not file.parent.is_dir():
        raise UsageError("CFG_FILE", f"{project.show(file)}: there is no folder {file.parent}", "make it first")
    with exclusive(project.work):
        files: dict[str, Path] = {}
        for stage in STAGES:
            folder = project.folder(stage)
            last = result.read(folder)
            if last is None and not folder.exists():
                continue
            if last is None:
                what = f"{project.show(folder / result.FILE)}: is missing, or no record of a stage"
                raise ArtefactError("MOD_RECORD", what, f"rebuild it with: mlci {stage}, or remove the folder")
            changed = last.changed_outputs(folder)
            if changed:
                shown = project.show(folder / changed[0])
                raise ArtefactError(
                    "MOD_RECORD", f"{shown}: does not match its record", f"rebuild it with: mlci {stage}"
                )
            files |= {f"{stage}/{name}": folder / name for name in [*sorted(last.outputs), result.FILE]}
        if not files:
            raise ArtefactError(
                "MOD_NOTHING_TO_PACK", f"{project.show(project.work)}: no stage has a result", "run: mlci run"
            )
        digests = {name: _sha256(path) for name, path in files.items()}
        manifest = {"schema_version": 1, "name": project.config.name, "files": digests}
        temporary = file.with_name(f".{file.name}.{os.getpid()}")
        with disk_errors(file):
            try:
                with tarfile.open(temporary, "w", dereference=True) as archive:
                    _add(archive, MANIFEST, canonical_json(manifest))
                    for name, path in files.items():
                        archive.add(path, name, recursive=False, filter=_plain)
                os.replace(temporary, file)
            finally:
                temporary.unlink(missing_ok=True)
    size = file.stat().st_size
    line = f"packed {len(files)} files of {project.config.name} into {project.show(file)} ({size / 1e6:.1f} MB)"
    return Answer([line], {"file": str(file), "files": len(files), "bytes": size})


def unpack(project: Project, file: Path) -> Answer:
    """Replace the stages in `.mlci` by those in `file`, after every digest in it was checked.

    Raises:
        UsageError: CFG_FILE: no such file; ArtefactError: MOD_PACK (damaged, or not made by `mlci pack`),
        MOD_PACK_OTHER (another model's); InfraError: DEP_DISK.
    """
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "is no regular file" if file.exists() else "no such file"
        raise UsageError("CFG_FILE", f"{project.show(file)}: {what}", "give a file written by: mlci pack FILE")
    with exclusive(project.work):
        arriving = project.work / ".tmp" / "arriving"
        with disk_errors(project.work):
            arriving.mkdir(parents=True)
        try:
            manifest = _extract(file, arriving)
            if manifest["name"] != project.config.name:
                what = f"{project.show(file)}: holds {manifest['name']!r}, this is {project.config.name!r}"
                raise ArtefactError("MOD_PACK_OTHER", what, "unpack it in the repository that it was packed in")
            stages = [stage for stage in STAGES if (arriving / stage).is_dir()]
            for stage in stages:
                _check_stage(file, manifest["files"], arriving / stage)
            for stage in stages:
                swap_in(project, stage, arriving / stage)
        finally:
            recover(project.work)
    line = f"unpacked {', '.join(stages)} of {project.config.name} from {project.show(file)}"
    return Answer([line], {"file": str(file), "stages": stages})


def _check_stage(file: Path, names: Mapping[str, str], folder: Path) -> None:
    """A stage holds what its own record names, and nothing else."""
    last = result.read(folder)
    if last is None or last.stage != folder.name or last.changed_outputs(folder):
        raise _damaged(file, f"{folder.name} does not match its own record")
    known = {f"{folder.name}/{name}" for name in (*last.outputs, result.FILE)}
    extra = sorted(name for name in names if name.startswith(f"{folder.name}/") and name not in known)
    if extra:
        raise _damaged(file, f"{extra[0]} is in no record")


def _extract(file: Path, into: Path) -> dict[str, Any]:
    """Write what the manifest lists, checking each digest; nothing else in the archive is touched."""
    try:
        with file.open("rb") as stream, tarfile.open(fileobj=_Careful(stream), mode="r:") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or not first.isfile() or first.size > _MAX_READ:
                raise _damaged(file, "it has no manifest")
            manifest: dict[str, Any] = jsonfile.parse(_content(archive, first))
            wrong = _wrong_in(manifest)
            if wrong:
                raise _damaged(file, f"its manifest is damaged: {wrong}")
            expected = dict(manifest["files"])
            while (member := archive.next()) is not None:
                digest = expected.pop(member.name, None)
                if digest is None or not member.isfile() or member.issparse():
                    raise _damaged(file, f"unexpected entry {member.name!r}")
                _write(archive, member, into / member.name)
                if _sha256(into / member.name) != digest:
                    raise _damaged(file, f"{member.name} has another digest than the manifest says")
            if expected:
                raise _damaged(file, f"{next(iter(expected))} is missing")
            return manifest
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError, OverflowError, RecursionError) as error:
        raise _damaged(file, str(error)) from error


def _wrong_in(manifest: Any) -> str | None:
    """What is wrong with a manifest; None: nothing. Its names stay in the folders of stages, each a file of its own."""
    if not isinstance(manifest, dict) or manifest.get("schema_version") != 1:
        return "it is none of this release"
    files = manifest.get("files")
    if not isinstance(manifest.get("name"), str) or not isinstance(files, dict) or not files:
        return "name or files is missing"
    for name, digest in files.items():
        parts = name.split("/")
        if not is_inside(name) or len(parts) < 2 or parts[0] not in STAGES or not isinstance(digest, str):
            return f"entry {name[:200]!r}"
        if any("/".join(parts[:end]) in files for end in range(1, len(parts))):
            return f"entry {name[:200]!r} lies in a file"
    return None


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, target: Path) -> None:
    source = archive.extractfile(member)
    if source is None:
        raise tarfile.ReadError(f"{member.name} has no content")
    with disk_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        out = target.open("wb")
    with out:
        while piece := source.read(1 << 20):
            with disk_errors(target):
                out.write(piece)


class _Careful(io.RawIOBase):
    """A file that does not give more at once than a header can need: one entry may claim any size of header."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= _MAX_READ:
            raise tarfile.ReadError(f"it has a header of {size:,} bytes")
        return self._stream.read(size)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()


def _damaged(file: Path, why: str) -> ArtefactError:
    return ArtefactError(
        "MOD_PACK",
        f"{file.name}: not a whole package of mlci: {why}",
        "pack it again and copy it whole; nothing was changed here",
    )


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    stream = archive.extractfile(member)
    return stream.read(jsonfile.LARGEST + 1) if stream else b""


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _plain(entry: tarfile.TarInfo) -> tarfile.TarInfo:
    """No owner, time or mode of this machine: the same content packs to the same bytes."""
    entry.uid = entry.gid = entry.mtime = 0
    entry.uname = entry.gname = ""
    entry.mode = 0o644
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
