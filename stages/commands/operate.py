"""`mlci status`, `history`, `stop` and `serve`: what is found and done, in lines for people."""

from __future__ import annotations

from typing import Any, NoReturn

from stages.answer import Answer
from stages.project import Project
from stages.targets import operate


def status(project: Project, env: str | None = None) -> Answer:
    """What serves each environment. Raises: UsageError: there is no such environment."""
    found = operate.status(project, env)
    lines = [line for entry in found for line in _status_lines(entry)]
    return Answer(lines or ["no environment is configured under deploy"], {"environments": found})


def _status_lines(entry: dict[str, Any]) -> list[str]:
    head = f"{entry['env']:<12} {entry['target']:<10}"
    if entry["version"] is None:
        return [f"{head} {entry['note']}"]
    state = {True: "answers as recorded", False: "does not answer", None: "not seen from here"}[entry["answers"]]
    lines = [f"{head} {entry['version'][:12]}  {state}  {entry['url'] or ''}".rstrip()]
    lines.append(f"{'':<12} {entry['action']} on {entry['since']} by {entry['by']}: {entry['why']}")
    if entry["override"]:
        lines.append(f"{'':<12} THE GATE WAS OVERRIDDEN: {entry['override']}")
    if entry["note"]:
        lines.append(f"{'':<12} {entry['note']}")
    return lines


def history(project: Project, env: str | None = None) -> Answer:
    """What was promoted, the newest last. Raises: UsageError: there is no such environment."""
    moves = operate.history(project, env)
    lines = [
        f"{move['when']}  {move['action']:<9}{(move['from'] or 'nothing')[:12]:>12} -> {move['to'][:12]}  "
        f"by {move['by']}: {move['why']}" + (f"  GATE OVERRIDDEN: {move['override']}" if move["override"] else "")
        for move in moves
    ]
    return Answer(lines or ["nothing was deployed yet"], {"moves": moves})


def stop(project: Project, env: str | None = None) -> Answer:
    """End what serves an environment; what was promoted stays on record.

    Raises:
        UsageError: there is no such environment. InfraError: DEP_BUSY.
    """
    ended = operate.stop(project, env)
    lines = [
        f"stopped {entry['version'][:12]}" + (f" at {entry['url']}" if entry.get("url") else "") for entry in ended
    ]
    return Answer(lines or ["nothing was running"], {"stopped": ended})


def serve(project: Project, version: str | None, host: str, port: int) -> NoReturn:
    """Become the service of the candidate, or of a version in the store. Raises: MlciError."""
    operate.serve(project, version, host, port)
