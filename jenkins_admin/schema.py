"""jenkins.yaml: every key, its type and its default."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from pathlib import PurePath
from typing import Annotated, Any, Literal
from urllib.parse import quote, urlsplit

from pydantic import Field, PrivateAttr, field_validator, model_validator

from jenkins_admin.schedule import wrong_schedule
from stages.config.problems import Section, problem

_UNSAFE = re.compile(r"[?*/\\%!@#$^&|<>\[\]:;\x00-\x1f\x7f]")
_CREDENTIAL_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_INTERVAL = re.compile(r"([1-9][0-9]{0,5})([mhdw])")
_XML_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]*")
_MINUTES = {"m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}

Positive = Annotated[int, Field(ge=1)]
#: Not in the text that an exception, a debugger or `print(settings)` shows.
Secret = Annotated[str, Field(repr=False)]
MaybeSecret = Annotated[str | None, Field(repr=False)]
NotNegative = Annotated[int, Field(ge=0)]
ParameterType = Literal["string", "text", "boolean", "choice"]
Discovery = Literal["branches", "tags"]


def checked_name(value: str) -> str:
    """`value` if Jenkins takes it as an item's name; otherwise an error that says which character is in the way."""
    bad = _UNSAFE.search(value)
    if bad:
        raise problem(f"{bad.group()!r} may not stand in a name", "use letters, digits, '-', '_' and '.'")
    if not value.strip() or value != value.strip() or value.endswith(".") or value.startswith("."):
        raise problem(f"{value!r} is no name for an item", "begin and end with a letter or digit")
    return value


def checked_path(value: str) -> str:
    """A folder's path such as `teams/ml`, every part a name."""
    for part in value.split("/"):
        checked_name(part)
    return value


def minutes(interval: str) -> int:
    """`15m`, `1h`, `2d` or `1w` in minutes. Raises: ValueError: not of that form."""
    match = _INTERVAL.fullmatch(interval)
    if match is None:
        raise ValueError(interval)
    return int(match.group(1)) * _MINUTES[match.group(2)]


def given(value: str) -> str:
    """`value`, a secret, unless it is empty: a variable that is set to nothing would erase what Jenkins holds."""
    if not value.strip():
        raise problem("the secret is empty", "set the variable that it comes from")
    return value


class Server(Section):
    """The Jenkins to talk to, and how politely."""

    url: str
    user: str | None = None
    token: MaybeSecret = None
    password: MaybeSecret = None
    ca_file: str | None = None
    allow_http: bool = False
    workers: Annotated[int, Field(ge=1, le=64)] = 8
    retries: Annotated[int, Field(ge=0, le=20)] = 5
    timeout: Annotated[float, Field(gt=0, allow_inf_nan=False)] = 60.0

    @field_validator("url")
    @classmethod
    def _is_address(cls, value: str) -> str:
        try:
            parts = urlsplit(value)
            port_is_fine = parts.port is None or parts.port > 0
        except ValueError:
            parts, port_is_fine = None, False
        if parts is None or parts.scheme not in ("http", "https") or not parts.hostname or not port_is_fine:
            raise problem("expected the address of a Jenkins", "write for example https://jenkins.example.com/")
        if parts.username is not None or parts.password is not None:
            raise problem("the address holds a user or password", "put them under server.user and server.token")
        if parts.query or parts.fragment:
            raise problem("the address holds a query or fragment", "keep scheme, host and path")
        folder = re.search(r"/job/(.+)", parts.path)
        if folder:
            todo = (
                f"keep what stands before /job/; folder: {'/'.join(folder.group(1).strip('/').split('/job/'))} names it"
            )
            raise problem("the address is that of a folder or job in Jenkins", todo)
        return value.rstrip("/")

    @model_validator(mode="after")
    def _one_login(self) -> Server:
        if self.token is not None and self.password is not None:
            raise problem("token and password are both given", "keep the token")
        if (self.token or self.password) and not self.user:
            raise problem("a token without a user", "add user:")
        if self.user and not (self.token or self.password):
            raise problem("a user without a token", "add token: (Jenkins: your name, Security, API Token)")
        return self


