"""`mlci-admin`. Only the standard library is imported before a command is known, so that `--help` is quick."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from typing import TYPE_CHECKING

from stages import __version__
from stages.errors import InfraError, MlciError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from jenkins_admin.answer import Answer

#: Standard output cannot take any more: its reader has gone, its disk is full.
_OUTPUT = (errno.EPIPE, errno.ENOSPC, errno.EDQUOT, errno.EIO)
REPORT = "this is a bug in mlci: please report the lines above and the command"


class _Parser(argparse.ArgumentParser):
    """argparse that raises UsageError and knows the nearest command or option."""

    def error(self, message: str) -> NoReturn:
        import difflib

        todo = f"see: {self.prog} --help"
        if "argument command: invalid choice: '" in message:
            word = message.split("invalid choice: '", 1)[1].split("'", 1)[0]
            close = difflib.get_close_matches(word, COMMANDS, n=1)
            message = f"there is no command {word!r}"
            todo = f"did you mean {close[0]!r}? {todo}" if close else f"commands: {', '.join(COMMANDS)}"
        elif message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            known = [option for action in self._actions for option in action.option_strings]
            close = difflib.get_close_matches(word.split("=")[0], known, n=1)
            todo = (f"did you mean {close[0]}? " if close else "") + todo
        raise UsageError("CFG_USAGE", message, todo)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        found, extra = super().parse_known_args(args, namespace)
        # argparse before Python 3.12 gives up an optional argument at the first option: follow MODEL --branch dev 12.
        for name, kind in (("build", _number), ("model", str)):
            if extra and not extra[0].startswith("-") and getattr(found, name, "") is None:
                try:
                    setattr(found, name, kind(extra[0]))
                except (ValueError, argparse.ArgumentTypeError) as error:
                    self.error(f"argument {name.upper()}: {error}")
                extra = extra[1:]
        return found, extra


def _number(text: str) -> int:
    """A build's number. Raises: argparse.ArgumentTypeError."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of a build")
    return int(text)


def _seconds(text: str) -> float:
    """A time to wait. Raises: argparse.ArgumentTypeError."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds")
    return seconds


class _AppendShared(argparse.Action):
    """Appends to what the same option collected before the command."""

    def __call__(
        self, parser: Any, namespace: argparse.Namespace, values: Any, option_string: str | None = None
    ) -> None:
        setattr(namespace, self.dest, [*(getattr(namespace, self.dest, None) or []), values])


def _common(parser: argparse.ArgumentParser, top: bool) -> None:
    """Options that may stand before or after the command; below the top they leave alone what was given before it."""

    def default(value: Any) -> Any:
        return value if top else argparse.SUPPRESS

    add = parser.add_argument
    add("--config", metavar="FILE", default=default("jenkins.yaml"), help="configuration (default: jenkins.yaml)")
    add("-C", dest="directory", metavar="DIR", default=default(None), help="run as if started in DIR")
    action = "append" if top else _AppendShared
    described = "set a key of the configuration, for example server.workers=4"
    add("--set", dest="assignments", metavar="KEY=VALUE", action=action, default=default([]), help=described)
    add("--json", action="store_true", default=default(False), help="one machine-readable last line")
    add("--log-format", choices=["text", "json"], default=default("text"), help="lines on standard error")
    add("--verbose", action="store_true", default=default(False), help="say more")


def _parser(words: list[str]) -> _Parser:
    top = _Parser(
        prog="mlci-admin",
        allow_abbrev=False,
        description="A Jenkins for models from one file, and jobs that answer.",
        epilog="exit codes: 0 done, 1 bug, 2 usage or config, 3 artifact refused, 4 build unstable or failed, "
        "5 Jenkins or network, 7 changes pending (plan), 130 aborted or interrupted",
    )
    top.add_argument("--version", action="version", version=f"mlci-admin {__version__}")
    _common(top, top=True)
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=_Parser)
    for name, (help_text, arguments) in COMMANDS.items():
        described = f"{help_text[0].upper()}{help_text[1:]}."
        sub = commands.add_parser(name, allow_abbrev=False, help=help_text, description=described)
        if name in words:  # building all of them would double the time of --help
            _common(sub, top=False)
            for names, options in arguments:
                sub.add_argument(*names, **options)
    return top


if TYPE_CHECKING:
    _Arguments = list[tuple[tuple[str, ...], dict[str, Any]]]

_MODEL: _Arguments = [
    (("model",), {"metavar": "MODEL", "help": "a model of the file"}),
    (("--branch",), {"metavar": "NAME", "help": "branch of a multibranch model (default: main, or the only one)"}),
]
_BUILD: _Arguments = [
    *_MODEL,
    (
        ("build",),
        {"metavar": "BUILD", "type": _number, "nargs": "?", "help": "number of the build (default: the last)"},
    ),
]
_TIMEOUT: _Arguments = [
    (("--timeout",), {"metavar": "SECONDS", "type": _seconds, "help": "stop waiting after so long; the build runs on"}),
]
_ANSWER: _Arguments = [
    *_BUILD,
    (("--reason",), {"metavar": "TEXT", "help": "why; shown on the build"}),
    (("--input",), {"dest": "question", "metavar": "ID", "help": "which question, if several wait"}),
]

#: Command → help, arguments; in the order in which people meet them. The functions are in `commands.py`.
COMMANDS: dict[str, tuple[str, _Arguments]] = {
    "doctor": ("check address, login, permissions, plugins, executors and library", []),
    "render": (
        "print the XML of every item, or write it to a folder; needs no server",
        [(("-o", "--output"), {"metavar": "DIR", "help": "write one file an item"})],
    ),
    "plan": ("show what apply would change; writes nothing; exit 7 when there is something", []),
    "apply": ("make Jenkins as the file says", []),
    "prune": (
        "delete what the file once made and no longer names",
        [
            (("--yes",), {"action": "store_true", "help": "do not ask"}),
            (("--all",), {"action": "store_true", "help": "also most of the jobs, or all of them"}),
        ],
    ),
    "trigger": (
        "start a build",
        [
            *_MODEL,
            (
                ("-p", "--parameter"),
                {"dest": "parameters", "metavar": "NAME=VALUE", "action": "append", "default": []}
                | {"help": "a parameter; NAME=@FILE takes the file's text"},
            ),
            (("--follow",), {"action": "store_true", "help": "stream the log and exit with the build's result"}),
            (("--scan",), {"action": "store_true", "help": "look for branches instead of building one"}),
            *_TIMEOUT,
        ],
    ),
    "follow": ("stream the log of a build and exit with its result", [*_BUILD, *_TIMEOUT]),
    "approve": (
        "let a build that waits for an answer go on",
        [
            *_ANSWER,
            (
                ("-p", "--parameter"),
                {"dest": "parameters", "metavar": "NAME=VALUE", "action": "append", "default": []}
                | {"help": "a value that the question asks for"},
            ),
        ],
    ),
    "reject": ("end a build that waits for an answer", _ANSWER),
    "status": (
        "a table of the models: last build, gate, champion, age",
        [(("model",), {"metavar": "MODEL", "nargs": "?", "help": "one model (default: all)"})],
    ),
    "logs": ("print the log of a build as it is now", _BUILD),
    "artifacts": (
        "fetch what a build archived, digests checked",
        [
            *_BUILD,
            (("-o", "--output"), {"metavar": "DIR", "default": "artifacts", "help": "where to (default: artifacts)"}),
            (
                ("--only",),
                {"dest": "patterns", "metavar": "PATTERN", "action": "append", "default": []}
                | {"help": "only matching files, for example '*.json'"},
            ),
            (("--list",), {"action": "store_true", "help": "list them, fetch nothing"}),
        ],
    ),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns its exit code; what `--json` asks for is the last line of standard output."""
    try:
        return _run(argv)
    except OSError as error:
        # Whoever reads standard output has gone, or there is no room for it. What is left of it goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if isinstance(error, BrokenPipeError):
            return 0
        todo = "make room, or send it elsewhere"
        _error(InfraError("JEN_OUTPUT", f"standard output: {error.strerror}", todo), argv)
        return 5


