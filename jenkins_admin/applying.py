"""Carry out a plan: folders before what stands in them, credentials before the jobs that use them, jobs in parallel."""

from __future__ import annotations

import threading
import xml.etree.ElementTree as ET
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from jenkins_admin import credentials, patch, xmltree
from jenkins_admin.canonical import canonical
from jenkins_admin.connection import JenkinsError
from jenkins_admin.diff import differences
from jenkins_admin.plan import Action
from jenkins_admin.schema import JenkinsYaml
from jenkins_admin.server import Server
from stages.errors import MlciError

#: After one of these nothing else will work either.
_HOPELESS = frozenset({"JEN_UNREACHABLE", "JEN_LOGIN", "JEN_TLS", "JEN_UNAVAILABLE", "JEN_REDIRECT", "JEN_NOT_JENKINS"})

Report = Callable[[Action, MlciError | None], None]


@dataclass(frozen=True)
class Outcome:
    """What became of each action; `failed` pairs actions with their errors, `not_done` was not tried."""

    done: tuple[Action, ...]
    failed: tuple[tuple[Action, MlciError], ...]
    not_done: tuple[Action, ...]
    unchanged: int = 0

    @property
    def writes(self) -> int:
        """How many things were written to Jenkins."""
        return len(self.done)

    def check(self, verb: str = "apply") -> None:
        """Raises: JenkinsError: JEN_INCOMPLETE, naming what was done and what not, unless everything was."""
        if not self.failed and not self.not_done:
            return
        total = len(self.done) + len(self.failed) + len(self.not_done)
        first = f"; first: {self.failed[0][0].label}: {self.failed[0][1].what}" if self.failed else ""
        counts = f"{len(self.done)} of {total} done, {len(self.failed)} failed, {len(self.not_done)} not tried"
        what = f"{verb}: {counts}{first}"
        todo = self.failed[0][1].todo + "; " if self.failed else ""
        raise JenkinsError("JEN_INCOMPLETE", what, f"{todo}then run mlci-admin {verb} again: it does the rest")


def carry_out(
    server: Server, settings: JenkinsYaml, actions: Sequence[Action], report: Report | None = None
) -> Outcome:
    """Do `actions`; errors of one job do not stop the others, errors of a folder or credential stop what comes after.

    An interruption lets requests under way finish, starts no more, and is raised again.
    """
    run = _Run(server, settings, report)
    rest = list(actions)
    while rest and not run.stopped:
        parallel = _first_group(rest)
        rest = rest[len(parallel) :]
        run.group(parallel)
    tried = {id(action) for action in run.done} | {id(action) for action, _ in run.failed}
    order = {id(action): index for index, action in enumerate(actions)}
    done = sorted(run.done, key=lambda action: order[id(action)])
    return Outcome(tuple(done), tuple(run.failed), tuple(a for a in actions if id(a) not in tried))


def _first_group(actions: list[Action]) -> list[Action]:
    """The longest beginning whose actions do not depend on one another: a folder alone, or jobs, or credentials."""
    first = actions[0]
    group = [first]
    for action in actions[1:]:
        if action.what != first.what or first.what not in ("job", "credential"):
            break
        group.append(action)
    return group


class _Run:
    """The state of one `carry_out`."""

    def __init__(self, server: Server, settings: JenkinsYaml, report: Report | None) -> None:
        self.server, self.settings, self.report = server, settings, report
        self.done: list[Action] = []
        self.failed: list[tuple[Action, MlciError]] = []
        self.stopped = self.stopped_by_caller = False
        self._lock = threading.Lock()

    def group(self, actions: list[Action]) -> None:
        with ThreadPoolExecutor(min(self.settings.server.workers, len(actions))) as pool:
            futures = [pool.submit(self._one, action) for action in actions]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                self.stopped = True
                raise
        # What follows needs the folder it stands in, or the credential it names.
        if self.failed and actions[0].what in ("folder", "credential"):
            self.stopped = True

    def _one(self, action: Action) -> None:
        if self.stopped:
            return
        error: MlciError | None = None
        try:
            self._act(action)
        except MlciError as failure:
            error = failure
        except xmltree.XmlError as failure:
            error = JenkinsError("JEN_XML", f"{action.label}: {failure}", "remove that character from jenkins.yaml")
        with self._lock:
            if error is None:
                self.done.append(action)
            else:
                self.failed.append((action, error))
                if error.code in _HOPELESS:
                    self.stopped = True
            if self.report is not None and not self.stopped_by_caller:
                try:
                    self.report(action, error)
                except BaseException:
                    self.stopped = self.stopped_by_caller = True
                    raise

    def _act(self, action: Action) -> None:
        if action.verb == "refuse":
            raise JenkinsError("JEN_CONFLICT", action.note, "settle that first")
        if action.what == "credential":
            self._credential(action)
        elif action.what == "library":
            self._drop_library(action)
        elif action.verb == "create":
            self._create(action)
        elif action.verb == "delete":
            self.server.delete(action.path)
        elif action.what == "folder":
            self._update_folder(action)
        else:
            self.server.update(action.path, action.xml)

    def _create(self, action: Action) -> None:
        if self.server.create(action.path, action.xml):
            return
        text = self.server.config(action.path)
        # There already: our own request, whose answer was lost, or somebody else's item.
        if text is None or differences(canonical(xmltree.parse(text)), canonical(xmltree.parse(action.xml))):
            what = "appeared while this was running, and is different"
            raise JenkinsError("JEN_CONFLICT", what, "run mlci-admin plan to see the difference")

    def _update_folder(self, action: Action) -> None:
        # Read again right before writing: its configuration holds the credentials.
        item = action.item
        if item is not None:
            self._write_folder(action.path, lambda live: patch.patched(live, item, self.settings.signature))

    def _drop_library(self, action: Action) -> None:
        folder, _, name = action.path.rpartition("/")
        self._write_folder(folder, lambda live: patch.without_library(live, name, self.settings.signature))

    def _write_folder(self, path: str, change: Callable[[ET.Element], ET.Element]) -> None:
        text = self.server.config(path)
        if text is None:
            raise JenkinsError("JEN_NOT_FOUND", f"folder {path} has gone", "run the command again")
        live = xmltree.parse(text)
        if patch.holds_no_secrets(live):
            who = self.settings.server.user
            what = f"folder {path} holds credentials that {who} may not read: writing it would lose them"
            raise JenkinsError("JEN_PERMISSION", what, "use a user with the permission Job/Configure on the folder")
        self.server.update(path, xmltree.serialise(change(live)))

    def _credential(self, action: Action) -> None:
        folder, _, id_ = action.path.rpartition("/")
        if action.verb == "delete":
            self.server.delete_credential(folder, id_)
            return
        if action.credential is None:
            return
        self.server.connection.check_encrypted()
        self.server.connection.hide(credentials.values(action.credential))
        xml = xmltree.serialise(
            credentials.render(action.credential, self.settings.signature, self.settings.fingerprint_key)
        )
        if action.verb == "update":
            self.server.update_credential(folder, id_, xml)
            return
        if action.verb == "replace":
            self.server.delete_credential(folder, id_)
        if not self.server.create_credential(folder, xml):
            self.server.update_credential(folder, id_, xml)