class Cache(Section):
    """How long the controller keeps a fetched library version. `refresh_minutes: 0` keeps it for ever.

    Versions that contain a text of `exclude` are fetched every time: a branch kept for ever would never move.
    """

    refresh_minutes: NotNegative = 0
    exclude: list[str] = ["main", "master", "develop"]


class Library(Section):
    """The shared library that jobs of the folder may use, at one pinned version."""

    name: Annotated[str, Field(min_length=1)] = "mlci"
    git: Annotated[str, Field(min_length=1)]
    version: Annotated[str, Field(min_length=1)]
    credential: str | None = None
    implicit: bool = False
    allow_version_override: bool = False
    include_in_changesets: bool = False
    cache: bool | Cache = True
    discover: list[Discovery] = ["branches", "tags"]


class Folder(Section):
    """A folder: its path, and what people see of it."""

    name: str
    display_name: str | None = None
    description: str | None = None

    @field_validator("name")
    @classmethod
    def _is_path(cls, value: str) -> str:
        return checked_path(value)


class Protect(Section):
    """A protected model whose main branch is not called `main`."""

    branch: Annotated[str, Field(min_length=1)] = "main"


class _Credential(Section):
    id: str
    description: str = ""
    deploy: bool | None = None

    @field_validator("id")
    @classmethod
    def _is_id(cls, value: str) -> str:
        if not _CREDENTIAL_ID.fullmatch(value):
            raise problem(f"{value!r} is no credential id", "use up to 64 letters, digits, '-', '_' and '.'")
        return value


class UsernamePassword(_Credential):
    """A user and a password or token."""

    kind: Literal["username_password"]
    username: str
    password: Secret

    _is_there = field_validator("password")(given)


class SecretText(_Credential):
    """One secret text."""

    kind: Literal["secret_text"]
    secret: Secret

    _is_there = field_validator("secret")(given)


class SshKey(_Credential):
    """A user and a private key in PEM or OpenSSH form."""

    kind: Literal["ssh_key"]
    username: str
    private_key: Secret
    passphrase: MaybeSecret = None

    _is_there = field_validator("private_key")(given)


class SecretFile(_Credential):
    """A file whose content is secret. `file`: its path, relative to jenkins.yaml; its name is shown in Jenkins."""

    kind: Literal["secret_file"]
    file: Annotated[str, Field(min_length=1)]
    _content: bytes = PrivateAttr(default=b"")

    def bind(self, content: bytes) -> None:
        """Note what the file holds."""
        self._content = content

    @property
    def content(self) -> bytes:
        """What the file holds; nothing where no command needs it."""
        return self._content

    @property
    def file_name(self) -> str:
        """The last part of its path."""
        return PurePath(self.file).name


#: Keys of a credential that never leave this program except towards Jenkins.
SECRETS = ("password", "secret", "private_key", "passphrase")

Credential = Annotated[UsernamePassword | SecretText | SecretFile | SshKey, Field(discriminator="kind")]


class Parameter(Section):
    """A build parameter. `type` is inferred: choices make a choice, a boolean default a boolean, else a string."""

    name: str
    type: ParameterType | None = None
    default: str | bool | int | float | None = None
    choices: Annotated[list[str], Field(min_length=1)] | None = None
    description: str = ""
    trim: bool = False

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", value):
            raise problem(f"{value!r} is no parameter name", "use letters, digits and '_', not beginning with a digit")
        return value

    @model_validator(mode="after")
    def _default_fits(self) -> Parameter:
        kind = self.kind
        if (kind == "choice") != (self.choices is not None):
            raise problem("type choice and choices belong together", "give both, or neither")
        if self.choices is not None and self.default is not None and self.text not in self.choices:
            raise problem(f"the default {self.text!r} is not one of the choices", "name one of the choices")
        if self.choices is not None and len(set(self.choices)) < len(self.choices):
            raise problem("a choice is listed twice", "keep one of them")
        if kind == "boolean" and not isinstance(self.default, bool | None):
            raise problem("the default of a boolean is true or false", "correct the value")
        if self.trim and kind not in ("string", "text"):
            raise problem(f"trim means nothing for a {kind}", "remove it")
        return self

    @property
    def kind(self) -> ParameterType:
        """The type as given or inferred."""
        if self.type is not None:
            return self.type
        if self.choices is not None:
            return "choice"
        return "boolean" if isinstance(self.default, bool) else "string"

    @property
    def text(self) -> str:
        """The default as Jenkins stores it."""
        if isinstance(self.default, bool):
            return "true" if self.default else "false"
        return "" if self.default is None else str(self.default)


