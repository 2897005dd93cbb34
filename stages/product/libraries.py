"""The installed packages that an application carries: files of this very environment, so that nothing is fetched and
nothing is another version than here."""

from __future__ import annotations

import importlib.metadata
import io
import os
import re
import tempfile
import zipfile
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from stages.errors import InfraError
from stages.product.archive import write
from stages.records.atomic import disk_errors
from stages.records.digest import sha256_json
from stages.venvs.kept import provide
from stages.venvs.place import choose

#: Never imported by what scores: tests, headers, stubs, and parts of Arrow and onnxruntime for other purposes.
_LEFT_OUT = re.compile(
    r"(^|/)(tests?|__pycache__|include)/|\.(pyc|pyi|pxd|pyx|h|hpp|lib|a)$"
    r"|^onnxruntime/(transformers|quantization|tools|datasets)/"
    r"|^pyarrow/(src/|lib(arrow|arrow_python)_(flight|s3)\.|_(flight|azurefs|gcsfs|s3fs)\.)"
)
_RELEASE = re.compile(r"^Tag: .*manylinux_(\d+)_(\d+)_", re.MULTILINE)
#: Changes when the content of an archive does for the same packages.
_LAYOUT = 1
_ARCHIVE = "libraries.zip"


def needed(names: Iterable[str]) -> dict[str, importlib.metadata.Distribution]:
    """The distributions `names` and all that they require here, by normalised name.

    Raises:
        InfraError: DEP_APP: one of them is not installed, or not from a wheel.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        try:
            distribution = importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise InfraError("DEP_APP", f"{name} is not installed here", "deploy where mlci has its packages") from None
        if not distribution.files or distribution.read_text("RECORD") is None:
            what = f"{name} was not installed from a wheel: which files are its own is not known"
            raise InfraError("DEP_APP", what, "deploy from a virtual environment (make setup, or mlci.pyz)")
        found[name] = distribution
        for line in distribution.requires or ():
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return dict(sorted(found.items()))


def key(distributions: dict[str, importlib.metadata.Distribution]) -> str:
    """The same for the same files: from the digests that their installer recorded."""
    records = {name: one.read_text("RECORD") for name, one in distributions.items()}
    return sha256_json([_LAYOUT, _LEFT_OUT.pattern, records])[:16]


def glibc(distributions: dict[str, importlib.metadata.Distribution]) -> str | None:
    """The oldest glibc that they all run on, from the tags of their wheels; None where they do not say."""
    versions = []
    for one in distributions.values():
        oldest = [(int(a), int(b)) for a, b in _RELEASE.findall(one.read_text("WHEEL") or "")]
        versions += [min(oldest)] if oldest else []
    return "{}.{}".format(*max(versions)) if versions else None


def packed(distributions: dict[str, importlib.metadata.Distribution]) -> bytes:
    """A compressed archive of their files, laid out as on the path; kept in mlci's cache for the next application.

    Raises:
        InfraError: DEP_APP: a file is not there; DEP_DISK.
    """
    kept = _cache()
    if kept is None:
        return _packed(distributions)
    folder = kept / f"app-libraries-{key(distributions)}"
    made: list[bytes] = []

    def make(new: Path) -> None:
        made.append(_packed(distributions))
        new.mkdir()
        (new / _ARCHIVE).write_bytes(made[0])

    try:
        archive = provide(folder, "the packages of applications", make) / _ARCHIVE
        return made[0] if made else archive.read_bytes()
    except OSError:  # the cache is a saving, no need
        return made[0] if made else _packed(distributions)


def _packed(distributions: dict[str, importlib.metadata.Distribution]) -> bytes:
    with disk_errors(Path(tempfile.gettempdir())):
        whole = io.BytesIO()
        with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for name, distribution in distributions.items():
                for place in sorted(_files(distribution)):
                    try:
                        write(archive, str(place), Path(str(distribution.locate_file(place))).read_bytes())
                    except OSError as error:
                        what = f"{name}: {place}: {error.strerror}"
                        raise InfraError("DEP_APP", what, "install mlci's packages anew") from error
        return whole.getvalue()


def _files(distribution: importlib.metadata.Distribution) -> list[PurePosixPath]:
    """What is imported of it, and its own metadata, by which it tells its version."""
    files = [PurePosixPath(str(file)) for file in distribution.files or ()]
    return [file for file in files if ".." not in file.parts and not _LEFT_OUT.search(str(file))]


def _cache() -> Path | None:
    """The cache, where there is one that no other user can write."""
    try:
        return choose(os.environ, [])
    except InfraError:
        return None
