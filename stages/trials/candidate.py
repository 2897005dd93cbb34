"""The candidate, served as it will be in production, for as long as its integration tests run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from stages import variables
from stages.model.policy import Policy
from stages.targets import services

#: How long a model may take to load, in seconds; MLCI_READY_SECONDS overrides it.
READY_SECONDS = 60.0


@contextmanager
def served(folder: Path, root: Path, out: Path, policy: Policy) -> Iterator[str]:
    """Serve the model in `folder`, if `policy` allows it, on a private port of 127.0.0.1; yields its address.

    Its log is `out`/service.log.

    Raises:
        InfraError: DEP_CRASHED, DEP_NOT_READY: it does not start.
    """
    state = out / "candidate"
    started = services.start(
        version="candidate",
        folder=folder,
        code=root,
        state_folder=state,
        log=out / "service.log",
        words=["--private", *policy.words()],
        environment={},
    )
    try:
        seconds = variables.measure("MLCI_READY_SECONDS", READY_SECONDS)
        port = started.await_state(seconds, "private_port")["private_port"]
        yield f"http://127.0.0.1:{port}"
    finally:
        started.process.end(10)
        started.release()
        state.rmdir()
