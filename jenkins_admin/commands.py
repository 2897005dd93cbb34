"""What each command of `mlci-admin` does and says: from arguments to `Admin`, and from its results to lines."""

from __future__ import annotations

import argparse
import datetime as dt
import errno
import sys
from collections.abc import Sequence
from pathlib import Path

from jenkins_admin import artifacts as archive
from jenkins_admin import config, protect
from jenkins_admin.admin import Admin
from jenkins_admin.answer import Answer
from jenkins_admin.applying import Outcome
from jenkins_admin.doctor import Check
from jenkins_admin.follow import Build, Follower, Patience
from jenkins_admin.parameters import File, Value
from jenkins_admin.plan import Action, Plan
from jenkins_admin.status import ModelStatus, age
from stages import console
from stages.errors import Interrupted, MlciError, UsageError

_MARKS = {"create": "+", "update": "~", "replace": "!", "delete": "-", "refuse": "x"}
_VERDICTS = {"ok": "OK", "warning": "WARN", "failed": "FAIL", "skipped": "SKIP"}
PENDING = 7
#: Longest value from a pipe or device, which tell no size, in bytes.
_LONGEST_PIPE = 64 * 2**20


def _admin(arguments: argparse.Namespace, needs: config.Needs) -> Admin:
    return Admin.from_file(arguments.config, assignments=arguments.assignments, needs=needs)


# ---- desired state -----------------------------------------------------------------------------------------------


def render(arguments: argparse.Namespace) -> Answer:
    """`render`: the XML, to standard output or one file an item."""
    with _admin(arguments, "nothing") as admin:
        documents = admin.render()
    if arguments.output is None:
        lines = [line for path, xml in documents.items() for line in (f"<!-- {path} -->", *xml.splitlines())]
        return Answer(lines, {"items": documents})
    files = []
    for path, xml in documents.items():
        file = Path(arguments.output, path, "config.xml")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(xml, encoding="utf-8")
        except OSError as error:
            raise UsageError("CFG_USAGE", f"{file}: {error.strerror}", "choose another folder with -o") from None
        files.append(str(file))
    return Answer([f"{len(files)} files in {arguments.output}"], {"files": files})


def plan(arguments: argparse.Namespace) -> Answer:
    """`plan`: what would change; exit 7 when something would."""
    with _admin(arguments, "secrets") as admin:
        made = _planned(admin)
        notes = _warned(admin, made)
    data = _plan_data(made) | {"warnings": notes}
    return Answer([*_plan_lines(made), _summary(made)], data, PENDING if made.pending else 0)


def _warned(admin: Admin, made: Plan) -> list[str]:
    notes = protect.warnings(admin.settings, made.prunable)
    for note in notes:
        console.log.warning("%s", note)
    return notes


def apply(arguments: argparse.Namespace) -> Answer:
    """`apply`: the same, done."""
    with _admin(arguments, "secrets") as admin:
        made = _planned(admin)
        _warned(admin, made)
        outcome, error = _carried_out(admin, "apply", made.actions, made.unchanged)
    lines = [line for action in outcome.done for line in _action_lines(action)]
    lines.append(f"{outcome.writes} written, {outcome.unchanged} as they should be already")
    if made.prunable:
        lines.append(f"{len(made.prunable)} no longer in the file: mlci-admin prune removes them")
    return Answer(lines, _outcome_data(outcome), error=error)


