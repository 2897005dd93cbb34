"""Rollback: put the model back that served before, or any other of the store."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["rollback", *sys.argv[1:]]))

from stages.errors import UsageError
from stages.project import Project
from stages.records.result import Result
from stages.store.base import ROLLBACK, find, serving_before
from stages.targets.environment import Environment
from stages.targets.promotion import go_live, next_move
from stages.targets.report import Attempt


def rollback(project: Project, env: str | None = None, to: str | None = None, by: str | None = None) -> Result:
    """Make an earlier model serve an environment again, with the same proof as a deployment.

    `to`: digest of a version in the store, or its beginning; default what served before the current one.

    Returns:
        The record; its status is `skipped` when that model serves already.

    Raises:
        UsageError: DEP_NOTHING_BEFORE; STO_UNKNOWN: no such version, listing what there is. ConfigError: CFG_ENV_UNSET.
        ArtefactError: STO_DIGEST.
        InfraError: DEP_…, STO_…: what served before serves on.
    """
    environment = Environment.of(project, env)
    project.loaded.whole(environment.name)
    wanted = _wanted(environment, to)
    attempt = Attempt(environment, "rollback")
    with attempt.recorded(), environment.store.deploying(environment.model, environment.name):
        target = environment.target()
        current = environment.alias()
        target.repair(None if current is None else current.digest)
        version = environment.version(wanted)
        if current is not None and current.digest == wanted and target.answers(version) and not target.changed():
            return attempt.unchanged(target)
        why = "rollback" if to is None else f"rollback to {to}"
        go_live(environment, target, version, next_move(environment, ROLLBACK, version.digest, by, why))
        return attempt.done(target)


def _wanted(environment: Environment, to: str | None) -> str:
    if to is not None:
        return find(environment.store.versions(environment.model), to)
    before = serving_before(environment.store.history(environment.model, environment.name))
    if before is None:
        raise UsageError(
            "DEP_NOTHING_BEFORE",
            f"no model served {environment.name} before the current one",
            "name a version with --to; nothing was changed",
        )
    return before
