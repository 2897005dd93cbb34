"""The Docker engine: finding it, and saying in one line what is wrong with it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from stages.errors import InfraError

if TYPE_CHECKING:
    from docker import DockerClient

#: Longest silence of the engine before it counts as gone, in seconds; a step of a build may be silent for long.
_SILENCE = 900


def connect() -> DockerClient:
    """A client of the engine that DOCKER_HOST names, else of this machine's.

    Raises:
        InfraError: DEP_DOCKER: no engine answers.
    """
    import docker
    from docker.errors import DockerException

    try:
        return docker.from_env(timeout=_SILENCE)  # asks for the engine's version, so that one is there
    except DockerException as error:
        raise _unreachable(error) from error


@contextmanager
def connected() -> Iterator[DockerClient]:
    """`connect`, closed at the end of the block."""
    client = connect()
    try:
        yield client
    finally:
        client.close()


@contextmanager
def engine_errors(doing: str) -> Iterator[None]:
    """Turns what docker-py raises in the block into InfraError (exit 5).

    Raises:
        InfraError: DEP_DOCKER: the engine refused or went away while `doing`; DEP_PORT_IN_USE.
    """
    from docker.errors import APIError, DockerException
    from requests.exceptions import RequestException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except APIError as error:
        said = one_line(error.explanation or str(error))
        if "port is already allocated" in said or "address already in use" in said:
            raise InfraError(
                "DEP_PORT_IN_USE",
                f"{doing}: {said}",
                "another program or container has the port: end it, or choose another port",
            ) from error
        raise InfraError(
            "DEP_DOCKER", f"{doing}: the engine refused: {said}", "correct that, then try again"
        ) from error
    except (DockerException, RequestException, HTTPError, OSError) as error:
        raise InfraError(
            "DEP_DOCKER",
            f"{doing}: the Docker engine went away ({type(error).__name__})",
            "see: docker info; once it answers, run the command again",
        ) from error


def one_line(text: object, most: int = 300) -> str:
    """`text` on one line, its end if it is long."""
    line = " ".join(str(text).split())
    return line if len(line) <= most else f"…{line[-most:]}"


def _unreachable(error: Exception) -> InfraError:
    host = os.environ.get("DOCKER_HOST")
    place = f"DOCKER_HOST={host}" if host else "this machine"
    denied = "Permission denied" in str(error) or "PermissionError" in str(error)
    if denied:
        todo = "join the group docker (sudo usermod -aG docker $USER, then log in again)"
    elif host:
        todo = "start the engine there, or correct DOCKER_HOST"
    else:
        todo = "start it (sudo systemctl start docker), install it (apt-get install docker.io), or set DOCKER_HOST"
    what = f"the Docker engine on {place} may not be used: permission denied" if denied else None
    return InfraError("DEP_DOCKER", what or f"no Docker engine answers on {place}", todo)
