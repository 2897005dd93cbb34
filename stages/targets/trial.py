"""The trial: a container of the very image that is to serve gives every proof, its own end included, and is gone."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import time
from typing import TYPE_CHECKING, NamedTuple

from stages import variables
from stages.errors import InfraError
from stages.images.build import Image, ImageDigests, Order, build
from stages.images.registry import Credentials
from stages.targets import containers, proof
from stages.targets.base import Version
from stages.targets.containers import TRIAL, Inside, Running, Setting
from stages.targets.process import ready_seconds

if TYPE_CHECKING:
    from docker import DockerClient

#: What mlci may add to a base image, in bytes; MLCI_IMAGE_MAX_MB overrides it.
ADDED_BYTES = 1_000_000_000
#: How long a service without requests may take to end, in seconds.
_IDLE_END = 20.0

_BEFORE = "what served before still does"


class Source(NamedTuple):
    """What images are made from and where they go: `repository` is the name of a model's, without a tag; `digests`:
    see `Order`."""

    repository: str
    base: str
    credentials: Credentials = None
    digests: ImageDigests | None = None


class Trial:
    """The image of a version on this engine, built if need be, and a container of it that only we can reach.

    Raises: InfraError: see `stages.images.build.build`.
    """

    def __init__(self, client: DockerClient, setting: Setting, source: Source, version: Version) -> None:
        self.version = version
        # Nobody but us knows the trial: there are no callers to wait for when it ends.
        alone = {**setting.environment, "MLCI_SERVE_DRAIN_SECONDS": "0"}
        self._client, self._setting = client, dataclasses.replace(setting, environment=alone)
        self._running: Running | None = None
        order = Order(version.name, version.digest, version.folder, version.code, *source)
        self.image: Image = build(client, order)

    def start(self, network: str) -> None:
        """Start the container and wait until it is ready. Raises: InfraError: DEP_CRASHED, DEP_NOT_READY,
        DEP_DOCKER."""
        self._running = containers.start(
            self._client, self._setting, self.image.id, self.version.digest, TRIAL, network
        )
        self._running.await_ready(ready_seconds())

    def prove(self) -> None:
        """Golden answers, refusals, no root, nothing writable, size, and an end in time; then the container is gone.

        Raises:
            InfraError: DEP_PROOF, DEP_PROOF_LOST.
        """
        assert self._running is not None
        _prove(self._running, self.image, self.version)
        self._running = None

    def drop(self) -> None:
        """Remove the container, if it is still there."""
        if self._running is not None:
            containers.remove([self._running.container])
            self._running.release()
            self._running = None


def _prove(trial: Running, image: Image, version: Version) -> None:
    _size(image)
    golden = version.golden
    try:
        asked = Inside(trial.container)
        asked.foresee([json.dumps(body).encode() for body in golden["requests"]] + list(proof.MALFORMED))
        proof.prove(asked, golden)
        facts = containers.verb(trial.container, "facts")
    except (OSError, InfraError) as error:
        ended = why_lost(trial)
        if ended is None and isinstance(error, InfraError) and error.code != "DEP_PROOF_LOST":
            raise
        what, log = f"it {ended}" if ended else str(error), containers.last_lines(trial.container)
        raise InfraError(
            "DEP_PROOF_LOST",
            f"the new service failed in its proof: {what}; the end of its log: {log}",
            f"correct what that log says; {_BEFORE}",
        ) from error
    if facts["uid"] == 0:
        raise InfraError("DEP_PROOF", "the image runs as root", f"choose a base image that lets USER stand; {_BEFORE}")
    if facts["writable"]:
        raise InfraError(
            "DEP_PROOF",
            f"the service can write to {', '.join(facts['writable'])}",
            f"choose another base image; {_BEFORE}",
        )
    _ends(trial)


def why_lost(trial: Running) -> str | None:
    """How the trial ended, None if it runs or cannot be seen any more."""
    with contextlib.suppress(InfraError):
        return containers.why_ended(trial.container)
    return None


def _ends(trial: Running) -> None:
    started = time.monotonic()
    code = containers.end(trial.container)
    seconds = time.monotonic() - started
    trial.release()
    if code != 0 or seconds > _IDLE_END:
        raise InfraError(
            "DEP_PROOF",
            f"told to end, the service took {seconds:.0f} s and left with exit code {code}",
            f"look for threads or processes that the model's own code starts; {_BEFORE}",
        )


def _size(image: Image) -> None:
    most = variables.measure("MLCI_IMAGE_MAX_MB", ADDED_BYTES / 1e6) * 1e6
    if image.added > most:
        raise InfraError(
            "DEP_PROOF",
            f"the image adds {image.added / 1e6:.0f} MB to its base, {most / 1e6:.0f} MB are allowed",
            f"need fewer packages, or allow more with MLCI_IMAGE_MAX_MB; {_BEFORE}",
        )
