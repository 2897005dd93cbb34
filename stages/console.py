"""What a person or a log sees: lines on standard error, a bar on a terminal."""

from __future__ import annotations

import datetime as dt
import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from stages.errors import MlciError

log = logging.getLogger("mlci")


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return f"{clock} {level}{record.getMessage()}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _object(record.created, level=record.levelname.lower(), message=record.getMessage())


def _object(created: float, **fields: str) -> str:
    moment = dt.datetime.fromtimestamp(created, dt.UTC).isoformat(timespec="milliseconds")
    return json.dumps({"time": moment, **fields}, ensure_ascii=False)


def set_up(log_format: str = "text", verbose: bool = False) -> None:
    """Send mlci's log to standard error, as text or as one JSON object a line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Json() if log_format == "json" else _Text())
    log.handlers[:] = [handler]
    log.setLevel(logging.DEBUG if verbose else logging.INFO)
    log.propagate = False


def format_of(words: Sequence[str]) -> str:
    """The log format that a command line asks for, also one that cannot be parsed: `text` or `json`."""
    given = [word for before, word in pairwise(words) if before == "--log-format"]
    given += [word.partition("=")[2] for word in words if word.startswith("--log-format=")]
    return "json" if "json" in given else "text"


def show_error(error: MlciError, log_format: str) -> None:
    """Every problem of an error on standard error: two lines of text, or one JSON object a line with `code`, `message`
    and `todo`."""
    for problem in error.problems():
        if log_format == "json":
            fields = {"level": "error", "code": problem.code, "message": problem.what, "todo": problem.todo}
            print(_object(time.time(), **fields), file=sys.stderr)
        else:
            print(f"error {problem.code}: {problem.what}\n  -> {problem.todo}", file=sys.stderr)


def show_failure(message: str, log_format: str, trace: str = "") -> None:
    """An end without a code on standard error: a bug with its `trace`, an interruption."""
    if log_format == "json":
        print(
            _object(time.time(), level="error", message=message, **({"trace": trace} if trace else {})), file=sys.stderr
        )
    else:
        print(f"{trace}{message}", file=sys.stderr)


def colours() -> bool:
    """Whether standard error is a terminal that may be coloured, and its lines are text."""
    if any(isinstance(handler.formatter, _Json) for handler in log.handlers):
        return False
    return sys.stderr.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"


@contextmanager
def progress(label: str, total: float | None = None) -> Iterator[Callable[[float, str], None]]:
    """Yield `advance(amount, note)`. A bar on a terminal; elsewhere a plain line at most every ten seconds."""
    if colours():
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task(label, total=total, note="")

            def step(amount: float, note: str = "") -> None:
                bar.update(task, advance=amount, note=note)

            yield step
        return
    done, last = 0.0, time.monotonic()

    def advance(amount: float, note: str = "") -> None:
        nonlocal done, last
        done += amount
        if time.monotonic() - last >= 10:
            last = time.monotonic()
            share = f"{done / total:.0%}" if total else f"{done:,.0f}"
            log.info("%s: %s %s", label, share, note)

    yield advance
