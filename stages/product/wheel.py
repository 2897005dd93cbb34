"""The wheel of a model: the same version gives the same bytes (format: PyPA, binary distribution format 1.0)."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from stages import __version__
from stages.errors import ArtefactError
from stages.images.requirements import by_onnx, of_version, pinned
from stages.model.policy import file_of
from stages.product import interface, vendored
from stages.product.archive import stored
from stages.records.jsonfile import read_json
from stages.records.regular import read_regular

#: Python versions that mlci's modules run on.
_PYTHONS = ">=3.11,<3.14"


@dataclass(frozen=True)
class Wheel:
    """`file`: its name. `package`: what is imported. `requires`: Requires-Dist. `constraints`: the exact versions that
    its proof runs with, as a requirements file."""

    file: str
    package: str
    version: str
    content: bytes
    requires: tuple[str, ...]
    constraints: str


def build(name: str, digest: str, folder: Path, code: Path | None) -> Wheel:
    """The wheel of the model in `folder`; `code`: folder of the repository's modules that it was trained with.

    Raises:
        ArtefactError: MOD_RECORD: a file of the version cannot be read.
    """
    signature = read_json(folder / "signature.json")
    onnx = by_onnx(folder)
    package = interface.import_name(name)
    own = {} if onnx or code is None else _modules(code)
    version = _version(folder, digest)
    requires, constraints = _requirements(folder, code, signature)
    files = {
        f"{package}/__init__.py": interface.init(package, signature, digest, bool(own)).encode(),
        f"{package}/__main__.py": interface.main(package).encode(),
        f"{package}/py.typed": b"",
    }
    inner = vendored.runtime(f"{package}._runtime", onnx)
    files |= {f"{package}/_runtime/{path}": source for path, source in inner.items()}
    files |= {f"{package}/_model/{path}": _read(folder / path) for path in _model_files(signature, onnx)}
    files |= {f"{package}/_code/{path}": source for path, source in own.items()}
    stem = f"{package}-{version}"
    card = folder / "MODEL_CARD.md"
    described = card.read_text(encoding="utf-8") if card.is_file() else ""
    python = _PYTHONS if onnx or signature["model"]["format"] == "skops" else f"=={_minor(signature)}.*"
    head = _metadata(name, version, signature["target"]["name"], requires, python)
    files[f"{stem}.dist-info/METADATA"] = f"{head}\n{described}".encode()
    generator = f"Wheel-Version: 1.0\nGenerator: mlci {__version__}\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    files[f"{stem}.dist-info/WHEEL"] = generator.encode()
    record = f"{stem}.dist-info/RECORD"
    files[record] = _record(files, record).encode()
    return Wheel(f"{stem}-py3-none-any.whl", package, version, stored(files), requires, constraints)


def _version(folder: Path, digest: str) -> str:
    """When the model was trained, so that a newer one is a newer version, and which one it is (PEP 440)."""
    started = read_json(folder / "result.json").get("started")
    try:
        when = datetime.fromisoformat(started).astimezone(UTC)
    except (TypeError, ValueError) as error:
        raise ArtefactError("MOD_RECORD", "result.json does not say when it was trained", "run: mlci train") from error
    return f"{when.year}.{when.month}.{when.day}.{int(when.strftime('%H%M%S'))}+{digest[:12]}"


def _requirements(folder: Path, code: Path | None, signature: Mapping[str, Any]) -> tuple[tuple[str, ...], str]:
    needed = of_version(folder, code)
    own = dict(line.split("==", 1) for line in needed.own)
    versions = {**pinned(needed.locked), **own}
    if by_onnx(folder):
        bounded, exact = ["numpy", "onnxruntime"], []
    else:
        bounded = ["numpy", "pandas", "scipy", signature["model"]["format"]]
        exact = sorted({"scikit-learn", *own} - set(bounded))
    requires = [f"{name}=={versions[name]}" for name in exact]
    requires += [f"{name}>={versions[name]},<{_next_major(versions[name])}" for name in bounded]
    if any(feature.get("timezone") for feature in signature["features"]):
        requires.append("tzdata")  # systems without the zones' own files; any release will do
    constraints = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()))
    return tuple(sorted(requires)), constraints


def _next_major(version: str) -> int:
    return int(version.split(".", 1)[0]) + 1


def _minor(signature: Mapping[str, Any]) -> str:
    return ".".join(str(signature["versions"]["python"]).split(".")[:2])


def _model_files(signature: Mapping[str, Any], onnx: bool) -> list[str]:
    return ["signature.json", "model.onnx" if onnx else file_of(signature)]


def _modules(code: Path) -> dict[str, bytes]:
    return {path.relative_to(code).as_posix(): path.read_bytes() for path in sorted(code.rglob("*.py"))}


def _read(path: Path) -> bytes:
    try:
        return read_regular(path)
    except OSError as error:
        what = f"{path.name} cannot be read: {error.strerror}"
        raise ArtefactError("MOD_RECORD", what, "deploy the model again") from error


def _metadata(name: str, version: str, target: str, requires: tuple[str, ...], python: str) -> str:
    lines = ["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}"]
    lines += [f"Summary: Predicts {' '.join(target.split())}", f"Requires-Python: {python}"]
    lines += [f"Requires-Dist: {one}" for one in requires]
    return "\n".join([*lines, "Description-Content-Type: text/markdown", ""])


def _record(files: Mapping[str, bytes], record: str) -> str:
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{_cell(name)},sha256={digest},{len(content)}")
    return "\n".join([*lines, f"{record},,", ""])


def _cell(name: str) -> str:
    return '"' + name.replace('"', '""') + '"' if "," in name or '"' in name else name
