"""One deadline for many requests, kept by one timer.

`asyncio.timeout` sets a timer and takes it back for each request: 3.5 µs, a tenth of what a whole request of one row
costs when the model is quick. Here a timer ticks while there are requests, each notes the tick at which it began, and a
tick ends those that began too many ticks ago. A deadline is kept within a tenth of its length.
"""

from __future__ import annotations

import asyncio
from typing import Any

#: Ticks of one deadline.
_TICKS = 10


class Deadlines:
    """Belongs to one event loop at a time. A task calls `begin`, what must end within `seconds`, and `end`; when its
    time is over it gets a CancelledError, and `over` tells it from one of somebody else.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._begun: dict[asyncio.Task[Any], int] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._now = 0
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __len__(self) -> int:
        """How many tasks have begun and not ended."""
        return len(self._begun)

    def begin(self) -> asyncio.Task[Any]:
        """Count from now for the current task, which is returned."""
        task = asyncio.current_task()
        assert task is not None
        self._begun[task] = self._now
        if self._timer is None or task.get_loop() is not self._loop:
            self._loop = task.get_loop()
            self._timer = self._loop.call_later(self.seconds / _TICKS, self._tick)
        return task

    def over(self, task: asyncio.Task[Any]) -> bool:
        """Whether `task` was cancelled here, and by nobody else as well; takes that cancellation back."""
        if task not in self._late:
            return False
        self._late.discard(task)
        return task.uncancel() == 0

    def end(self, task: asyncio.Task[Any]) -> None:
        """Count no more for `task`."""
        del self._begun[task]
        if self._late:
            self.over(task)

    def _tick(self) -> None:
        """Cancel who is late. It runs between two steps of every request, so the cancelled ones have not ended."""
        self._now += 1
        first = self._now - _TICKS
        for task in [task for task, begun in self._begun.items() if begun < first and task not in self._late]:
            self._late.add(task)
            task.cancel()
        self._timer = self._loop.call_later(self.seconds / _TICKS, self._tick) if self._begun and self._loop else None
