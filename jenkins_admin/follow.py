"""From a queue item to the end of a build, with its log, through restarts of the controller."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from jenkins_admin.connection import Away, JenkinsError
from jenkins_admin.jobs import Job
from jenkins_admin.logtext import LogText, raw_size
from jenkins_admin.server import Server

Result = Literal["SUCCESS", "UNSTABLE", "FAILURE", "ABORTED", "NOT_BUILT"]

#: Result of a build → exit code of whoever waited for it.
EXIT_CODES: dict[str, int] = {"SUCCESS": 0, "UNSTABLE": 4, "FAILURE": 4, "ABORTED": 130, "NOT_BUILT": 5}


@dataclass(frozen=True)
class Build:
    """A build that was started. `number` counts within its job."""

    job: Job
    number: int
    url: str


@dataclass(frozen=True)
class BuildResult:
    """How a build ended. `seconds` is its duration by Jenkins' clock."""

    build: Build
    result: str
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 for SUCCESS, 4 for UNSTABLE and FAILURE, 130 for ABORTED, 5 for NOT_BUILT or anything unknown."""
        return EXIT_CODES.get(self.result, 5)


@dataclass(frozen=True)
class Patience:
    """How long to wait for what, in seconds.

    `timeout`: in all, None for as long as it takes. `restart`: for a Jenkins that does not answer. `shortest` and
    `longest`: between two looks, growing while nothing happens. `sleep` and `clock` are for tests.
    """

    timeout: float | None = None
    restart: float = 900.0
    shortest: float = 0.3
    longest: float = 5.0
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic


def _runs_on(build: Build) -> tuple[str, str]:
    again = f"mlci-admin follow {build.job.words(build.number)}"
    return f"{build.job.label} #{build.number} still runs", f"it keeps running; follow it again: {again}"


class Follower:
    """Waits, looking less often the longer nothing changes. `say` gets lines about the waiting itself."""

    def __init__(self, server: Server, patience: Patience, say: Callable[[str], None] = lambda _: None) -> None:
        self._server, self._patience, self._say = server, patience, say
        self._until = None if patience.timeout is None else patience.clock() + patience.timeout
        self._pause = patience.shortest

    def started(self, job: Job, queue_item: int) -> Build:
        """Wait for a queue item to become a build, saying why it waits whenever that changes.

        Raises:
            JenkinsError: JEN_CANCELLED (taken out of the queue), JEN_QUEUE_LOST (expired without a build), JEN_TIMEOUT.
        """
        why = None
        while True:
            item = self._patiently(lambda: self._server.queue_item(queue_item))
            if item is None:
                return self._expired(job, queue_item)
            executable = item.get("executable")
            if executable:
                return Build(job, int(executable["number"]), str(executable.get("url", "")))
            if item.get("cancelled"):
                what = f"{job.label}: queue item {queue_item} was cancelled before it became a build"
                raise JenkinsError("JEN_CANCELLED", what, "start it again if that was not meant")
            if item.get("why") and item["why"] != why:
                why = item["why"]
                self._say(f"in the queue: {why}")
                self._soon()
            self._wait(
                f"{job.label} is still in the queue ({why or 'no reason given'})",
                f"queue item {queue_item} stays: once it has begun, mlci-admin follow {job.words()}",
            )

    def _expired(self, job: Job, queue_item: int) -> Build:
        """A queue item vanishes five minutes after its build began; the build remembers its number."""
        tree = "builds[number,url,queueId]{0,100}"
        answer = self._patiently(lambda: self._server.job(job.path, tree)) or {}
        for build in answer.get("builds", []):
            if build.get("queueId") == queue_item:
                return Build(job, int(build["number"]), str(build.get("url", "")))
        what = f"{job.label}: queue item {queue_item} has expired and no build came of it"
        raise JenkinsError("JEN_QUEUE_LOST", what, "see the job's page; a later request may have replaced it")

    def log(self, build: Build, start: int = 0) -> Iterator[str]:
        """The log as it grows, in pieces, until the build has ended.

        The end is what the build says, not what the log says: the last look may bring nothing, and the header that
        announces more is missing after a restart as well.

        Raises:
            JenkinsError: JEN_BUILD_GONE, JEN_TIMEOUT.
        """
        reader = LogText()
        quiet = 0
        while True:
            answer = self._patiently(functools.partial(self._server.log, build.job.path, build.number, start))
            if answer is not None:
                size = raw_size(answer.headers)
                text = reader.feed(answer.content)
                start = size if size is not None else start + len(answer.content)
                if text:
                    quiet = 0
                    self._soon()
                    yield text
                if answer.headers.get("X-More-Data") == "true":
                    quiet += 1
                    if quiet == 8:
                        self._tell_inputs(build)
                    self._wait(*_runs_on(build))
                    continue
            if self._ended(build):
                # Whatever was written between the last look and the end.
                final = self._patiently(functools.partial(self._server.log, build.job.path, build.number, start))
                tail = reader.feed(final.content if final is not None else b"", final=True)
                if tail:
                    yield tail
                return
            self._wait(*_runs_on(build))

    def result(self, build: Build) -> BuildResult:
        """Wait for the end, without the log. Raises: JenkinsError: JEN_BUILD_GONE, JEN_TIMEOUT."""
        while True:
            answer = self._look(build)
            if not answer.get("building") and answer.get("result"):
                return BuildResult(build, str(answer["result"]), float(answer.get("duration", 0)) / 1000)
            self._wait(*_runs_on(build))

    def _ended(self, build: Build) -> bool:
        answer = self._look(build)
        return not answer.get("building") and bool(answer.get("result"))

    def _look(self, build: Build) -> dict[str, Any]:
        tree = "building,result,duration"
        answer = self._patiently(lambda: self._server.build(build.job.path, build.number, tree, patient=False))
        if answer is None:
            what = f"{build.job.label} #{build.number} is not there any more"
            raise JenkinsError("JEN_BUILD_GONE", what, "somebody deleted it, or Jenkins lost it in a restart", 404)
        found: dict[str, Any] = answer
        return found

    def _tell_inputs(self, build: Build) -> None:
        try:
            pending = self._server.pending_inputs(build.job.path, build.number)
        except JenkinsError:
            return
        for one in pending or []:
            self._say(
                f"waits for an answer: {one.get('message', one.get('id'))} "
                f"(mlci-admin approve {build.job.words(build.number)}, or reject)"
            )

    # ---- waiting -------------------------------------------------------------------------------------------------

    def _soon(self) -> None:
        self._pause = self._patience.shortest

    def _wait(self, late: str, then: str) -> None:
        left = None if self._until is None else self._until - self._patience.clock()
        if left is not None and left <= 0:
            what = f"{late} after {self._patience.timeout:g} s"
            raise JenkinsError("JEN_TIMEOUT", what, f"{then}, or raise --timeout")
        self._patience.sleep(self._pause if left is None else min(self._pause, left))
        self._pause = min(self._pause * 1.5, self._patience.longest)

    def _patiently(self, ask: Callable[[], Any]) -> Any:
        """Ask until Jenkins answers, for as long as a restart may take."""
        away_since: float | None = None
        while True:
            try:
                answer = ask()
            except Away as error:
                now = self._patience.clock()
                if away_since is None:
                    away_since = now
                    self._say(f"{error.what}; waiting for it to come back")
                if now - away_since > self._patience.restart:
                    raise
                self._wait("Jenkins did not come back", "the build may go on there: follow it again")
            else:
                if away_since is not None:
                    self._say("Jenkins is back")
                    self._soon()
                return answer
