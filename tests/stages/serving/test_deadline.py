"""One timer for all requests: late ones end, others do not notice."""

from __future__ import annotations

import asyncio

import pytest

from stages.serving.deadline import Deadlines


def test_what_is_late_ends_and_the_task_goes_on() -> None:
    async def main() -> list[str]:
        deadlines, said = Deadlines(0.1), []
        for _ in range(2):
            try:
                with deadlines:
                    await asyncio.Event().wait()
            except TimeoutError:
                said.append("late")
        await asyncio.sleep(0)  # a cancellation that was left over would strike here
        said.append("goes on")
        return said

    assert asyncio.run(main()) == ["late", "late", "goes on"]


def test_what_is_in_time_is_left_alone_while_another_is_late() -> None:
    async def main() -> list[object]:
        deadlines = Deadlines(0.1)
        forever = asyncio.Event()

        async def wait(event: asyncio.Event) -> str:
            with deadlines:
                await event.wait()
            return "in time"

        late = asyncio.create_task(wait(forever))
        await asyncio.sleep(0.08)
        soon = asyncio.Event()
        other = asyncio.create_task(wait(soon))
        results = await asyncio.gather(late, return_exceptions=True)
        soon.set()
        return [*results, await other]

    late, other = asyncio.run(main())
    assert isinstance(late, TimeoutError)
    assert other == "in time"


def test_a_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        deadlines = Deadlines(30)

        async def work() -> None:
            with deadlines:
                await asyncio.Event().wait()

        task = asyncio.create_task(work())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not deadlines._due
        assert not deadlines._late

    asyncio.run(main())


def test_errors_pass_and_the_timer_ends_with_the_last_request() -> None:
    async def main() -> None:
        deadlines = Deadlines(0.05)
        with pytest.raises(KeyError), deadlines:
            raise KeyError
        assert deadlines._timer is not None
        done = asyncio.Event()
        asyncio.get_running_loop().call_later(0.05, done.set)
        await done.wait()
        assert deadlines._timer is None

    asyncio.run(main())
