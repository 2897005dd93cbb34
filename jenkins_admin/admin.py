"""`Admin`: everything that mlci-admin does, for programs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from jenkins_admin import artifacts as archive
from jenkins_admin import config, inputs, reading, xmltree
from jenkins_admin import doctor as examination
from jenkins_admin import plan as planning
from jenkins_admin import render as rendering
from jenkins_admin import status as overview
from jenkins_admin.applying import Outcome, Report, carry_out
from jenkins_admin.connection import Connection, JenkinsError
from jenkins_admin.follow import Build, BuildResult, Follower, Patience
from jenkins_admin.jobs import Job, absent, model_named, resolve
from jenkins_admin.logtext import LogText, raw_size
from jenkins_admin.parameters import Value, for_job
from jenkins_admin.plan import Action, Plan
from jenkins_admin.schema import JenkinsYaml
from jenkins_admin.server import Server
from stages.errors import ConfigError, UsageError


class Admin:
    """One jenkins.yaml and the Jenkins that it describes.

    A context manager::

        with Admin.from_file("jenkins.yaml") as admin:
            admin.apply()
            build = admin.start("nightly", {"ENV": "staging"})
            result = admin.wait(build)

    Every method raises `stages.errors.MlciError` with a stable code (JEN_…, CFG_…). May be shared by threads.
    """

    def __init__(
        self,
        settings: JenkinsYaml,
        base: Path | None = None,
        *,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.settings = settings
        self._connection = Connection(settings.server, base, sleep=sleep)
        # Names and addresses are wanted in messages, whichever variable they came from.
        names = [settings.server.url, settings.server.user or "", *settings.names()]
        self._connection.hide([one for one in settings.confidential if not any(one in name for name in names)])
        self.server = Server(self._connection)

    @classmethod
    def from_file(
        cls,
        path: str | Path = "jenkins.yaml",
        *,
        assignments: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        needs: config.Needs = "secrets",
    ) -> Self:
        """Read a jenkins.yaml; `needs` as in `config.load`. Raises: ConfigError: CFG_…, JEN_PLAIN_HTTP."""
        loaded = config.load(path, assignments, environment, needs)
        return cls(loaded.settings, loaded.base)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End all connections."""
        self._connection.close()

    @property
    def jenkins(self) -> Any:
        """A python-jenkins client over the same connections, for what has no verb here."""
        return self.server.jenkins

    # ---- desired state -------------------------------------------------------------------------------------------

    def render(self) -> dict[str, str]:
        """Path → XML of every item of the file. Asks no server. Credentials are not shown."""
        return {item.path: xmltree.pretty(item.config) for item in self._items()}

    def plan(self, tick: Callable[[], None] | None = None) -> Plan:
        """What `apply` would do. Writes nothing; `tick` is called for each item that was read."""
        items = self._items()
        return self._made(items, reading.read(self.server, self.settings, items, tick=tick))

    def apply(self, planned: Plan | None = None, report: Report | None = None) -> Outcome:
        """Make Jenkins as the file says. Without changes, nothing is written.

        `planned`: a plan that was just made; else one is made. `report(action, error)` is called after each action.

        Raises:
            JenkinsError: JEN_INCOMPLETE: some of it failed; another `apply` does the rest.
        """
        planned = planned or self.plan()
        outcome = self.carry_out(planned.actions, report, planned.unchanged)
        outcome.check()
        return outcome

    def plan_prune(self) -> Plan:
        """What this file once made and no longer names, as the `prunable` of a plan."""
        items = self._items()
        return self._made(items, reading.read(self.server, self.settings, items, configs=False), only=True)

    def prunable(self) -> tuple[Action, ...]:
        """What this file once made and no longer names."""
        return self.plan_prune().prunable

    def prune(
        self, actions: Sequence[Action] | None = None, report: Report | None = None, *, everything: bool = False
    ) -> Outcome:
        """Delete what `prunable` returned.

        Raises:
            UsageError: JEN_PRUNE_MANY: without `actions`, unless `everything`: most jobs would go.
            JenkinsError: JEN_INCOMPLETE.
        """
        if actions is None:
            planned = self.plan_prune()
            if not everything:
                planned.check_prune()
            actions = planned.prunable
        outcome = self.carry_out(actions, report)
        outcome.check("prune")
        return outcome

    def carry_out(self, actions: Sequence[Action], report: Report | None = None, unchanged: int = 0) -> Outcome:
        """Do these actions and say what became of each, without raising for those that failed."""
        done = carry_out(self.server, self.settings, actions, report)
        return Outcome(done.done, done.failed, done.not_done, unchanged)

    def _items(self) -> list[rendering.Item]:
        try:
            return rendering.render(self.settings)
        except xmltree.XmlError as error:
            raise ConfigError("CFG_VALUE", f"jenkins.yaml: {error}", "remove that character") from None

    def _made(self, items: list[rendering.Item], live: planning.Live, only: bool = False) -> Plan:
        try:
            if only:
                return planning.to_prune(self.settings, items, live)
            return planning.make(self.settings, items, live)
        except xmltree.XmlError as error:
            raise JenkinsError(
                "JEN_XML", f"Jenkins sent a configuration that is not XML: {error}", "see the item's config.xml"
            ) from error

    # ---- builds --------------------------------------------------------------------------------------------------

    def job(self, model: str, branch: str | None = None) -> Job:
        """The job of a model, or of one of its branches. Raises: UsageError: JEN_NO_MODEL, JEN_NO_BRANCH."""
        return resolve(self.server, self.settings, model, branch)

    def trigger(
        self, model: str, parameters: Mapping[str, Value] | None = None, branch: str | None = None
    ) -> tuple[Job, int]:
        """Queue a build and return its job and queue item at once.

        Parameters travel in the body: any length, any character. They are checked against their declared types; the
        value of a file parameter is a `parameters.File`.

        Raises:
            UsageError: JEN_NO_MODEL, JEN_NO_BRANCH, JEN_PARAMETER.
            JenkinsError: JEN_DISABLED, JEN_NOT_FOUND, …
        """
        job = self.job(model, branch)
        sent = for_job(self.server, job, parameters or {})
        if sent is None:
            return job, self.server.start(job.path, None)
        uploads = {name: (file.name, file.content) for name, file in sent.files.items()}
        return job, self.server.start(job.path, sent.texts, uploads)

    def start(
        self,
        model: str,
        parameters: Mapping[str, Value] | None = None,
        branch: str | None = None,
        patience: Patience | None = None,
    ) -> Build:
        """Queue a build and wait until it runs. Raises as `trigger`, and JEN_CANCELLED, JEN_QUEUE_LOST, JEN_TIMEOUT."""
        job, item = self.trigger(model, parameters, branch)
        return self.follower(patience).started(job, item)

    def scan(self, model: str) -> None:
        """Let a multibranch model look for branches now. Raises: UsageError: JEN_NO_MODEL, JEN_NO_BRANCH."""
        found = model_named(self.settings, model)
        path = rendering.path_of(found, self.settings)
        if rendering.complete(found, self.settings.defaults).kind == "pipeline":
            # Jenkins would start a build.
            raise UsageError("JEN_NO_BRANCH", f"{model} is a pipeline of one branch", "there is nothing to look for")
        self.server.scan(path)

    def build(self, model: str, number: int | None = None, branch: str | None = None) -> Build:
        """A build by its number (default: the last).

        Raises:
            UsageError: JEN_NO_MODEL, JEN_NO_BRANCH.
            JenkinsError: JEN_NOT_FOUND.
        """
        job = self.job(model, branch)
        answer = self.server.build(job.path, "lastBuild" if number is None else number, "number,url")
        if answer is None:
            if not self.server.exists(job.path):
                raise absent(self.server, job)
            what = f"{job.label} was never built" if number is None else f"{job.label} has no build {number}"
            raise JenkinsError("JEN_NOT_FOUND", what, "mlci-admin status shows the last build", 404)
        return Build(job, int(answer["number"]), str(answer.get("url", "")))

    def follower(self, patience: Patience | None = None, say: Callable[[str], None] = lambda _: None) -> Follower:
        """Something that waits; one `timeout` holds for all that it does."""
        return Follower(self.server, patience or Patience(), say)

    def follow(self, build: Build, patience: Patience | None = None) -> Iterator[str]:
        """The log of a build as it grows, until the build has ended; survives a restart of the controller."""
        return self.follower(patience).log(build)

    def wait(self, build: Build, patience: Patience | None = None) -> BuildResult:
        """Wait for the end of a build."""
        return self.follower(patience).result(build)

    def stop(self, build: Build) -> None:
        """Abort a build."""
        self.server.stop(build.job.path, build.number)

    def logs(self, build: Build) -> Iterator[str]:
        """The log as it is now, in pieces, without waiting for more."""
        reader, start = LogText(), 0
        while (answer := self.server.log(build.job.path, build.number, start)) is not None:
            size = raw_size(answer.headers)
            text = reader.feed(answer.content)
            if text:
                yield text
            if not answer.content or size is None or size <= start or answer.headers.get("X-More-Data") != "true":
                break
            start = size
        rest = reader.feed(b"", final=True)
        if rest:
            yield rest

    # ---- inputs --------------------------------------------------------------------------------------------------

    def approve(
        self,
        build: Build,
        reason: str | None = None,
        question: str | None = None,
        values: Mapping[str, Value] | None = None,
    ) -> inputs.Question:
        """Let a build that waits for an answer go on. Raises: UsageError: JEN_NO_INPUT. JenkinsError."""
        found = inputs.the_question(self.server, build, question)
        inputs.approve(self.server, build, found, reason, values)
        return found

    def reject(self, build: Build, reason: str | None = None, question: str | None = None) -> inputs.Question:
        """End a build that waits for an answer. Raises: UsageError: JEN_NO_INPUT. JenkinsError."""
        found = inputs.the_question(self.server, build, question)
        inputs.reject(self.server, build, found, reason)
        return found

    # ---- looking -------------------------------------------------------------------------------------------------

    def status(self, model: str | None = None) -> list[overview.ModelStatus]:
        """How one model or all of them are. Raises: JenkinsError: none of them can be read."""
        models = [model_named(self.settings, model)] if model else self.settings.models
        # Once, not with all its retries for each model.
        self.server.check_there()
        return overview.read(self.server, self.settings, models)

    def artifacts(
        self, build: Build, target: Path, patterns: Sequence[str] = (), tick: Callable[[], None] | None = None
    ) -> list[archive.Fetched]:
        """Fetch a build's artifacts below `target`, digests checked. Raises: ArtefactError: JEN_DIGEST."""
        found = archive.listed(self.server, build, patterns)
        return archive.fetch(self.server, build, found, target, tick)

    def doctor(self) -> Iterator[examination.Check]:
        """Everything that has to be right for the rest to work."""
        return examination.examine(self.server, self.settings)
