"""The command line. Only the standard library is imported before a command is known, so that `mlci --help` is
quick."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING

from stages import __version__
from stages.answer import Answer
from stages.errors import InfraError, MlciError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from stages.project import Project

#: Taken from the mode of every file and folder that a command or what it starts writes: data and models are not for
#: the machine's other users, nor for the group to change.
NOT_FOR_OTHERS = 0o027

REPORT = "this is a bug in mlci: please report the lines above, the command and `mlci doctor`"


class _Parser(argparse.ArgumentParser):
    """argparse that raises UsageError and knows the nearest command or option.

    `options`: those of the given command.
    """

    options: list[str] = []

    def error(self, message: str) -> NoReturn:
        import difflib

        todo = f"see: {self.prog} --help"
        if "invalid choice: '" in message:
            word = message.split("invalid choice: '", 1)[1].split("'", 1)[0]
            close = difflib.get_close_matches(word, COMMANDS, n=1)
            if close and "command" in message:
                message, todo = f"there is no command {word!r}", f"did you mean {close[0]!r}? {todo}"
            elif "command" in message:
                message, todo = f"there is no command {word!r}", f"commands: {', '.join(COMMANDS)}"
        elif message.startswith("unrecognized arguments: "):
            word = message.removeprefix("unrecognized arguments: ").split()[0]
            begun = [option for option in self.options if option.startswith(word.split("=")[0])]
            close = begun or difflib.get_close_matches(word.split("=")[0], self.options, n=1)
            todo = (f"did you mean {close[0]}? " if close else "") + todo
        raise UsageError("CFG_USAGE", message, todo)


def _common(parser: argparse.ArgumentParser, top: bool) -> None:
    """Options that may stand before or after the command; below the top they leave alone what was given before it."""

    def default(value: Any) -> Any:
        return value if top else argparse.SUPPRESS

    parser.add_argument("--config", metavar="FILE", default=default("ml.yaml"), help="configuration (default: ml.yaml)")
    parser.add_argument("-C", dest="directory", metavar="DIR", default=default(None), help="run as if started in DIR")
    parser.add_argument(
        "--set",
        # argparse gives what stands after the command a namespace of its own and copies that over the first.
        dest="assignments" if top else "more_assignments",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set a key of the configuration, for example data.source=new.csv",
    )
    parser.add_argument("--json", action="store_true", default=default(False), help="one machine-readable last line")
    parser.add_argument(
        "--log-format", choices=["text", "json"], default=default("text"), help="lines on standard error"
    )
    parser.add_argument("--verbose", action="store_true", default=default(False), help="say more")


def _parser(words: list[str]) -> _Parser:
    top = _Parser(
        prog="mlci",
        allow_abbrev=False,
        description="From a commit to a model that serves traffic.",
        epilog="exit codes: 0 done, 1 bug, 2 usage or config, 3 data refused, 4 gate or tests failed, "
        "5 infrastructure, 130 interrupted",
    )
    top.add_argument("--version", action="version", version=f"mlci {__version__}")
    _common(top, top=True)
    commands = top.add_subparsers(dest="command", metavar="command", parser_class=_Parser)
    for name, (help_text, _, arguments) in COMMANDS.items():
        sub = commands.add_parser(
            name, allow_abbrev=False, help=help_text, description=f"{help_text[0].upper()}{help_text[1:]}."
        )
        if name in words:  # building all of them would double the time of --help
            _common(sub, top=False)
            for names, options in arguments:
                sub.add_argument(*names, **options)
            top.options = [option for action in sub._actions for option in action.option_strings]
    return top


# ---- commands: each imports what it needs, and only that ---------------------------------------------------------


def _open(arguments: argparse.Namespace) -> Project:
    from pathlib import Path

    from stages.project import Project

    return Project.open(Path(arguments.config), arguments.assignments)


def _stage(name: str, arguments: argparse.Namespace, **options: Any) -> Answer:
    from importlib import import_module

    from stages.commands.report import of_stage

    project = _open(arguments)
    function = getattr(import_module(f"stages.{name}"), name)
    return of_stage(project, function(project, **options))


def _prepare(arguments: argparse.Namespace) -> Answer:
    return _stage("prepare", arguments)


def _train(arguments: argparse.Namespace) -> Answer:
    return _stage("train", arguments, verify_reproducible=arguments.verify_reproducible)


def _test(arguments: argparse.Namespace) -> Answer:
    return _stage("test", arguments)


def _validate(arguments: argparse.Namespace) -> Answer:
    if arguments.explain is not None:
        from stages.commands.explain import rule

        return rule(_open(arguments), arguments.explain)
    return _stage("validate", arguments, first=arguments.first)


def _deploy(arguments: argparse.Namespace) -> Answer:
    return _stage("deploy", arguments, env=arguments.env, override_gate=arguments.override_gate, by=arguments.by)


def _rollback(arguments: argparse.Namespace) -> Answer:
    options = {"env": arguments.env, "to": arguments.to, "by": arguments.by, "override_gate": arguments.override_gate}
    return _stage("rollback", arguments, **options)


def _run(arguments: argparse.Namespace) -> Answer:
    from stages.commands.run import run

    return run(_open(arguments), env=arguments.env)


def _check(arguments: argparse.Namespace) -> Answer:
    from stages.commands.check import check

    if arguments.schema:
        from stages.commands.check import schema

        return schema()
    return check(_open(arguments), arguments.env)


def _init(arguments: argparse.Namespace) -> Answer:
    from stages.commands.init import init

    return init(arguments.data, arguments.target, arguments.config, arguments.ci, arguments.force)


def _explain(arguments: argparse.Namespace) -> Answer:
    from stages.commands.explain import stage

    return stage(_open(arguments), arguments.stage)


def _pack(arguments: argparse.Namespace) -> Answer:
    from stages.commands.parcel import pack

    return pack(_open(arguments), arguments.file)


def _unpack(arguments: argparse.Namespace) -> Answer:
    from stages.commands.parcel import unpack

    return unpack(_open(arguments), arguments.file)


def _doctor(arguments: argparse.Namespace) -> Answer:
    from pathlib import Path

    from stages.commands.doctor import doctor

    return doctor(Path(arguments.config), arguments.assignments)


def _serve(arguments: argparse.Namespace) -> Answer:
    from stages.commands.operate import serve

    return serve(_open(arguments), version=arguments.version, host=arguments.host, port=arguments.port)


def _stop(arguments: argparse.Namespace) -> Answer:
    from stages.commands.operate import stop

    return stop(_open(arguments), env=arguments.env)


def _status(arguments: argparse.Namespace) -> Answer:
    from stages.commands.operate import status

    return status(_open(arguments), env=arguments.env)


def _history(arguments: argparse.Namespace) -> Answer:
    from stages.commands.operate import history

    return history(_open(arguments), env=arguments.env)


def _drift(arguments: argparse.Namespace) -> Answer:
    from stages.commands.drift import drift

    return drift(_open(arguments), arguments.file, env=arguments.env, version=arguments.version)


def _predict(arguments: argparse.Namespace) -> Answer:
    from stages.commands.predict import predict

    return predict(_open(arguments), arguments.file, arguments.output, env=arguments.env, version=arguments.version)


if TYPE_CHECKING:
    _Arguments = list[tuple[tuple[str, ...], dict[str, Any]]]

_ENV: _Arguments = [(("--env",), {"metavar": "NAME", "help": "environment (default: the first of deploy)"})]
_BY: _Arguments = [(("--by",), {"metavar": "NAME", "help": "who is doing this, for the promotion log"})]
_VERSION: _Arguments = [
    (("--version",), {"metavar": "DIGEST", "help": "a model of the store, by its digest or its beginning"})
]
_FILE: _Arguments = [(("file",), {"metavar": "FILE", "help": "its path, from where you are"})]

#: Command → help, function, arguments; in the order in which people meet them.
COMMANDS: dict[str, tuple[str, Callable[[argparse.Namespace], Answer], _Arguments]] = {
    "init": (
        "write ml.yaml, tests and a Jenkinsfile from a data file",
        _init,
        [
            (("data",), {"metavar": "DATA", "help": "csv, parquet or jsonl file"}),
            (("--target",), {"metavar": "COLUMN", "required": True, "help": "the column to predict"}),
            (
                ("--ci",),
                {
                    "metavar": "NAME",
                    "default": "jenkins",
                    "choices": ["jenkins", "github", "circleci", "travis"],
                    "help": "whose files to write: jenkins (default), github, circleci or travis",
                },
            ),
            (("--force",), {"action": "store_true", "help": "replace files that are there"}),
        ],
    ),
    "check": (
        "check ml.yaml and what it names, without running anything",
        _check,
        [
            (("--schema",), {"action": "store_true", "help": "print the JSON Schema of ml.yaml"}),
            (("--env",), {"metavar": "NAME", "help": "an environment whose variables have to be set"}),
        ],
    ),
    "prepare": ("fetch, check and split the data", _prepare, []),
    "train": (
        "fit the model and save it with its signature",
        _train,
        [(("--verify-reproducible",), {"action": "store_true", "help": "train twice and compare the predictions"})],
    ),
    "test": ("run the repository's tests, then serve the candidate and test that", _test, []),
    "validate": (
        "ask the gate whether the model may be deployed",
        _validate,
        [
            (("--first",), {"action": "store_true", "help": "there is no champion yet, and that is right"}),
            (("--explain",), {"metavar": "RULE", "help": "say how a rule of the last verdict was decided"}),
        ],
    ),
    "deploy": (
        "prove the approved model and switch an environment to it",
        _deploy,
        [
            *_ENV,
            (("--override-gate",), {"metavar": "REASON", "help": "deploy without approval; recorded for ever"}),
            *_BY,
        ],
    ),
    "rollback": (
        "put the previous model back",
        _rollback,
        [
            *_ENV,
            (("--to",), {"metavar": "VERSION", "help": "a model that served there, by its digest or its beginning"}),
            (("--override-gate",), {"metavar": "REASON", "help": "go back without approval; recorded for ever"}),
            *_BY,
        ],
    ),
    "run": ("all stages in order, up to a deployed model", _run, _ENV),
    "serve": (
        "serve the candidate in the foreground",
        _serve,
        [*_VERSION, (("--host",), {"default": "127.0.0.1"}), (("--port",), {"type": int, "default": 8080})],
    ),
    "stop": ("end what serves an environment", _stop, _ENV),
    "predict": (
        "score a file",
        _predict,
        [
            *_FILE,
            (
                ("-o", "--output"),
                {"metavar": "OUT", "help": "csv, csv.gz, jsonl, jsonl.gz or parquet (default: csv on standard output)"},
            ),
            *_ENV,
            *_VERSION,
        ],
    ),
    "drift": ("compare new data with what the model was trained on", _drift, [*_FILE, *_ENV, *_VERSION]),
    "status": ("what serves each environment", _status, _ENV),
    "history": ("what was promoted, when, by whom and why", _history, _ENV),
    "explain": (
        "say why a stage would run or be skipped",
        _explain,
        [(("stage",), {"metavar": "STAGE", "help": "prepare, train, test, validate or deploy"})],
    ),
    "pack": ("put the .mlci folder into one file, with digests", _pack, _FILE),
    "unpack": ("take the .mlci folder out of a packed file, checked", _unpack, _FILE),
    "doctor": ("check this machine", _doctor, []),
}


def main(argv: list[str] | None = None) -> int:
    """Run one command. Returns its exit code; what `--json` asks for is the last line of standard output."""
    before = os.umask(0o077)
    os.umask(before | NOT_FOR_OTHERS)
    try:
        return _main(sys.argv[1:] if argv is None else argv)
    finally:
        os.umask(before)


def _main(words: list[str]) -> int:
    as_json = "--json" in words
    command = None
    try:
        arguments = _parser(words).parse_args(words)
        as_json, command = arguments.json, arguments.command
        if command is None:
            _parser(words).print_help()
            return 0
        arguments.assignments = [*arguments.assignments, *arguments.more_assignments]
        _set_up(arguments)
        answer = _carried_out(command, arguments)
    except MlciError as error:
        answer = Answer(exit_code=error.exit_code, error=error)
    except KeyboardInterrupt:
        answer = Answer(exit_code=130)
        _failure("interrupted; nothing half-written was left behind", words)
    except SystemExit as error:
        if command is None:  # --help and --version
            raise
        what = f"code of the repository ended the program: SystemExit({error.code!r})"
        ended = UsageError("CFG_EXIT", what, "take sys.exit out of what mlci imports and calls")
        answer = Answer(exit_code=ended.exit_code, error=ended)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception:  # noqa: BLE001  the one place where a bug becomes exit code 1
        import traceback

        _failure(REPORT, words, traceback.format_exc())
        answer = Answer(exit_code=1)
    try:
        return _say(answer, command, as_json, words)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return answer.exit_code
    except OSError as error:
        _error(InfraError("DEP_DISK", f"standard output: {error.strerror}", "free space there"), words)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 5


def _carried_out(command: str, arguments: argparse.Namespace) -> Answer:
    if command == "serve":  # in the foreground, where silence means that nobody asks
        return COMMANDS[command][1](arguments)
    from stages import console

    with console.heartbeat(command):
        return COMMANDS[command][1](arguments)


def _set_up(arguments: argparse.Namespace) -> None:
    import signal
    from pathlib import Path

    from stages import console

    # Before scikit-learn is imported: where two trainings share the processors, threads that spin while they wait make
    # both take ten times as long; threads that sleep cost one alone nothing that can be measured.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    console.set_up(arguments.log_format, arguments.verbose)
    for name in ("file", "data", "output"):
        if getattr(arguments, name, None) is not None:
            setattr(arguments, name, Path(getattr(arguments, name)).absolute())
    if arguments.directory is not None:
        try:
            os.chdir(arguments.directory)
        except OSError as error:
            raise UsageError(
                "CFG_USAGE", f"-C {arguments.directory}: {error.strerror}", "give a folder that exists"
            ) from None
    _check_variables()
    signal.signal(signal.SIGTERM, _terminated)


def _check_variables() -> None:
    """Raises: UsageError: CFG_LIMIT, before anything is done that a wrong limit would end later."""
    from stages import variables

    variables.check()
    if any(name.startswith("MLCI_SERVE_") for name in os.environ):
        from stages.serving.limits import Limits

        Limits.from_environment()


def _terminated(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt


def _error(error: MlciError, words: Sequence[str]) -> None:
    from stages import console

    console.show_error(error, console.format_of(words))


def _failure(message: str, words: Sequence[str], trace: str = "") -> None:
    from stages import console

    console.show_failure(message, console.format_of(words), trace)


def _say(answer: Answer, command: str | None, as_json: bool, words: Sequence[str]) -> int:
    if answer.error is not None:
        _error(answer.error, words)
    from stages import console

    for line in answer.lines:
        console.say(line)
    if as_json:
        data: dict[str, Any] = {"command": command, "exit_code": answer.exit_code, **answer.data}
        if answer.error is not None:
            problems = [{"code": p.code, "what": p.what, "todo": p.todo} for p in answer.error.problems()]
            data |= {"error": problems[0], "errors": problems}
        console.say_json(data)
    sys.stdout.flush()
    return answer.exit_code


if __name__ == "__main__":
    sys.exit(main())
