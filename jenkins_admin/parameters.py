"""Values for what a job or a question asks for, checked against its declared type before anything is sent.

Jenkins drops a parameter that it does not know, takes `yes` for false and a file's name for nothing, all without a
word.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jenkins_admin.connection import JenkinsError
from jenkins_admin.jobs import Job, absent, nearest
from jenkins_admin.server import Server
from stages.errors import UsageError

_TREE = "buildable,inQueue,property[parameterDefinitions[name,type,choices]]"
_BOOLEAN = "BooleanParameterDefinition"
#: Of the core and of the file-parameters plugin.
_FILE = "FileParameterDefinition"


@dataclass(frozen=True)
class File:
    """The content of a file as a value: the text of a text parameter, the upload of a file parameter."""

    name: str
    content: bytes


Value = str | File


@dataclass(frozen=True)
class Parameters:
    """What to send to a job with parameters: texts, and uploads by name."""

    texts: Mapping[str, str]
    files: Mapping[str, File]


def for_job(server: Server, job: Job, given: Mapping[str, Value]) -> Parameters | None:
    """The parameters to send, or None for a job without parameters.

    Raises:
        UsageError: JEN_PARAMETER: an unknown name, a value that does not fit the declared type, no Unicode text.
        JenkinsError: JEN_NOT_FOUND, JEN_DISABLED, …
    """
    answer = server.job(job.path, _TREE)
    if answer is None:
        raise absent(server, job)
    if answer.get("buildable") is False:
        raise JenkinsError("JEN_DISABLED", f"{job.label} is disabled", "set disabled: false and apply")
    known: dict[str, Mapping[str, Any]] = {
        one["name"]: one for prop in answer.get("property", []) for one in prop.get("parameterDefinitions", [])
    }
    texts, files = {}, {}
    for name, value in given.items():
        if name not in known:
            none = f"{job.label} takes none (a Jenkinsfile's parameters are known after its first build)"
            todo = nearest(name, list(known)) if known else none
            raise UsageError("JEN_PARAMETER", f"{job.label} has no parameter {name!r}", todo)
        kind = str(known[name].get("type") or "")
        if not kind.endswith(_FILE):
            texts[name] = text(name, value, kind, known[name].get("choices") or ())
        elif isinstance(value, File):
            files[name] = value
        else:
            raise UsageError("JEN_PARAMETER", f"{name} is a file parameter", f"name the file: -p {name}=@FILE")
    return Parameters(texts, files) if known else None


def text(name: str, value: Value, kind: str, choices: Sequence[str] = ()) -> str:
    """`value` as the text of a parameter whose type Jenkins calls `kind` ("" where it is not known).

    Raises:
        UsageError: JEN_PARAMETER: not one of `choices`, not true or false, not text.
    """
    plain = _decoded(name, value)
    if choices and plain not in choices:
        raise UsageError("JEN_PARAMETER", f"{plain!r} is no choice of {name}", nearest(plain, choices))
    if kind == _BOOLEAN:
        # Jenkins takes every other text for false.
        if plain.lower() not in ("true", "false"):
            raise UsageError("JEN_PARAMETER", f"{name} is a boolean, not {plain!r}", "give true or false")
        return plain.lower()
    return plain


def _decoded(name: str, value: Value) -> str:
    if isinstance(value, File):
        try:
            # As it is: reading as text would make line feeds of the line ends of Windows.
            return value.content.decode("utf-8")
        except UnicodeDecodeError:
            todo = "name a text file; a value that begins with @ goes into one"
            raise UsageError("CFG_USAGE", f"-p {name}: {value.name}: is not UTF-8", todo) from None
    if not isinstance(value, str):
        what = f"the value of {name} is {value!r}, not text"
        raise UsageError("JEN_PARAMETER", what, "give it as text; a boolean is 'true' or 'false'")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in value):
        raise UsageError("JEN_PARAMETER", f"the value of {name} is not Unicode text", "give it as UTF-8")
    return value
