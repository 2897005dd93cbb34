"""A fitted pipeline as a file, and back: skops by default, joblib when asked for; the same model gives the same bytes.

Saving proves itself: what was written is loaded again and has to answer as the fitted pipeline did. Loading starts
with the digest and the library versions of the record; skops then audits every type against a reviewed list before it
builds anything. A joblib file can run any code when it is loaded, so it is loaded only with the digest of its record,
and only where the reader's ml.yaml says joblib.
"""

from __future__ import annotations

import hashlib
import io
import json
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stages.errors import ArtefactError
from stages.model import families
from stages.model.estimator import one_line
from stages.model.metrics import Answer
from stages.model.policy import Policy, file_of
from stages.model.signature import versions as installed_versions
from stages.model.trusted import TRUSTED
from stages.records import jsonfile
from stages.records.regular import read_regular

#: What every entry of a model file is dated; a zip cannot hold an earlier year.
_TIME = (1980, 1, 1, 0, 0, 0)

_JOBLIB = "set model.format: joblib"
#: How many times larger than its file a model may be.
_MOST_UNPACKED = 20
_AGAIN = "train again: mlci train"


def check(pipelines: Sequence[Any], signature: Mapping[str, Any]) -> None:
    """Refuse pipelines that could not be saved or loaded; all their types are told at once.

    Raises:
        ArtefactError: MOD_UNTRUSTED, MOD_NOT_SKOPS, MOD_NOT_SAVED.
    """
    model = signature["model"]
    if model["format"] == "joblib":
        for pipeline in pipelines:
            _pickled(pipeline, io.BytesIO())
        return
    types: set[str] = set()
    for pipeline in pipelines:
        types |= _untrusted(_dumped(pipeline), model["trust"])
    _refuse(types, model["trust"])


def save(pipeline: Any, folder: Path, signature: Mapping[str, Any], sample: Any, said: Answer) -> dict[str, Any]:
    """Write `model.skops` or `model.joblib` into `folder` and load it again.

    `sample`: a frame; `said`: what `answers.ask` says about it. Both formats are deterministic: entries in order,
    fixed times, no memory addresses.

    Returns:
        The signature with the file's name and digest under `model`, as `load` wants it.

    Raises:
        ArtefactError: MOD_NOT_SKOPS: skops cannot hold this model, or it comes back different; MOD_UNTRUSTED: a type
            that has to be named under model.trust; MOD_NOT_SAVED: the same for joblib.
    """
    model = signature["model"]
    path = folder / f"model.{model['format']}"
    if model["format"] == "joblib":
        _pickled(pipeline, path)
    else:
        data = _dumped(pipeline)
        _audit(data, model["trust"])
        _canonical(data, path)
        del data
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    recorded = {**signature, "model": {**model, "file": path.name, "sha256": digest}}
    _same_answers(load(folder, recorded), path, recorded, sample, said)
    return recorded


def load(folder: Path, signature: Mapping[str, Any] | None = None, policy: Policy | None = None) -> Any:
    """The pipeline in `folder`, with every `n_jobs` set to 1.

    `signature`: that of the folder, whose own digest the caller has checked; read from it when left out. It holds the
    digest of the model's file, so that a file which was exchanged is never parsed, let alone unpickled. `policy`: what
    the configuration lets it be; left out by whoever has just saved it, and inside what was built from a checked one.

    Raises:
        ArtefactError: MOD_PICKLE: the policy takes no pickles; MOD_RECORD: a file is not there or does not have its
            digest; MOD_VERSION: saved by other library versions; MOD_UNTRUSTED; MOD_UNREADABLE.
    """
    signature = _signature(folder) if signature is None else signature
    path = folder / file_of(signature)
    if policy is not None:
        policy.check_format(signature)
    model = signature["model"]
    trust = model["trust"] if policy is None else policy.trust
    try:
        data = read_regular(path)
    except OSError as error:
        raise ArtefactError("MOD_RECORD", f"{path.name}: {error.strerror}", _AGAIN) from error
    if hashlib.sha256(data).hexdigest() != model.get("sha256"):
        raise ArtefactError("MOD_RECORD", f"{path.name} does not match the digest in signature.json", _AGAIN)
    _same_versions(signature)
    from sklearn.exceptions import InconsistentVersionWarning

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a deprecation was said when the model was trained
            warnings.simplefilter("error", InconsistentVersionWarning)
            pipeline = _unpickled(data) if path.suffix == ".joblib" else _built(data, trust)
    except ArtefactError:
        raise
    except InconsistentVersionWarning as error:
        raise ArtefactError(
            "MOD_VERSION", one_line(error), "train again with the versions that are installed"
        ) from error
    except ModuleNotFoundError as error:
        what = f"{path.name} needs the module {error.name!r}"
        raise ArtefactError("MOD_UNREADABLE", what, "install it, or put your repository's code on the path") from error
    except Exception as error:  # a damaged file may fail anywhere while it is read
        raise ArtefactError("MOD_UNREADABLE", f"{path.name}: {one_line(error)}", _AGAIN) from error
    families.single_threaded(pipeline)
    return pipeline