class Discard(Section):
    """Which builds, and which artifacts of them, Jenkins keeps. What is not given is kept for ever."""

    builds: Positive | None = None
    days: Positive | None = None
    artifact_builds: Positive | None = None
    artifact_days: Positive | None = None

    @model_validator(mode="after")
    def _says_something(self) -> Discard:
        if not self.model_fields_set:
            raise problem("nothing is discarded", "give builds, days, artifact_builds or artifact_days")
        return self


class Orphans(Section):
    """What happens to the jobs of deleted branches: kept for `days`, at most `builds` of them; `keep` keeps all."""

    keep: bool = False
    days: Positive | None = None
    branches: Positive | None = None


class Filter(Section):
    """Which branches and tags become jobs; `*` stands for anything."""

    include: Annotated[list[str], Field(min_length=1)] = ["*"]
    exclude: list[str] = []


class RawElement(Section):
    """An XML element of one's own, for what has no key here. It replaces the elements of its tag under `at`."""

    at: str = ""
    element: str

    @field_validator("at")
    @classmethod
    def _is_place(cls, value: str) -> str:
        if not all(_XML_NAME.fullmatch(part) for part in value.split("/") if part):
            raise problem(f"{value!r} is no path of elements", "write for example properties, or definition/scm")
        return value

    @field_validator("element")
    @classmethod
    def _is_xml(cls, value: str) -> str:
        from jenkins_admin import xmltree

        try:
            xmltree.parse(value)
        except ValueError as error:
            raise problem(f"not an XML element: {error}", "give one well-formed element") from None
        return value


class Shared(Section):
    """The keys of a model that `defaults` may give for all of them."""

    kind: Literal["multibranch", "pipeline"] | None = None
    git: Annotated[str, Field(min_length=1)] | None = None
    credential: str | None = None
    script: Annotated[str, Field(min_length=1)] | None = None
    folder: str | None = None
    disabled: bool | None = None
    adopt: bool | None = None
    discard: Discard | None = None
    xml: list[RawElement] | None = None
    # multibranch
    protect: bool | Protect | None = None
    discover: list[Discovery] | None = None
    filter: Filter | None = None
    scan: str | None = None
    orphans: Orphans | None = None
    clean: bool | None = None
    # pipeline
    branch: Annotated[str, Field(min_length=1)] | None = None
    cron: str | None = None
    poll: str | None = None
    parameters: list[Parameter] | None = None
    concurrent: bool | None = None
    abort_previous: bool | None = None
    lightweight: bool | None = None

    @field_validator("folder")
    @classmethod
    def _is_path(cls, value: str | None) -> str | None:
        return None if value is None else checked_path(value)

    @field_validator("scan")
    @classmethod
    def _is_interval(cls, value: str | None) -> str | None:
        if value is not None and not _INTERVAL.fullmatch(value):
            raise problem(f"{value!r} is no interval", "write for example 15m, 1h or 1d")
        return value

    @field_validator("cron", "poll")
    @classmethod
    def _is_schedule(cls, value: str | None) -> str | None:
        wrong = None if value is None else wrong_schedule(value)
        if wrong is not None:
            raise problem(wrong, "write five fields, for example H 2 * * *, or one of @hourly @daily @weekly @monthly")
        return value

    @field_validator("parameters")
    @classmethod
    def _unique_parameters(cls, value: list[Parameter] | None) -> list[Parameter] | None:
        names = [parameter.name for parameter in value or []]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise problem(f"parameter {twice!r} is given twice", "keep one of them")
        return value


