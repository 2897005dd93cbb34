"""What a person or a log sees: lines on standard error, a bar on a terminal."""

from __future__ import annotations

import datetime as dt
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import TYPE_CHECKING, TextIO

from stages.errors import masked
from stages.escaping import json_text, printable

if TYPE_CHECKING:
    from typing import Any

    from stages.errors import MlciError

log = logging.getLogger("mlci")

#: Longest text of an error that is printed, in characters.
_LONGEST = 20_000


#: Seconds between two looks at whether something was said.
TICK = 1.0
#: Seconds without a sign of life: on a terminal, in a log.
_PATIENCE = {True: 5.0, False: 30.0}


class _Handler(logging.StreamHandler[TextIO]):
    """Lines on standard error, noted as signs of life."""

    def emit(self, record: logging.LogRecord) -> None:
        _life.spoke()
        super().emit(record)


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
    handler = _Handler(sys.stderr)
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


class SignsOfLife:
    """When something was last said, and what is going on.

    `clock`: seconds. `say`: prints a line.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, say: Callable[[str], None] = log.info) -> None:
        self._clock, self._say = clock, say
        self._last = self._since = clock()
        self._doing = ""
        #: Shows what is going on where a bar stands on the terminal, which shows by itself that time passes.
        self.show: Callable[[str], None] | None = None

    def spoke(self) -> None:
        """Something was printed."""
        self._last = self._clock()

    def begin(self, text: str) -> None:
        """What is going on from now on."""
        self._doing, self._since = text, self._clock()
        if self.show is not None:
            self.show(text)

    def note(self, text: str) -> None:
        """How far it is."""
        self._doing = text

    def beat(self, label: str, patience: float) -> None:
        """Say what is going on if nothing was said for `patience` seconds."""
        now = self._clock()
        if self.show is None and now - self._last >= patience:
            self._say(f"{label}: {self._doing} ({_duration(now - self._since)})")
            self._last = now


_life = SignsOfLife()


def doing(text: str) -> None:
    """Name what is going on from now on, which is said when it takes long."""
    _life.begin(text)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = (f"{hours} h" if hours else "", f"{minutes} min" if minutes else "", f"{rest} s" if not hours else "")
    return " ".join(part for part in parts if part)


def so_far(text: str) -> None:
    """How far it is; the time of what is going on runs on."""
    _life.note(text)


@contextmanager
def heartbeat(label: str) -> Iterator[None]:
    """Within the block, say what is going on when nothing else is said: after 5 seconds on a terminal, 30 in a log."""
    ended = threading.Event()
    patience = _PATIENCE[sys.stderr.isatty()]

    def watch() -> None:
        while not ended.wait(TICK):
            _life.beat(label, patience)

    doing("starting")
    _life.spoke()
    thread = threading.Thread(target=watch, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def progress(label: str, total: float | None = None) -> Iterator[Callable[[float, str], None]]:
    """Yield `advance(amount, note)`. A bar on a terminal; elsewhere a plain line at most every ten seconds."""
    done, last = 0.0, time.monotonic()
    with _bar(label, total) as bar:

        def advance(amount: float, note: str = "") -> None:
            nonlocal done, last
            done += amount
            share = f"{done / total:.0%}" if total else f"{done:,.0f}"
            _life.note(f"{share} {note}")
            if bar is not None:
                bar(amount, note)
            elif time.monotonic() - last >= 10:
                last = time.monotonic()
                log.info("%s: %s %s", label, share, note)

        yield advance


@contextmanager
def _bar(label: str, total: float | None) -> Iterator[Callable[[float, str], None] | None]:
    """A function that moves a bar on the terminal; None where there is none."""
    if not colours():
        yield None
        return
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
        _life.show = lambda note: bar.update(task, note=escape(printable(note)))
        try:
            yield lambda amount, note: bar.update(task, advance=amount, note=escape(printable(note)))
        finally:
            _life.show = None
            _life.spoke()
