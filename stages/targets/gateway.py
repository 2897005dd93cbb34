"""The gateway: one small HAProxy container per published port, in front of the models of one environment.

Its configuration never changes. Which model it asks is decided by who carries the alias `model` on the environment's
network and listens: HAProxy asks the engine's name server several times a second and checks each one's readiness. So
nothing has to be told to it, nothing is lost when it or the engine starts again, and any image with HAProxy 2.0 or
newer will do.
"""

from __future__ import annotations

import hashlib
import io
import logging
import tarfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

from stages.errors import InfraError
from stages.images import labels, registry
from stages.images.engine import engine_errors
from stages.images.probe import PORT
from stages.targets import containers
from stages.targets.containers import Setting

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container
    from docker.models.networks import Network

log = logging.getLogger("mlci")

#: Used for `gateway: true`.
DEFAULT_IMAGE = "haproxy:lts-alpine"
GATEWAY, NETWORK = "gateway", "network"
#: Names on the environment's network.
ALIAS, MODELS = "gateway", "model"

_FOLDER, _CONFIGURATION = "/mlci", "haproxy.cfg"
#: Enough for the connections that it takes, two buffers of 16 KiB each, twice over.
_MEMORY, _CONNECTIONS = "384m", 4000
#: Without a user of its own in every image; it binds no port below 1024.
_USER = "65534:0"

CONFIGURATION = f"""\
# Made by mlci. Who carries the name `{MODELS}` on this network, and is ready, is asked.
global
    log stdout format raw local0 notice
    # Otherwise derived from the engine's limit of open files, with tables for as many.
    maxconn {_CONNECTIONS}
defaults
    mode http
    log global
    option dontlog-normal
    # Also the pause before a request that was refused is sent again, when one model is left to send it to.
    timeout connect 300ms
    timeout client 65s
    timeout server 65s
    timeout http-request 35s
    timeout http-keep-alive 65s
    timeout check 4s
    # A model that stops listening refuses a connection: the request, of which it saw nothing, goes to another one.
    retries 12
    option redispatch 1
    retry-on conn-failure empty-response
resolvers engine
    nameserver engine 127.0.0.11:53
    accepted_payload_size 8192
    resolve_retries 2
    timeout resolve 200ms
    timeout retry 200ms
    hold valid 200ms
    hold obsolete 0s
    # An engine that starts again does not answer for a while; what is known stays true.
    hold nx 5s
    hold refused 60s
    hold timeout 60s
    hold other 60s
frontend public
    bind :{PORT}
    default_backend models
backend models
    # Not the one with the fewest connections: that would be the one that has just stopped listening.
    balance roundrobin
    option httpchk GET /readyz
    # A connection that fails counts as one failed check of four, and brings the next ones at once. It alone takes no
    # model away: on a busy machine it is the one that takes too long, to the only model there is.
    default-server check inter 500ms fastinter 100ms downinter 100ms rise 1 fall 4
    default-server observe layer4 error-limit 1 on-error fail-check
    server-template model 4 {MODELS}:{PORT} resolvers engine resolve-prefer ipv4 init-addr none
"""


