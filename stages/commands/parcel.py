"""`mlci pack` and `unpack`: the `.mlci` folder as one file, the way between agents, jobs and CI systems."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import Any

from stages.answer import Answer
from stages.errors import ArtefactError, UsageError
from stages.project import Project
from stages.records import jsonfile, result
from stages.records.atomic import disk_errors
from stages.records.digest import canonical_json
from stages.records.lock import exclusive, recover
from stages.records.stage import swap_in

#: Stages that travel; a deployment belongs to the machine that made it.
STAGES = ("prepare", "train", "test", "validate")
MANIFEST = "mlci-pack.json"


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
            if last is None:
                continue
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
                with tarfile.open(temporary, "w") as archive:
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
        what = "is a folder" if file.is_dir() else "no such file"
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
                last = result.read(arriving / stage)
                if last is None or last.changed_outputs(arriving / stage):
                    raise _damaged(file, f"{stage} does not match its own record")
            for stage in stages:
                swap_in(project, stage, arriving / stage)
        finally:
            recover(project.work)
    line = f"unpacked {', '.join(stages)} of {project.config.name} from {project.show(file)}"
    return Answer([line], {"file": str(file), "stages": stages})


def _extract(file: Path, into: Path) -> dict[str, Any]:
    """Write what the manifest lists, checking each digest; nothing else in the archive is touched."""
    try:
        with disk_errors(into), tarfile.open(file, "r:") as archive:
            first = archive.next()
            if first is None or first.name != MANIFEST or not first.isreg() or first.issparse():
                raise _damaged(file, "it has no manifest")
            manifest: dict[str, Any] = jsonfile.parse(_content(archive, first))
            if not isinstance(manifest["name"], str):
                raise _damaged(file, "its manifest names no model")
            expected = dict(manifest["files"])
            while (member := archive.next()) is not None:
                digest = expected.pop(member.name, None)
                parts = PurePosixPath(member.name).parts
                plain = member.isfile() and not member.issparse()  # a sparse file of 1 KB may unpack to terabytes
                if digest is None or not plain or parts[0] not in STAGES or ".." in parts:
                    raise _damaged(file, f"unexpected entry {member.name!r}")
                target = into.joinpath(*parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                source = archive.extractfile(member)
                assert source is not None
                with target.open("wb") as out:
                    shutil.copyfileobj(source, out)
                if _sha256(target) != digest:
                    raise _damaged(file, f"{member.name} has another digest than the manifest says")
            if expected:
                raise _damaged(file, f"{next(iter(expected))} is missing")
            return manifest
    except (tarfile.TarError, ValueError, KeyError, TypeError, EOFError) as error:
        raise _damaged(file, str(error)) from error


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
