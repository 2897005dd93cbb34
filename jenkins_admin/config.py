"""From jenkins.yaml to settings that contradict nothing, or to all that is wrong with the file."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from jenkins_admin import protect
from jenkins_admin.masking import Mask, confidential
from jenkins_admin.schema import MULTIBRANCH_ONLY, PIPELINE_ONLY, SECRETS, JenkinsYaml, SecretFile
from stages.config import yamlfile
from stages.config.problems import build, nearest
from stages.config.yamlfile import Document, KeyPath
from stages.errors import ConfigError

#: What a command uses of the file: everything, the server but no secret of a credential, or neither.
Needs = Literal["secrets", "server", "nothing"]


#: The variable whose value keys the fingerprints of secrets.
FINGERPRINT_KEY = "MLCI_ADMIN_FINGERPRINT_KEY"
SHORTEST_KEY = 16
LARGEST_FILE = 2**20


@dataclass(frozen=True)
class Loaded:
    """The settings and the folder that relative paths in them (`ca_file`) start from."""

    settings: JenkinsYaml
    base: Path


def load(
    path: str | Path = "jenkins.yaml",
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    needs: Needs = "secrets",
) -> Loaded:
    """Read, complete with `--set` assignments and `${VAR}` from `environment` (default: the process's), and check.

    `needs` says what the caller will use, so that whoever triggers a build need not hold the secrets of
    `credentials`, and whoever renders need not know the server; what is not needed is a placeholder.

    Raises:
        ConfigError: CFG_…, everything that is wrong, with file, line and key.
    """
    path = Path(path)
    try:
        document = yamlfile.read(path)
    except ConfigError as error:
        if error.code == "CFG_FILE" and not path.exists():
            todo = "give its path with --config; docs/admin.md shows a first one"
            raise ConfigError("CFG_FILE", error.what, todo) from None
        raise
    base = path.absolute().parent
    return Loaded(parse(document, assignments, environment, needs, base), base)


def parse(
    document: Document,
    assignments: Sequence[str] = (),
    environment: Mapping[str, str] | None = None,
    needs: Needs = "secrets",
    base: Path | None = None,
) -> JenkinsYaml:
    """The settings of a document that was read, with the secret files that it names. Raises: ConfigError: CFG_…"""
    document = yamlfile.assign(document, list(assignments))
    document = dataclasses.replace(document, data=_placeholders(document.data, needs))
    environment = os.environ if environment is None else environment
    data = yamlfile.substitute(document, environment)
    hidden = confidential(document.data, environment)
    settings, problems = build(JenkinsYaml, document, data)
    problems += [ConfigError("CFG_VALUE", f"{document.where(at)}: {what}", todo) for at, what, todo in _rules(data)]
    if settings is None or problems:
        raise ConfigError.group([_without(hidden, problem) for problem in problems])
    settings = protect.expanded(settings)
    if needs == "secrets":
        _read_secret_files(settings, document, base or Path())
    settings.bind(hidden, environment.get(FINGERPRINT_KEY, ""))
    if needs == "secrets" and 0 < len(settings.fingerprint_key) < SHORTEST_KEY:
        what = f"{FINGERPRINT_KEY} is shorter than {SHORTEST_KEY} characters"
        raise ConfigError("CFG_VALUE", what, "make a random one, for example with: openssl rand -hex 32")
    return settings


def _read_secret_files(settings: JenkinsYaml, document: Document, base: Path) -> None:
    problems = []
    for index, credential in enumerate(settings.credentials):
        if not isinstance(credential, SecretFile):
            continue
        path, where = base / Path(credential.file).expanduser(), document.where(("credentials", index, "file"))
        try:
            with path.open("rb") as file:
                content = file.read(LARGEST_FILE + 1)
        except OSError as error:
            todo = "give its path, relative to jenkins.yaml"
            problems.append(ConfigError("CFG_FILE", f"{where}: {path}: {error.strerror}", todo))
            continue
        if not 0 < len(content) <= LARGEST_FILE:
            size = "more than 1 MiB" if content else "empty"
            problems.append(ConfigError("CFG_VALUE", f"{where}: the secret file is {size}", "name another file"))
        credential.bind(content)
    if problems:
        raise ConfigError.group(problems)


def _without(hidden: Collection[str], problem: ConfigError) -> ConfigError:
    """The problem without what variables put into a value that its message quotes."""
    mask = Mask(hidden)
    return ConfigError(problem.code, mask.text(problem.what), mask.text(problem.todo))


def _placeholders(data: Any, needs: Needs) -> Any:
    """`data` without references to variables that are not needed."""
    if needs == "secrets" or not isinstance(data, dict):
        return data
    data = dict(data)
    if needs == "nothing" and isinstance(data.get("server"), dict):
        data["server"] = {"url": "http://localhost"}
    if isinstance(data.get("credentials"), list):
        data["credentials"] = [
            {key: "-" if key in SECRETS and isinstance(value, str) else value for key, value in item.items()}
            if isinstance(item, dict)
            else item
            for item in data["credentials"]
        ]
    return data


def _rules(data: Any) -> Iterator[tuple[KeyPath, str, str]]:
    """Rules that look at several keys. They read plain data, so that they speak beside the errors of single keys."""
    if not isinstance(data, dict):
        return
    yield from _twice(data)
    yield from _references(data)
    yield from _keys_fit_the_kind(data)
    yield from protect.rules(data)


def _items(data: dict[str, Any], key: str) -> list[tuple[int, dict[str, Any]]]:
    found = data.get(key)
    return [(i, item) for i, item in enumerate(found) if isinstance(item, dict)] if isinstance(found, list) else []


def _defaults(data: dict[str, Any]) -> dict[str, Any]:
    found = data.get("defaults")
    return found if isinstance(found, dict) else {}


def _twice(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    for section, key in (("credentials", "id"), ("folders", "name")):
        seen: dict[Any, int] = {}
        for index, item in _items(data, section):
            name = item.get(key)
            if isinstance(name, str) and seen.setdefault(name, index) != index:
                yield (section, index, key), f"{name!r} is given twice", "keep one of them"
    # Jenkins' default file system check and its URLs take Model and model for the same item.
    taken: dict[str, str] = {str(item.get("name")).lower(): "folder" for _, item in _items(data, "folders")}
    for index, item in _items(data, "models"):
        name, folder = item.get("name"), item.get("folder", _defaults(data).get("folder"))
        if not isinstance(name, str):
            continue
        path = f"{folder}/{name}" if isinstance(folder, str) else name
        if path.lower() in taken:
            yield (
                ("models", index, "name"),
                f"{path!r} is also the name of a {taken[path.lower()]}",
                "rename one of them",
            )
        taken[path.lower()] = "model"


def _references(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    ids = [str(item.get("id")) for _, item in _items(data, "credentials")]
    places: list[tuple[KeyPath, Any]] = [(("defaults", "credential"), _defaults(data).get("credential"))]
    library = data.get("library")
    if isinstance(library, dict):
        places.append((("library", "credential"), library.get("credential")))
    places += [(("models", index, "credential"), item.get("credential")) for index, item in _items(data, "models")]
    for path, name in places:
        # An id that is not in the file may be one that Jenkins holds already; one that is nearly right is a slip.
        close = nearest(str(name), ids)
        if isinstance(name, str) and name not in ids and close.startswith("did you mean"):
            yield path, f"{name!r} is not among the credentials of this file", close


def _keys_fit_the_kind(data: dict[str, Any]) -> Iterator[tuple[KeyPath, str, str]]:
    defaults = _defaults(data)
    for index, item in _items(data, "models"):
        kind = item.get("kind", defaults.get("kind", "multibranch"))
        wrong = PIPELINE_ONLY if kind == "multibranch" else MULTIBRANCH_ONLY if kind == "pipeline" else {}
        for key in item:
            if key in wrong and item[key] is not None:
                yield ("models", index, key), f"a {kind} model has no {key}", wrong[key]
        if item.get("git", defaults.get("git")) is None:
            yield (
                ("models", index),
                "git is given neither here nor in defaults",
                "add git: with the repository's address",
            )
        aborts, concurrent = (item.get(key, defaults.get(key)) for key in ("abort_previous", "concurrent"))
        if kind == "pipeline" and aborts is True and concurrent is True:
            yield ("models", index), "abort_previous needs concurrent: false", "remove one of them"
