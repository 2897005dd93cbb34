"""Answer the question that a build waits with."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jenkins_admin.connection import JenkinsError
from jenkins_admin.follow import Build
from jenkins_admin.jobs import nearest
from jenkins_admin.parameters import Value, text
from jenkins_admin.server import Server
from stages.errors import UsageError

_FORM = re.compile(r'<form[^>]*\baction="([^"/]+)/submit"[^>]*>(.*?)</form>', re.DOTALL)
#: Types whose empty default is not told.
_TEXTS = ("StringParameterDefinition", "TextParameterDefinition")
#: How mlPipeline says that it will ask again without a reason.
_NEEDED = re.compile(r"reason of at least (\d+) characters is needed", re.IGNORECASE)
_HIDDEN_NAME = re.compile(r'<input[^>]*\bname="name"[^>]*\bvalue="([^"]*)"')


@dataclass(frozen=True)
class Field:
    """What a question asks for. `kind`: its type as Jenkins names it, "" where it is not known.

    `default`: what the page shows before anybody fills it in, None where it is not known. Jenkins itself fills in
    nothing: a field that is not sent is null for the pipeline.
    """

    name: str
    kind: str = ""
    description: str = ""
    choices: Sequence[str] = ()
    default: str | None = None


@dataclass(frozen=True)
class Question:
    """An `input` step that waits, and what it asks for."""

    id: str
    message: str
    asked: Sequence[Field] = ()

    @property
    def fields(self) -> tuple[str, ...]:
        """The names of what it asks for."""
        return tuple(one.name for one in self.asked)

    @property
    def choices(self) -> dict[str, Sequence[str]]:
        """Name → what may be chosen."""
        return {one.name: one.choices for one in self.asked if one.choices}

    @property
    def reason_field(self) -> str | None:
        """The field that takes a written reason, if there is one."""
        return next((name for name in self.fields if "reason" in name.lower()), None)


def questions(server: Server, build: Build) -> list[Question]:
    """What a build waits for; empty when it waits for nobody. Raises: JenkinsError."""
    pending = server.pending_inputs(build.job.path, build.number)
    if pending is not None:
        return [
            Question(str(one["id"]), str(one.get("message", "")), [_field(asked) for asked in one.get("inputs") or []])
            for one in pending
        ]
    # Without pipeline-rest-api only the page that people see tells.
    page = server.input_page(build.job.path, build.number) or ""
    return [
        Question(html.unescape(id_), "", [Field(html.unescape(name)) for name in _HIDDEN_NAME.findall(body)])
        for id_, body in _FORM.findall(page)
    ]


def _field(asked: Mapping[str, Any]) -> Field:
    definition = asked.get("definition") or {}
    kind, choices = str(asked.get("type") or ""), [str(choice) for choice in definition.get("choices") or []]
    default = definition.get("defaultVal")
    if default is None and choices:
        default = choices[0]
    elif default is None and kind in _TEXTS:
        default = ""
    if kind == "PasswordParameterDefinition":
        default = None  # what Jenkins shows of it stands for the password, and is not it
    if isinstance(default, bool):
        default = "true" if default else "false"
    shown = str(asked.get("description") or "")
    return Field(str(asked["name"]), kind, shown, choices, None if default is None else str(default))


def the_question(server: Server, build: Build, id_: str | None) -> Question:
    """The one question that is meant.

    Raises:
        UsageError: JEN_NO_INPUT: none waits, several do, or none of that id.
    """
    found = questions(server, build)
    where = f"{build.job.label} #{build.number}"
    if not found:
        todo = "see whether the build has ended: mlci-admin status"
        raise UsageError("JEN_NO_INPUT", f"{where} waits for no answer", todo)
    if id_ is None and len(found) > 1:
        todo = f"name one with --input: {', '.join(one.id for one in found)}"
        raise UsageError("JEN_NO_INPUT", f"{where} waits for {len(found)} answers", todo)
    for one in found:
        if id_ is None or one.id == id_:
            return one
    raise UsageError("JEN_NO_INPUT", f"{where} has no question {id_!r}", nearest(str(id_), [one.id for one in found]))


def approve(
    server: Server,
    build: Build,
    question: Question,
    reason: str | None = None,
    values: Mapping[str, Value] | None = None,
) -> None:
    """Let the build go on, giving what it asks for; what is left open gets its default.

    A reason goes into the field meant for it; a question without one gets it into the build's description.

    Raises:
        UsageError: JEN_NO_INPUT: a value for a field that is not asked for, a field without a value and a default, or
            a reason that is asked for and missing. JEN_PARAMETER: a value that does not fit.
    """
    answers = _answers(question, reason, values or {})
    if answers:
        document = json.dumps({"parameter": [{"name": name, "value": value} for name, value in answers.items()]})
        form = {"json": document, "proceed": "Proceed"}
        server.answer(build.job.path, build.number, question.id, "submit", form)
    else:
        server.answer(build.job.path, build.number, question.id, "proceedEmpty")
    if reason is not None and question.reason_field is None:
        _note(server, build, f"approved: {reason}")


def _answers(question: Question, reason: str | None, values: Mapping[str, Value]) -> dict[str, str | bool]:
    """A value for every field of the question, as its page would send it."""
    for name in values:
        if name not in question.fields:
            todo = nearest(name, list(question.fields)) if question.fields else "it asks for nothing"
            raise UsageError("JEN_NO_INPUT", f"the question asks for no {name!r}", todo)
    answers: dict[str, str | bool] = {}
    for one in question.asked:
        if one.kind.endswith("FileParameterDefinition"):
            raise UsageError("JEN_NO_INPUT", f"{one.name} is a file", "answer on the build's page in Jenkins")
        value: Value | None = values.get(one.name, one.default)
        if one.name == question.reason_field:
            given = values.get(one.name)
            value = _reason(one, reason if given is None else text(one.name, given, one.kind))
        if value is None:
            what = f"the question asks for {one.name} and tells no default"
            raise UsageError("JEN_NO_INPUT", what, f"add -p {one.name}=VALUE")
        plain = text(one.name, value, one.kind, one.choices)
        answers[one.name] = plain == "true" if one.kind == "BooleanParameterDefinition" else plain
    return answers


def _reason(field: Field, reason: str | None) -> str | None:
    """The reason to give, or the field's default where the question can do without."""
    needed = _NEEDED.search(field.description)
    shortest = int(needed.group(1)) if needed else 0
    given = field.default if reason is None else reason
    if given is None or (reason is None and shortest):
        raise UsageError("JEN_NO_INPUT", "the question asks for a reason", "add --reason 'why this is right'")
    if len(given.strip()) < shortest:
        what = f"the question asks for a reason of at least {shortest} characters"
        raise UsageError("JEN_NO_INPUT", what, f"say more than {given.strip()!r}")
    return given


def reject(server: Server, build: Build, question: Question, reason: str | None = None) -> None:
    """End the build at its question; the reason goes into its description."""
    server.answer(build.job.path, build.number, question.id, "abort")
    if reason is not None:
        _note(server, build, f"rejected: {reason}")


def _note(server: Server, build: Build, text: str) -> None:
    answer = server.build(build.job.path, build.number, "description") or {}
    known = str(answer.get("description") or "")
    try:
        server.describe(build.job.path, build.number, f"{known}\n{text}".strip())
    except JenkinsError as error:
        what = f"the answer was given, but the reason could not be written down: {error.what}"
        raise JenkinsError("JEN_NO_NOTE", what, "the permission Run/Update is needed for that", error.status) from error
