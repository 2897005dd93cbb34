"""Target `container`: one Docker host, models behind a gateway that goes over from one to the next without a gap."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from stages.errors import InfraError
from stages.images.engine import connect
from stages.images.probe import PORT
from stages.images.prune import prune
from stages.targets import containers, gateway, proof
from stages.targets.base import Serving, Version
from stages.targets.containers import MODEL, TRIAL, Inside, Running, Setting
from stages.targets.gateway import Gateway, Replaced
from stages.targets.process import ready_seconds
from stages.targets.trial import Source, Trial
from stages.targets.watching import Counts, complaints

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

log = logging.getLogger("mlci")

#: Until the gateway has found a model that is ready, in seconds.
_FOUND_SECONDS = 30.0
#: Longer than a check of the gateway that fails and the next one take, in seconds.
_SETTLED_SECONDS = 0.6
#: Between two looks at a service under watch, in seconds.
_LOOK_SECONDS = 1.0


@dataclass(frozen=True)
class Published:
    """Where an environment is published: `gateway` is the image of its gateway, None to publish the model itself."""

    host: str
    port: int
    gateway: str | None


class ContainerTarget:
    """See `base.Target`."""

    def __init__(self, setting: Setting, published: Published, source: Source) -> None:
        self.setting = setting
        self.published = published
        self._source = source
        self._trial: Trial | None = None
        self._candidate: Running | None = None
        self._before: list[Container] = []
        self._withdrawn = False
        self._gateway: Replaced | None = None
        self._usual: Counts | None = None

    # ---- the five verbs --------------------------------------------------------------------------------------------

    def build(self, version: Version) -> None:
        """Bring the image to the engine and start a trial of it that only we can reach."""
        client = self._client
        self._refuse_other_way(client)
        self.setting = self.setting.for_model(version.folder)
        self._before = self._models()
        self.setting = self.setting.telling(version.variables())
        self._trial = Trial(client, self.setting, self._source, version)
        self._trial.start(str(gateway.network(client, self.setting).name))

    def prove(self) -> None:
        """See `base.Target`."""
        self._built().prove()

    def switch(self, promote: Callable[[], None]) -> None:
        """A second container of the proved image serves. What served before stops listening, but stays."""
        if self.published.gateway is None:
            self._switch_published(promote)
        else:
            self._switch_behind(
                Gateway(self.setting, self.published.host, self.published.port, self.published.gateway), promote
            )

    def watch(self, seconds: float) -> list[str]:
        """Crashes, golden answers, failed requests, answers much slower than before, until `seconds` have passed."""
        assert self._candidate is not None
        if not self._candidate.kept:
            self._candidate.keep()  # before anything is ended, when what promoted it was interrupted
        candidate = self._candidate.container
        end = time.monotonic() + seconds
        start: Counts | None = None
        while time.monotonic() < end:
            try:
                start = start or Counts.of(Inside(candidate).text("/metrics"))
                wrong = golden_differences(Inside(candidate), self._built().version)
                wrong += complaints(self._usual, start, Counts.of(Inside(candidate).text("/metrics")))
            except OSError as error:
                ended = containers.why_ended(candidate) or f"does not answer: {error}"
                wrong = [f"the new service {ended}; the end of its log: {containers.last_lines(candidate)}"]
            if candidate.attrs.get("RestartCount"):
                wrong.append("the new service ended and was started again")
            if wrong:
                return wrong
            time.sleep(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
        containers.end_all(self._before)
        self._before = []
        if self._gateway is not None:
            self._gateway.settle()
        return []

    def restore(self) -> str | None:
        """See `base.Target`."""
        if self._trial is not None:
            self._trial.drop()
        if self._gateway is not None:
            self._gateway.undo()
            self._gateway = None
        candidate, self._candidate = self._candidate, None
        if candidate is not None and self.published.gateway is None:
            containers.remove([candidate.container])
        alive = self._back()
        if candidate is not None:
            if gateway.attached(candidate.container, self.setting):
                containers.end(candidate.container)  # it may be answering requests
            else:
                containers.remove([candidate.container])
            candidate.release()
        return containers.version_of(alive[-1]) if alive else None

    # ---- what is there ---------------------------------------------------------------------------------------------

    def serving(self) -> list[Serving]:
        """See `base.Target`."""
        found, port = self._models(), None
        for front in self.setting.found(self._client, gateway.GATEWAY) if found else []:
            port = containers.port_of(front) or port
        return [self._described(container, containers.port_of(container) or port) for container in found]

    def answers(self, version: Version) -> bool:
        """See `base.Target`. Asked through the gateway, from inside."""
        found = self._models()
        if len(found) != 1 or containers.version_of(found[0]) != version.digest:
            return False
        asked = Inside(found[0])
        if self.published.gateway is not None:
            behind = Gateway(self.setting, self.published.host, self.published.port, self.published.gateway)
            if not gateway.attached(found[0], self.setting) or not behind.runs(self._client):
                return False
            asked = Inside(found[0], gateway.address(self._client, self.setting))
        elif not containers.published(found[0], self.published.host, self.published.port):
            return False
        try:
            return asked.get("/readyz").status == 200 and not golden_differences(asked, version)
        except OSError:
            return False

    def changed(self) -> list[str]:
        """See `base.Target`."""
        found = self._models()
        return self.setting.changed(found[-1].labels, found[-1].attrs["Config"].get("Env") or []) if found else []

    def repair(self, promoted: str | None) -> None:
        """See `base.Target`."""
        containers.remove(self.setting.found(self._client, TRIAL))
        found = self.setting.found(self._client, MODEL)
        running = [c for c in found if containers.runs(c)]
        serving = [c for c in running if containers.version_of(c) == promoted and self._public(c)]
        if serving:
            others = [c for c in running if c.id != serving[-1].id]
            if others:
                log.info("ending %d containers, which an interrupted deployment left", len(others))
            containers.end_all(others)
        elif running:
            self._listen_again(running)
        containers.remove([c for c in found if c not in running])

    def tidy(self, versions: Collection[str]) -> None:
        """See `base.Target`: images on this engine; none in a registry."""
        prune(self._client, self.setting.name, self._source.repository, versions)

    def stop(self) -> list[Serving]:
        """See `base.Target`. Images stay."""
        client = self._client
        ended = self.serving()
        containers.remove(self.setting.found(client, gateway.GATEWAY))
        containers.end_all(self.setting.found(client))
        gateway.remove_network(client, self.setting)
        return ended

    # ---- how -------------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> DockerClient:
        return connect()

    def _models(self) -> list[Container]:
        """What runs as this environment's model, one that is on its way out among it."""
        return [c for c in self.setting.found(self._client, MODEL) if containers.runs(c)]

    def _built(self) -> Trial:
        if self._trial is None:
            raise RuntimeError("build comes first")
        return self._trial

    def _refuse_other_way(self, client: DockerClient) -> None:
        """Raises: InfraError: DEP_GATEWAY: what serves has a gateway and is to be without one, or reversed."""
        was = bool(self.setting.found(client, gateway.GATEWAY))
        direct = any(c.attrs["HostConfig"].get("PortBindings") for c in self.setting.found(client, MODEL))
        if was if self.published.gateway is None else direct:
            raise InfraError(
                "DEP_GATEWAY",
                f"{self.setting.env} serves {'behind a gateway' if was else 'without a gateway'}, which is to change",
                f"run: mlci stop --env {self.setting.env}; then deploy again (nothing answers meanwhile)",
            )

    def _started(self, ports: dict[str, tuple[str, int]] | None = None) -> Running:
        """A container that is to serve, ready and giving the golden answers."""
        version, image = self._built().version, self._built().image.id
        network = str(gateway.network(self._client, self.setting).name)
        self._candidate = containers.start(self._client, self.setting, image, version.digest, MODEL, network, ports)
        self._candidate.await_ready(ready_seconds())
        wrong = golden_differences(Inside(self._candidate.container), version)
        if wrong:
            raise InfraError(
                "DEP_PROOF",
                f"a second container of the proved image answers otherwise: {'; '.join(wrong[:3])}",
                "look for state, time or files that the model depends on; what served before still does",
            )
        return self._candidate

    def _switch_behind(self, behind: Gateway, promote: Callable[[], None]) -> None:
        candidate = self._started()
        self._gateway = behind.ensure(self._client)
        self._usual = self._counted()
        log.info("%s goes over to %s", self.setting.env, candidate.version[:12])
        gateway.attach(self._client, self.setting, candidate.container)
        self._await_found(candidate.container, candidate.version)
        # The name may be known before packets arrive: the gateway's first check then fails, and the model is down again
        # until the next one. What served before must still be there meanwhile.
        time.sleep(_SETTLED_SECONDS)
        self._await_found(candidate.container, candidate.version)
        if any(containers.version_of(container) == candidate.version for container in self._before):
            self._await_share(candidate.container)
        promote()
        candidate.keep()
        self._withdrawn = True
        for container in self._before:
            containers.tell(container, "SIGUSR2")

    def _switch_published(self, promote: Callable[[], None]) -> None:
        """Without a gateway only one container can have the port: the old one ends before the new one starts."""
        self._usual = self._counted()
        started = time.monotonic()
        self._withdrawn = True
        for container in self._before:
            containers.halt(container)
        candidate = self._started({f"{PORT}/tcp": (self.published.host, self.published.port)})
        if self._before:
            log.warning("gateway: false: nothing answered for %.1f s", time.monotonic() - started)
        promote()
        candidate.keep()

    def _back(self) -> list[Container]:
        """Let what served before serve again. Returns what of it does."""
        if self._withdrawn:
            self._withdrawn = False
            self._listen_again(self._before)
        return [container for container in self._before if containers.runs(container)]

    def _listen_again(self, before: list[Container]) -> None:
        found = self.published.gateway is not None and any(
            containers.runs(container) for container in self.setting.found(self._client, gateway.GATEWAY)
        )
        for container in before:
            containers.resume(container)
            if found and containers.runs(container):
                try:
                    self._await_found(container, containers.version_of(container))
                except InfraError as error:
                    log.warning("%s", error.what)

    def _await_found(self, container: Container, version: str) -> None:
        """Wait until a request through the gateway is answered by this version."""
        words = ("serves", gateway.address(self._client, self.setting), str(PORT), version, str(_FOUND_SECONDS))
        try:
            got = containers.verb(container, *words)
        except OSError as error:
            got = str(error)
        if got is not None:
            raise InfraError(
                "DEP_GATEWAY",
                f"the gateway did not find the service within {_FOUND_SECONDS:g} s: {got}",
                f"see: docker logs {self.setting.own_prefix}-gateway; what served before still does",
            )

    def _await_share(self, container: Container) -> None:
        """What served before is of the same version: wait until a request through the gateway has reached this one."""
        behind, own = Inside(container, gateway.address(self._client, self.setting)), Inside(container)

        def asked() -> float:
            lines = own.text("/metrics").splitlines()
            return sum(float(n.split()[-1]) for n in lines if n.startswith('mlci_requests_total{path="/model"'))

        def reached() -> bool:
            try:
                before = asked()
                return behind.get("/model").status > 0 and asked() > before
            except OSError:
                return False

        if not containers.until(_FOUND_SECONDS, reached):
            raise InfraError(
                "DEP_GATEWAY",
                f"the gateway asked the new service nothing within {_FOUND_SECONDS:g} s",
                f"see: docker logs {self.setting.own_prefix}-gateway; what served before still does",
            )

    def _counted(self) -> Counts | None:
        try:
            return Counts.of(Inside(self._before[-1]).text("/metrics")) if self._before else None
        except OSError:
            return None

    def _public(self, container: Container) -> bool:
        """Whether callers can reach it: found by the gateway and listening, or published."""
        if self.published.gateway is None:
            return containers.published(container, self.published.host, self.published.port)
        try:
            return gateway.attached(container, self.setting) and Inside(container).get("/livez").status == 200
        except OSError:
            return False

    def _described(self, container: Container, port: int | None) -> Serving:
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.published.host, self.published.host)  # noqa: S104
        url = f"http://{host}:{port or self.published.port}"  # where it is, which ml.yaml may have changed since
        details = {
            "container": container.name,
            "image": (container.attrs["Config"] or {}).get("Image"),
            "image_id": container.attrs["Image"],
            "started": container.attrs["State"]["StartedAt"],
            "state": container.attrs["State"]["Status"],
            "url": url,
        }
        if self._trial is not None and self._trial.image.id == details["image_id"]:
            details["built"] = self._trial.image.plain()
        return Serving(containers.version_of(container), url, details)


def golden_differences(asked: Inside, version: Version) -> list[str]:
    """Where a service's answers differ from the recorded ones. Raises: OSError."""
    asked.foresee([json.dumps(body).encode() for body in version.golden["requests"]])
    return proof.differences(asked, version.golden)
