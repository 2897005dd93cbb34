"""Long bodies: the same answers as short ones, in bounded memory and steps."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from stages.serving.decode import Decoder
from stages.serving.http import Message, Refused
from stages.serving.limits import Limits
from stages.serving.predictor import Predictor
from stages.serving.rowstream import MAX_ROW_BYTES, MAX_ROW_VALUES, RowStream
from stages.serving.turns import ROUND, Turns
from stages.serving.upload import WHOLE_BYTES, Upload, Uploads
from tests.stages.serving.conftest import ROW, Live


def streamed(body: bytes, step: Callable[[], int], most: int = 10**6) -> Any:
    """The document as RowStream reads it, an error as text."""
    rows: list[Any] = []
    stream, array, place = RowStream(most), 0, 0
    try:
        while place < len(body):
            size = step()
            for some in stream.feed(body[place : place + size]):
                if array != stream.array:
                    array, rows = stream.array, []
                rows += some
            place += size
        found = stream.finish()
    except Refused as refused:
        return refused.code
    if isinstance(found, dict) and found.get("rows") == []:
        found["rows"] = rows if array == stream.array else []
    return found


def documents(rng: random.Random) -> bytes:
    """A document with and without rows, often damaged."""

    def value(depth: int) -> Any:
        kind = rng.random()
        if kind < 0.3 or depth > 3:
            return rng.choice([1, 2.5, None, True, -3e10])
        if kind < 0.6:
            return "".join(rng.choice('ab"\\,[]{}:é😀\n ') for _ in range(rng.randint(0, 8)))
        if kind < 0.8:
            return [value(depth + 1) for _ in range(rng.randint(0, 4))]
        return {rng.choice(["rows", 'k"', "\\"]): value(depth + 1) for _ in range(rng.randint(0, 3))}

    names = ["rows", "rows", 'x"rows', "rows\\", "a"]
    content = {rng.choice(names): rng.choice([[value(1) for _ in range(4)], value(0)]) for _ in range(3)}
    body = json.dumps(content, ensure_ascii=rng.random() < 0.5, indent=rng.choice([None, 1])).encode()
    if rng.random() < 0.2:
        body = b'{"rows": [1, 2],' + body[1:]
    place = rng.randrange(len(body))
    damage = rng.choice([b"", b'"', b",", b"]", b"}", b"\\", b"[", b" "])
    return rng.choice([body, body[:place] + damage + body[place:], body[:place] + body[place + 1 :], body[:place]])


def test_a_stream_reads_what_orjson_reads() -> None:
    rng = random.Random(17)
    for _ in range(1500):
        body = documents(rng)
        try:
            expected = orjson.loads(body)
        except orjson.JSONDecodeError:
            expected = "DAT_JSON"
        assert streamed(body, lambda: rng.randint(1, 12)) == expected, body


@pytest.mark.parametrize("element", [b"{}", b"[]", b"0", b'{"a":[{},{}]}', b'",,,"'])
def test_too_many_rows_are_refused_before_they_are_objects(element: bytes) -> None:
    body = b'{"rows": [' + (element + b",") * 1_000_000
    stream, parsed, place = RowStream(10_000), 0, 0

    def read() -> None:
        nonlocal parsed, place
        while place < len(body):
            for rows in stream.feed(body[place : place + WHOLE_BYTES]):
                parsed += len(rows)
            place += WHOLE_BYTES

    with pytest.raises(Refused) as refused:
        read()
    assert (refused.value.status, refused.value.code) == (413, "SRV_TOO_MANY_ROWS")
    assert parsed < 10_000
    assert place <= 10_000 * (len(element) + 1)


def test_exactly_as_many_rows_as_allowed() -> None:
    for number, expected in ((100, list(range(100))), (101, None)):
        found = streamed(json.dumps({"rows": list(range(number))}).encode(), lambda: 50, most=100)
        assert found == ("SRV_TOO_MANY_ROWS" if expected is None else {"rows": expected})


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (b'{"rows": [{"a": "', b"x" * MAX_ROW_BYTES),
        (b'{"rows": [{"a": [', b"[]," * MAX_ROW_VALUES),
        (b'{"a": "', b"x" * 100_000),
        (b'{"a": [', b"0," * 100_000),
    ],
)
def test_what_cannot_be_parsed_in_short_steps_is_refused(start: bytes, more: bytes) -> None:
    stream, body = RowStream(10), start + more

    def read() -> None:
        for place in range(0, len(body) + 1, 65_536):
            assert list(stream.feed(body[place : place + 65_536])) == []

    with pytest.raises(Refused) as refused:
        read()
    assert (refused.value.status, refused.value.code) == (413, "SRV_BODY_TOO_LARGE")


def test_long_requests_are_answered_as_short_ones(live: Live) -> None:
    rows = [{**ROW, "delay": delay % 500, "note": "é\\" * 40} for delay in range(1500)]
    body = json.dumps({"rows": rows}).encode()
    assert len(body) > 2 * WHOLE_BYTES
    long = live.ask("POST", "/predict", body).body
    short = [live.predict(*rows[start : start + 150]).body for start in range(0, 1500, 150)]
    assert long["predictions"] == [one for part in short for one in part["predictions"]]
    rows[1400]["seats"] = None
    rows[7] = [1]  # type: ignore[call-overload]
    refused = live.predict(*rows).body
    assert [p["pointer"] for p in refused["problems"]] == ["/rows/7", "/rows/1400/seats"]
    assert refused["problems_total"] == 2
    assert live.ask("POST", "/predict", body[:-1]).body["code"] == "DAT_JSON"
    assert live.ask("POST", "/predict", body[:-2]).body["code"] == "DAT_JSON"


def test_all_problems_of_a_long_request_are_counted_and_the_first_listed(live: Live) -> None:
    refused = live.predict(*[{}] * 9000)
    assert refused.status == 422
    assert refused.body["problems_total"] == 9000 * 4
    assert [p["pointer"] for p in refused.body["problems"]][3:5] == ["/rows/0/when", "/rows/1/seats"]
    assert len(refused.body["problems"]) == 100


# --- what is shared -----------------------------------------------------------------------------------------------


def arriving(body: bytes, ends: bool = True) -> tuple[Message, Callable[[], Awaitable[Message]]]:
    """A body in pieces; one that does not end is waited for."""
    size = 32_768
    pieces = [body[place : place + size] for place in range(0, len(body), size)]

    async def receive() -> Message:
        if not pieces:
            await asyncio.get_running_loop().create_future()
        last = len(pieces) == 1 and ends
        return {"type": "http.request", "body": pieces.pop(0), "more_body": not last}

    return {"type": "http.request", "body": b"", "more_body": True}, receive


def long_body(text: str = "x", rows: int = 100) -> bytes:
    return json.dumps({"rows": [{**ROW, "carrier": text * 1000}] * rows}, ensure_ascii=False).encode()


def test_bodies_in_flight_are_bounded_together(predictor: Predictor) -> None:
    body = long_body()
    shared = Uploads(Decoder(predictor.signature), Limits(max_bytes_in_flight=250_000, max_body_bytes=240_000))

    async def run() -> None:
        uploads = [Upload(shared) for _ in range(3)]
        waiting = [asyncio.create_task(upload.decode(*arriving(body, ends=False))) for upload in uploads[:2]]
        for _ in range(500):
            await asyncio.sleep(0)
        assert 190_000 < shared.in_flight <= 250_000
        with pytest.raises(Refused) as refused:
            await uploads[2].decode(*arriving(body))
        assert (refused.value.status, refused.value.headers) == (503, [(b"retry-after", b"1")])
        uploads[2].end()
        for task, upload in zip(waiting, uploads, strict=False):
            task.cancel()
            upload.end()
        assert shared.in_flight == 0
        decoded = await (last := Upload(shared)).decode(*arriving(body))
        assert decoded.rows == 100
        last.end()
        assert shared.in_flight == 0

    asyncio.run(run())


@pytest.mark.parametrize(("text", "weight"), [("x", 1), ("é", 1), ("日", 2), ("\\u65e5", 2), ("😀", 4), ("\\ud83d", 4)])
def test_text_counts_as_much_as_it_takes(text: str, weight: int) -> None:
    body = b'{"rows": ["' + text.encode() + b'"'
    stream = RowStream(10)
    assert list(stream.feed(body)) == []
    assert stream.weight == weight * len(body)


def test_text_that_takes_more_than_there_is_is_refused_alone(predictor: Predictor) -> None:
    shared = Uploads(Decoder(predictor.signature), Limits(max_bytes_in_flight=500_000, max_body_bytes=450_000))

    async def decode(text: str) -> None:
        upload = Upload(shared)
        try:
            await upload.decode(*arriving(long_body(text)))
        finally:
            upload.end()

    asyncio.run(decode("é"))
    with pytest.raises(Refused) as refused:
        asyncio.run(decode("\N{GRINNING FACE}"))
    assert (refused.value.status, refused.value.code) == (413, "SRV_BODY_TOO_LARGE")


def test_steps_leave_room_for_others() -> None:
    """Between any two long steps the loop looks at its connections; short ones share a round."""
    steps: list[int] = []
    rounds = 0

    async def work(cost: int) -> None:
        for _ in range(5):
            await turns.take(cost)
            steps.append(rounds)

    def look() -> None:
        nonlocal rounds
        rounds += 1
        if rounds < 60:
            asyncio.get_running_loop().call_soon(look)

    async def run(cost: int) -> None:
        look()
        await asyncio.gather(*(work(cost) for _ in range(4)))

    for cost, most in ((ROUND, 1), (ROUND // 4, 4)):
        turns, rounds = Turns(), 0
        steps.clear()
        asyncio.run(run(cost))
        assert len(steps) == 20
        assert max(steps.count(step) for step in set(steps)) <= most


def test_a_turn_that_is_given_up_keeps_nobody_waiting() -> None:
    async def run() -> None:
        turns = Turns()
        await turns.take()
        first, second = asyncio.create_task(turns.take()), asyncio.create_task(turns.take())
        await asyncio.sleep(0)
        first.cancel()
        await second

    asyncio.run(run())