def prune(arguments: argparse.Namespace) -> Answer:
    """`prune`: show what would be deleted, ask, delete."""
    with _admin(arguments, "server") as admin:
        made = admin.plan_prune()
        actions = made.prunable
        if not actions:
            return Answer(["nothing to remove"], {"deleted": [], "asked": False})
        for action in actions:
            console.say("\n".join(_action_lines(action)), error=True)
        labels = [action.label for action in actions]
        if not arguments.all:
            try:
                made.check_prune()
            except UsageError as error:
                data = {"deleted": [], "prunable": labels, "asked": False}
                return Answer(["nothing was removed"], data, error=error)
        if not arguments.yes and not _agreed(f"delete {len(actions)}? [y/N] "):
            return Answer(["nothing was removed"], {"deleted": [], "prunable": labels, "asked": True}, PENDING)
        outcome, failure = _carried_out(admin, "prune", actions, 0)
    deleted = [action.label for action in outcome.done]
    data = {"deleted": deleted, "asked": not arguments.yes, **_failed_data(outcome)}
    return Answer([f"{len(deleted)} removed"], data, error=failure)


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise UsageError("CFG_USAGE", "nobody is there to be asked", "add --yes")
    console.say(question, end="", error=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _planned(admin: Admin) -> Plan:
    with console.progress("reading", len(admin.settings.models) + 1) as advance:
        return admin.plan(tick=lambda: advance(1, ""))


def _carried_out(
    admin: Admin, verb: str, actions: Sequence[Action], unchanged: int
) -> tuple[Outcome, MlciError | None]:
    """What became of the actions, and why not all of them were done."""
    done: list[Action] = []
    failed: list[tuple[Action, MlciError]] = []

    def report(action: Action, error: MlciError | None) -> None:
        advance(1, action.path)
        if error is not None:
            console.log.warning("%s: %s (%s)", action.label, error.what, error.code)
            failed.append((action, error))
        else:
            done.append(action)

    try:
        with console.progress(verb, len(actions)) as advance:
            outcome = admin.carry_out(actions, report, unchanged)
    except KeyboardInterrupt:
        tried = [id(action) for action in (*done, *(action for action, _ in failed))]
        rest = tuple(action for action in actions if id(action) not in tried)
        what = f"interrupted; {len(done)} of {len(actions)} done, each of them whole"
        error = Interrupted("JEN_INTERRUPTED", what, f"run mlci-admin {verb} again: it does the rest")
        return Outcome(tuple(done), tuple(failed), rest, unchanged), error
    for action in outcome.not_done:
        console.log.warning("%s: not tried", action.label)
    try:
        outcome.check(verb)
    except MlciError as failure:
        return outcome, failure
    return outcome, None


def _action_lines(action: Action) -> list[str]:
    note = f"  ({action.note})" if action.note else ""
    return [f"{_MARKS[action.verb]} {action.label}{note}", *(f"    {change}" for change in action.changes)]


def _plan_lines(made: Plan) -> list[str]:
    lines = [line for action in made.actions for line in _action_lines(action)]
    gone = "no longer in the file; mlci-admin prune removes it"
    return lines + [f"? {action.label}  ({gone})" for action in made.prunable]


def _summary(made: Plan) -> str:
    counts = {verb: sum(action.verb == verb for action in made.actions) for verb in _MARKS}
    words = {"create": "to create", "update": "to change", "replace": "to replace", "refuse": "in the way"}
    said = [f"{counts[verb]} {word}" for verb, word in words.items() if counts[verb]]
    return f"{', '.join(said) or 'nothing to do'}; {made.unchanged} as they should be"


def _action_data(action: Action) -> dict[str, object]:
    changes = [{"path": c.path, "kind": c.kind, "old": c.old, "new": c.new} for c in action.changes]
    return {"verb": action.verb, "what": action.what, "path": action.path, "note": action.note, "changes": changes}


def _plan_data(made: Plan) -> dict[str, object]:
    return {
        "pending": made.pending,
        "actions": [_action_data(action) for action in made.actions],
        "prunable": [_action_data(action) for action in made.prunable],
        "unchanged": made.unchanged,
    }


def _outcome_data(outcome: Outcome) -> dict[str, object]:
    return {
        "writes": outcome.writes,
        "unchanged": outcome.unchanged,
        "done": [_action_data(action) for action in outcome.done],
        **_failed_data(outcome),
    }


def _failed_data(outcome: Outcome) -> dict[str, object]:
    failed = [
        {**_action_data(action), "error": {"code": error.code, "what": error.what, "todo": error.todo}}
        for action, error in outcome.failed
    ]
    return {"failed": failed, "not_done": [_action_data(action) for action in outcome.not_done]}


# ---- builds ------------------------------------------------------------------------------------------------------


def trigger(arguments: argparse.Namespace) -> Answer:
    """`trigger`: queue a build; with --follow, stay until it has ended."""
    parameters = _parameters(arguments)
    _fits_together(arguments)
    with _admin(arguments, "server") as admin:
        if arguments.scan:
            admin.scan(arguments.model)
            return Answer([f"{arguments.model}: looking for branches"], {"scan": arguments.model})
        job, item = admin.trigger(arguments.model, parameters, arguments.branch)
        if not arguments.follow:
            lines = [f"{job.label} is queued as item {item}"]
            return Answer(lines, {"job": job.path, "queue_item": item})
        console.log.info("%s is queued as item %d", job.label, item)
        follower = admin.follower(Patience(timeout=arguments.timeout), console.log.info)
        try:
            build = follower.started(job, item)
        except KeyboardInterrupt:
            if _asked_to(f"take {job.label} out of the queue? [y/N] "):
                admin.server.cancel(item)
                raise Interrupted(
                    "JEN_INTERRUPTED", "interrupted; it was taken out of the queue", "start it again"
                ) from None
            what = f"interrupted; {job.label} stays in the queue as item {item}"
            todo = f"once it has begun: mlci-admin follow {job.words()}"
            raise Interrupted("JEN_INTERRUPTED", what, todo) from None
        return _followed(admin, follower, build)


def _fits_together(arguments: argparse.Namespace) -> None:
    if arguments.scan:
        others = {"--follow": arguments.follow, "--branch": arguments.branch, "-p": arguments.parameters}
        given = next((name for name, value in others.items() if value), None)
        if given is not None:
            raise UsageError("CFG_USAGE", f"--scan starts no build, so {given} means nothing", f"leave {given} out")
    if arguments.timeout is not None and not arguments.follow:
        raise UsageError("CFG_USAGE", "--timeout means nothing where nobody waits", "add --follow, or leave it out")


def follow(arguments: argparse.Namespace) -> Answer:
    """`follow`: stream a build's log, exit with its result."""
    with _admin(arguments, "server") as admin:
        build = admin.build(arguments.model, arguments.build, arguments.branch)
        return _followed(admin, admin.follower(Patience(timeout=arguments.timeout), console.log.info), build)


def _followed(admin: Admin, follower: Follower, build: Build) -> Answer:
    console.log.info("%s #%d: %s", build.job.label, build.number, build.url)
    try:
        for piece in follower.log(build):
            console.say(piece, end="")
        ended = follower.result(build)
    except KeyboardInterrupt:
        if _asked_to(f"stop {build.job.label} #{build.number}? [y/N] "):
            admin.stop(build)
            what = f"interrupted; {build.job.label} #{build.number} was told to stop"
            raise Interrupted("JEN_INTERRUPTED", what, "start it again when wanted") from None
        what = f"interrupted; {build.job.label} #{build.number} runs on"
        todo = f"follow it again: mlci-admin follow {build.job.words(build.number)}"
        raise Interrupted("JEN_INTERRUPTED", what, todo) from None
    data = {
        "job": build.job.path,
        "build": build.number,
        "url": build.url,
        "result": ended.result,
        "seconds": ended.seconds,
    }
    return Answer([f"{build.job.label} #{build.number}: {ended.result} ({ended.seconds:.0f} s)"], data, ended.exit_code)


def _asked_to(question: str) -> bool:
    """Ask on a terminal; without one, no: the build stays as it is."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    console.say(f"\n{question}", end="", error=True)
    try:
        return sys.stdin.readline().strip().lower() in ("y", "yes")
    except KeyboardInterrupt:
        return False


def _parameters(arguments: argparse.Namespace) -> dict[str, Value]:
    given: dict[str, Value] = {}
    for text in arguments.parameters:
        name, equals, plain = text.partition("=")
        value: Value = plain
        if not equals or not name:
            raise UsageError("CFG_USAGE", f"-p {text}: not of the form NAME=VALUE", "write for example -p ENV=staging")
        if plain.startswith("@"):
            file = Path(arguments.caller, plain[1:])
            try:
                value = File(file.name, _content(file))
            except OSError as error:
                todo = "name a file; a value that begins with @ goes into one"
                raise UsageError("CFG_USAGE", f"-p {name}: {file}: {error.strerror}", todo) from None
        if name in given:
            raise UsageError("CFG_USAGE", f"-p {name} is given twice", "keep one of them")
        given[name] = value
    return given


def _content(file: Path) -> bytes:
    """A file's bytes, or those of a pipe such as `<(command)`. Raises: OSError."""
    if file.is_file():
        return file.read_bytes()
    with file.open("rb") as stream:
        found = stream.read(_LONGEST_PIPE + 1)
    if len(found) > _LONGEST_PIPE:
        raise OSError(errno.EFBIG, f"is no file, and gives more than {_LONGEST_PIPE >> 20} MiB")
    return found


# ---- inputs ------------------------------------------------------------------------------------------------------


def approve(arguments: argparse.Namespace) -> Answer:
    """`approve`: let a waiting build go on."""
    values = _parameters(arguments)
    with _admin(arguments, "server") as admin:
        build = admin.build(arguments.model, arguments.build, arguments.branch)
        question = admin.approve(build, arguments.reason, arguments.question, values)
    return _answered(build, question.id, question.message, "approved")


def reject(arguments: argparse.Namespace) -> Answer:
    """`reject`: end a waiting build."""
    with _admin(arguments, "server") as admin:
        build = admin.build(arguments.model, arguments.build, arguments.branch)
        question = admin.reject(build, arguments.reason, arguments.question)
    return _answered(build, question.id, question.message, "rejected")


def _answered(build: Build, id_: str, message: str, answer: str) -> Answer:
    said = (message or id_).replace("\n", "\\n")
    line = f"{build.job.label} #{build.number}: {said}: {answer}"
    return Answer([line], {"job": build.job.path, "build": build.number, "input": id_, "answer": answer})


# ---- looking -----------------------------------------------------------------------------------------------------


def status(arguments: argparse.Namespace) -> Answer:
    """`status`: a table of the models."""
    with _admin(arguments, "server") as admin:
        found = admin.status(arguments.model)
    now = dt.datetime.now(dt.UTC)
    rows = [("MODEL", "BUILD", "STATE", "AGE", "GATE", "CHAMPION"), *(_row(one, now) for one in found)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    unread = any(one.state == "?" for one in found)
    return Answer(lines, {"models": [_status_data(one, now) for one in found]}, 5 if unread else 0)


def _row(one: ModelStatus, now: dt.datetime) -> tuple[str, ...]:
    champion = ", ".join(f"{environment}: {digest[:12]}" for environment, digest in sorted(one.champion.items()))
    gate = str((one.gate or {}).get("sentence") or (one.gate or {}).get("verdict") or "")
    number = f"#{one.build}" if one.build is not None else ""
    state = f"{one.state} ({one.note})" if one.note else one.state
    cells = one.model, number, state, age(one.finished, now), gate[:80], champion
    return tuple(cell.replace("\n", "\\n") for cell in cells)


def _status_data(one: ModelStatus, now: dt.datetime) -> dict[str, object]:
    seconds = None if one.finished is None else round((now - one.finished).total_seconds())
    return {
        "model": one.model,
        "job": one.job,
        "state": one.state,
        "build": one.build,
        "url": one.url,
        "age_seconds": seconds,
        "gate": one.gate,
        "champion": one.champion,
        "note": one.note,
    }


def logs(arguments: argparse.Namespace) -> Answer:
    """`logs`: the log of a build as it is now."""
    with _admin(arguments, "server") as admin:
        build = admin.build(arguments.model, arguments.build, arguments.branch)
        for piece in admin.logs(build):
            console.say(piece, end="")
    return Answer([], {"job": build.job.path, "build": build.number, "url": build.url})


def artifacts(arguments: argparse.Namespace) -> Answer:
    """`artifacts`: list or fetch what a build archived."""
    with _admin(arguments, "server") as admin:
        build = admin.build(arguments.model, arguments.build, arguments.branch)
        data: dict[str, object] = {"job": build.job.path, "build": build.number}
        if arguments.list:
            paths = [one.path for one in archive.listed(admin.server, build, arguments.patterns)]
            return Answer(paths, data | {"artifacts": paths})
        with console.progress("fetching") as advance:
            got = admin.artifacts(build, arguments.output, arguments.patterns, tick=lambda: advance(1, ""))
    checked = sum(bool(one.checked) for one in got)
    lines = [f"{one.artifact.path}  {one.size} bytes  {', '.join(one.checked) or 'no record'}" for one in got]
    lines.append(f"{len(got)} files in {arguments.output}, {checked} compared with a record")
    files = [
        {"path": o.artifact.path, "file": str(o.file), "size": o.size, "sha256": o.sha256, "checked": list(o.checked)}
        for o in got
    ]
    return Answer(lines, data | {"files": files})


def doctor(arguments: argparse.Namespace) -> Answer:
    """`doctor`: one line a question; exit 5 when something has to be done first."""
    checks: list[Check] = []
    with _admin(arguments, "server") as admin:
        for check in admin.doctor():
            checks.append(check)
            console.say(f"{_VERDICTS[check.verdict]:<5}{check.name}: {check.found}")
            if check.todo and check.verdict != "ok":
                console.say(f"       -> {check.todo}")
    failed = [check.name for check in checks if check.verdict == "failed"]
    data = [{"name": c.name, "verdict": c.verdict, "found": c.found, "todo": c.todo} for c in checks]
    line = f"{len(failed)} to put right: {', '.join(failed)}" if failed else "nothing stands in the way"
    return Answer([line], {"checks": data}, 5 if failed else 0)
