"""Deploy: prove the approved model and switch an environment to it."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["deploy", *sys.argv[1:]]))

import logging

from stages.errors import ArtefactError, MlciError, UsageError
from stages.model.policy import Policy
from stages.project import Project
from stages.records.jsonfile import read_json
from stages.records.lock import exclusive
from stages.records.result import Result
from stages.store.base import DEPLOY
from stages.store.version import files_of
from stages.targets.approval import Approval, approval, keep_verdict
from stages.targets.base import Target
from stages.targets.environment import Environment
from stages.targets.overriding import described
from stages.targets.promotion import go_live, next_move
from stages.targets.report import Attempt

log = logging.getLogger("mlci")


def deploy(project: Project, env: str | None = None, override_gate: str | None = None, by: str | None = None) -> Result:
    """Make the model in `.mlci/train` serve an environment, the first one unless `env` names another.

    `override_gate`: a person's reason to deploy without the gate's or the tests' consent, recorded for ever; it needs
    `by`. `by`: who, for the promotion log; default the build or the user.

    Returns:
        The record; its status is `skipped` when the environment already serves this model and answers as recorded.

    Raises:
        UsageError: there is no such environment, or an override without a name. ConfigError: CFG_ENV_UNSET: it lacks
        a variable. GateError: DEP_NOT_APPROVED, DEP_TESTS.
        ArtefactError: no model, a changed one, or MOD_STALE. InfraError: DEP_…, STO_…: what served before serves on.
    """
    if override_gate is not None and not by:
        todo = "add --by NAME; both are recorded for ever"
        raise UsageError("CFG_USAGE", "--override-gate needs a name beside its reason", todo)
    environment = Environment.of(project, env)
    project.loaded.whole(environment.name)
    attempt = Attempt(environment, "deploy")
    with attempt.recorded(), environment.store.deploying(environment.model, environment.name):
        with exclusive(project.work):
            environment.store.promotions(environment.model)  # damaged: refused before anything is done
            approved = approval(project, override_gate)
            target = environment.target()
            current = environment.alias()
            target.repair(None if current is None else current.digest)
            reasons = _why(environment, target, approved.digest)
            if not reasons:
                return attempt.unchanged(target)
            log.info("%s", reasons[0])
            Policy.of(project.config).check(read_json(project.folder("train") / "signature.json"))
            digest = environment.store.put(environment.model, files_of(project))
            records = keep_verdict(project, environment.store.get(environment.model, digest))
            if records:
                environment.store.describe(environment.model, digest, records)
        why, override = _reasons(approved, override_gate)
        move = next_move(environment, DEPLOY, digest, by, why, override)
        go_live(environment, target, described(environment, move, override is not None), move)
        return attempt.done(target)


def would_run(project: Project, env: str | None = None) -> list[str]:
    """Why a deployment would do something now, or what stands against it; empty when it would be skipped."""
    environment = Environment.of(project, env)
    try:
        approved = approval(project, None)
        return _why(environment, environment.target(), approved.digest)
    except MlciError as error:
        return [f"it would be refused: {error.what}"]


def _why(environment: Environment, target: Target, digest: str) -> list[str]:
    current = environment.alias()
    if current is None:
        return [f"nothing was deployed to {environment.name} yet"]
    if current.digest != digest:
        return [f"{environment.name} has model {current.digest[:12]}, this one is {digest[:12]}"]
    try:
        answers = target.answers(environment.version(digest))
    except (ArtefactError, UsageError) as error:
        return [error.what]  # the store's copy is damaged; putting it there again mends it
    if not answers:
        return [f"{environment.name} does not give the golden answers of {digest[:12]} now"]
    changed = target.changed()
    return [f"{environment.name} serves with other settings: {', '.join(changed)}"] if changed else []


def _reasons(approved: Approval, override: str | None) -> tuple[str, str | None]:
    """Why, and the reason for an override, None where nothing had to be overridden."""
    if override is None or not approved.refusals:
        return approved.why, None
    return f"overridden: {'; '.join(approved.refusals)}", override.strip()