def _signature(folder: Path) -> dict[str, Any]:
    try:
        written = jsonfile.parse(jsonfile.content(folder / "signature.json"))
    except (OSError, ValueError) as error:
        raise ArtefactError("MOD_RECORD", f"signature.json cannot be read: {one_line(error)}", _AGAIN) from error
    found: dict[str, Any] = written if isinstance(written, dict) else {}
    if not {"model", "versions", "classes"} <= found.keys():
        raise ArtefactError("MOD_RECORD", "signature.json is not a signature", _AGAIN)
    signature: dict[str, Any] = found
    return signature


# ---- skops -------------------------------------------------------------------------------------------------------


def _dumped(pipeline: Any) -> bytes:
    import skops.io

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return bytes(skops.io.dumps(pipeline))
    except Exception as error:  # skops names no common class for what it cannot hold
        what = f"skops cannot hold this model: {one_line(error)}"
        raise ArtefactError("MOD_NOT_SKOPS", what, f"use an estimator that it can hold, or {_JOBLIB}") from error


def _audit(data: bytes, trust: Sequence[str]) -> None:
    _refuse(_untrusted(data, trust), trust)


def _untrusted(data: bytes, trust: Sequence[str]) -> set[str]:
    import skops.io

    return set(skops.io.get_untrusted_types(data=data)) - TRUSTED - set(trust)


def _refuse(types: set[str], trust: Sequence[str]) -> None:
    if not types:
        return
    local = sorted(t for t in types if "<" in t)
    if local:
        what = f"the model holds {local[0]}, which has no name that could be loaded"
        raise ArtefactError("MOD_NOT_SKOPS", what, "use a function or class defined at the top of a module")
    names = sorted(types)
    what = f"the model holds types that are not trusted: {', '.join(names)}"
    todo = f"if you know them, put into ml.yaml under model: trust: [{', '.join([*trust, *names])}]"
    raise ArtefactError("MOD_UNTRUSTED", what, todo)


def _check_size(data: bytes) -> None:
    """mlci's own archives are not compressed; one that is may unpack to a thousand times its size."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    if size > _MOST_UNPACKED * len(data) + (64 << 20):
        what = f"the model's file of {len(data):,} bytes unpacks to {size:,}"
        raise ArtefactError("MOD_UNREADABLE", what, _AGAIN)


def _built(data: bytes, trust: Sequence[str]) -> Any:
    _check_size(data)
    import skops.io
    from skops.io.exceptions import UntrustedTypesFoundException

    try:
        return skops.io.loads(data, trusted=[*sorted(TRUSTED), *trust])
    except UntrustedTypesFoundException as error:
        _audit(data, trust)
        raise ArtefactError("MOD_UNTRUSTED", one_line(error), _AGAIN) from error


def _canonical(data: bytes, path: Path) -> None:
    """Write skops' archive so that it depends on the model alone.

    skops names arrays and nodes by memory address and dates entries by the clock. Here they are numbered in the order
    of the schema; nodes of plain values carry no number, since whether two equal texts are one object is an accident;
    sets are ordered by what they hold.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        schema = json.loads(archive.read("schema.json"))
        files = _renumber(schema)
        for old, new in files.items():
            _write(out, new, archive.read(old))
        _write(out, "schema.json", json.dumps(schema, separators=(",", ":")).encode())


