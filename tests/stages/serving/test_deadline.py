"""One timer for all requests: late ones end, others do not notice."""

from __future__ import annotations

import asyncio

import pytest

from stages.serving.deadline import Deadlines


async def within(deadlines: Deadlines, event: asyncio.Event) -> str:
    """Wait as a request does."""
    task = deadlines.begin()
    try:
        await event.wait()
    except asyncio.CancelledError:
        if deadlines.over(task):
            return "late"
        raise
    finally:
        deadlines.end(task)
    return "in time"


def test_what_is_late_ends_and_the_task_goes_on() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(0.1)
        said = [await within(deadlines, asyncio.Event()) for _ in range(2)]
        await asyncio.sleep(0)  # a cancellation that was left over would strike here
        return [*said, "goes on"]

    assert asyncio.run(main()) == ["late", "late", "goes on"]


def test_a_deadline_is_kept_within_a_tenth() -> None:
    """Whoever begins between two ticks has a part of one more: ten whole ones are never too early."""

    async def main() -> list[int]:
        deadlines = Deadlines(30)
        task = asyncio.create_task(within(deadlines, asyncio.Event()))
        await asyncio.sleep(0)
        cancelled = []
        for _ in range(12):
            deadlines._tick()
            cancelled.append(task.cancelling())
        assert await task == "late"
        return cancelled

    assert asyncio.run(main()) == [*[0] * 10, 1, 1]


def test_what_is_in_time_is_left_alone_while_another_is_late() -> None:
    async def main() -> list[str]:
        deadlines = Deadlines(0.1)
        late = asyncio.create_task(within(deadlines, asyncio.Event()))
        await asyncio.sleep(0.08)
        soon = asyncio.Event()
        other = asyncio.create_task(within(deadlines, soon))
        await late
        soon.set()
        return [late.result(), await other]

    assert asyncio.run(main()) == ["late", "in time"]


def test_a_cancellation_from_outside_stays_one() -> None:
    async def main() -> None:
        deadlines = Deadlines(30)
        task = asyncio.create_task(within(deadlines, asyncio.Event()))
        await asyncio.sleep(0)
        assert len(deadlines) == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert len(deadlines) == 0

    asyncio.run(main())


def test_a_cancellation_from_outside_wins_over_the_deadline() -> None:
    async def main() -> None:
        deadlines = Deadlines(30)
        task = asyncio.create_task(within(deadlines, asyncio.Event()))
        await asyncio.sleep(0)
        for _ in range(11):
            deadlines._tick()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert task.cancelled()

    asyncio.run(main())


def test_a_request_that_was_late_and_ended_by_itself_is_not_cancelled_after_it() -> None:
    async def main() -> str:
        deadlines = Deadlines(30)

        async def stubborn() -> str:
            task = deadlines.begin()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                pass  # whoever swallows it owes nothing
            finally:
                deadlines.end(task)
            await asyncio.sleep(0)
            return f"went on, {task.cancelling()} left"

        task = asyncio.create_task(stubborn())
        await asyncio.sleep(0)
        for _ in range(11):
            deadlines._tick()
        return await task

    assert asyncio.run(main()) == "went on, 0 left"


def test_the_timer_ends_with_the_last_request() -> None:
    async def main() -> None:
        deadlines, done = Deadlines(0.05), asyncio.Event()
        done.set()
        assert await within(deadlines, done) == "in time"
        assert deadlines._timer is not None
        await asyncio.sleep(0.05)
        assert deadlines._timer is None

    asyncio.run(main())


def test_another_event_loop_gets_a_timer_of_its_own() -> None:
    deadlines = Deadlines(0.1)
    done = asyncio.Event()
    done.set()
    assert asyncio.run(within(deadlines, done)) == "in time"
    assert asyncio.run(within(deadlines, asyncio.Event())) == "late"
