"""Containers of a service: starting them, reaching them from inside, ending them.

Everything goes through the engine: no published port, no route to a container, no folder of this machine. So it is the
same on a laptop, with DOCKER_HOST, and from a container that has the host's socket.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from stages.config.schema import Resources
from stages.errors import InfraError
from stages.images import dockerfile, labels, probe
from stages.images.engine import engine_errors, one_line
from stages.records import jsonfile
from stages.targets.client import Client
from stages.targets.services import LIMITS

if TYPE_CHECKING:
    from docker import DockerClient
    from docker.models.containers import Container

log = logging.getLogger("mlci")

#: A model and its gateway come back with the engine, unless a person stopped them.
RESTARTS: Any = {"Name": "unless-stopped", "MaximumRetryCount": 0}
#: Roles: what proves itself and is ended again; what serves.
TRIAL, MODEL = "trial", "model"
#: Until a service that was told to end is killed, in seconds: more than it takes by itself.
END_SECONDS = 40
#: Memory of a model without `resources: {memory: …}`, in bytes: this, or so many times its files, if that is more.
MEMORY_BYTES, MEMORY_PER_BYTE = 2 * 2**30, 6
#: How often a request is sent again that nobody answered.
_TRANSPORT_TRIES = 3
_KEY = "MLCI_API_KEY"


@dataclass(frozen=True)
class Setting:
    """What the containers of one environment have in common.

    `identity`: see `labels.IDENTITY`. `environment`: variables of the service; secrets among them reach no label.
    `deployed`: the keys of `deploy` without secrets, for `changed`.
    """

    name: str
    env: str
    identity: str
    resources: Resources | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    deployed: Mapping[str, Any] = field(default_factory=dict)

    @property
    def prefix(self) -> str:
        """Name of this environment's service and of the network on which one's own proxy finds it."""
        return f"mlci-{self.name}-{self.env}"

    @property
    def own_prefix(self) -> str:
        """What names on one host begin with: other ones than those of the same model from another store."""
        return f"{self.prefix}-{self.identity[-4:]}"

    def for_model(self, folder: Path) -> Setting:
        """These settings with a limit of memory in any case: the given one, else one that fits the model's files."""
        given = self.resources or Resources()
        if given.memory is not None:
            return self
        files = sum(path.stat().st_size for path in folder.glob("model.*"))
        memory = str(max(MEMORY_BYTES, MEMORY_PER_BYTE * files))
        return dataclasses.replace(self, resources=given.model_copy(update={"memory": memory}))

    def labels(self, role: str, **more: str) -> dict[str, str]:
        """Labels by which these containers are found again."""
        return {labels.NAME: self.name, labels.IDENTITY: self.identity, labels.ROLE: role, **more}

    def of_model(self, version: str) -> dict[str, str]:
        """Labels that say which model is served, and with which settings."""
        return {labels.VERSION: version, labels.DEPLOYED: json.dumps(self.deployed, sort_keys=True)}

    def telling(self, variables: Mapping[str, str]) -> Setting:
        """The same with these variables besides."""
        return dataclasses.replace(self, environment={**self.environment, **variables})

    def changed(self, told: Mapping[str, str], environment: Sequence[str]) -> list[str]:
        """Names of the settings that differ from those in the labels and variables (NAME=value) of what serves now.

        The variables of an image and secrets are not looked at, but for the API key.
        """
        try:
            before: dict[str, Any] = jsonfile.parse(told[labels.DEPLOYED])
        except (KeyError, ValueError):
            return []  # of an mlci that did not say so
        names = [name for name, value in self.deployed.items() if before.get(name, value) != value]
        given = limits_of(dict(entry.split("=", 1) for entry in environment if "=" in entry))
        wanted = limits_of(self.environment)
        names += sorted(n for n in given.keys() | wanted.keys() if given.get(n) != wanted.get(n))
        return ["api_key" if name == _KEY else name for name in names]

    def found(self, client: DockerClient, role: str | None = None) -> list[Container]:
        """This environment's containers, running or not, the oldest first. Nothing else is ever touched."""
        wanted = [f"{labels.IDENTITY}={self.identity}", *([f"{labels.ROLE}={role}"] if role else [])]
        with engine_errors("looking for containers"):
            containers = client.containers.list(all=True, filters={"label": wanted}, ignore_removed=True)
        return sorted(containers, key=lambda container: str(container.attrs["Created"]))


