"""Target `service`: a Docker Swarm service that goes over to a new model task by task, and back by itself."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import logging
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from stages.errors import InfraError
from stages.images import labels, probe, registry
from stages.images.build import base_image
from stages.images.engine import connect, engine_errors
from stages.images.prune import prune
from stages.targets import containers, swarm
from stages.targets.base import Serving, Version
from stages.targets.container import golden_differences
from stages.targets.containers import TRIAL, Inside, Setting
from stages.targets.process import ready_seconds
from stages.targets.trial import Source, Trial
from stages.targets.watching import Counts, complaints

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.services import Service

log = logging.getLogger("mlci")

#: Between two looks at a service under watch, in seconds.
_LOOK_SECONDS = 1.0
#: Until Swarm has begun an update that changes tasks, in seconds; tasks of the same model do not show that it did.
_BEGIN_SECONDS = 5.0


@dataclass(frozen=True)
class Rollout:
    """How many tasks, and where callers reach them: `port` of every node, None for one's own proxy on the network."""

    replicas: int
    port: int | None


class ServiceTarget:
    """See `base.Target`."""

    def __init__(
        self,
        setting: Setting,
        rollout: Rollout,
        source: Source,
        api_key: str | None = None,
    ) -> None:
        self.setting = setting
        self.rollout = rollout
        self._source, self._key = source, api_key
        self._trial: Trial | None = None
        self._before: Mapping[str, Any] | None = None
        self._switched = False

    # ---- the five verbs --------------------------------------------------------------------------------------------

    def build(self, version: Version) -> None:
        """Refuse what cannot work, bring the image to the engine, start a trial of it beside the service."""
        client = self._client
        nodes = swarm.nodes(client)
        self.setting = self.setting.for_model(version.folder)
        if nodes > 1 and registry.host_of(self._source.repository) is None:
            raise InfraError(
                "DEP_SWARM",
                f"the swarm has {nodes} nodes, and the image {self._source.repository} stays on this one",
                "give image: the name of a registry that every node reaches",
            )
        if self.rollout.port is not None:
            self._require_ipvs()
        self.setting = self.setting.telling(version.variables())
        secret = {} if self._key is None else {"MLCI_API_KEY": self._key}
        setting = dataclasses.replace(self.setting, environment={**self.setting.environment, **secret})
        self._trial = Trial(client, setting, self._source, version)
        self._trial.start("bridge")

    def prove(self) -> None:
        """See `base.Target`."""
        self._built().prove()

    def switch(self, promote: Callable[[], None]) -> None:
        """Start-first update: each old task ends once a new one is healthy. Swarm itself goes back when one is not."""
        client, found = self._client, self._service()
        wanted = self._wanted()
        self._switched = True
        log.info(
            "%s goes over to %s, %d tasks", self.setting.env, self._built().version.digest[:12], self.rollout.replicas
        )
        if found is None:
            swarm.create(client, wanted, self._source.credentials)
        else:
            self._before = found.attrs["Spec"]
            swarm.update(client, found, wanted, self._source.credentials)
        self._await_converged(None if found is None else swarm.update_started(found))
        promote()

    def watch(self, seconds: float) -> list[str]:
        """Failing tasks everywhere; golden answers, failed and slow requests where tasks run on this engine."""
        end = time.monotonic() + seconds
        started: dict[str, Counts] = {}
        while time.monotonic() < end:
            wrong = self._wrong(started)
            if wrong:
                return wrong
            time.sleep(min(_LOOK_SECONDS, max(0.0, end - time.monotonic())))
        self._forget_secrets()
        return []

    def restore(self) -> str | None:
        """See `base.Target`."""
        if self._trial is not None:
            self._trial.drop()
        found = self._service()
        if self._switched and found is not None and swarm.version_of(found) == self._built().version.digest:
            if self._before is None:
                swarm.remove(self._client, self.setting)
                found = None
            elif found.attrs["Spec"] != self._before:  # else Swarm went back itself
                swarm.update(self._client, found, self._before, self._source.credentials)
                found = self._service()
                self._await_quiet()
        self._switched = False
        self._forget_secrets()
        return None if found is None else swarm.version_of(found)

    # ---- what is there ---------------------------------------------------------------------------------------------

    def serving(self) -> list[Serving]:
        """See `base.Target`."""
        found = self._service()
        if found is None:
            return []
        url = None if self.rollout.port is None else f"http://127.0.0.1:{self.rollout.port}"
        spec = found.attrs["Spec"]
        details: dict[str, Any] = {
            "service": found.name,
            "image": spec["TaskTemplate"]["ContainerSpec"]["Image"],
            "replicas": spec["Mode"]["Replicated"]["Replicas"],
            "running": len(swarm.running(found, swarm.version_of(found))),
            "update": (found.attrs.get("UpdateStatus") or {}).get("State"),
            "url": url,
        }
        if self._trial is not None:
            details["built"] = self._trial.image.plain()
        return [Serving(swarm.version_of(found), url, details)]

    def answers(self, version: Version) -> bool:
        """See `base.Target`. Tasks on other nodes are taken at Swarm's word."""
        found = self._service()
        if found is None or swarm.version_of(found) != version.digest:
            return False
        spec = found.attrs["Spec"]
        if spec["Mode"]["Replicated"]["Replicas"] != self.rollout.replicas:
            return False
        if len(swarm.running(found, version.digest)) < self.rollout.replicas:
            return False
        try:
            return all(not golden_differences(Inside(c), version) for c in self._local(found, version.digest))
        except OSError:
            return False

    def changed(self) -> list[str]:
        """See `base.Target`. What is kept as the key is not shown again; its fingerprint is compared."""
        found = self._service()
        if found is None:
            return []
        container = found.attrs["Spec"]["TaskTemplate"]["ContainerSpec"]
        changed = self.setting.changed(found.attrs["Spec"].get("Labels") or {}, container.get("Env") or [])
        secrets = [str(secret["SecretID"]) for secret in container.get("Secrets") or []]
        return [*changed, *([] if swarm.keeps(self._client, secrets, self._key) else ["api_key"])]

    def repair(self, promoted: str | None) -> None:
        """See `base.Target`. An update that a killed deployment began goes on by itself; the next one replaces it."""
        swarm.nodes(self._client)
        containers.remove(self.setting.found(self._client, TRIAL))

    def tidy(self, versions: Collection[str]) -> None:
        """See `base.Target`: images on this engine; none in a registry."""
        prune(self._client, self.setting.name, self._source.repository, versions)

    def stop(self) -> list[Serving]:
        """See `base.Target`. Images stay."""
        ended = self.serving()
        containers.remove(self.setting.found(self._client, TRIAL))
        swarm.remove(self._client, self.setting)
        return ended

    # ---- how -------------------------------------------------------------------------------------------------------

    @cached_property
    def _client(self) -> DockerClient:
        return connect()

    def _built(self) -> Trial:
        if self._trial is None:
            raise RuntimeError("build comes first")
        return self._trial

    def _service(self) -> Service | None:
        return swarm.found(self._client, self.setting)

    def _wanted(self) -> dict[str, Any]:
        image = self._built().image
        name = image.reference if image.pushed is None else f"{self._source.repository}@{image.pushed}"
        key = None if self._key is None else swarm.keep_secret(self._client, self.setting, self._key)
        return swarm.spec(
            self.setting,
            version=self._built().version.digest,
            image=name,
            image_id=image.id,
            replicas=self.rollout.replicas,
            port=self.rollout.port,
            network=swarm.network(self._client, self.setting),
            secret=key,
        )

    def _require_ipvs(self) -> None:
        """Raises: InfraError: DEP_IPVS: published ports would be accepted and never answer."""
        base_image(self._client, self._source.base, self._source.credentials)
        with engine_errors("looking at the engine's kernel"):
            said = self._client.containers.run(
                self._source.base,
                ["-c", inspect.getsource(probe), "ipvs"],
                entrypoint=["python3"],
                labels=self.setting.labels(TRIAL),
                remove=True,
            )
        if said.strip() != b"true":
            raise InfraError(
                "DEP_IPVS",
                "the kernel of this engine has no IPVS, so a published port of a swarm service would never answer",
                "load or install ip_vs, set publish: false and use a proxy of your own, or use target: container",
            )

    def _await_converged(self, before: str | None) -> None:
        """Wait until every task of the new model is healthy.

        Raises:
            InfraError: DEP_ROLLED_BACK: Swarm went back by itself; DEP_NOT_READY.
        """
        version = self._built().version.digest
        until = time.monotonic() + ready_seconds() * max(1, self.rollout.replicas)
        same = self._before is not None and swarm.version_of_spec(self._before) == version
        begun = time.monotonic() + (_BEGIN_SECONDS if same else 0)
        while True:
            found = self._service()
            if found is None:
                raise InfraError("DEP_ROLLED_BACK", "somebody removed the service meanwhile", "deploy again")
            status = found.attrs.get("UpdateStatus") or {}
            state = status.get("State", "") if status.get("StartedAt") != before else ""
            if state.startswith("rollback") or state == "paused" or swarm.keeps_failing(found, version):
                raise InfraError(
                    "DEP_ROLLED_BACK",
                    f"the tasks of the new model do not stay healthy: {swarm.why(found, version)}",
                    "what served before still does; correct what that says",
                )
            enough = len(swarm.running(found, version)) >= self.rollout.replicas
            gone_over = state == "completed" or (not state and time.monotonic() > begun)
            if enough and swarm.version_of(found) == version and gone_over:
                return
            if time.monotonic() > until:
                raise InfraError(
                    "DEP_NOT_READY",
                    f"the service did not go over in time: {swarm.why(found, version)}",
                    "allow more with MLCI_READY_SECONDS; what served before still does",
                )
            time.sleep(0.3)

    def _await_quiet(self) -> None:
        """Wait until an update has ended, however."""
        containers.until(
            ready_seconds(),
            lambda: (
                (found := self._service()) is None
                or (found.attrs.get("UpdateStatus") or {}).get("State") not in ("updating", "rollback_started")
            ),
            0.3,
        )

    def _local(self, found: Service, version: str) -> list[Container]:
        """Running tasks of the service on this engine, but for those that an update is about to end."""
        wanted = [f"com.docker.swarm.service.id={found.id}", f"{labels.VERSION}={version}"]
        with engine_errors("looking for tasks"):
            there = self._client.containers.list(filters={"label": wanted}, ignore_removed=True)
        tasks = {task["Status"].get("ContainerStatus", {}).get("ContainerID") for task in swarm.running(found, version)}
        return [container for container in there if container.id in tasks]

    def _wrong(self, started: dict[str, Counts]) -> list[str]:
        found, version = self._service(), self._built().version
        if found is None:
            return ["the service was removed"]
        failed = swarm.failed(found, version.digest)
        if failed:
            return [f"{failed} tasks of the new model failed: {swarm.why(found, version.digest)}"]
        wrong: list[str] = []
        for container in self._local(found, version.digest):
            with contextlib.suppress(OSError):  # a task that ends is among the failed ones at the next look
                inside = Inside(container)
                now = Counts.of(inside.text("/metrics"))
                start = started.setdefault(str(container.id), now)
                wrong += golden_differences(inside, version) + complaints(None, start, now)
        return wrong

    def _forget_secrets(self) -> None:
        found = self._service()
        swarm.forget_secrets(self._client, self.setting, found)
