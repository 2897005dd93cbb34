"""Rollback: put the model back that served before, or an earlier one."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["rollback", *sys.argv[1:]]))

from stages.errors import GateError, UsageError
from stages.project import Project
from stages.records.result import Result
from stages.store.base import ROLLBACK, Move, find, serving_before
from stages.targets.approval import refusals
from stages.targets.base import Version
from stages.targets.environment import Environment
from stages.targets.overriding import described
from stages.targets.promotion import go_live, next_move
from stages.targets.report import Attempt


def rollback(
    project: Project,
    env: str | None = None,
    to: str | None = None,
    by: str | None = None,
    override_gate: str | None = None,
) -> Result:
    """Make an earlier model serve an environment again, with the same proof as a deployment.

    `to`: digest of a version that served this environment, or its beginning; default what served before the current
    one. `override_gate`: a person's reason to go back to it without approval; it needs `by`.

    Returns:
        The record; its status is `skipped` when that model serves already.

    Raises:
        UsageError: DEP_NOTHING_BEFORE; STO_UNKNOWN: no such version, listing what there is; CFG_USAGE.
        ConfigError: CFG_ENV_UNSET. GateError: DEP_NEVER_SERVED, DEP_NOT_APPROVED.
        ArtefactError: STO_DIGEST.
        InfraError: DEP_…, STO_…: what served before serves on.
    """
    _check_override(override_gate, by)
    environment = Environment.of(project, env)
    project.loaded.whole(environment.name)
    moves = environment.store.promotions(environment.model)
    wanted = _wanted(environment, to, [move for move in moves if move.env == environment.name])
    attempt = Attempt(environment, "rollback")
    with attempt.recorded(), environment.store.deploying(environment.model, environment.name):
        target = environment.target()
        current = environment.alias()
        target.repair(None if current is None else current.digest)
        version = environment.version(wanted)
        serves = current is not None and current.digest == wanted
        if serves and target.answers(version) and not target.changed():
            return attempt.unchanged(target)
        override = None if serves else _override(environment, version, moves, override_gate)
        why = "rollback" if to is None else f"rollback to {to}"
        move = next_move(environment, ROLLBACK, version.digest, by, why, override)
        go_live(environment, target, described(environment, move, override is not None), move)
        return attempt.done(target)


def _check_override(reason: str | None, by: str | None) -> None:
    if reason is not None and not reason.strip():
        todo = "say why in a sentence; it is recorded for ever"
        raise UsageError("CFG_USAGE", "--override-gate needs a reason", todo)
    if reason is not None and not by:
        todo = "add --by NAME; both are recorded for ever"
        raise UsageError("CFG_USAGE", "--override-gate needs a name beside its reason", todo)


def _wanted(environment: Environment, to: str | None, moves: list[Move]) -> str:
    if to is None:
        before = serving_before(sorted(moves, key=lambda move: move.generation))
        if before is None:
            raise UsageError(
                "DEP_NOTHING_BEFORE",
                f"no model served {environment.name} before the current one",
                "name a version with --to; nothing was changed",
            )
        return before
    wanted = find(environment.store.versions(environment.model), to)
    served = dict.fromkeys(move.digest for move in reversed(moves))
    if wanted not in served:
        known = ", ".join(digest[:12] for digest in list(served)[:10]) or "none yet"
        raise GateError(
            "DEP_NEVER_SERVED",
            f"version {wanted[:12]} has never served {environment.name}",
            f"versions that did: {known}; any other gets there with mlci promote (where mlci --help lists it), or "
            "with mlci deploy from its own checkout",
        )
    return wanted


def _override(environment: Environment, version: Version, moves: list[Move], reason: str | None) -> str | None:
    """The reason given now, where one is needed. What a person once overrode for this version here needs none.

    Raises:
        GateError: DEP_NOT_APPROVED.
    """
    against = refusals(environment.project, version.folder, version.digest)
    known = any(m.env == environment.name and m.digest == version.digest and m.override is not None for m in moves)
    if not against or (known and reason is None):
        return None
    if reason is None:
        more = f" (and {len(against) - 1} more)" if against[1:] else ""
        raise GateError(
            "DEP_NOT_APPROVED",
            f"version {version.digest[:12]} is not approved now: {against[0]}{more}",
            "roll back to another version with --to, or give --override-gate REASON --by NAME",
        )
    return reason.strip()
