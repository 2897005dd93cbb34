"""How long, and for how many connections at once, the service waits for its peers: for a head that does not end, for
an answer that nobody reads, for connections that do nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Protocol

#: How many looks at all connections a deadline is cut into.
_LOOKS = 10
#: When there are too many connections, room is made for this share of them.
_ROOM = 20
#: Bytes of answers that may wait, over all connections, for peers to read them.
MAX_UNSENT_BYTES = 4 * 2**20


class Peer(Protocol):
    """What is asked of a connection: see `stages.serving.connection.Connection`."""

    @property
    def cycle(self) -> object: ...
    @property
    def awaits_head(self) -> bool: ...
    @property
    def begun(self) -> bool: ...
    @property
    def is_closing(self) -> bool: ...
    @property
    def unsent(self) -> int: ...
    @property
    def waits_since(self) -> float | None: ...
    def refuse(self, status: int, code: str, detail: str, at_once: bool = False) -> None: ...
    def abort(self) -> None: ...


class Patience:
    """Ends connections on which the head of a request does not arrive within `seconds`, and those whose peer reads
    nothing of an answer for as long. Keeps at most `most` of them: a new one takes the place of those that have waited
    longest for their peer.

    All are looked at from time to time, so that a request that arrives whole costs nothing.
    """

    def __init__(self, seconds: float, most: int, max_unsent: int = MAX_UNSENT_BYTES) -> None:
        self._seconds = seconds
        self._most = most
        self._max_unsent = max_unsent
        self._all: dict[Peer, None] = {}  # in the order in which they came
        self._since: dict[Peer, tuple[object, float]] = {}
        self._stalled: dict[Peer, tuple[int, float]] = {}
        self._next: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        """How many connections there are."""
        return len(self._all)

    def joined(self, peer: Peer) -> None:
        """Count a new connection; where there are too many, end those that wait longest, or refuse the new one."""
        if len(self._all) >= self._most:
            self._make_room()
        if len(self._all) >= self._most:
            peer.refuse(503, "SRV_OVERLOADED", f"all {self._most} connections are busy; try again", at_once=True)
        else:
            self._all[peer] = None

    def left(self, peer: Peer) -> None:
        """Forget a connection that ended."""
        self._all.pop(peer, None)
        self._stalled.pop(peer, None)

    def stalled(self, peer: Peer) -> None:
        """Note that a peer does not read its answer; end the first of them where too many bytes wait."""
        self._stalled.pop(peer, None)
        self._stalled[peer] = (peer.unsent, asyncio.get_running_loop().time())
        total = sum(other.unsent for other in self._stalled)
        for first in list(self._stalled)[:-1]:
            if total <= self._max_unsent:
                break
            total -= first.unsent
            self._end([first])

    def flowing(self, peer: Peer) -> None:
        """Note that a peer has read its answer."""
        self._stalled.pop(peer, None)

    def look(self) -> None:
        """Look now, and again every tenth of the time."""
        loop = asyncio.get_running_loop()
        now, since = loop.time(), self._since
        waiting: Iterable[Peer] = [peer for peer in self._all if peer.awaits_head or peer.is_closing]
        # A connection that has answered another request meanwhile waits anew.
        self._since = {p: since[p] if p in since and since[p][0] is p.cycle else (p.cycle, now) for p in waiting}
        for peer, (_, begin) in self._since.items():
            if now - begin >= self._seconds:
                if peer.begun and not peer.is_closing:
                    peer.refuse(408, "SRV_SLOW_HEAD", f"the headers did not arrive within {self._seconds:g} s")
                else:
                    self._end([peer])
        for peer, (size, begin) in list(self._stalled.items()):
            if peer.unsent < size:
                self._stalled[peer] = (peer.unsent, now)
            elif now - begin >= self._seconds:
                self._end([peer])
        self._next = loop.call_later(self._seconds / _LOOKS, self.look)

    def end(self) -> None:
        """Look no more."""
        if self._next is not None:
            self._next.cancel()

    def _make_room(self) -> None:
        ages = {peer: peer.waits_since for peer in self._all}
        waiting = sorted((age, place) for place, age in enumerate(ages.values()) if age is not None)
        peers = list(ages)
        self._end([peers[place] for _, place in waiting[: max(1, self._most // _ROOM)]])

    def _end(self, peers: Iterable[Peer]) -> None:
        for peer in peers:
            self.left(peer)
            peer.abort()
