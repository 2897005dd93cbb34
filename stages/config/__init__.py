"""ml.yaml: found, parsed, replaced, checked. `load` reports all problems of a file at once."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stages.config import problems, rules
from stages.config.schema import Config
from stages.config.yamlfile import SECRET_KEYS, Document, KeyPath, assign, for_keys, read, substitute
from stages.errors import ConfigError

#: Where models are kept unless `store` or MLCI_STORE says otherwise.
DEFAULT_STORE = "~/.mlci/store"

__all__ = ["Config", "Loaded", "load"]


@dataclass(frozen=True)
class Loaded:
    """A valid configuration.

    `config`: typed values, secrets included. `document`: the text before replacement, for records. `values`: after
    replacement, with secrets left unreplaced, for cache keys. `path`: the file. `unset`: for each environment of
    `deploy` the variables that are not set here, with their errors; what needs them stands in `config` as written.
    """

    config: Config
    document: Document
    values: dict[str, Any]
    path: Path
    unset: Mapping[str, Mapping[str, ConfigError]] = field(default_factory=dict)

    @property
    def root(self) -> Path:
        """The folder that paths in the file are relative to."""
        return self.path.parent

    def whole(self, env: str) -> None:
        """Refuse an environment of `deploy` whose variables are not all set: whoever only trains needs no password of
        production, whoever goes there does.

        Raises:
            ConfigError: CFG_ENV_UNSET, one for each variable.
        """
        if self.unset.get(env):
            raise ConfigError.group(list(self.unset[env].values()))

    def recorded(self, *sections: str) -> dict[str, Any]:
        """Top-level sections as written, for `result.json`; a secret that stands there itself is left out."""
        written = self.document.data
        return {name: _without_secrets(written[name]) for name in sections if name in written}

    def keyed(self, *sections: str) -> dict[str, Any]:
        """Top-level sections for cache keys, which are recorded: a replaced value stands there by its digest
        alone."""
        return {name: self.values[name] for name in sections if name in self.values}


def load(path: Path, assignments: list[str] | None = None, environment: Mapping[str, str] | None = None) -> Loaded:
    """Read ml.yaml.

    `assignments`: ``key.key=VALUE`` as given to ``--set``. `environment`: what ``${VAR}`` is replaced from; default
    the process's own.

    Raises:
        ConfigError: every problem of the file at once, in the order of its lines.
    """
    path = Path(os.path.abspath(path))
    document = read(path, os.path.relpath(path) if path.is_relative_to(Path.cwd()) else str(path))
    if assignments:
        document = assign(document, assignments)
    environment = os.environ if environment is None else environment
    unset: dict[str, dict[str, ConfigError]] = {}

    def of_an_environment(key: KeyPath, variable: str, error: ConfigError) -> bool:
        if key[:1] != ("deploy",) or len(key) < 3:
            return False
        unset.setdefault(str(key[1]), {}).setdefault(variable, error)
        return True

    data = substitute(document, environment, of_an_environment)
    _postpone_empty_keys(document, data, of_an_environment)
    if isinstance(data, dict):
        data.setdefault("store", environment.get("MLCI_STORE") or DEFAULT_STORE)
    config, errors = problems.build(Config, document, data)
    typed = problems.typed(data, Config) if isinstance(data, dict) else data
    errors += rules.check(document, typed)
    if config is None or errors:
        raise ConfigError.group(sorted({e.what: e for e in errors}.values(), key=lambda e: problems.line_of(e.what)))
    return Loaded(config, document, for_keys(document.data, typed), path, unset)


def _without_secrets(written: Any, key: Any = "") -> Any:
    """What `url` and `user` hold says where data came from, and is no secret by itself."""
    if isinstance(written, dict):
        return {name: _without_secrets(value, name) for name, value in written.items()}
    if isinstance(written, list):
        return [_without_secrets(value) for value in written]
    secret = key in SECRET_KEYS - {"url", "user"} and written is not None and "${" not in str(written)
    return "(not recorded)" if secret else written


def _postpone_empty_keys(document: Document, data: Any, later: Callable[[KeyPath, str, ConfigError], bool]) -> None:
    """An `api_key` that an empty variable gave counts as one that is not set: a service must not be open by mistake."""
    environments = data.get("deploy") if isinstance(data, dict) else None
    for name, settings in environments.items() if isinstance(environments, dict) else ():
        raw = document.data["deploy"][name]
        if isinstance(settings, dict) and isinstance(settings.get("api_key"), str) and not settings["api_key"]:
            written, path = raw["api_key"], ("deploy", name, "api_key")
            variable = written.removeprefix("${").removesuffix("}").partition(":-")[0]
            if "${" in written:
                what = f"{document.where(path)}: environment variable {variable} is empty"
                todo = f"set {variable} to the key; without one the service would be open to all"
                later(path, variable, ConfigError("CFG_ENV_UNSET", what, todo))
                settings["api_key"] = str(written)
