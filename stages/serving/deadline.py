"""One deadline for many requests, kept by one timer.

`asyncio.timeout` sets a timer and takes it back for each request: 3.5 µs, a tenth of what a whole request of one row
costs when the model is quick. Here a request notes when it is due, and a timer that runs while there are requests looks
for those that are late. A deadline is kept within a tenth of its length.
"""

from __future__ import annotations

import asyncio
from typing import Any


class Deadlines:
    """Belongs to one event loop at a time. `with deadlines: …` goes around what must end within `seconds`; raises
    TimeoutError.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._due: dict[asyncio.Task[Any], float] = {}
        self._late: set[asyncio.Task[Any]] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def __enter__(self) -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.current_task(loop)
        assert task is not None
        self._due[task] = loop.time() + self.seconds
        if self._timer is None or self._loop is not loop:
            self._loop = loop
            self._timer = loop.call_later(self.seconds / 10, self._look)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        task = asyncio.current_task(self._loop)
        assert task is not None
        del self._due[task]
        if task in self._late:
            self._late.discard(task)
            # Somebody else may have cancelled it as well: that one wins.
            if task.uncancel() == 0 and kind is not None and issubclass(kind, asyncio.CancelledError):
                raise TimeoutError from error

    def _look(self) -> None:
        """Cancel who is late. It runs between two steps of every request, so the cancelled ones are inside their
        `with`."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        for task in [task for task, due in self._due.items() if due <= now and task not in self._late]:
            self._late.add(task)
            task.cancel()
        self._timer = loop.call_later(self.seconds / 10, self._look) if self._due else None
