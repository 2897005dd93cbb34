"""A steady load that retries nothing: every answer other than 200 and every broken connection is counted."""

from __future__ import annotations

import asyncio
import collections
import threading
import time
from dataclasses import dataclass, field


@dataclass
class Counted:
    """What came of the requests: `answers` by status, `errors` by kind, the slowest in s."""

    answers: collections.Counter[int] = field(default_factory=collections.Counter)
    errors: collections.Counter[str] = field(default_factory=collections.Counter)
    slowest: float = 0.0

    @property
    def sent(self) -> int:
        return sum(self.answers.values()) + sum(self.errors.values())

    @property
    def failed(self) -> dict[str, int]:
        """Everything that was not a 200."""
        wrong = {str(status): n for status, n in self.answers.items() if status != 200}
        return {**wrong, **self.errors}


class Load:
    """`rate` requests a second to 127.0.0.1:`port` while the block runs, half of them on connections of their own."""

    def __init__(self, port: int, body: bytes, rate: int = 300) -> None:
        self._port, self._rate = port, rate
        head = (
            f"POST /predict HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        )
        self._keeping = head.encode() + b"\r\n" + body
        self._closing = head.encode() + b"Connection: close\r\n\r\n" + body
        self._idle: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self.counted = Counted()

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()

    def go_on(self, seconds: float) -> None:
        """Let it run for a while."""
        before = self.counted.sent
        end = time.monotonic() + 4 * seconds + 30
        while self.counted.sent < before + seconds * self._rate and time.monotonic() < end:
            self._stop.wait(0.05)

    async def _run(self) -> None:
        running: set[asyncio.Task[None]] = set()
        started, number = time.monotonic(), 0
        while not self._stop.is_set():
            due = int((time.monotonic() - started) * self._rate)
            # A machine that is busy elsewhere must not be answered with a burst.
            for _ in range(min(due - number, 20)):
                task = asyncio.create_task(self._request(keep=number % 2 == 0))
                running.add(task)
                task.add_done_callback(running.discard)
                number += 1
            number = max(number, due - 20)
            await asyncio.sleep(1 / self._rate)
        await asyncio.gather(*running)
        for _, writer in self._idle:
            writer.close()

    async def _request(self, keep: bool) -> None:
        began = time.monotonic()
        try:
            async with asyncio.timeout(30):
                status = await self._exchange(keep)
        except ConnectionRefusedError:
            self.counted.errors["connection refused"] += 1
        except (OSError, EOFError, TimeoutError) as error:
            self.counted.errors[type(error).__name__] += 1
        else:
            self.counted.answers[status] += 1
        self.counted.slowest = max(self.counted.slowest, time.monotonic() - began)

    async def _exchange(self, keep: bool) -> int:
        reader, writer = await self._connection(keep)
        reusable = False
        try:
            writer.write(self._keeping if keep else self._closing)
            head = await reader.readuntil(b"\r\n\r\n")
            status = int(head.split(b" ", 2)[1])
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:] if b": " in line)
            await reader.readexactly(int(fields.get(b"content-length", b"0")))
            reusable = keep and fields.get(b"connection") != b"close"
        finally:
            if reusable:
                self._idle.append((reader, writer))
            else:
                writer.close()
        return status

    async def _connection(self, keep: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        while keep and self._idle:
            reader, writer = self._idle.pop()
            if not reader.at_eof():
                return reader, writer
            writer.close()
        return await asyncio.open_connection("127.0.0.1", self._port)
