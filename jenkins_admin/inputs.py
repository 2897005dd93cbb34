"""Answer the question that a build waits with."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jenkins_admin.connection import JenkinsError
from jenkins_admin.follow import Build
from jenkins_admin.jobs import nearest
from jenkins_admin.server import Server
from stages.errors import UsageError

_FORM = re.compile(r'<form[^>]*\baction="([^"/]+)/submit"[^>]*>(.*?)</form>', re.DOTALL)
_HIDDEN_NAME = re.compile(r'<input[^>]*\bname="name"[^>]*\bvalue="([^"]*)"')


@dataclass(frozen=True)
class Question:
    """An `input` step that waits. `fields` are the names of what it asks for; `choices`: name → what may be chosen."""

    id: str
    message: str
    fields: tuple[str, ...]
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)

    @property
    def reason_field(self) -> str | None:
        """The field that takes a written reason, if there is one."""
        return next((name for name in self.fields if "reason" in name.lower()), None)


def questions(server: Server, build: Build) -> list[Question]:
    """What a build waits for; empty when it waits for nobody. Raises: JenkinsError."""
    pending = server.pending_inputs(build.job.path, build.number)
    if pending is not None:
        return [
            Question(
                str(one["id"]),
                str(one.get("message", "")),
                tuple(str(asked["name"]) for asked in one.get("inputs") or []),
                _choices(one.get("inputs") or []),
            )
            for one in pending
        ]
    # Without pipeline-rest-api only the page that people see tells.
    page = server.input_page(build.job.path, build.number) or ""
    return [
        Question(html.unescape(id_), "", tuple(html.unescape(name) for name in _HIDDEN_NAME.findall(body)))
        for id_, body in _FORM.findall(page)
    ]


def _choices(asked: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    found = {str(one["name"]): (one.get("definition") or {}).get("choices") for one in asked}
    return {name: [str(choice) for choice in choices] for name, choices in found.items() if choices}


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
    server: Server, build: Build, question: Question, reason: str | None = None, values: Mapping[str, str] | None = None
) -> None:
    """Let the build go on, giving what it asks for.

    A reason goes into the field meant for it; a question without one gets it into the build's description.

    Raises:
        UsageError: JEN_NO_INPUT: a value for a field that is not asked for, or a reason that is asked for and missing.
    """
    given = dict(values or {})
    for name in given:
        if name not in question.fields:
            todo = nearest(name, list(question.fields)) if question.fields else "it asks for nothing"
            raise UsageError("JEN_NO_INPUT", f"the question asks for no {name!r}", todo)
        if name in question.choices and given[name] not in question.choices[name]:
            what = f"{given[name]!r} is no choice of {name}"
            raise UsageError("JEN_PARAMETER", what, nearest(given[name], question.choices[name]))
    field = question.reason_field
    if field is not None and field not in given:
        if reason is None:
            raise UsageError("JEN_NO_INPUT", "the question asks for a reason", "add --reason 'why this is right'")
        given[field] = reason
    if question.fields:
        document = json.dumps({"parameter": [{"name": name, "value": value} for name, value in given.items()]})
        form = {"json": document, "proceed": "Proceed"}
        server.answer(build.job.path, build.number, question.id, "submit", form)
    else:
        server.answer(build.job.path, build.number, question.id, "proceedEmpty")
    if reason is not None and field is None:
        _note(server, build, f"approved: {reason}")


def reject(server: Server, build: Build, question: Question, reason: str | None = None) -> None:
    """End the build at its question; the reason goes into its description."""
    if reason is not None:
        _note(server, build, f"rejected: {reason}")
    server.answer(build.job.path, build.number, question.id, "abort")


def _note(server: Server, build: Build, text: str) -> None:
    answer = server.build(build.job.path, build.number, "description") or {}
    known = str(answer.get("description") or "")
    try:
        server.describe(build.job.path, build.number, f"{known}\n{text}".strip())
    except JenkinsError as error:
        what = f"the answer was given, but the reason could not be written down: {error.what}"
        raise JenkinsError("JEN_NO_NOTE", what, "the permission Run/Update is needed for that", error.status) from error
