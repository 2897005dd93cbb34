"""Batch when busy: while a prediction runs, arrivals queue; when it ends, up to a batch of them go together.

There is no timer. A scikit-learn pipeline takes as long for one row as for a few hundred, so a request that comes
alone should not wait, and those that come together should share the call. BentoML's adaptive batching (a fitted
latency model and a polling dispatcher) was the alternative: `docs/decisions/0021-batch-when-busy.md`.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from stages.serving.predictor import Answers

Columns = Mapping[str, Sequence[Any]]
Predict = Callable[[Columns], Answers]


class Overloaded(Exception):
    """More rows wait than are allowed to."""


@dataclass
class _Waiting:
    columns: Columns
    rows: int
    future: asyncio.Future[Answers]


class Batcher:
    """Runs `predict` in one thread of its own. Belongs to one event loop.

    `on_batch(rows)` is called in the event loop after each call of `predict`.
    """

    def __init__(
        self,
        predict: Predict,
        max_batch_rows: int,
        max_waiting_rows: int,
        on_batch: Callable[[int], None] | None = None,
    ) -> None:
        self._predict = predict
        self._max_batch_rows = max_batch_rows
        self._max_waiting_rows = max_waiting_rows
        self._on_batch = on_batch
        self._queue: deque[_Waiting] = deque()
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._busy = False
        self._thread: threading.Thread | None = None
        self.waiting_rows = 0

    async def answer(self, columns: Columns, rows: int) -> Answers:
        """Predictions for decoded columns of `rows` rows.

        Raises:
            Overloaded: too many rows wait. Whatever `predict` raises for these rows.
        """
        if self._queue and self.waiting_rows + rows > self._max_waiting_rows:
            raise Overloaded
        waiting = _Waiting(columns, rows, asyncio.get_running_loop().create_future())
        self._queue.append(waiting)
        self.waiting_rows += rows
        if not self._busy:
            self._next()
        return await waiting.future

    def close(self) -> None:
        """End the thread once it is idle."""
        self._jobs.put(None)

    def _next(self) -> None:
        batch: list[_Waiting] = []
        rows = 0
        while self._queue and (not batch or rows + self._queue[0].rows <= self._max_batch_rows):
            waiting = self._queue.popleft()
            self.waiting_rows -= waiting.rows
            if not waiting.future.done():  # its caller may have given up
                batch.append(waiting)
                rows += waiting.rows
        if not batch:
            self._busy = False
            return
        self._busy = True
        loop = asyncio.get_running_loop()

        def run() -> None:
            results = self._run(batch)
            try:
                loop.call_soon_threadsafe(self._done, batch, results, rows)
            except RuntimeError:
                return  # the loop closed while the model was thinking: nobody waits any more

        if self._thread is None:
            # A daemon, so that a model that never returns cannot keep the process from ending.
            self._thread = threading.Thread(target=self._work, name="predict", daemon=True)
            self._thread.start()
        self._jobs.put(run)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _done(self, batch: list[_Waiting], results: list[Answers | Exception], rows: int) -> None:
        for waiting, result in zip(batch, results, strict=True):
            if waiting.future.done():
                continue
            if isinstance(result, Exception):
                waiting.future.set_exception(result)
            else:
                waiting.future.set_result(result)
        if self._on_batch is not None:
            self._on_batch(rows)
        self._next()

    def _run(self, batch: list[_Waiting]) -> list[Answers | Exception]:
        """One result for each request; when the batch fails as a whole, each request alone, so that one cannot
        spoil others."""
        if len(batch) > 1:
            merged = {name: [v for w in batch for v in w.columns[name]] for name in batch[0].columns}
            try:
                return _divided(self._predict(merged), [w.rows for w in batch])
            except Exception:  # noqa: BLE001  each request finds out for itself below
                return [self._run([waiting])[0] for waiting in batch]
        try:
            return [self._predict(batch[0].columns)]
        except Exception as error:  # noqa: BLE001  raised again where the request waits
            return [error]


def _divided(found: Answers, sizes: list[int]) -> list[Answers | Exception]:
    parts: list[Answers | Exception] = []
    start = 0
    for size in sizes:
        part = slice(start, start + size)
        parts.append(
            Answers(found.predictions[part], None if found.probabilities is None else found.probabilities[part])
        )
        start += size
    return parts
