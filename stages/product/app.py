"""One file that scores files: a zip that Python runs, with everything inside but Python."""

from __future__ import annotations

import importlib.metadata
import platform
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from stages.errors import ArtefactError, InfraError
from stages.images.requirements import by_onnx, of_version
from stages.images.runtime import modules
from stages.model.policy import file_of
from stages.product import libraries
from stages.product.archive import stored
from stages.records.digest import canonical_json, sha256_tree
from stages.records.jsonfile import read_json
from stages.records.regular import read_regular

SHEBANG = b"#!/usr/bin/env python3\n"
#: What reads files and checks rows, besides what answers.
_READING = ("numpy", "orjson", "packaging", "pyarrow", "pydantic", "pyyaml", "tzdata")
_OF_SKLEARN = ("pandas", "scikit-learn", "scipy")
_OUTSIDE = ("stages.targets", "stages.store", "stages.records.stage", "stages.export", "stages.cli")


@dataclass(frozen=True)
class App:
    """`file`: its name."""

    file: str
    content: bytes
    about: Mapping[str, Any]


def build(name: str, digest: str, folder: Path, code: Path | None, read: Mapping[str, Any]) -> App:
    """The application of the model in `folder`, for this Python and platform.

    `code`: folder of the repository's modules that it was trained with. `read`: how text files are read unless the
    command line says otherwise.

    Raises:
        ArtefactError: MOD_RECORD. InfraError: DEP_APP, DEP_APP_VERSION, DEP_DISK.
    """
    signature = read_json(folder / "signature.json")
    onnx = by_onnx(folder)
    wanted = [*_READING, "onnxruntime"] if onnx else [*_READING, *_sklearn(folder, code, signature)]
    carried = libraries.needed(wanted)
    own = inner(folder, None if onnx else code, signature, onnx)
    about = {
        "schema_version": 1,
        "name": name,
        "digest": digest,
        "target": signature["target"]["name"],
        "read": dict(read),
        **machine(),
        "glibc": libraries.glibc(carried),
        "libraries": libraries.key(carried),
        "model": sha256_tree(own)[:16],
        "carries": {package: one.version for package, one in carried.items()},
    }
    start = (files("stages.product") / "start.py").read_bytes()
    whole = stored(
        {
            "__main__.py": start,
            "app.json": canonical_json(about),
            "libraries.zip": libraries.packed(carried),
            "model.zip": stored(own),
        }
    )
    return App(f"{name}.pyz", SHEBANG + whole, about)


def machine() -> dict[str, str | None]:
    """What an application compares before it starts, of this Python."""
    return {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}",
        "implementation": platform.python_implementation(),
        "platform": sysconfig.get_platform(),
        "soabi": sysconfig.get_config_var("SOABI"),
    }


def inner(folder: Path, code: Path | None, signature: Mapping[str, Any], onnx: bool) -> dict[str, bytes]:
    """What an application unpacks besides its packages: mlci's modules, the model and its own modules.

    Raises:
        ArtefactError: MOD_RECORD.
    """
    entries = ["stages.product.scorer", *([] if onnx else ["stages.model.datetimes"])]
    found = modules(entries, _OUTSIDE)
    names = ["signature.json", "model.onnx" if onnx else file_of(signature)]
    names += ["schema.json"] if (folder / "schema.json").is_file() else []
    try:
        found |= {f"model/{one}": read_regular(folder / one) for one in names}
    except OSError as error:
        what = f"{error.filename} cannot be read: {error.strerror}"
        raise ArtefactError("MOD_RECORD", what, "deploy the model again") from error
    if code is not None:
        found |= {f"code/{p.relative_to(code).as_posix()}": p.read_bytes() for p in sorted(code.rglob("*.py"))}
    return found


def _sklearn(folder: Path, code: Path | None, signature: Mapping[str, Any]) -> list[str]:
    """Packages that a saved pipeline needs, each installed here as it was in training."""
    recorded = {name: version for name, version in signature["versions"].items() if name != "python"}
    recorded = {
        name: recorded[name] for name in recorded if name not in ("numpy", "scipy", "pandas", "skops", "joblib")
    }
    own = dict(line.split("==", 1) for line in of_version(folder, code).own)
    for name, version in recorded.items():
        here = _installed(name)
        if here != version:
            raise InfraError(
                "DEP_APP_VERSION",
                f"the model was trained with {name} {version}, here is {here or 'none'}",
                "deploy from the environment that it was trained in, or train again",
            )
    return [*_OF_SKLEARN, signature["model"]["format"], *recorded, *(name for name in own if _installed(name))]


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
