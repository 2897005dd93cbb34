"""`python -m stages.serving`: one service process."""

from __future__ import annotations

import argparse
import gc
import logging
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

# Before numpy is imported: on the few rows of a request, threads of the linear algebra cost more than they give.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")

from stages.errors import MlciError  # noqa: E402

#: So long may the thread that predicts keep the one that reads requests waiting, at each of its calls of the system.
_SWITCH_SECONDS = 0.0005


def _arguments(words: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m stages.serving", description="Serve one model.")
    parser.add_argument("--folder", type=Path, required=True, help="model, signature.json and what was kept with them")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--version", default="candidate", help="digest of the model, for /model")
    parser.add_argument("--code", type=Path, help="folder of the modules that the model needs")
    parser.add_argument("--model-format", choices=["skops", "joblib"], help="refuse a model.joblib unless it is joblib")
    parser.add_argument("--trust", action="append", default=[], metavar="TYPE", help="with --model-format: model.trust")
    parser.add_argument("--private", action="store_true", help="wait on a private port for SIGUSR1")
    parser.add_argument("--join", action="store_true", help="an older process of this service has the public port")
    parser.add_argument("--state", type=Path, help="file to say in what the service does")
    parser.add_argument("--alias", type=Path, help="alias file that keeps the service when it names its version")
    parser.add_argument("--identity", help="name under which a later deployment finds this process")
    parser.add_argument("--lifeline", type=int, help="descriptor of a pipe that ends with the deploying process")
    parser.add_argument("--access-log", action="store_true", help="one JSON line on standard output for each request")
    parser.add_argument("--log-format", choices=["text", "json"], default="text")
    return parser.parse_args(words)


def main(words: list[str] | None = None) -> int:
    """Load the model, serve it, end when told to. Returns the exit code."""
    arguments = _arguments(words)
    signal.signal(signal.SIGTERM, _leave)  # while the model is loading; afterwards the server handles it
    if arguments.code is not None:
        sys.path.insert(1, str(arguments.code))  # behind mlci's own place, as in training
    from stages import console

    console.set_up(arguments.log_format)
    _log_access(arguments.access_log)
    try:
        from stages.model.policy import Policy
        from stages.serving.server import Listening, serve
        from stages.serving.start import service_of

        listening = Listening(
            arguments.host,
            arguments.port,
            arguments.version,
            private=arguments.private,
            join=arguments.join,
            state=arguments.state,
            lifeline=arguments.lifeline,
            alias=arguments.alias,
        )
        access = arguments.access_log or os.environ.get("MLCI_ACCESS_LOG") == "1"
        given = arguments.model_format
        policy = None if given is None else Policy(given, tuple(arguments.trust))
        service = service_of(arguments.folder, arguments.version, access, policy)
        gc.freeze()  # what is loaded stays: collections need not go through it while requests wait
        sys.setswitchinterval(_SWITCH_SECONDS)
        return serve(service, listening)
    except MlciError as error:
        console.show_error(error, arguments.log_format)
        return error.exit_code


def _leave(signum: int, frame: object) -> NoReturn:
    os._exit(0)


def _log_access(wanted: bool) -> None:
    access = logging.getLogger("mlci.access")
    access.propagate = False
    if wanted or os.environ.get("MLCI_ACCESS_LOG") == "1":
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(logging.Formatter("%(message)s"))
        access.addHandler(handler)
        access.setLevel(logging.INFO)


if __name__ == "__main__":
    code = main()
    logging.shutdown()
    # The prediction thread may be inside a model that does not return; an ordinary exit would tear libraries down
    # under it.
    os._exit(code)
