"""Target `process`: a process of this machine on a port, replaced without a gap."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from stages import variables
from stages.errors import InfraError
from stages.model.policy import Policy
from stages.records.jsonfile import read_json
from stages.targets import proof, services
from stages.targets.base import Serving, Version
from stages.targets.client import Client
from stages.targets.services import Process, Started

log = logging.getLogger("mlci")

#: Until a started service has to be ready, in seconds; MLCI_READY_SECONDS overrides it.
READY_SECONDS = 120.0
#: Until a service that was told to end is killed, in seconds: more than it takes by itself.
END_SECONDS = 40.0
#: Between two looks at a service under watch, in seconds.
LOOK_SECONDS = 0.5


@dataclass(frozen=True)
class Place:
    """Where an environment lives.

    `identity`: see `services.identity`. `folder`: `.mlci/deploy/<env>`. `alias`: the store's alias file, if it has
    one. `keep`: the service outlives a Jenkins build. `policy`: what a model's file may be.
    """

    env: str
    identity: str
    folder: Path
    alias: Path | None
    host: str
    port: int
    api_key: str | None = None
    keep: bool = False
    policy: Policy = field(default_factory=Policy)

    @property
    def log(self) -> Path:
        """The service's log."""
        return self.folder / "service.log"


class ProcessTarget:
    """See `base.Target`."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._candidate: Started | None = None
        self._version: Version | None = None
        self._before: list[Process] = []
        self._switched = False

    # ---- the five verbs ------------------------------------------------------------------------------------

    def build(self, version: Version) -> None:
        """Start the candidate on a private port and wait until it is ready."""
        self._before = services.running(self.place.identity)
        self._warn_of_unproven()
        joins = any(self._is_public(process) for process in self._before)
        words = ["--private", "--host", self.place.host, "--port", str(self.place.port)]
        words += ["--identity", self.place.identity, *(["--join"] if joins else [])]
        words += self.place.policy.words()
        if self.place.alias is not None:
            words += ["--alias", str(self.place.alias)]
        self._version = version
        self._candidate = services.start(
            version=version.digest,
            folder=version.folder,
            code=version.code,
            state_folder=self._states,
            log=self.place.log,
            words=words,
            environment={**self._environment(), **version.variables()},
        )
        self._candidate.await_state(ready_seconds(), "private_port")

    def prove(self) -> None:
        """See `base.Target`."""
        try:
            proof.prove(self._private(), self._asked().golden)
        except InfraError as error:
            if error.code != "DEP_PROOF_LOST":
                raise
            what = f"{error.what}; the end of its log: {self._started().last_lines()}"
            raise InfraError(error.code, what, f"see {self.place.log}; what served before still does") from error

    def switch(self, promote: Callable[[], None]) -> None:
        """The candidate listens beside what served before and gets all new connections; once promoted, the other is
        taken off."""
        candidate = self._started()
        self._switched = True
        candidate.process.tell(signal.SIGUSR1)
        candidate.await_state(ready_seconds(), "public")
        promote()
        candidate.keep()
        for process in self._before:
            process.tell(signal.SIGUSR2)

    def watch(self, seconds: float) -> list[str]:
        """Golden answers, crashes and failed requests, until `seconds` have passed; at 0 nothing is looked at."""
        until = time.monotonic() + seconds
        try:
            failed = self._failed_requests() if seconds > 0 else 0
        except OSError as error:  # it ended right after the switch
            return self._wrong(0) or [f"the new service does not answer: {error}"]
        while time.monotonic() < until:
            wrong = self._wrong(failed)
            if wrong:
                return wrong
            time.sleep(min(LOOK_SECONDS, max(0.0, until - time.monotonic())))
        for process in self._before:
            process.end(END_SECONDS)
        self._before = []
        return []

    def restore(self) -> str | None:
        """See `base.Target`."""
        alive = [process for process in self._before if process.alive()]
        if self._switched:
            for process in alive:
                self._publish(process)
        if self._candidate is not None:
            self._candidate.process.end(END_SECONDS)
            self._candidate.release()
            self._candidate = None
        return alive[-1].version if alive else None

    # ---- what is there -------------------------------------------------------------------------------------

    def serving(self) -> list[Serving]:
        """See `base.Target`."""
        return [self._described(process) for process in services.running(self.place.identity)]

    def answers(self, version: Version) -> bool:
        """See `base.Target`."""
        found = services.running(self.place.identity)
        if len(found) != 1 or found[0].version != version.digest or not self._is_public(found[0]):
            return False
        try:
            client = Client(self.place.host, self.place.port, self.place.api_key)
            return client.get("/readyz").status == 200 and not proof.differences(client, version.golden)
        except OSError:
            return False

    def changed(self) -> list[str]:
        """See `base.Target`. Whether a key is asked for shows when one asks without."""
        found = services.running(self.place.identity)
        if not found:
            return []
        process, changed = found[-1], []
        if process.host not in (None, self.place.host):
            changed.append("host")
        if ((process.state() or {}).get("public") or {}).get("port", self.place.port) != self.place.port:
            return [*changed, "port"]  # there is nobody to ask on the other one
        limits, wanted = process.limits(), services.limits_of(os.environ)
        if limits is not None:
            changed += sorted(name for name in limits.keys() | wanted.keys() if limits.get(name) != wanted.get(name))
        if self.place.api_key is not None:
            with contextlib.suppress(OSError):
                if Client(self.place.host, self.place.port).get("/model").status != 401:
                    changed.append("api_key")
        return changed

    def repair(self, promoted: str | None) -> None:
        """See `base.Target`."""
        found = services.running(self.place.identity)
        if any(process.version == promoted and self._is_public(process) for process in found):
            keep = [process for process in found if process.version == promoted and self._is_public(process)][-1]
            for process in found:
                if process != keep:
                    log.info("ending process %d, which an interrupted deployment left", process.pid)
                    process.end(END_SECONDS)
        services.forget_dead(self._states, services.running(self.place.identity))

    def tidy(self, versions: Collection[str]) -> None:
        """Nothing is kept here but what serves."""

    def stop(self) -> list[Serving]:
        """See `base.Target`."""
        found = services.running(self.place.identity)
        self._warn_of_unproven()
        ended = [self._described(process) for process in found]
        for process in found:
            process.tell(signal.SIGTERM)
        for process in found:
            process.end(END_SECONDS)
        services.forget_dead(self._states, [])
        return ended

    # ---- how -----------------------------------------------------------------------------------------------

    def _warn_of_unproven(self) -> None:
        for pid in services.unproven(self.place.identity):
            log.warning(
                "process %d looks like this service, but no file of this user proves it; it is left alone "
                "(if it is yours, end it with: kill %d)", pid, pid,
            )  # fmt: skip

    @property
    def _states(self) -> Path:
        return self.place.folder / "services"

    def _environment(self) -> dict[str, str]:
        environment = {} if self.place.api_key is None else {"MLCI_API_KEY": self.place.api_key}
        if "JENKINS_URL" in os.environ or "JENKINS_NODE_COOKIE" in os.environ:
            if self.place.keep:
                environment |= {"JENKINS_NODE_COOKIE": "dontKillMe", "BUILD_ID": "dontKillMe"}
            else:
                log.warning("the service ends with this build; set keep: true on %s to let it stay", self.place.env)
        return environment

    def _started(self) -> Started:
        if self._candidate is None:
            raise RuntimeError("build comes first")
        return self._candidate

    def _asked(self) -> Version:
        if self._version is None:
            raise RuntimeError("build comes first")
        return self._version

    def _private(self) -> Client:
        state = self._started().process.state() or {}
        return Client("127.0.0.1", int(state.get("private_port") or 0), self.place.api_key)

    def _is_public(self, process: Process) -> bool:
        public = (process.state() or {}).get("public")
        if public is None:
            # Its file is gone, with `.mlci` say; then the port is all there is to go by.
            return process.state() is None and process.alive()
        return bool(public["port"] == self.place.port)

    def _publish(self, process: Process) -> None:
        """Have a process listen on the public port ahead of the candidate, so that this one can go without losing a
        connection."""
        before = int((process.state() or {}).get("published") or 0)
        process.tell(signal.SIGUSR1)
        until = time.monotonic() + ready_seconds()
        while process.alive() and time.monotonic() < until:
            if int((process.state() or {}).get("published") or 0) > before:
                return
            time.sleep(0.02)

    def _described(self, process: Process) -> Serving:
        state = process.state() or {}
        public = state.get("public")
        url = None if public is None else Client(public["host"], public["port"]).url
        details = {"pid": process.pid, "started": process.started, "state": state.get("state", "unknown"), "url": url}
        return Serving(process.version, url, details)

    def _failed_requests(self) -> int:
        """How many requests the candidate answered with 5xx so far."""
        lines = self._private().text("/metrics").splitlines()
        failed = [line for line in lines if line.startswith("mlci_requests_total{") and 'status="5' in line]
        return sum(int(float(line.split()[1])) for line in failed)

    def _wrong(self, failed_before: int) -> list[str]:
        candidate = self._started()
        if not candidate.process.alive():
            return [f"the new service ended; the end of its log: {candidate.last_lines()}"]
        try:
            wrong = proof.differences(self._private(), self._asked().golden)
            failed = self._failed_requests() - failed_before
        except OSError as error:
            return [f"the new service does not answer: {error}"]
        return wrong + ([f"{failed} requests were answered with 5xx"] if failed > 0 else [])


def ready_seconds() -> float:
    """How long a service may take to get ready, in seconds. Raises: UsageError: CFG_LIMIT."""
    return variables.measure("MLCI_READY_SECONDS", READY_SECONDS)


def golden_of(folder: Path) -> dict[str, object]:
    """The golden requests and answers of a model's folder. Raises: ArtefactError: MOD_RECORD."""
    golden: dict[str, object] = read_json(folder / "golden.json")
    return golden
