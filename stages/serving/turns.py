"""Work that takes the event loop a noticeable time, in steps between which other requests are answered."""

from __future__ import annotations

import asyncio
from collections import deque
from time import perf_counter

#: How long steps may follow one another before the loop looks at its connections again.
_SECONDS = 0.001


class Turns:
    """Gives out the event loop's time for longer steps, first come, first served. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._until: float | None = None  # when the time of this round of the loop is used up

    async def take(self) -> None:
        """Wait until a step may run; it runs from here to the next time that its task waits."""
        if self._until is None:
            self._until = perf_counter() + _SECONDS
            asyncio.get_running_loop().call_soon(self._round)
        elif self._waiting or perf_counter() >= self._until:
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn

    def _round(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():  # its request may have ended meanwhile
                turn.set_result(None)
                self._until = perf_counter() + _SECONDS
                asyncio.get_running_loop().call_soon(self._round)
                return
        self._until = None
