"""Whether a server carries out conditional writes, found out by trying."""

from __future__ import annotations

from typing import NoReturn

from stages.bucket import Bucket, Failure
from stages.errors import InfraError
from stages.store.record import json_bytes

#: Servers and objects at which this process has seen it.
_obedient: set[tuple[str, str, str]] = set()

_ABOUT = {"about": "mlci writes this to see whether the server keeps to conditions; it may be removed"}


def try_out(bucket: Bucket, key: str) -> None:
    """Write `key` twice as if it were not there, and once over an ETag that it does not have: the server must refuse.
    Once in a process.

    Raises:
        InfraError: STO_CONDITIONS. Failure: it cannot be tried.
    """
    where = (bucket.endpoint, bucket.name, key)
    if where in _obedient:
        return
    content = json_bytes(_ABOUT)
    _refused(bucket, key, content, absent=True)  # the first of all times goes through
    if not _refused(bucket, key, content, absent=True):
        _disobedient(bucket, None)
    if not _refused(bucket, key, content, etag=f'"{"0" * 32}"'):
        _disobedient(bucket, None)
    _obedient.add(where)


def _refused(bucket: Bucket, key: str, content: bytes, *, absent: bool = False, etag: str | None = None) -> bool:
    try:
        bucket.put(key, content, absent=absent, etag=etag)
    except Failure as failure:
        if failure.kind == "condition":
            return True
        if failure.kind in ("unsupported", "other"):
            _disobedient(bucket, failure)
        raise
    return False


def _disobedient(bucket: Bucket, failure: Failure | None) -> NoReturn:
    said = "it ignores them" if failure is None else failure.what
    raise InfraError(
        "STO_CONDITIONS",
        f"the server at {bucket.endpoint} does not carry out conditional writes (If-None-Match, If-Match): {said}",
        "two deployments could both win there: use a server or a release that knows them, or a directory",
    ) from failure
