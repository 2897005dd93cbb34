"""How the models are: last build, what the gate said, what is deployed, and how old that is."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from jenkins_admin import artifacts
from jenkins_admin.connection import JenkinsError
from jenkins_admin.follow import Build
from jenkins_admin.jobs import Job, job_of, proxied
from jenkins_admin.reading import each
from jenkins_admin.render import path_of
from jenkins_admin.schema import JenkinsYaml, Model
from jenkins_admin.server import Server
from stages.errors import MlciError

_FIELDS = "number,url,result,building,timestamp,artifacts[relativePath]"
_TREE = f"color,lastBuild[{_FIELDS}],lastSuccessfulBuild[{_FIELDS}]"


@dataclass(frozen=True)
class ModelStatus:
    """One model. `state` is a build result, `RUNNING`, `NEVER BUILT`, `MISSING` or `?` with a `note` of why.

    `gate`: verdict and figures of the last build that archived them. `champion`: environment → digest, as last
    deployed.
    """

    model: str
    job: str
    state: str
    build: int | None = None
    url: str | None = None
    finished: dt.datetime | None = None
    gate: dict[str, Any] | None = None
    champion: dict[str, str] = field(default_factory=dict)
    note: str = ""


def read(server: Server, settings: JenkinsYaml, models: Sequence[Model]) -> list[ModelStatus]:
    """The state of each model; what cannot be read says so in its line and does not hide the others."""
    return each(lambda model: _one(server, settings, model), models, settings.server.workers)


def _one(server: Server, settings: JenkinsYaml, model: Model) -> ModelStatus:
    path = path_of(model, settings)
    name = path.removeprefix(f"{settings.root.name}/")
    try:
        return _of_job(server, name, job_of(server, settings, model))
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        # Jenkins, or what stands in front of it, answered with something else than fields of a build.
        return ModelStatus(
            name, path, "?", note=f"Jenkins' answer cannot be read: {type(error).__name__}: {error}"[:200]
        )
    except MlciError as error:
        if error.code == "JEN_NO_BRANCH":
            return ModelStatus(name, path, "NEVER BUILT", note=error.what)
        if error.code == "JEN_NOT_FOUND":
            return ModelStatus(name, path, "MISSING", note="mlci-admin apply makes it")
        return ModelStatus(name, path, "?", note=error.what)


def _of_job(server: Server, name: str, job: Job) -> ModelStatus:
    answer = server.job(job.path, _TREE)
    if answer is None and job.branch is not None:
        return ModelStatus(name, job.path, "?", note=proxied(job).what)
    if answer is None:
        return ModelStatus(name, job.path, "MISSING", note="mlci-admin apply makes it")
    disabled = str(answer.get("color", "")).startswith("disabled")
    last, good = answer.get("lastBuild"), answer.get("lastSuccessfulBuild")
    if not last:
        return ModelStatus(name, job.path, "DISABLED" if disabled else "NEVER BUILT")
    builds = [build for build in (last, good) if build]
    gate = next((found for build in builds if (found := _gate(server, job, build))), None)
    champion = next((found for build in builds if (found := _champion(server, job, build))), {})
    state = "RUNNING" if last.get("building") else str(last.get("result") or "?")
    note = "disabled" if disabled else ""
    if last.get("building"):
        note = _waiting(server, job, int(last["number"]))
    finished = dt.datetime.fromtimestamp(last.get("timestamp", 0) / 1000, dt.UTC)
    return ModelStatus(name, job.path, state, int(last["number"]), last.get("url"), finished, gate, champion, note)


def _waiting(server: Server, job: Job, number: int) -> str:
    try:
        asked = server.pending_inputs(job.path, number) or []
    except JenkinsError as error:
        return f"whether it waits for an answer cannot be read: {error.what}"
    return f"waits for an answer: {asked[0].get('message') or asked[0].get('id')}" if asked else ""


def _paths(build: dict[str, Any], name: str) -> list[str]:
    found = [str(one["relativePath"]) for one in build.get("artifacts", [])]
    return [path for path in found if PurePosixPath(path).name == name]


def _gate(server: Server, job: Job, build: dict[str, Any]) -> dict[str, Any] | None:
    for path in _paths(build, "gate.json"):
        found = artifacts.document(server, Build(job, int(build["number"]), ""), path)
        if isinstance(found, dict):
            return {key: found[key] for key in ("approved", "verdict", "sentence", "model") if key in found}
    return None


def _champion(server: Server, job: Job, build: dict[str, Any]) -> dict[str, str]:
    champion = {}
    for path in _paths(build, "deployment.json"):
        found = artifacts.document(server, Build(job, int(build["number"]), ""), path)
        if isinstance(found, dict) and isinstance(found.get("version"), str):
            environment = found.get("environment") or found.get("env") or PurePosixPath(path).parent.name
            champion[str(environment)] = found["version"]
    return champion


def age(moment: dt.datetime | None, now: dt.datetime) -> str:
    """`5 min`, `3 h`, `12 d`: how long ago."""
    if moment is None:
        return ""
    seconds = max(0.0, (now - moment).total_seconds())
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= 2 * size or (unit == "min" and seconds >= size):
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
