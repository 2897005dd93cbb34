"""Old images of a model: what nobody will go back to soon is removed, and can be built again from the store."""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from stages import variables
from stages.errors import InfraError
from stages.images import labels
from stages.images.engine import engine_errors

if TYPE_CHECKING:
    from docker import DockerClient

log = logging.getLogger("mlci")

#: How many models that served an environment last keep their image there; MLCI_KEEP_IMAGES overrides it.
KEEP = 3
#: A younger image may be one that another deployment has just built, in seconds.
YOUNG_SECONDS = 3600.0


@dataclass(frozen=True)
class Kept:
    """An image of a model: its whole name, the model's digest, its age in seconds."""

    reference: str
    version: str
    age: float


def superfluous(images: Iterable[Kept], versions: Collection[str]) -> list[str]:
    """Names of the images of other versions than these, the young ones aside."""
    return sorted(i.reference for i in images if i.version not in versions and i.age > YOUNG_SECONDS)


def keep() -> int:
    """How many of the models that served last keep their image, 1 or more. Raises: UsageError: CFG_LIMIT."""
    return max(1, variables.count("MLCI_KEEP_IMAGES", KEEP, 0))


def prune(client: DockerClient, name: str, repository: str, versions: Collection[str]) -> list[str]:
    """Remove the images of model `name` in `repository` that are of other versions. Returns their names.

    Only images labelled as this model's are looked at. One that a container uses stays: the engine refuses.

    Raises:
        InfraError: DEP_DOCKER: the engine went away.
    """
    removed = []
    for reference in superfluous(_found(client, name, repository), versions):
        try:
            with engine_errors(f"removing the image {reference}"):
                client.images.remove(reference)
        except InfraError as error:
            log.debug("%s", error.what)
            continue
        log.info("removed the old image %s", reference)
        removed.append(reference)
    return removed


def _found(client: DockerClient, name: str, repository: str) -> list[Kept]:
    with engine_errors("looking for old images"):
        entries: list[Mapping[str, Any]] = client.api.images(filters={"label": [f"{labels.NAME}={name}"]})
    now = dt.datetime.now(dt.UTC).timestamp()
    return [
        Kept(tag, entry["Labels"][labels.VERSION], now - entry["Created"])
        for entry in entries
        for tag in entry.get("RepoTags") or []
        if labels.VERSION in (entry.get("Labels") or {})
        and tag == f"{repository}:{entry['Labels'][labels.VERSION][:12]}"
    ]
