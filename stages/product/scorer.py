"""The command line of an application: a file in, a file with predictions out."""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

from stages import console
from stages.data.formats import check_given
from stages.errors import MlciError, UsageError


def main(about: Mapping[str, Any], folder: str, words: list[str] | None = None) -> int:
    """Score a file with the model in `folder`, as `mlci predict` does. Returns the exit code.

    `about`: the application's `app.json`.
    """
    arguments = _arguments(about, words)
    console.set_up()
    signal.signal(signal.SIGTERM, _ended)
    try:
        done = _score(about, Path(folder), arguments)
        answer: dict[str, Any] = {"exit_code": 0, "rows": done[0], "refused": done[1]}
    except MlciError as error:
        console.show_error(error, "text")
        said = {"code": error.code, "what": error.what, "todo": error.todo}
        answer = {"exit_code": error.exit_code, "error": said}
    except KeyboardInterrupt:
        print("interrupted; nothing half-written was left behind", file=sys.stderr)
        answer = {"exit_code": 130}
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    if arguments.json:
        console.say_json(answer)
    return int(answer["exit_code"])


def _arguments(about: Mapping[str, Any], words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=Path(sys.argv[0]).name,
        description=f"Predicts {about['target']} for every row of a file, with model {about['digest'][:12]}.",
        epilog="One row out for each row in, in order: prediction, a probability for each class, error. "
        "Exit code: 0; 2 usage; 3 the file or every row of it was refused; 5 disk; 130 interrupted.",
    )
    read = about["read"]
    parser.add_argument("file", type=Path, metavar="FILE", help="csv (also .gz, .zip), parquet or jsonl")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        metavar="OUT",
        help="csv, csv.gz, jsonl, jsonl.gz or parquet (default: csv, printed)",
    )
    parser.add_argument("--rejects", type=Path, metavar="OUT", help="rows without a prediction: number, error (jsonl)")
    parser.add_argument("--sep", default=read["sep"], help=f"separator of csv (default: {read['sep']!r})")
    parser.add_argument(
        "--decimal", default=read["decimal"], help=f"decimal mark of csv (default: {read['decimal']!r})"
    )
    parser.add_argument("--encoding", default=read["encoding"], help=f"of text files (default: {read['encoding']})")
    parser.add_argument("--json", action="store_true", help="one machine-readable last line; needs -o")
    parser.add_argument("--version", action="version", version=f"{about['name']} {about['digest']}")
    return parser.parse_args(words)


def _score(about: Mapping[str, Any], folder: Path, arguments: argparse.Namespace) -> tuple[int, int]:
    file: Path = arguments.file
    check_given(file, str(file))
    if arguments.json and arguments.output is None:
        raise UsageError("CFG_USAGE", "--json and the predictions would both be printed", "give -o OUT")
    from stages.serving import batch

    batch.check_output(file, arguments.output)
    _check_rejects(arguments)
    options = _options(about, arguments)
    from stages.serving.predictor import Predictor

    code = folder / "code"
    if code.is_dir():
        sys.path.insert(1, str(code))
    predictor = Predictor.load(folder / "model")
    with ExitStack() as stack:
        reject = stack.enter_context(_rejects(arguments.rejects))
        with _progress() as advance:
            done = batch.score(predictor, file, arguments.output, options, advance, reject)
    console.log.info("%s rows, %s refused", f"{done.rows:,}", f"{done.refused:,}")
    return done.rows, done.refused


def _check_rejects(arguments: argparse.Namespace) -> None:
    path = arguments.rejects
    if path is None:
        return
    if not path.absolute().parent.is_dir():
        raise UsageError("CFG_USAGE", f"--rejects {path}: there is no folder {path.parent}", "make it first")
    if path.absolute() in [other.absolute() for other in (arguments.file, arguments.output) if other is not None]:
        raise UsageError("CFG_USAGE", f"--rejects {path}: that is the input or the output", "name another file")


def _options(about: Mapping[str, Any], arguments: argparse.Namespace) -> Any:
    from pydantic import ValidationError

    from stages.config.problems import expected
    from stages.config.schema import ReadOptions

    given = {name: getattr(arguments, name) for name in ("sep", "decimal", "encoding")}
    try:
        return ReadOptions(**{**about["read"], **given})
    except ValidationError as error:
        first = error.errors()[0]
        place = "--" + str(first["loc"][0]) if first["loc"] else "--sep, --decimal"
        said = first["msg"] if first["type"] == "mlci" else f"expected {expected(first)}"
        raise UsageError("CFG_USAGE", f"{place}: {said}", "see --help") from None


@contextmanager
def _rejects(path: Path | None) -> Iterator[Callable[[int, str], None]]:
    """A function that writes a refused row into `path`, which appears when the block ends, also when every row was
    refused."""
    if path is None:
        yield lambda row, error: None
        return
    from stages.errors import DataError
    from stages.records.atomic import disk_errors

    aside = path.with_name(f".{path.name}.{os.getpid()}")
    with disk_errors(path):
        try:
            with aside.open("w", encoding="utf-8") as stream:
                try:
                    yield lambda row, error: print(json.dumps({"row": row, "error": error}), file=stream)
                except DataError as refused:
                    if refused.code == "DAT_ALL_REFUSED":
                        stream.flush()
                        os.replace(aside, path)
                    raise
            os.replace(aside, path)
        finally:
            aside.unlink(missing_ok=True)


@contextmanager
def _progress() -> Iterator[Callable[[float, str], None]]:
    """A line that is written over on a terminal, lines in a log elsewhere."""
    if not console.colours():
        with console.progress("predict") as advance:
            yield advance
        return
    done, last = 0.0, 0.0

    def step(amount: float, note: str) -> None:
        nonlocal done, last
        done += amount
        if time.monotonic() - last >= 0.2:
            last = time.monotonic()
            print(f"\r{done:,.0f} rows, {note}\x1b[K", end="", file=sys.stderr, flush=True)

    try:
        yield step
    finally:
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def _ended(signum: int, frame: object) -> NoReturn:
    raise KeyboardInterrupt
