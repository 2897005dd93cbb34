"""What a person or a log sees: lines on standard error, a bar on a terminal."""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING

from stages.errors import masked
from stages.escaping import json_text, printable

if TYPE_CHECKING:
    from typing import Any

    from stages.errors import MlciError

log = logging.getLogger("mlci")

#: Longest text of an error that is printed, in characters.
_LONGEST = 20_000


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
        return printable(f"{clock} {level}{masked(record.getMessage())}")


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _object(record.created, level=record.levelname.lower(), message=masked(record.getMessage()))


def _object(created: float, **fields: str) -> str:
    moment = dt.datetime.fromtimestamp(created, dt.UTC).isoformat(timespec="milliseconds")
    return json_text({"time": moment, **fields})


def say(text: str, end: str = "\n", error: bool = False) -> None:
    """Print on standard output, or standard error, with control characters and what a CI server would carry out
    escaped. Everything that mlci prints for people goes through here or through the log; what a repository's own code
    and tests print does not."""
    print(printable(text), end=end, file=sys.stderr if error else sys.stdout, flush=True)


def say_json(value: Any) -> None:
    """Print the line for machines on standard output."""
    print(json_text(value), flush=True)


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
            say(f"error {problem.code}: {_part(problem.what)}\n  -> {_part(problem.todo)}", error=True)


def _part(text: str) -> str:
    """A text of an error, which may quote anything: of bounded length, and its further lines are no lines of mlci."""
    if len(text) > _LONGEST:
        left_out = f" … ({len(text) - _LONGEST:,} characters left out) … "
        text = text[: _LONGEST // 2] + left_out + text[-_LONGEST // 2 :]
    return text.replace("\n", "\n  | ")


def show_failure(message: str, log_format: str, trace: str = "") -> None:
    """An end without a code on standard error: a bug with its `trace`, an interruption."""
    if log_format == "json":
        more = {"trace": masked(trace)} if trace else {}
        print(_object(time.time(), level="error", message=masked(message), **more), file=sys.stderr)
    else:
        say(masked(f"{trace}{message}"), error=True)


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
        from rich.markup import escape
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
                bar.update(task, advance=amount, note=escape(printable(note)))

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
