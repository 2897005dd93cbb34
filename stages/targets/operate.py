"""Looking at environments and ending them: what `mlci status`, `history`, `stop`, `serve` and `predict` ask for."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import stages
from stages.data import upstream
from stages.errors import ArtefactError, ConfigError, InfraError
from stages.model.policy import Policy
from stages.project import Project
from stages.records.stage import outputs_of
from stages.serving.predictor import Predictor
from stages.store.base import find, override_of
from stages.store.version import CODE
from stages.targets import lifetime
from stages.targets.base import Target
from stages.targets.environment import Environment, store_of


class Model(NamedTuple):
    """A model to load: its folder, the folder of the modules that it needs, its digest (None: the candidate)."""

    folder: Path
    code: Path | None
    digest: str | None


def model(project: Project, env: str | None = None, version: str | None = None) -> Model:
    """The named version, else the champion of `env`, else that of the first environment, else the candidate in
    `.mlci/train`.

    Raises:
        UsageError: STO_UNKNOWN; CFG_USAGE: no such environment. ArtefactError: STO_DIGEST, MOD_NOT_TRAINED,
        DEP_NOTHING_DEPLOYED.
    """
    store, name = store_of(project), project.config.name
    digest = None if version is None else find(store.versions(name), version)
    if digest is None and (env is not None or project.config.deploy):
        environment = Environment.of(project, env)
        alias = environment.alias()
        if alias is None and env is not None:
            raise ArtefactError(
                "DEP_NOTHING_DEPLOYED", f"nothing is deployed to {env}", f"run: mlci deploy --env {env}"
            )
        digest = None if alias is None else alias.digest
    if digest is None:
        return candidate(project)
    folder = store.get(name, digest)
    code = folder / CODE
    return Model(folder, code if code.is_dir() else None, digest)


def candidate(project: Project) -> Model:
    """The model in `.mlci/train`, checked against its record, and against the configuration and the code of now; new
    data do not make it another model.

    Raises:
        ArtefactError: MOD_NOT_TRAINED, MOD_RECORD, MOD_STALE.
    """
    outputs_of(project, "train")
    upstream.require_current(project, "prepare", "train", data=False)
    return Model(project.folder("train"), project.root, None)


def predictor(project: Project, env: str | None = None, version: str | None = None) -> Predictor:
    """The model that `model` names, loaded into this process.

    Raises:
        UsageError, ArtefactError: as `model`; the file cannot be loaded.
    """
    named = model(project, env, version)
    if named.code is not None and str(named.code) not in sys.path:
        sys.path.insert(1, str(named.code))  # before the repository's own, which may have moved on
    return Predictor.load(named.folder, Policy.of(project.config))


def status(project: Project, env: str | None = None) -> list[dict[str, Any]]:
    """What serves each environment, or only `env`.

    Each entry: `env`, `target`, `version`, `since`, `by`, `action`, `why`, `override` (from the promotion log; None
    before the first deployment), `url`, `answers` (the promoted version serves and gives the golden answers now; None
    where that cannot be seen from here), `processes`, `note` (a sentence where something is not as it should be).
    """
    if env is not None:
        return [_status(Environment.of(project, env))]
    return [_of_all(Environment.of(project, name)) for name in project.config.deploy]


def _of_all(environment: Environment) -> dict[str, Any]:
    """Where a variable is not set here, or no engine answers, what the store says alone: the others are looked at all
    the same."""
    try:
        environment.project.loaded.whole(environment.name)
        return _status(environment)
    except ConfigError as error:
        return _entry(environment, f"what runs is not known: {error.what}", None, looked=False)
    except InfraError as error:
        if error.code not in ("DEP_DOCKER", "DEP_SWARM"):
            raise
        return _entry(environment, f"what runs is not known: {error.what}; {error.todo}", None, looked=False)


def _status(environment: Environment) -> dict[str, Any]:
    alias = environment.alias()
    target = environment.target()
    serving = target.serving()
    answers = False
    if alias is not None:
        try:
            answers = target.answers(environment.version(alias.digest))
        except ArtefactError as error:
            return _entry(environment, error.what)
    versions = [s.version for s in serving]
    note = _note(environment, versions, answers)
    if alias is not None and versions == [alias.digest]:
        note = _with_other_settings(environment, target) or note  # the wrong port, say, explains no answer
    build = lifetime.recorded(environment) if environment.settings.target == "process" else None
    if build is not None and alias is not None and (note is None or not versions):
        ends = "ends" if versions else "ended"
        deploy = "" if versions else f", then run: mlci deploy --env {environment.name}"
        note = f"it {ends} with the build {build} that started it; {lifetime.remedy(environment)}{deploy}"
    return _entry(environment, note, answers)


def _note(environment: Environment, versions: list[str], answers: bool) -> str | None:
    alias = environment.alias()
    again = f"mlci deploy --env {environment.name}"
    if alias is None:
        return (
            f"nothing was deployed yet; run: {again}"
            if not versions
            else f"a service runs that nobody promoted; run: {again}"
        )
    back = f"mlci rollback --env {environment.name} --to {alias.digest[:12]}"
    if not versions:
        return f"it does not run; run: {back}"
    if alias.digest not in versions:
        return f"{versions[-1][:12]} runs instead; run: {back}"
    if len(versions) > 1:
        return f"an interrupted deployment left {len(versions) - 1} more running; run: {again}"
    return None if answers else f"it runs, but does not answer as recorded; run: {back}"


def _with_other_settings(environment: Environment, target: Target) -> str | None:
    changed = target.changed()
    again = f"mlci deploy --env {environment.name}"
    return f"it serves with other settings: {', '.join(changed)}; run: {again}" if changed else None


def _entry(
    environment: Environment, note: str | None, answers: bool | None = False, looked: bool = True
) -> dict[str, Any]:
    alias = environment.alias()
    move = {} if alias is None else alias.move.plain()
    overridden = None if alias is None else environment.override(alias.digest)
    serving = environment.target().serving() if looked else []
    urls = [s.url for s in serving if s.url is not None and alias is not None and s.version == alias.digest]
    return {
        "env": environment.name,
        "target": environment.settings.target,
        "version": move.get("to"),
        "since": move.get("when"),
        "by": move.get("by"),
        "action": move.get("action"),
        "why": move.get("why"),
        "override": None if overridden is None else overridden["reason"],
        "url": urls[-1] if urls else None,
        "answers": answers,
        "processes": [{"version": s.version, **s.details} for s in serving],
        "note": note,
    }


def history(project: Project, env: str | None = None) -> list[dict[str, Any]]:
    """Every change of an environment, the oldest first: `when env action from to by why override generation`."""
    environment = Environment.of(project, env)
    moves = environment.store.history(environment.model, environment.name)
    known = [*environment.store.promotions(environment.model, strict=False), *moves[-1:]]
    found = []
    for move in moves:
        # earlier releases did not repeat the override of a version in later moves of it
        earlier = None if move.override else override_of([one for one in known if one.when <= move.when], move.digest)
        found.append(move.plain() | ({} if earlier is None else {"override": earlier.override}))
    return found


def stop(project: Project, env: str | None = None) -> list[dict[str, Any]]:
    """End whatever serves an environment. Returns `version pid state url` of each ended process; alias and log stay.

    Secrets of the environment need not be set: nothing that is started would need them.

    Raises:
        InfraError: DEP_BUSY: a deployment is under way.
    """
    environment = Environment.of(project, env)
    with ExitStack() as hold:
        try:
            hold.enter_context(environment.store.deploying(environment.model, environment.name))
        except InfraError as error:
            # A hold is written into the store. Ending what serves is not, and does without where that cannot be.
            if error.code not in ("STO_READONLY", "STO_ACCESS", "STO_CREDENTIALS", "STO_NETWORK"):
                raise
        ended = environment.target(whole=False).stop()
    return [{"version": s.version, **s.details} for s in ended]


def serve(project: Project, version: str | None = None, host: str = "127.0.0.1", port: int = 8080) -> NoReturn:
    """Serve the candidate, or a version of the store, in the foreground: this process becomes the service.

    Raises:
        UsageError: STO_UNKNOWN. ArtefactError: MOD_NOT_TRAINED, MOD_RECORD, STO_DIGEST.
    """
    served = candidate(project) if version is None else model(project, version=version)
    command = [sys.executable, "-P", "-m", "stages.serving", "--folder", str(served.folder), "--access-log"]
    command += ["--host", host, "--port", str(port), "--version", served.digest or "candidate"]
    if served.code is not None:
        command += ["--code", str(served.code)]
    sys.stdout.flush()
    sys.stderr.flush()
    environment = {**os.environ, "PYTHONPATH": str(Path(stages.__file__).parent.parent)}
    os.execve(sys.executable, command, environment)  # noqa: S606  an argument list, no shell
