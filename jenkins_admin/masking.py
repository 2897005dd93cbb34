"""What no plan, message or log shows: secrets by where they stand, by how they look, and by where they come from."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from stages.config.yamlfile import KeyPath, walk

HIDDEN = "(hidden)"

#: Names of fields, classes and variables that hold secrets.
_NAME = re.compile(
    r"token|passw|passphrase|pwd|secret|private[_-]?key|api[_-]?key|access[_-]?key|auth[_-]?key|signing[_-]?key"
    r"|encryption[_-]?key|hook[_-]?url|connection[_-]?string",
    re.IGNORECASE,
)
_VARIABLE = re.compile(r"(?:^|_)(?:PW|PASS|KEY|CRED|CREDS|CREDENTIAL|CREDENTIALS|AUTH|PIN|DSN)(?:_|$)", re.IGNORECASE)
#: Fields that name a secret and do not hold one, and what is said of an object that holds one.
_NAMES_ONLY = re.compile(r"credentials?Id|credential_?Id", re.IGNORECASE)
_PUBLIC = frozenset({"name", "id", "description", "username", "scope", "fileName"})
#: As Jenkins writes what it has encrypted.
_ENCRYPTED = re.compile(r"\{[A-Za-z0-9+/]{20,}={0,2}\}")
#: A user, and perhaps a password, in an address; with ssh:// it is a name that everybody uses.
_LOGIN = re.compile(r"(?<=https://)[^/@\s]+(?=@)|(?<=http://)[^/@\s]+(?=@)|(?<=ssh://)[^/@:\s]*:[^/@\s]+(?=@)")
#: Shorter values are hidden where they stand alone: in a longer text they would be found everywhere.
SHORTEST = 4

_REFERENCE = re.compile(r"(?<!\$)\$\{([A-Za-z_][A-Za-z0-9_]*)")
#: Keys of jenkins.yaml that hold secrets, and those whose text goes where a secret may be meant to go.
_SECRET_KEYS = frozenset({"token", "password", "secret", "private_key", "passphrase"})
_OPEN_KEYS = frozenset({"xml", "parameters"})


def holds_secrets(name: str) -> bool:
    """Whether a field or class of that name holds secrets."""
    return bool(_NAME.search(name)) and not _NAMES_ONLY.search(name)


def is_public(tag: str) -> bool:
    """Whether a field of an object that holds secrets only says which object it is."""
    return tag in _PUBLIC or bool(_NAMES_ONLY.search(tag))


class Mask:
    """Hides `values`, logins in addresses, and what Jenkins has encrypted."""

    def __init__(self, values: Collection[str] = ()) -> None:
        self._values = frozenset(value for value in values if value)
        self._long = sorted((value for value in self._values if len(value) >= SHORTEST), key=len, reverse=True)

    def covers(self, text: str) -> bool:
        """Whether `text` is or holds a secret."""
        return text in self._values or any(value in text for value in self._long) or bool(_ENCRYPTED.search(text))

    def text(self, text: str) -> str:
        """`text` without its secrets."""
        if text in self._values:
            return HIDDEN
        for value in self._long:
            text = text.replace(value, HIDDEN)
        return _LOGIN.sub(HIDDEN, _ENCRYPTED.sub(HIDDEN, text))


def confidential(data: Any, environment: Mapping[str, str]) -> tuple[str, ...]:
    """The values that variables of the environment put where secrets stand in jenkins.yaml.

    `data` is the file before replacement. A variable counts by its name (`GIT_TOKEN`), by its key (`password`), and
    where its text goes into a configuration as it is (`xml`, defaults of `parameters`).
    """
    return tuple(dict.fromkeys(environment[name] for name in _variables(data) if environment.get(name)))


def _variables(data: Any) -> Iterator[str]:
    for path, value in walk(data):
        if isinstance(value, str) and "${" in value:
            for name in _REFERENCE.findall(value):
                if _is_secret(path, name):
                    yield name


def _is_secret(path: KeyPath, variable: str) -> bool:
    if holds_secrets(variable) or _VARIABLE.search(variable):
        return True
    return path[-1] in _SECRET_KEYS or not _OPEN_KEYS.isdisjoint(path)
