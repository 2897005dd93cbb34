"""A hold on something in a bucket: an object that says whose it is, renewed while its owner lives.

Every change is a conditional write, so that of several owners one wins. Age is counted by the server's clock alone. An
owner that was killed does not renew, and whoever comes after the time that it asked for takes the object over.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from typing import Any

from stages.bucket import Bucket, Failure, Object
from stages.records import jsonfile
from stages.store.record import json_bytes

log = logging.getLogger("mlci")

#: How often a hold is renewed in the time that it lasts.
_RENEWALS = 4
#: Seconds to which a server rounds times.
_GRAIN = 1.0
#: How long a renewal under way is waited for, in seconds.
_WAIT = 10.0


class Lease:
    """A hold on `key`. `by`: who, for people. `seconds`: how long it lasts without renewal. Methods raise Failure."""

    def __init__(self, bucket: Bucket, key: str, by: str, seconds: float) -> None:
        self.bucket = bucket
        self.key = key
        self.by = by
        self.seconds = seconds
        self._owner = uuid.uuid4().hex
        self._etag = ""
        self._since = 0.0
        self._taken = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._keep, name=f"lease {key}", daemon=True)

    def acquire(self) -> str | None:
        """Take it. Returns None when it is ours now, else who has it and how much longer without a renewal."""
        found = self._found()
        told = {} if found is None else _told(found)
        if found is not None and told.get("owner") and told["owner"] != self._owner:
            age = (found.now - found.modified).total_seconds()
            left = float(told.get("seconds", self.seconds)) + _GRAIN - age
            if left >= 0:
                return f"{told.get('by', 'somebody')}, for {left:.0f} s yet unless it is renewed"
            log.warning("%s did not end its hold on %s; it counts as killed", told.get("by", "somebody"), self.key)
        self._since = time.monotonic()
        if not self._write(found, self._owner):
            return "somebody who came at the same moment"
        self._thread.start()
        return None

    def lost(self) -> bool:
        """Whether somebody else may have it by now."""
        return self._taken or time.monotonic() - self._since > self.seconds

    def release(self) -> None:
        """Give it back, if it is still ours."""
        self._stop.set()
        self._thread.join(_WAIT)
        if not self._taken:
            self._write(self._found(), None)

    def _found(self) -> Object | None:
        try:
            return self.bucket.get(self.key)
        except Failure as failure:
            if failure.kind != "missing":
                raise
            return None

    def _write(self, over: Object | None, owner: str | None) -> bool:
        """Whether the object says so now, in place of `over`. No two contents are alike, so that no two ETags are."""
        if owner is None and (over is None or _told(over).get("owner") != self._owner):
            return False
        content = json_bytes(
            {"schema_version": 1, "owner": owner, "by": self.by, "seconds": self.seconds, "write": uuid.uuid4().hex}
        )
        try:
            self._etag = self.bucket.put(
                self.key, content, absent=over is None, etag=None if over is None else over.etag
            )
        except Failure as failure:
            if failure.kind not in ("condition", "network"):
                raise
            # An attempt whose answer was lost may have been carried out.
            found = self._found()
            if found is None or found.content != content:
                if failure.kind == "network":
                    raise
                return False
            self._etag = found.etag
        return True

    def renew(self) -> bool:
        """Extend it by `seconds` from now. Returns whether it is still ours."""
        before = time.monotonic()
        try:
            found = self._found()
            if found is None or _told(found).get("owner") != self._owner or not self._write(found, self._owner):
                self._taken = True
                log.warning("the hold on %s was lost to another deployment", self.key)
                return False
            self._since = before
        except Failure as failure:
            log.warning("the hold on %s was not renewed: %s", self.key, failure.what)
        return True

    def _keep(self) -> None:
        while not self._stop.wait(self.seconds / _RENEWALS):
            if not self.renew():
                return


def _told(found: Object) -> dict[str, Any]:
    """What the object says; one that is damaged holds nothing."""
    try:
        data = jsonfile.parse(found.content)
    except ValueError:
        return {}
    return data if isinstance(data, dict) else {}
