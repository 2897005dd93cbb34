"""What a store is, whatever holds it; and the rules that do not depend on where it stands."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from stages.errors import InfraError, UsageError
from stages.records import jsonfile
from stages.store.record import json_bytes

_IMAGE_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")

_log = logging.getLogger("mlci")
#: Lines of which this process has warned.
_warned: set[tuple[str, int]] = set()

DEPLOY, ROLLBACK, RESTORE = "deploy", "rollback", "restore"


@dataclass(frozen=True)
class Move:
    """One change of an alias, as the promotion log has it.

    `action`: deploy, rollback, or restore (the watch window put the old model back). `origin`, `digest`: from which
    model to which, None before the first. `by`: who or which build. `override`: the reason why the gate was
    overridden, None if it was not. `generation` counts the changes of this alias from 1.
    """

    when: str
    env: str
    action: str
    origin: str | None
    digest: str
    by: str
    why: str
    override: str | None
    generation: int

    def plain(self) -> dict[str, Any]:
        """For JSON; `from` and `to` as people call them."""
        data = asdict(self)
        return {"from" if k == "origin" else "to" if k == "digest" else k: v for k, v in data.items()}

    @classmethod
    def of(cls, data: Any) -> Move:
        """The reverse of `plain`; what a later release may add is left out. Raises: ValueError."""
        if not isinstance(data, Mapping):
            raise ValueError("it is no object")
        names = {"from": "origin", "to": "digest"}
        given = {names.get(key, key): value for key, value in data.items()}
        wrong = [name for name, kinds in _KINDS.items() if name not in given or not _is_of(given[name], kinds)]
        if wrong:
            shown = {"origin": "from", "digest": "to"}.get(wrong[0], wrong[0])
            raise ValueError(f"{shown!r} is missing or wrong")
        known: dict[str, Any] = {name: given[name] for name in _KINDS}
        move = cls(**known)
        if move.action not in _ACTIONS or move.generation < 1 or move.override == "":
            raise ValueError("'action', 'generation' or 'override' holds what mlci never writes")
        return move


_ACTIONS = ("deploy", "rollback", "restore")
_KINDS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("when", "env", "action", "digest", "by", "why"), (str,)),
    **dict.fromkeys(("origin", "override"), (str, type(None))),
    "generation": (int,),
}


def _is_of(value: Any, kinds: tuple[type, ...]) -> bool:
    return isinstance(value, kinds) and not isinstance(value, bool)


@dataclass(frozen=True)
class Alias:
    """What serves an environment: the last move."""

    move: Move

    @property
    def digest(self) -> str:
        """The model."""
        return self.move.digest

    @property
    def generation(self) -> int:
        """How often the alias was changed."""
        return self.move.generation


class Store(Protocol):
    """Models, aliases, promotions."""

    def put(self, name: str, files: Mapping[str, Path | bytes]) -> str:
        """Keep a version (relative name → file or content) and give its digest. One that is there already stays as
        it is.

        Raises:
            InfraError: STO_READONLY, STO_WRITE.
        """

    def get(self, name: str, digest: str) -> Path:
        """Folder of a version whose files match their record.

        Raises:
            UsageError: STO_UNKNOWN. ArtefactError: STO_DIGEST.
        """

    def read(self, name: str, digest: str, file: str) -> bytes:
        """One file of a version, as recorded, without the others.

        Raises:
            UsageError: STO_UNKNOWN: there is no such version or file. ArtefactError: STO_DIGEST.
        """

    def versions(self, name: str) -> list[str]:
        """Digests of the complete versions, the oldest first."""

    def alias(self, name: str, env: str) -> Alias | None:
        """What serves an environment; None before the first deployment."""

    def move(self, name: str, move: Move) -> None:
        """Change an alias, if it still has the generation before `move`'s, and log it.

        Raises:
            InfraError: STO_CONFLICT when somebody else changed it meanwhile; STO_READONLY, STO_WRITE.
        """

    def history(self, name: str, env: str) -> list[Move]:
        """Every change of an environment's alias, the oldest first. Damaged lines of the log are left out, with a
        warning."""

    def promotions(self, name: str, strict: bool = True) -> list[Move]:
        """Every change of every alias of a model, in the order of the log.

        `strict`: for whoever moves an alias; else a damaged line is a warning, and lines that are not in the log yet
        are missing.

        Raises:
            InfraError: STO_LOG: a line of the log is damaged.
        """

    def describe(self, name: str, digest: str, files: Mapping[str, bytes]) -> None:
        """Replace or add files of a version that only describe it: none that its digest covers. Killed in between, it
        leaves a version that lacks their record.

        Raises:
            InfraError: STO_READONLY, STO_WRITE.
        """

    def writable(self) -> None:
        """Raises: InfraError: STO_READONLY."""

    def deploying(self, name: str, env: str) -> AbstractContextManager[None]:
        """Hold an environment against other deployments.

        Raises:
            InfraError: DEP_BUSY.
        """

    def alias_file(self, name: str, env: str) -> Path | None:
        """The alias as a file of this machine, as a deployment from here left it; None where the store has none."""

    def reached(self) -> str | None:
        """Look whether models can be had here, and kept. Returns what stands against keeping them, None for nothing.

        Raises:
            InfraError: STO_…: not even reading is possible.
        """

    def record_image(self, reference: str, digest: str) -> None:
        """Keep under which digest a registry received an image (`registry/name:tag`) from a deployment.

        Raises:
            InfraError: STO_READONLY, STO_WRITE.
        """

    def image_digest(self, reference: str) -> str | None:
        """The digest that `record_image` kept; None where there is none, or it cannot be read."""

    def known_as(self) -> str:
        """One text for one store, the same from wherever it is opened."""


def image_file(reference: str) -> str:
    """Where a store keeps the digest of an image."""
    return f"images/{hashlib.sha256(reference.encode()).hexdigest()}.json"


def image_record(reference: str, digest: str) -> bytes:
    """Content of the file that keeps the digest of an image."""
    return json_bytes({"schema_version": 1, "reference": reference, "digest": digest})


def image_digest_of(content: bytes, reference: str) -> str | None:
    """The digest in such a file; None where it is damaged or of another image."""
    try:
        data = jsonfile.parse(content)
    except ValueError:
        return None
    if not isinstance(data, dict) or data.get("reference") != reference:
        return None
    digest = data.get("digest")
    return digest if isinstance(digest, str) and _IMAGE_DIGEST.fullmatch(digest) else None


def refuse_readonly() -> None:
    """Raises: InfraError: STO_READONLY where MLCI_STORE_READONLY=1."""
    if os.environ.get("MLCI_STORE_READONLY") == "1":
        raise InfraError(
            "STO_READONLY",
            "MLCI_STORE_READONLY=1: the store is not written to here",
            "pull requests are validated, never deployed; unset it where a deployment is wanted",
        )


def alias_of(content: bytes, place: str) -> Alias:
    """What an alias file says. `place`: where it is, for the message.

    Raises:
        InfraError: STO_READ: it is damaged, which is not the same as no deployment.
    """
    try:
        data = jsonfile.parse(content)
        return Alias(Move.of(data.get("move") if isinstance(data, dict) else None))
    except ValueError as error:
        raise InfraError("STO_READ", f"{place}: cannot be read: {error}", "restore the file, or the store") from error


def follows(current: Alias | None, move: Move, name: str) -> None:
    """Raises: InfraError: STO_CONFLICT unless `move` is the next after `current`."""
    if move.generation != (current.generation if current else 0) + 1:
        raise conflict(name, move.env)


def conflict(name: str, env: str) -> InfraError:
    """The error of the second of two deployments."""
    return InfraError(
        "STO_CONFLICT",
        f"another deployment changed {env} of {name} meanwhile",
        "see: mlci history; then deploy again",
    )


def busy(env: str, todo: str = "wait for it to end, then deploy again", by: str = "") -> InfraError:
    """The error of a deployment that finds another one under way."""
    return InfraError("DEP_BUSY", f"another deployment of {env} is under way{by}", todo)


@dataclass(frozen=True)
class Log:
    """A promotion log. `moves`: of its whole lines. `damaged`: number of each line that is none, and what is wrong."""

    moves: list[Move]
    damaged: list[tuple[int, str]]


def logged(content: bytes, aliases: Callable[[], Sequence[Alias]] = tuple) -> Log:
    """The moves in a promotion log.

    The line that a killed run did not finish is no damage: it is the beginning of a move that stands whole in a later
    line or in an alias. `aliases`: those of the model, asked for only then.
    """
    moves, broken = [], []
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            moves.append(Move.of(jsonfile.parse(line)))
        except ValueError as error:
            broken.append((number, line, str(error) or type(error).__name__))
    if broken:
        whole = with_aliases(moves, aliases())
        if _without_gaps(whole):
            lines = [log_line(move) for move in whole]
            broken = [one for one in broken if not any(full.startswith(one[1]) for full in lines)]
    return Log(moves, [(number, why) for number, _, why in broken])


def _without_gaps(moves: Sequence[Move]) -> bool:
    known: dict[str, set[int]] = {}
    for move in moves:
        known.setdefault(move.env, set()).add(move.generation)
    return all(min(numbers) == 1 and max(numbers) == len(numbers) for numbers in known.values())


def refuse_damage(log: Log, place: str) -> list[Move]:
    """The moves of a log without a damaged line. `place`: where it is.

    Raises:
        InfraError: STO_LOG.
    """
    if log.damaged:
        number, why = log.damaged[0]
        more = f" (and {len(log.damaged) - 1} more)" if log.damaged[1:] else ""
        raise InfraError(
            "STO_LOG",
            f"{place}: line {number} of the promotion log is damaged: {why}{more}",
            "restore the log from a backup, or correct that line; until then no alias is moved",
        )
    return log.moves


def warn_of_damage(log: Log, place: str) -> list[Move]:
    """The moves of a log, with a warning for damaged lines, for whoever only reads."""
    for number, why in log.damaged[:3]:
        if (place, number) in _warned:
            continue
        _warned.add((place, number))
        _log.warning("%s: line %d of the promotion log is damaged and left out: %s", place, number, why)
    return log.moves


def override_of(moves: Sequence[Move], digest: str) -> Move | None:
    """The move that made a version serve somewhere although the gate had not approved it, the last of several reasons;
    None: there is none. Later moves of the version repeat its reason."""
    found: Move | None = None
    for move in moves:
        if move.digest == digest and move.override is not None:
            found = move if found is None or move.override != found.override else found
    return found


def log_line(move: Move) -> bytes:
    """A move as a line of the promotion log."""
    return json.dumps(move.plain(), ensure_ascii=False).encode() + b"\n"


def with_aliases(moves: Sequence[Move], aliases: Sequence[Alias]) -> list[Move]:
    """The moves of a log and those of aliases whose lines are not in it yet."""
    known = {(move.env, move.generation) for move in moves}
    return [*moves, *(alias.move for alias in aliases if (alias.move.env, alias.generation) not in known)]


def complete_history(moves: Sequence[Move], env: str, current: Alias | None) -> list[Move]:
    """The moves of one environment, the oldest first, with the alias's own when its line is not in the log yet."""
    found = [move for move in moves if move.env == env]
    if current is not None and current.generation not in {move.generation for move in found}:
        found.append(current.move)
    return sorted(found, key=lambda move: move.generation)


