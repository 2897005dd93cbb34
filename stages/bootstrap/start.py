"""mlci.pyz: find or make the Python environment that this repository needs, then go on in it.

Imports the standard library alone. Two things are kept in the cache, each complete or absent:

    code/<digest of the pyz>-<Python>/    the pyz unpacked and compiled
    venv/<key>/                           an environment; the key holds the lock, the repository's requirements and the
                                          content of local packages, the Python version and the platform

Both are believed only where no other user can write, and when they are what their manifest says.

`MLCI_BOOTSTRAP=off` uses the interpreter as it is: for agent images that hold everything. Without it, that is found
out: an interpreter that has every locked package at its version, and the repository's, is used as it is.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from stages.bootstrap import call as call_
from stages.errors import MlciError

#: mlci.pyz is not the one that the library holds; the Jenkins step writes it again.
DAMAGED = 75
_PLAIN = ("-h", "--help", "--version")


def main() -> int:
    """Run the command line in the right environment. Returns the exit code when that needs no other process."""
    pyz = Path(sys.argv[0]).absolute()
    if pyz.is_dir():  # unpacked, and started by the lines below
        return _command()
    try:
        expected = os.environ.get("MLCI_PYZ_SHA256")
        digest = hashlib.sha256(pyz.read_bytes()).hexdigest()
        if expected and digest != expected:
            pyz.unlink()
            print("mlci: mlci.pyz is damaged; it is written again", file=sys.stderr)
            return DAMAGED
        words = _words()
        if not words or (len(words) == 1 and words[0] in _PLAIN):
            return _command()
        os.umask(os.umask(0o077) | 0o027)  # the cache is nobody else's, and what runs from here on keeps this
        from stages.bootstrap.environment import prepare

        python, code = prepare(pyz, digest, words)
    except MlciError as error:
        return _refused(error)
    except KeyboardInterrupt:
        print("interrupted; nothing half-written is left behind", file=sys.stderr)
        return 130
    sys.stderr.flush()
    return os.execv(python, [str(python), str(code), *sys.argv[1:]])  # noqa: S606


def _words() -> list[str]:
    """The command line, as a Jenkins step gave it or as it was typed."""
    call = os.environ.get("MLCI_CALL")
    return call_.words(call) if call else sys.argv[1:]


def _command() -> int:
    if "MLCI_CALL" in os.environ:
        return call_.call()
    from stages.cli import main as cli

    return cli(sys.argv[1:])


def _refused(error: MlciError) -> int:
    from stages import console

    console.show_error(error, console.format_of(_words()))
    answer: Mapping[str, object] = {
        "exit_code": error.exit_code,
        "error": {"code": error.code, "what": error.what, "todo": error.todo},
    }
    if os.environ.get("MLCI_ANSWER"):
        Path(os.environ["MLCI_ANSWER"]).write_text(json.dumps(answer), encoding="utf-8")
    return error.exit_code
