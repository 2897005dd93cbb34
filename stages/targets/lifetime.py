"""Services that Jenkins ends with the build that started them: `process` environments without `keep: true`."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stages.errors import ArtefactError
from stages.records.jsonfile import read_json

if TYPE_CHECKING:
    from stages.targets.environment import Environment


def build_of(environment: Environment, serving: Mapping[str, Any] | None) -> str | None:
    """The build that the service `serving` (its `pid` and `started`) ends with; None where it stays.

    A service that was there before this command keeps what the last record says of it.
    """
    if environment.settings.target != "process" or serving is None:
        return None
    last = _last(environment)
    if (last.get("serving") or {}).get("pid") == serving.get("pid"):
        return recorded(environment)
    if environment.settings.keep or not ("JENKINS_URL" in os.environ or "JENKINS_NODE_COOKIE" in os.environ):
        return None
    return os.environ.get("BUILD_URL") or os.environ.get("BUILD_TAG") or "of Jenkins"


def recorded(environment: Environment) -> str | None:
    """What `deployment.json` says of it."""
    build = _last(environment).get("ends_with_build")
    return build if isinstance(build, str) else None


def remedy(environment: Environment) -> str:
    """What lets a service stay."""
    return f"set deploy.{environment.name}.keep: true to let it stay"


def _last(environment: Environment) -> Mapping[str, Any]:
    try:
        content = read_json(environment.folder / "deployment.json")
    except (ArtefactError, OSError):
        return {}
    return content if isinstance(content, dict) else {}
