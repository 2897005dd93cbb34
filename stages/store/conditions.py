"""Whether a server carries out conditional writes, found out by trying."""

from __future__ import annotations

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import NoReturn

from stages.bucket import Bucket, Failure
from stages.errors import InfraError
from stages.store.record import json_bytes

#: Servers and objects at which this process has seen it.
_obedient: set[tuple[str, str, str]] = set()

_ABOUT = {"about": "mlci writes this to see whether the server keeps to conditions; it may be removed"}


#: How many write at once, and how often.
_WRITERS, _ROUNDS = 6, 3


def try_out(bucket: Bucket, key: str) -> None:
    """Write `key` twice as if it were not there, and once over an ETag that it does not have: the server must refuse.
    Then several write at once over the ETag that it has: of them one may get through. Servers that look first and write
    afterwards let more of them, though not always. Once in a process.

    Raises:
        InfraError: STO_CONDITIONS. Failure: it cannot be tried.
    """
    where = (bucket.endpoint, bucket.name, key)
    if where in _obedient:
        return
    _refused(bucket, key, absent=True)  # the first of all times goes through
    if not _refused(bucket, key, absent=True) or not _refused(bucket, key, etag=f'"{"0" * 32}"'):
        _disobedient(bucket, "it ignores them")
    for _ in range(_ROUNDS):
        if _winners(bucket, key) > 1:
            _disobedient(bucket, "it let several of them through at the same moment")
    _obedient.add(where)


def _winners(bucket: Bucket, key: str) -> int:
    etag, start = bucket.get(key).etag, threading.Barrier(_WRITERS)

    def write(_: int) -> bool:
        start.wait()
        return not _refused(bucket, key, etag=etag)

    with ThreadPoolExecutor(_WRITERS) as pool:
        return sum(pool.map(write, range(_WRITERS)))


def _refused(bucket: Bucket, key: str, *, absent: bool = False, etag: str | None = None) -> bool:
    try:
        bucket.put(key, json_bytes(_ABOUT | {"write": uuid.uuid4().hex}), absent=absent, etag=etag)
    except Failure as failure:
        if failure.kind == "condition":
            return True
        if failure.kind in ("unsupported", "other"):
            _disobedient(bucket, failure.what)
        raise
    return False


def _disobedient(bucket: Bucket, said: str) -> NoReturn:
    raise InfraError(
        "STO_CONDITIONS",
        f"the server at {bucket.endpoint} does not carry out conditional writes (If-None-Match, If-Match): {said}",
        "two deployments could both win there: use a server or a release that knows them, or a directory",
    )