class Inside(Client):
    """Asks a service from inside a container: its own, or, with `host`, another one on its network."""

    def __init__(self, container: Container, host: str = "127.0.0.1", port: int = probe.PORT) -> None:
        super().__init__(host, port)
        self._container = container
        self._known: dict[tuple[str, str, bytes | None], tuple[int, bytes]] = {}

    def foresee(self, bodies: Sequence[bytes]) -> None:
        """Send several bodies to /predict in one go; `post` then gives each answer once. Entering a container is slow.

        Raises:
            OSError: the container ended.
        """
        requests = [("POST", "/predict", body.decode()) for body in bodies]
        answers = verb(self._container, "ask", self.host, str(self.port), "30", *probe.packed(requests))
        for body, (status, text) in zip(bodies, answers, strict=True):
            if status:
                self._known["POST", "/predict", body] = int(status), str(text).encode()

    def _exchange(self, method: str, path: str, body: bytes | None) -> tuple[int, bytes]:
        known = self._known.pop((method, path, body), None)
        if known is not None:
            return known
        request = (method, path, None if body is None else body.decode())
        status, text = 0, ""
        for _ in range(_TRANSPORT_TRIES):
            status, text = verb(self._container, "ask", self.host, str(self.port), "30", *probe.packed([request]))[0]
            if status:
                return int(status), str(text).encode()
        raise OSError(0, text)


def verb(container: Container, *words: str) -> Any:
    """Run one verb of `images/probe.py` inside. Returns what it printed, decoded.

    Raises:
        OSError: the container ended, or has no such program.
    """
    from docker.errors import APIError

    try:
        with engine_errors(f"asking inside {container.name}"):
            code, said = container.exec_run(["python3", "-IS", dockerfile.PROBE, *words], demux=True)
    except InfraError as error:
        if isinstance(error.__cause__, APIError):
            raise OSError(0, f"the container does not run: {error.what}") from error
        raise
    out, err = cast("tuple[bytes | None, bytes | None]", said)
    try:
        return jsonfile.parse(out or b"")
    except ValueError:
        why = one_line((err or out or b"nothing was said").decode(errors="replace"))
        raise OSError(0, f"exit code {code}: {why}") from None


@dataclass
class Running:
    """A container that we started. Until `keep`, it ends when this process ends."""

    container: Container
    version: str
    lifeline: Any
    kept: bool = False

    def keep(self) -> None:
        """Let it live on without us, and start again with the engine."""
        with contextlib.suppress(OSError):
            getattr(self.lifeline, "_sock", self.lifeline).sendall(b"k")
        with engine_errors(f"keeping {self.container.name}"):
            self.container.update(restart_policy=RESTARTS)
        self.kept = True
        self.release()

    def release(self) -> None:
        """Close our end; a service that is not kept ends."""
        with contextlib.suppress(OSError, ValueError):
            self.lifeline.close()

    def await_ready(self, seconds: float) -> None:
        """Wait until it would take requests.

        Raises:
            InfraError: DEP_CRASHED, DEP_NOT_READY, with the end of its log.
        """
        try:
            if verb(self.container, "ready", str(seconds)):
                return
        except OSError:
            until(5, lambda: not runs(self.container))  # it is ending: what asked from inside went down with it
        ended = why_ended(self.container)
        if ended is not None:
            raise InfraError(
                "DEP_CRASHED",
                f"the new service {ended} while it started; the end of its log: {last_lines(self.container)}",
                _remedy(ended),
            )
        raise InfraError(
            "DEP_NOT_READY",
            f"the new service was not ready within {seconds:g} s; the end of its log: {last_lines(self.container)}",
            "allow more with MLCI_READY_SECONDS; what served before still does",
        )


def start(
    client: DockerClient,
    setting: Setting,
    image: str,
    version: str,
    role: str,
    network: str,
    ports: Mapping[str, tuple[str, int]] | None = None,
) -> Running:
    """Start a container of an image: read-only root, no capabilities, its own network, and a lifeline to this process.

    `ports`: published ports as docker-py takes them.

    Raises:
        InfraError: DEP_DOCKER, DEP_PORT_IN_USE.
    """
    resources = setting.resources or Resources()
    with engine_errors(f"starting a container of {setting.name} {version[:12]}"):
        container = client.containers.create(
            image,
            ["--version", version, "--lifeline", "0"],
            name=f"{setting.own_prefix}-{version[:12]}-{secrets.token_hex(3)}",
            labels=setting.labels(role, **setting.of_model(version)),
            environment=dict(setting.environment),
            network=network,
            ports=dict(ports or {}),
            read_only=True,
            tmpfs={"/tmp": "rw,nosuid,nodev,size=64m,mode=1777"},  # noqa: S108  inside the container
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            pids_limit=512,
            nano_cpus=None if resources.cpus is None else round(resources.cpus * 1e9),
            mem_limit=resources.memory,
            memswap_limit=resources.memory,
            detach=False,
            stdin_open=True,  # its standard input is the lifeline: it ends when this process does
        )
        try:
            lifeline = container.attach_socket(params={"stdin": 1, "stream": 1})
            container.start()
        except BaseException:
            with contextlib.suppress(Exception):
                container.remove(force=True)
            raise
    return Running(container, version, lifeline)