def _run(argv: list[str] | None) -> int:
    words = sys.argv[1:] if argv is None else argv
    as_json, command, answer, error = "--json" in words, None, None, None
    exit_code = 0
    try:
        arguments = _parser(words).parse_args(words)
        as_json, command = arguments.json, arguments.command
        if command is None:
            _parser(words).print_help()
            return 0
        _set_up(arguments)
        answer = _function(command)(arguments)
        exit_code, error = answer.exit_code, answer.error
        if error is not None:
            exit_code = error.exit_code
    except MlciError as failure:
        error, exit_code = failure, failure.exit_code
    except KeyboardInterrupt:
        exit_code = 130
        _failure("interrupted", words)
    except Exception as failure:  # the one place where a bug becomes exit code 1
        if isinstance(failure, OSError) and failure.errno in _OUTPUT and failure.filename is None:
            raise
        import traceback

        _failure(REPORT, words, traceback.format_exc())
        exit_code = 1
    if error is not None:
        _error(error, words)
    return _say(answer, error, exit_code, command, as_json)


def _error(error: MlciError, words: Sequence[str] | None) -> None:
    from stages import console

    console.show_error(error, console.format_of(sys.argv[1:] if words is None else words))


def _failure(message: str, words: Sequence[str], trace: str = "") -> None:
    from stages import console

    console.show_failure(message, console.format_of(words), trace)


def _function(command: str) -> Callable[[argparse.Namespace], Answer]:
    from jenkins_admin import commands

    found: Callable[[argparse.Namespace], Answer] = getattr(commands, command)
    return found


def _set_up(arguments: argparse.Namespace) -> None:
    import io
    import signal
    from pathlib import Path

    from stages import console

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name in Jenkins may hold what no terminal can show
    console.set_up(arguments.log_format, arguments.verbose)
    if getattr(arguments, "output", None) is not None:
        arguments.output = Path(arguments.output).absolute()
    # A parameter's file is the caller's as well, whatever -C says.
    arguments.caller = Path.cwd()
    if arguments.directory is not None:
        try:
            os.chdir(arguments.directory)
        except OSError as error:
            what = f"-C {arguments.directory}: {error.strerror}"
            raise UsageError("CFG_USAGE", what, "give a folder that exists") from None
    signal.signal(signal.SIGTERM, _terminated)


def _terminated(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _say(answer: Answer | None, error: MlciError | None, exit_code: int, command: str | None, as_json: bool) -> int:
    from stages import console

    for line in answer.lines if answer is not None else []:
        console.say(line)
    if as_json:
        data: dict[str, Any] = {"command": command, "exit_code": exit_code}
        if answer is not None:
            data |= answer.data
        if error is not None:
            problems = [{"code": p.code, "what": p.what, "todo": p.todo} for p in error.problems()]
            data |= {"error": problems[0], "errors": problems}
        console.say_json(data)
    sys.stdout.flush()
    return exit_code


if __name__ == "__main__":
    sys.exit(main())
