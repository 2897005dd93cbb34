"""Failures of a bucket as mlci's errors of the store."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from stages.bucket import Failure
from stages.errors import InfraError


@contextmanager
def told(otherwise: str) -> Iterator[None]:
    """Turns every Failure of the block into InfraError (exit 5). `otherwise`: code of what has no name of its own."""
    try:
        yield
    except Failure as failure:
        raise _error(failure, otherwise) from failure


def _error(failure: Failure, otherwise: str) -> InfraError:
    what, todo = failure.what, failure.todo
    match failure.kind:
        case "client":
            return InfraError("STO_CLIENT", what, todo)
        case "credentials":
            return InfraError("STO_CREDENTIALS", what, todo)
        case "access":
            return InfraError("STO_ACCESS", what, todo)
        case "bucket":
            return InfraError("STO_BUCKET", what, todo)
        case "clock":
            return InfraError("STO_CLOCK", what, todo)
        case "network":
            return InfraError("STO_NETWORK", what, todo)
    return InfraError(otherwise, what, todo)