def variables(api_key: str | None) -> dict[str, str]:
    """Variables of the service: the limits that this process was given, as for a local service, and the key.

    The key is seen by who may inspect containers, and is in no image and no label.
    """
    passed = limits_of(os.environ)
    return passed if api_key is None else {**passed, _KEY: api_key}


def limits_of(environment: Mapping[str, str]) -> dict[str, str]:
    """What sets a service: its limits, its access log, its key."""
    return {name: value for name, value in environment.items() if name.startswith(LIMITS) or name == _KEY}


def version_of(container: Container) -> str:
    """The model that a container serves."""
    return str(container.labels.get(labels.VERSION, ""))


def runs(container: Container) -> bool:
    """Whether it runs now."""
    from docker.errors import NotFound

    try:
        with engine_errors(f"looking at {container.name}"):
            container.reload()
    except InfraError as error:
        if isinstance(error.__cause__, NotFound):
            return False
        raise
    return bool(container.attrs["State"]["Running"])


def why_ended(container: Container) -> str | None:
    """How a container ended, as the end of a sentence; None while it runs."""
    if runs(container):
        return None
    state = container.attrs["State"]
    if state.get("OOMKilled"):
        limit = container.attrs["HostConfig"].get("Memory") or 0
        return f"was killed for using more than its {limit / 2**20:.0f} MB of memory"
    return f"ended with exit code {state.get('ExitCode')}"


def _remedy(ended: str) -> str:
    if "memory" in ended:
        return "set resources: {memory: …} higher; what served before still does"
    return "correct what its log says; what served before still does"


def last_lines(container: Container, most: int = 5) -> str:
    """The end of what it logged, on one line."""
    try:
        with engine_errors("reading a log"):
            text = container.logs(tail=most * 3).decode(errors="replace")
    except InfraError:
        return "no log"
    lines = [_plain(line) for line in text.splitlines() if line.strip()]
    return one_line(" | ".join(lines[-most:]), 600) or "it logged nothing"


def _plain(line: str) -> str:
    """The message of a JSON log line with its code, else the line."""
    try:
        said = jsonfile.parse(line)
        return f"{said['code']}: {said['message']}" if "code" in said else str(said["message"])
    except (ValueError, KeyError, TypeError):
        return line.strip()


def tell(container: Container, signal: str) -> None:
    """Send a signal, unless it has ended."""
    with contextlib.suppress(InfraError), engine_errors(f"telling {container.name}"):
        container.kill(signal=signal)


def halt(container: Container, seconds: int = END_SECONDS) -> None:
    """End it, but keep it, so that `resume` brings it back."""
    with engine_errors(f"ending {container.name}"):
        container.stop(timeout=seconds)


def resume(container: Container) -> None:
    """Bring back one that was halted or told to stop listening (SIGUSR2), and wait until it is ready."""
    with contextlib.suppress(InfraError), engine_errors(f"bringing back {container.name}"):
        if runs(container):
            container.kill(signal="SIGUSR1")
        else:
            container.start()
        verb(container, "ready", "60")


def published(container: Container, host: str, port: int) -> bool:
    """Whether it is published there."""
    bindings = container.attrs["HostConfig"].get("PortBindings") or {}
    return any(b == {"HostIp": host, "HostPort": str(port)} for bound in bindings.values() for b in bound or ())


def port_of(container: Container) -> int | None:
    """The port of the engine's machine on which it is published."""
    bindings = container.attrs["HostConfig"].get("PortBindings") or {}
    ports = [int(b["HostPort"]) for bound in bindings.values() for b in bound or () if b.get("HostPort")]
    return ports[0] if ports else None


def end(container: Container, seconds: int = END_SECONDS) -> int | None:
    """SIGTERM, SIGKILL after `seconds`, then remove it. Returns its exit code, None if it was gone before."""
    from docker.errors import NotFound

    code = None
    try:
        with engine_errors(f"ending {container.name}"):
            container.stop(timeout=seconds)
            container.reload()
            code = int(container.attrs["State"]["ExitCode"])
            container.remove(force=True, v=True)
    except InfraError as error:
        if not isinstance(error.__cause__, NotFound):
            raise
    return code


def end_all(containers: Sequence[Container], seconds: int = END_SECONDS) -> None:
    """`end` several at once: all are told first."""
    for container in containers:
        tell(container, "SIGTERM")
    for container in containers:
        end(container, seconds)


def remove(containers: Sequence[Container]) -> None:
    """Remove containers that serve nobody, and the volumes that are theirs alone, at once."""
    from docker.errors import NotFound

    for container in containers:
        try:
            with engine_errors(f"removing {container.name}"):
                container.remove(force=True, v=True)
        except InfraError as error:
            if not isinstance(error.__cause__, NotFound):
                raise


def until(seconds: float, done: Callable[[], bool], every: float = 0.1) -> bool:
    """Wait for `done`. Returns whether it came true in time."""
    end = time.monotonic() + seconds
    while not done():
        if time.monotonic() > end:
            return False
        time.sleep(every)
    return True