@dataclass(frozen=True)
class Gateway:
    """The gateway of one environment: where it is published, and of which image."""

    setting: Setting
    host: str
    port: int
    image: str

    @property
    def url(self) -> str:
        """Address as callers write it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]", "": "127.0.0.1"}.get(self.host, self.host)  # noqa: S104
        return f"http://{host}:{self.port}"

    def ensure(self, client: DockerClient) -> Replaced:
        """Make it run as configured. One with other settings stays aside until `settle`; on the same port it has to
        stop first, which callers notice.

        Raises:
            InfraError: DEP_GATEWAY: there is no such image, or it does not run; DEP_PORT_IN_USE. The one before runs
            on.
        """
        wanted = self._settings(client)
        found = self.setting.found(client, GATEWAY)
        same = [c for c in found if c.labels.get(labels.SETTINGS) == wanted and containers.runs(c)]
        if same:
            return Replaced(same[0], False, [c for c in found if c.id != same[0].id], self._name)
        live = [c for c in found if containers.runs(c)]
        containers.remove([c for c in found if c not in live])
        for number, container in enumerate(live):
            with engine_errors(f"putting {container.name} aside"):
                container.rename(f"{self._name}-before-{container.short_id[:6]}-{number}")
        replaced = Replaced(None, True, live, self._name)
        try:
            if any(containers.port_of(container) == self.port for container in live):
                log.warning("replacing the gateway of %s: requests fail for a moment", self.setting.env)
                for container in live:
                    containers.halt(container, 1)
            replaced.now = self._start(client, wanted)
        except BaseException:
            replaced.undo()
            raise
        return replaced

    @property
    def _name(self) -> str:
        return f"{self.setting.own_prefix}-gateway"

    def runs(self, client: DockerClient) -> bool:
        """Whether a gateway runs, published where it should be."""
        return any(
            containers.runs(container) and containers.published(container, self.host, self.port)
            for container in self.setting.found(client, GATEWAY)
        )

    def _start(self, client: DockerClient, wanted: str) -> Container:
        made_network = network(client, self.setting)
        with engine_errors(f"starting the gateway on {self.host}:{self.port}"):
            container = client.containers.create(
                self.image,
                ["-W", "-db", "-f", f"{_FOLDER}/{_CONFIGURATION}"],
                entrypoint=["haproxy"],
                name=self._name,
                labels=self.setting.labels(GATEWAY, **{labels.SETTINGS: wanted}),
                ports={f"{PORT}/tcp": (self.host, self.port)},
                user=_USER,
                cap_drop=["ALL"],
                security_opt=["no-new-privileges"],
                read_only=True,
                # The one way to put a file into a container whose root is read-only, for any image and engine.
                volumes=[_FOLDER],
                mem_limit=_MEMORY,
                memswap_limit=_MEMORY,
                pids_limit=64,
                restart_policy=containers.RESTARTS,
                network=made_network.name,
                stop_signal="SIGUSR1",
            )
            try:
                container.put_archive(_FOLDER, _packed())
                made_network.disconnect(container)
                made_network.connect(container, aliases=[ALIAS])
                container.start()
            except BaseException:
                containers.remove([container])
                raise
        if not containers.until(0.5, lambda: not containers.runs(container)):
            return container
        said = containers.last_lines(container)
        containers.remove([container])
        raise InfraError(
            "DEP_GATEWAY",
            f"the gateway does not run: {said}",
            "set gateway: to an image with HAProxy 2.0 or newer, or gateway: false to publish the model directly",
        )

    def _settings(self, client: DockerClient) -> str:
        from docker.errors import ImageNotFound

        repository, tag = registry.split(self.image)
        try:
            with engine_errors(f"looking for {self.image}"):
                image = client.images.get(self.image)
        except InfraError as error:
            if not isinstance(error.__cause__, ImageNotFound):
                raise
            log.info("pulling the gateway's image %s", self.image)
            there, why = False, "the registry does not have it"
            try:
                there = registry.pull(client, repository, tag, None)
            except InfraError as refused:
                why = refused.what
            if not there:
                raise InfraError(
                    "DEP_GATEWAY",
                    f"the gateway's image {self.image} is not on the engine and could not be pulled: {why}",
                    "set gateway: to an image with HAProxy that is, or gateway: false to publish the model directly",
                ) from error
            image = client.images.get(self.image)
        text = f"{image.id} {self.host} {self.port} {CONFIGURATION}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]


@dataclass
class Replaced:
    """A gateway that runs, `now`, whether it was made for this, and those that it replaces."""

    now: Container | None
    made: bool
    before: list[Container]
    name: str

    def settle(self) -> None:
        """Remove what was replaced."""
        containers.remove(self.before)
        self.before = []

    def undo(self) -> None:
        """Let what was replaced run again, and remove what was made."""
        if self.now is not None and self.made:
            containers.remove([self.now])
        for container in self.before:
            with engine_errors(f"bringing back {container.name}"):
                container.reload()
                if container.name != self.name:
                    container.rename(self.name)
                container.start()
        self.before = []


def network(client: DockerClient, setting: Setting) -> Network:
    """The network of an environment, made when it is missing."""
    with engine_errors("looking for the network"):
        found = client.networks.list(filters={"label": f"{labels.IDENTITY}={setting.identity}"})
        if found:
            return found[0]
        return client.networks.create(setting.own_prefix, driver="bridge", labels=setting.labels(NETWORK))


def address(client: DockerClient, setting: Setting) -> str:
    """Where the newest gateway that runs is asked from inside: its address, since an engine that joined and left a
    swarm has forgotten the names of what ran meanwhile."""
    for container in reversed([c for c in setting.found(client, GATEWAY) if containers.runs(c)]):
        for found in container.attrs["NetworkSettings"]["Networks"].values():
            if found.get("IPAddress"):
                return str(found["IPAddress"])
    return ALIAS


def attach(client: DockerClient, setting: Setting, container: Container) -> None:
    """Let the gateway find a model."""
    with engine_errors(f"attaching {container.name}"):
        ours = network(client, setting)
        ours.disconnect(container)
        ours.connect(container, aliases=[MODELS])


def attached(container: Container, setting: Setting) -> bool:
    """Whether the gateway can find a model."""
    networks = container.attrs["NetworkSettings"]["Networks"]
    return any(MODELS in (found.get("Aliases") or []) for found in networks.values())


def remove_network(client: DockerClient, setting: Setting) -> None:
    """Remove the network of an environment, once nothing is on it."""
    with engine_errors("removing the network"):
        for found in client.networks.list(filters={"label": f"{labels.IDENTITY}={setting.identity}"}):
            found.remove()


def _packed() -> bytes:
    content = CONFIGURATION.encode()
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo(_CONFIGURATION)
        entry.size, entry.mode = len(content), 0o644
        archive.addfile(entry, io.BytesIO(content))
    return packed.getvalue()
