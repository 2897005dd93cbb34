"""Image registries: names, credentials, pushing and pulling."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from stages.errors import InfraError
from stages.images.engine import engine_errors, one_line

if TYPE_CHECKING:
    from docker import DockerClient

log = logging.getLogger("mlci")

#: User and password, as docker-py takes them; None: what `docker login` left on this machine.
Credentials = Mapping[str, str] | None


def host_of(repository: str) -> str | None:
    """The registry that a repository's name begins with; None for a name that stays on the engine.

    As Docker reads names: the first part is a host if it holds a dot or a colon or is `localhost`.
    """
    first, slash, _ = repository.partition("/")
    return first if slash and ("." in first or ":" in first or first == "localhost") else None


def split(reference: str) -> tuple[str, str]:
    """Repository and tag of an image's name; `latest` where it has none."""
    head, slash, tail = reference.rpartition("/")
    name, colon, tag = tail.partition(":")
    return f"{head}{slash}{name}", tag if colon else "latest"


def push(client: DockerClient, repository: str, tag: str, credentials: Credentials) -> str:
    """Push an image. Returns its digest in the registry.

    Raises:
        InfraError: DEP_REGISTRY; DEP_DOCKER.
    """
    digest = ""
    with engine_errors(f"pushing {repository}:{tag}"):
        stream = client.api.push(repository, tag, stream=True, decode=True, auth_config=_auth(credentials))
        for line in stream:
            _refused(f"{repository}:{tag} could not be pushed", line)
            digest = line.get("aux", {}).get("Digest", digest)
    if not digest:
        raise InfraError(
            "DEP_REGISTRY", f"{repository}:{tag}: the push ended without a digest", "see the registry's log; try again"
        )
    log.info("pushed %s:%s (%s)", repository, tag, digest[:19])
    return digest


def pull(client: DockerClient, repository: str, tag: str, credentials: Credentials) -> bool:
    """Pull an image. Returns False where the registry does not have it.

    `tag`: a tag, or a digest (`sha256:…`), against which the engine checks what arrives.

    Raises:
        InfraError: DEP_REGISTRY: it cannot be reached, or refuses; DEP_DOCKER.
    """
    from docker.errors import APIError, NotFound

    with engine_errors(f"pulling {repository}:{tag}"):
        try:
            stream: Iterable[dict[str, Any]] = client.api.pull(
                repository, tag, stream=True, decode=True, auth_config=_auth(credentials)
            )
            for line in stream:
                _refused(f"{repository}:{tag} could not be pulled", line)
        except NotFound:
            return False
        except APIError as error:
            said = one_line(error.explanation or error)
            if "manifest unknown" in said or "not found" in said:
                return False
            raise _unavailable(f"{repository}:{tag} could not be pulled", said) from error
    return True


def _auth(credentials: Credentials) -> dict[str, str] | None:
    return dict(credentials) if credentials else None


def _refused(what: str, line: Mapping[str, Any]) -> None:
    if "error" in line:
        raise _unavailable(what, one_line(line["error"]))


def _unavailable(what: str, said: str) -> InfraError:
    denied = any(word in said for word in ("denied", "unauthorized", "no basic auth", "authentication required"))
    todo = (
        "check registry: {user, password} in ml.yaml, whose values come from the environment"
        if denied
        else "check the registry's address and that it runs; what served before still does"
    )
    return InfraError("DEP_REGISTRY", f"{what}: {said}", todo)
