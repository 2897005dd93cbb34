"""Work that takes the event loop a noticeable time, in steps between which other requests are answered."""

from __future__ import annotations

import asyncio
from collections import deque

#: Cost of the steps that follow one another before the loop looks at its connections again, in bytes of JSON: two or
#: three milliseconds' worth.
ROUND = 64 * 1024


class Turns:
    """Gives out the event loop's time for longer steps, first come, first served. Belongs to one event loop."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()
        self._left = ROUND
        self._counting = False

    async def take(self, cost: int = ROUND) -> None:
        """Wait until a step of so many bytes may run; it runs from here to the next time that its task waits."""
        if not self._counting:
            self._counting = True
            asyncio.get_running_loop().call_soon(self._round)
        if self._left > 0 and not self._waiting:
            self._left -= cost
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, cost))
        await turn

    def _round(self) -> None:
        """Begin a round of the loop: let some steps run that waited."""
        self._left = ROUND
        self._counting = bool(self._waiting)
        while self._waiting and self._left > 0:
            turn, cost = self._waiting.popleft()
            if not turn.done():  # its request may have ended meanwhile
                self._left -= cost
                turn.set_result(None)
        if self._counting:
            asyncio.get_running_loop().call_soon(self._round)