def _write(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    entry = zipfile.ZipInfo(name, _TIME)
    entry.external_attr = 0o644 << 16
    archive.writestr(entry, content)


def _renumber(schema: Any) -> dict[str, str]:
    """Replace addresses in `schema`, in place. Returns old → new name of each array's file."""
    ids: dict[int, int] = {}
    files: dict[str, str] = {}

    def visit(node: Any) -> None:
        if isinstance(node, list):
            for item in node:
                visit(item)
            return
        if not isinstance(node, dict):
            return
        if node.get("__loader__") == "SetNode":
            node["content"].sort(key=_without_addresses)
        if node.get("__loader__") == "JsonNode":
            node.pop("__id__", None)
        elif isinstance(node.get("__id__"), int):
            node["__id__"] = ids.setdefault(node["__id__"], len(ids) + 1)
        if isinstance(node.get("file"), str) and "__loader__" in node:
            suffix = node["file"].rpartition(".")[2]
            node["file"] = files.setdefault(node["file"], f"{len(files) + 1}.{suffix}")
        for value in node.values():
            visit(value)

    visit(schema)
    return files


def _without_addresses(node: Any) -> str:
    def plain(part: Any) -> Any:
        if isinstance(part, dict):
            return {k: plain(v) for k, v in part.items() if k not in ("__id__", "file")}
        return [plain(v) for v in part] if isinstance(part, list) else part

    return json.dumps(plain(node), sort_keys=True)


# ---- joblib ------------------------------------------------------------------------------------------------------


def _pickled(pipeline: Any, target: Any) -> None:
    """Write `pipeline` to `target`, a path or a file. Raises: ArtefactError: MOD_NOT_SAVED."""
    import joblib

    try:
        joblib.dump(pipeline, target)
    except Exception as error:  # a class may raise anything while it is pickled
        what = f"the model cannot be pickled: {one_line(error)}"
        raise ArtefactError("MOD_NOT_SAVED", what, "define its classes and functions at the top of a module") from error


def _unpickled(data: bytes) -> Any:
    import joblib

    return joblib.load(io.BytesIO(data))


# ---- what both share ---------------------------------------------------------------------------------------------


def _same_versions(signature: Mapping[str, Any]) -> None:
    """Compare the record's versions with the installed ones, before the file is opened."""
    recorded = signature["versions"]
    here = installed_versions(signature["model"].get("estimator", "sklearn"))
    strict = [n for n in recorded if n not in ("python", "numpy", "scipy", "pandas", "skops", "joblib")]
    different = [n for n in strict if recorded[n] != here.get(n)]
    if signature["model"]["format"] == "joblib":
        different += [n for n in ("numpy", "joblib") if _part(recorded.get(n), 1) != _part(here.get(n), 1)]
        different += ["python"] if _part(recorded.get("python"), 2) != _part(here.get("python"), 2) else []
    if different:
        name = different[0]
        what = f"the model was saved with {name} {recorded.get(name)}, here is {here.get(name) or 'none'}"
        raise ArtefactError("MOD_VERSION", what, f"install {name}=={recorded.get(name)}, or train again")


def _part(version: str | None, parts: int) -> list[str]:
    return (version or "").split(".")[:parts]


def alike(one: Answer, other: Answer) -> bool:
    """Whether two answers are the same but for the last bits, which threads adding up trees leave open."""
    if (one.probabilities is None) != (other.probabilities is None) or one.labels.shape != other.labels.shape:
        return False
    numeric = one.labels.dtype.kind == "f" and other.labels.dtype.kind == "f"
    same = _close(one.labels, other.labels) if numeric else np.array_equal(one.labels, other.labels)
    if one.probabilities is None or other.probabilities is None:
        return same
    return same and _close(one.probabilities, other.probabilities)


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    return one.shape == other.shape and np.allclose(one, other, rtol=1e-9, atol=1e-12)


def _same_answers(loaded: Any, path: Path, signature: Mapping[str, Any], sample: Any, said: Any) -> None:
    from stages.model.answers import ask

    if alike(said, ask(loaded, sample, signature["classes"])):
        return
    code = "MOD_NOT_SKOPS" if path.suffix == ".skops" else "MOD_NOT_SAVED"
    what = f"{path.name} answers differently from the model it was made from"
    todo = _JOBLIB if path.suffix == ".skops" else "look for state that is not pickled"
    path.unlink()
    raise ArtefactError(code, what, todo)
