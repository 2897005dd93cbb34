"""One version goes live in one environment: the order of things, whatever the target.

Killed at any moment, this leaves something true. Before the alias moves, the candidate ends with the process that
started it and what
served before goes on. Afterwards the alias, which holds its own log entry, names the candidate, and that one stays.
The next deployment
ends what is too much.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Mapping
from typing import Any

from stages.errors import InfraError, MlciError
from stages.images.prune import keep
from stages.records.atomic import write_json
from stages.store import Move
from stages.store.base import RESTORE, serving_before
from stages.store.who import who
from stages.targets import lifetime
from stages.targets.base import Target, Version
from stages.targets.environment import Environment

log = logging.getLogger("mlci")


def next_move(
    environment: Environment, action: str, digest: str, by: str | None, why: str, override: str | None = None
) -> Move:
    """The move that would make `digest` serve the environment, after the one that the store knows last. An override
    belongs to the version, so that a later move repeats it."""
    current = environment.alias()
    known = environment.override(digest) if override is None else None
    return Move(
        when=_now(),
        env=environment.name,
        action=action,
        origin=None if current is None else current.digest,
        digest=digest,
        by=who(by),
        why=why,
        override=override if known is None else known["reason"],
        generation=1 if current is None else current.generation + 1,
    )


def go_live(environment: Environment, target: Target, version: Version, move: Move) -> None:
    """Build, prove, switch (with the alias), watch.

    Raises:
        InfraError: what failed; what served before serves again, and alias and log are untouched, or, after a watch
        that found
            something (DEP_WATCH), say that the model was put back.
    """
    store, name = environment.store, environment.model
    try:
        log.info("deploy %s to %s: starting", version.digest[:12], environment.name)
        target.build(version)
        log.info("deploy %s to %s: proving", version.digest[:12], environment.name)
        target.prove()
        target.switch(lambda: store.move(name, move))
    except BaseException:
        if not _moved(environment, version, move):
            target.restore()
            raise
        # The alias has moved, and what it says stays true; the disk may have been full for its log line.
        target.watch(0)
        raise
    log.info("deploy %s to %s: switched", version.digest[:12], environment.name)
    _watch(environment, target, version, move)


def _moved(environment: Environment, version: Version, move: Move) -> bool:
    """Whether the alias names the candidate. A store that does not answer now is taken for one that was not changed:
    what served before has shown that it can, and the next deployment or rollback reads the alias again."""
    try:
        current = environment.alias()
    except MlciError as error:
        log.warning("whether %s was promoted is not known: %s", version.digest[:12], error.what)
        return False
    return current is not None and current.generation >= move.generation and current.digest == version.digest


def _watch(environment: Environment, target: Target, version: Version, move: Move) -> None:
    seconds = environment.settings.watch_seconds
    if seconds:
        log.info("watching %s for %g s", environment.name, seconds)
    wrong = target.watch(seconds)
    if not wrong:
        _tidy(environment, target)
        return
    back = target.restore()
    what = f"under watch: {'; '.join(wrong[:3])}"
    if back is None:
        raise InfraError(
            "DEP_WATCH", what, "nothing served before, so nothing serves now; see the log, then deploy again"
        )
    if back != version.digest:
        why = f"the watch window found: {wrong[0]}"
        environment.store.move(environment.model, next_move(environment, RESTORE, back, move.by, why))
    record(environment, target)
    raise InfraError("DEP_WATCH", what, f"{back[:12]} was put back and serves again; see the log, then deploy again")


def _tidy(environment: Environment, target: Target) -> None:
    """Whatever stands in the way of it is no failure of the deployment."""
    try:
        target.tidy(needed(environment))
    except MlciError as error:
        log.warning("what is kept of old versions was not looked at: %s", error.what)


def needed(environment: Environment) -> set[str]:
    """The versions that somebody may want at once: those that serve an environment of the project, what came before in
    this one, and the few that served here last."""
    store, name = environment.store, environment.model
    aliases = (store.alias(name, env) for env in environment.project.config.deploy)
    versions = {alias.digest for alias in aliases if alias is not None}
    history = store.history(name, environment.name)
    versions |= set(list(dict.fromkeys(move.digest for move in reversed(history)))[: keep()])
    before = serving_before(history)
    return versions if before is None else versions | {before}


def record(environment: Environment, target: Target) -> Mapping[str, Any]:
    """Write `.mlci/deploy/<env>/deployment.json`: what serves now, and the move that made it so. Returns its
    content."""
    alias = environment.alias()
    found = [s for s in target.serving() if alias is not None and s.version == alias.digest]
    serving = found[-1] if found else None
    content = {
        "schema_version": 1,
        "name": environment.model,
        "env": environment.name,
        "target": environment.settings.target,
        "version": None if alias is None else alias.digest,
        "url": None if serving is None else serving.url,
        "serving": None if serving is None else dict(serving.details),
        "ends_with_build": lifetime.build_of(environment, None if serving is None else serving.details),
        "promotion": None if alias is None else alias.move.plain(),
        "log": environment.project.show(environment.folder / "service.log"),
    }
    write_json(environment.folder / "deployment.json", content)
    return content


def _now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="milliseconds")


def described(error: MlciError) -> dict[str, str]:
    """An error as records have it."""
    return {"code": error.code, "what": error.what, "todo": error.todo}