class Model(Shared):
    """One job: a multibranch project, or a pipeline of one branch."""

    name: str
    display_name: str | None = None
    description: str = ""

    @field_validator("name")
    @classmethod
    def _is_name(cls, value: str) -> str:
        return checked_name(value)


#: Keys that only one kind of job has, and where the same is said for the other.
MULTIBRANCH_ONLY = dict.fromkeys(("discover", "filter", "scan", "orphans", "clean"), "a pipeline has one branch")
PIPELINE_ONLY = {
    "branch": "every branch gets a job; use filter:",
    "cron": "put triggers { cron(…) } into the Jenkinsfile",
    "poll": "use scan: 1h",
    "parameters": "put parameters { … } into the Jenkinsfile",
    "concurrent": "put options { disableConcurrentBuilds() } into the Jenkinsfile",
    "abort_previous": "put options { disableConcurrentBuilds(abortPrevious: true) } into the Jenkinsfile",
    "lightweight": "a multibranch project checks out lightly wherever it can",
}


class JenkinsYaml(Section):
    """The whole file."""

    server: Server
    folder: str | Folder
    owner: str | None = None
    protect: bool | Protect = False
    library: Library | None = None
    credentials: list[Credential] = []
    folders: list[Folder] = []
    defaults: Shared = Shared()
    models: list[Model] = []
    _confidential: tuple[str, ...] = PrivateAttr(default=())
    _fingerprint_key: str = PrivateAttr(default="")

    @field_validator("folder")
    @classmethod
    def _is_path(cls, value: str | Folder) -> str | Folder:
        return checked_path(value) if isinstance(value, str) else value

    @field_validator("owner")
    @classmethod
    def _is_owner(cls, value: str | None) -> str | None:
        if value is not None and not re.fullmatch(r"[A-Za-z0-9._/-]{1,80}", value):
            raise problem(f"{value!r} is no owner", "use letters, digits, '.', '-', '_' and '/'")
        return value

    @property
    def root(self) -> Folder:
        """The managed folder."""
        return self.folder if isinstance(self.folder, Folder) else Folder(name=self.folder)

    def names(self) -> Iterator[str]:
        """Names of the folders, credentials and models of the file."""
        yield from (self.root.name, *(one.id for one in self.credentials), *(one.name for one in self.folders))
        yield from (model.name for model in self.models)

    def bind(self, confidential: Collection[str], fingerprint_key: str) -> None:
        """Note what the environment gives besides the file: see `confidential` and `fingerprint_key`."""
        self._confidential, self._fingerprint_key = tuple(confidential), fingerprint_key

    @property
    def confidential(self) -> tuple[str, ...]:
        """Values of variables that no plan or message shows."""
        return self._confidential

    @property
    def fingerprint_key(self) -> str:
        """The key of the fingerprints of secrets; "" for none."""
        return self._fingerprint_key

    @property
    def signature(self) -> str:
        """What marks the things that this file made."""
        return self.owner or quote(self.root.name, safe="/")


def json_schema() -> dict[str, Any]:
    """The JSON Schema of jenkins.yaml for editors. Keys that take no text also take `${VAR}`."""
    schema = JenkinsYaml.model_json_schema(by_alias=True)
    reference = {"type": "string", "pattern": r"^\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^}]*)?\}$"}

    def widened(node: Any) -> Any:
        if isinstance(node, list):
            return [widened(item) for item in node]
        if not isinstance(node, dict):
            return node
        made = {key: widened(value) for key, value in node.items()}
        if made.get("type") in ("integer", "number", "boolean"):
            shared = {key: made.pop(key) for key in ("title", "default") if key in made}
            return {**shared, "anyOf": [made, reference]}
        return made

    result: dict[str, Any] = widened(schema)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **result, "title": "jenkins.yaml"}


if __name__ == "__main__":
    import json

    print(json.dumps(json_schema(), indent=1, ensure_ascii=False))