def serving_before(history: Sequence[Move]) -> str | None:
    """The model to go back to: the one that served before the current one was deployed, None if there is none.

    A rollback takes away what it rolls back from, so that a second one goes a step further instead of back and forth.
    """
    served: list[str] = []
    for move in history:
        if move.action in (ROLLBACK, RESTORE) and move.digest in served:
            last = len(served) - 1 - served[::-1].index(move.digest)
            del served[last + 1 :]
        elif not served or served[-1] != move.digest:
            served.append(move.digest)
    return served[-2] if len(served) > 1 else None


def find(versions: Sequence[str], wanted: str) -> str:
    """The version that `wanted`, a digest or the beginning of one, means.

    Raises:
        UsageError: STO_UNKNOWN when there is none or more than one.
    """
    matching = [digest for digest in versions if digest.startswith(wanted)] if wanted else []
    if len(matching) == 1:
        return matching[0]
    known = ", ".join(digest[:12] for digest in reversed(versions[-10:])) or "none yet"
    if matching:
        raise UsageError(
            "STO_UNKNOWN", f"{wanted!r} is the beginning of {len(matching)} versions", f"give more of it: {known}"
        )
    raise UsageError("STO_UNKNOWN", f"the store has no version {wanted!r}", f"versions, the newest first: {known}")
