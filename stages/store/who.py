"""Who is deploying, for the promotion log."""

from __future__ import annotations

import getpass
import os
import socket
from collections.abc import Mapping


def who(by: str | None = None, environment: Mapping[str, str] | None = None) -> str:
    """`by` if given, else the address of the build, else user and machine."""
    environment = os.environ if environment is None else environment
    if by:
        return by
    # Jenkins, CircleCI, Travis CI, GitHub Actions
    for name in ("BUILD_URL", "CIRCLE_BUILD_URL", "TRAVIS_BUILD_WEB_URL"):
        if environment.get(name):
            return environment[name]
    parts = [environment.get(name) for name in ("GITHUB_SERVER_URL", "GITHUB_REPOSITORY", "GITHUB_RUN_ID")]
    if all(parts):
        return f"{parts[0]}/{parts[1]}/actions/runs/{parts[2]}"
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name, as containers have them
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"
