"""The service over HTTP."""

from __future__ import annotations

import json
import logging
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stages.serving.predictor import Answers, Predictor
from tests.stages.serving.conftest import ROW, Live


def test_predictions_in_row_order_with_probabilities(live: Live) -> None:
    said = live.predict({**ROW, "delay": -20}, {**ROW, "delay": 500})
    assert said.status == 200
    assert said.body["predictions"] == [False, True]
    assert [list(p) for p in said.body["probabilities"]] == [["false", "true"]] * 2
    for chances in said.body["probabilities"]:
        assert sum(chances.values()) == pytest.approx(1)
    assert said.body["probabilities"][0]["true"] < 0.5 < said.body["probabilities"][1]["true"]


def test_no_rows_no_predictions(live: Live) -> None:
    assert live.predict().body == {"predictions": [], "probabilities": []}


def test_columns_may_come_in_any_order_and_with_others(live: Live) -> None:
    turned = dict(reversed(ROW.items())) | {"flight": "AA1", "late": True, "unknown": [1]}
    assert live.predict(turned).body == live.predict(ROW).body


def test_bad_values_are_answered_with_pointers(live: Live) -> None:
    said = live.predict(ROW, {**ROW, "seats": "many", "origin": "XYZ"}, {"delay": None})
    assert said.status == 422
    assert said.headers["content-type"] == "application/problem+json"
    assert said.body["code"] == "DAT_REFUSED"
    assert said.body["problems"][:2] == [
        {"pointer": "/rows/1/seats", "code": "DAT_TYPE", "expected": "a whole number of at least 1", "got": "string"},
        {
            "pointer": "/rows/1/origin",
            "code": "DAT_VALUES",
            "expected": said.body["problems"][1]["expected"],
            "got": "string",
        },
    ]
    assert said.body["problems_total"] == len(said.body["problems"]) == 6
    assert b"many" not in said.raw
    assert b"XYZ" not in said.raw


@pytest.mark.parametrize(
    ("body", "status", "pointer"),
    [
        (b"", 400, ""),
        (b"{", 400, ""),
        (b'{"rows": [{"delay": NaN}]}', 400, ""),
        (b'{"rows": [{"delay": Infinity}]}', 400, ""),
        (b'{"rows": [{"delay": 1e999}]}', 400, ""),
        (b'\xff{"rows": []}', 400, ""),
        (b'{"rows": [{"delay": -Infinity}]}', 400, ""),
        (b'{"rows": [{"seats": ' + b"1" * 5000 + b"}]}", 400, ""),
        (b'{"rows": [{"delay": 1e' + b"9" * 5000 + b"}]}", 400, ""),
        (b'{"rows": [{"seats": 123456789012345678901234}]}', 422, "/rows/0/seats"),
        (b'{"rows": [{"carrier": "\\ud800"}]}', 400, ""),
        (b'{"rows": [{"carrier": "\\udc00\\ud800"}]}', 400, ""),
        (b"\x1f\x8b\x08\x00", 400, ""),
        (b'{"rows": [' + b"[" * 200_000 + b"]" * 200_000 + b"]}", 400, ""),
        (b'{"rows": [' + b'{"a":' * 2000 + b"1" + b"}" * 2000 + b"]}", 400, ""),
        (b"[" * 3000, 400, ""),
        (b"[]", 422, ""),
        (b"null", 422, ""),
        (b"{}", 422, "/rows"),
        (b'{"rows": {}}', 422, "/rows"),
        (b'{"rows": [[]]}', 422, "/rows/0"),
    ],
)
def test_malformed_bodies(live: Live, body: bytes, status: int, pointer: str) -> None:
    said = live.ask("POST", "/predict", body)
    assert said.status == status
    assert said.body["problems"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("POST", "/readyz", 405),
        ("GET", "/nothing", 404),
        ("GET", "/predict/", 404),
        ("HEAD", "/livez", 200),
        ("HEAD", "/readyz", 200),
        ("GET", "/livez", 200),
        ("GET", "/readyz", 200),
        ("GET", "/model", 200),
        ("GET", "/metrics", 200),
        ("GET", "/openapi.json", 200),
    ],
)
def test_paths_and_methods(live: Live, method: str, path: str, status: int) -> None:
    said = live.ask(method, path)
    assert said.status == status
    for_browsers = (said.headers.get("x-content-type-options"), said.headers.get("cache-control"))
    assert for_browsers == ((None, None) if method == "POST" else ("nosniff", "no-store"))
    if method == "HEAD":
        assert said.raw == b""
        assert int(said.headers["content-length"]) > 0
    elif status >= 400:
        assert said.body["status"] == status
    if status == 405:
        assert said.headers["allow"]


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"content_type": "text/csv"}, 415),
        ({"content_type": "application/x-www-form-urlencoded"}, 415),
        ({"content_type": "application/json; charset=utf-8"}, 200),
        ({"content_type": "Application/JSON"}, 200),
        ({"content_encoding": "gzip"}, 415),
    ],
)
def test_media_types(live: Live, headers: dict[str, str], status: int) -> None:
    body = json.dumps({"rows": [ROW]}).encode()
    assert live.ask("POST", "/predict", body, **headers).status == status


def test_of_a_key_that_comes_twice_the_last_value_counts(live: Live) -> None:
    row = json.dumps(ROW)
    twice = '{"rows": [], "rows": [' + row[:-1] + ', "delay": 500}]}'
    assert live.ask("POST", "/predict", twice.encode()).body == live.predict({**ROW, "delay": 500}).body


def test_the_model_describes_itself(live: Live) -> None:
    body = live.ask("GET", "/model").body
    assert (body["name"], body["version"], body["files"]) == ("demo", "abc", {"model.skops": "0"})
    assert body["metrics"] == {"test": {"auc": None}}, "NaN has no place in JSON"
    assert [f["name"] for f in body["signature"]["features"]] == list(ROW)


def test_openapi_describes_the_rows(live: Live) -> None:
    document = live.ask("GET", "/openapi.json").body
    row = document["components"]["schemas"]["Row"]
    assert row["required"] == ["seats", "carrier", "origin", "when"]
    assert row["properties"]["delay"]["type"] == ["number", "null"]
    assert row["properties"]["delay"]["minimum"] == -100
    assert sorted(map(str, row["properties"]["origin"]["enum"])) == ["1", "1", "JFK", "LGA"]
    assert document["components"]["schemas"]["Answer"]["properties"]["predictions"]["items"] == {"enum": [False, True]}
    assert set(document["paths"]) == {"/predict", "/livez", "/readyz", "/model", "/metrics", "/openapi.json"}


def test_metrics_count_requests_rows_and_unseen_values(serve: Callable[..., Any], predictor: Predictor) -> None:
    knowing = Predictor(predictor.pipeline, predictor.signature, {"carrier": ["AA"]})
    with serve(knowing) as live:
        live.predict(ROW, {**ROW, "carrier": "ZZ", "other": 1})
        live.predict({**ROW, "seats": None})
        page = live.ask("GET", "/metrics").raw.decode()
    lines = dict(line.rsplit(" ", 1) for line in page.splitlines() if not line.startswith("#"))
    assert lines['mlci_requests_total{path="/predict",status="200"}'] == "1.0"
    assert lines['mlci_requests_total{path="/predict",status="422"}'] == "1.0"
    assert lines["mlci_rows_total"] == "2.0"
    assert lines['mlci_unseen_categories_total{column="carrier"}'] == "1.0"
    assert lines["mlci_unknown_values_total"] == "1.0"
    assert lines["mlci_refused_values_total"] == "1.0"
    assert lines['mlci_model{name="demo",version="abc"}'] == "1.0"
    assert float(lines["process_resident_memory_bytes"]) > 0


def test_an_api_key_is_asked_for_everywhere_but_at_the_probes(serve: Callable[..., Any]) -> None:
    with serve(api_key="s3cret") as live:
        for path in ("/model", "/metrics", "/openapi.json"):
            assert live.ask("GET", path).status == 401
        refused = live.predict(ROW)
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert live.predict(ROW, authorization="Bearer wrong").status == 401
        assert live.predict(ROW, authorization="Basic s3cret").status == 401
        assert live.predict(ROW, x_api_key="").status == 401
        assert live.predict(ROW, authorization="Bearer s3cret").status == 200
        assert live.predict(ROW, authorization="bearer  s3cret").status == 200
        assert live.predict(ROW, x_api_key="s3cret").status == 200
        assert live.ask("GET", "/livez").status == live.ask("GET", "/readyz").status == 200


# --- limits --------------------------------------------------------------------------------------------


def test_too_large_bodies_and_too_many_rows(serve: Callable[..., Any]) -> None:
    with serve(max_body_bytes=2000, max_rows=3) as live:
        assert live.predict(*[ROW] * 3).status == 200
        many = live.predict(*[{}] * 4)
        assert (many.status, many.body["problems"][0]["pointer"]) == (413, "/rows")
        declared = live.ask("POST", "/predict", b" " * 2001)
        assert (declared.status, declared.headers["connection"]) == (413, "close")


def test_a_body_that_grows_beyond_the_limit_is_cut_off(serve: Callable[..., Any]) -> None:
    """Chunked, so that no header tells its size."""
    with serve(max_body_bytes=1000) as live, socket.create_connection(("127.0.0.1", live.port), 10) as connection:
        connection.sendall(
            b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        connection.sendall(b"3e8\r\n" + b" " * 1000 + b"\r\n" + b"3e8\r\n" + b" " * 1000 + b"\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 413 ")


def test_a_body_that_does_not_come_is_not_waited_for(serve: Callable[..., Any]) -> None:
    with serve(deadline_seconds=0.2) as live, socket.create_connection(("127.0.0.1", live.port), 10) as connection:
        connection.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


class Held(Predictor):
    """A model that thinks until it is let go."""

    def __init__(self, like: Predictor) -> None:
        super().__init__(like.pipeline, like.signature)
        self.go = threading.Event()
        self.thinking = threading.Event()
        self.batches: list[int] = []

    def predict(self, columns: Any) -> Answers:
        rows = len(columns["delay"])
        self.batches.append(rows)
        self.thinking.set()
        assert self.go.wait(120)
        return Answers(list(columns["delay"]), None)


def ask_in_background(live: Live, *rows: Any) -> tuple[threading.Thread, list[Any]]:
    said: list[Any] = []
    thread = threading.Thread(target=lambda: said.append(live.predict(*rows)))
    thread.start()
    return thread, said


def until(condition: Callable[[], bool]) -> None:
    tick = threading.Event()
    for _ in range(2000):
        if condition():
            return
        tick.wait(0.005)
    raise AssertionError("it did not come to that")


def test_while_a_batch_runs_arrivals_queue_and_then_go_together(
    serve: Callable[..., Any], predictor: Predictor
) -> None:
    held = Held(predictor)
    with serve(held, max_batch_rows=4) as live:
        first = ask_in_background(live, {**ROW, "delay": 0})
        assert held.thinking.wait(120)
        others = []
        for i in range(1, 6):
            others.append(ask_in_background(live, {**ROW, "delay": i}))
            until(lambda i=i: len(live.service._deadlines) == i + 1)  # type: ignore[misc]
        held.go.set()
        for i, (thread, said) in enumerate([first, *others]):
            thread.join(120)
            assert said[0].body == {"predictions": [float(i)]}, "each caller gets its own rows"
    assert held.batches == [1, 4, 1]


def test_too_many_at_once_are_refused_not_queued_for_ever(serve: Callable[..., Any], predictor: Predictor) -> None:
    held = Held(predictor)
    with serve(held, max_concurrency=2, max_waiting_rows=1) as live:
        waiting = [ask_in_background(live, ROW)]
        assert held.thinking.wait(120)
        waiting.append(ask_in_background(live, ROW))
        until(lambda: len(live.service._deadlines) == 2)
        refused = live.predict(ROW)
        assert (refused.status, refused.headers["retry-after"]) == (429, "1")
        assert live.ask("GET", "/readyz").status == 200, "probes are not part of the crowd"
        held.go.set()
        for thread, said in waiting:
            thread.join(120)
            assert said[0].status == 200


def test_too_many_waiting_rows_are_overload(serve: Callable[..., Any], predictor: Predictor) -> None:
    held = Held(predictor)
    with serve(held, max_waiting_rows=1) as live:
        waiting = [ask_in_background(live, ROW)]
        assert held.thinking.wait(120)
        waiting.append(ask_in_background(live, ROW))
        until(lambda: live.service._batcher.waiting_rows == 1)
        assert live.predict(ROW).status == 503
        held.go.set()
        for thread, _ in waiting:
            thread.join(120)


def test_a_deadline_is_kept_and_the_next_request_served(serve: Callable[..., Any], predictor: Predictor) -> None:
    held = Held(predictor)
    with serve(held, deadline_seconds=0.3) as live:
        assert live.predict(ROW).status == 504
        held.go.set()
        until(lambda: not live.service._batcher._busy)
        until(lambda: live.predict(ROW).status == 200)  # the deadline is short for a busy machine


# --- what goes wrong inside ----------------------------------------------------------------------------


class Faulty(Predictor):
    """A model that fails for one value, and for another is broken."""

    def _ask(self, rows: Any) -> Answers:
        delays = rows["delay"].tolist()
        if 13.0 in delays:
            raise ValueError(f"cannot take {rows['carrier'].tolist()}")
        if 14.0 in delays:
            raise KeyError(f"cannot take {rows['carrier'].tolist()}")
        return Answers([1.0] * len(delays), None)


def test_rows_that_the_model_cannot_answer_are_named(serve: Callable[..., Any], predictor: Predictor) -> None:
    with serve(Faulty(predictor.pipeline, predictor.signature)) as live:
        rows = [{**ROW, "delay": delay} for delay in (1, 13, 2, 13)]
        said = live.predict(*rows)
        assert said.status == 422
        assert [(p["pointer"], p["code"]) for p in said.body["problems"]] == [
            ("/rows/1", "MOD_NO_ANSWER"),
            ("/rows/3", "MOD_NO_ANSWER"),
        ]


def test_a_bug_is_500_without_trace_or_data(
    serve: Callable[..., Any], predictor: Predictor, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("mlci"), "propagate", True)
    with serve(Faulty(predictor.pipeline, predictor.signature)) as live:
        said = live.predict({**ROW, "delay": 14, "carrier": "MyOwnCarrier"})
        assert said.status == 500
        assert said.body["code"] == "SRV_BUG"
        assert b"Traceback" not in said.raw
        assert b"MyOwnCarrier" not in said.raw
        assert live.predict(ROW).status == 200
    assert "KeyError" in caplog.text
    assert "MyOwnCarrier" not in caplog.text


def test_one_request_cannot_spoil_another_of_its_batch(serve: Callable[..., Any], predictor: Predictor) -> None:
    held = Held(predictor)
    faulty = Faulty(predictor.pipeline, predictor.signature)

    class Both(Predictor):
        def predict(self, columns: Any) -> Answers:
            held.predict(columns)
            return faulty.predict(columns)

    with serve(Both(predictor.pipeline, predictor.signature)) as live:
        first = ask_in_background(live, ROW)
        assert held.thinking.wait(120)
        good = ask_in_background(live, ROW)
        bad = ask_in_background(live, {**ROW, "delay": 14})
        until(lambda: len(live.service._deadlines) == 3)
        held.go.set()
        for thread, _ in (first, good, bad):
            thread.join(120)
        assert [first[1][0].status, good[1][0].status, bad[1][0].status] == [200, 200, 500]


def test_the_access_log_is_json_without_what_callers_sent(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = logging.getLogger("mlci.access")
    monkeypatch.setattr(access, "handlers", [caplog.handler])
    monkeypatch.setattr(access, "propagate", False)
    monkeypatch.setattr(access, "level", logging.INFO)
    with serve(log_access=True) as live:
        live.predict(ROW)
        live.ask("GET", "/secret-path?token=1")
    lines = [json.loads(record.getMessage()) for record in caplog.records if record.name == "mlci.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [
        ("POST", "/predict", 200),
        ("GET", "other", 404),
    ]
    assert all("secret" not in record.getMessage() for record in caplog.records)


# --- hostile requests ----------------------------------------------------------------------------------

_json = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(allow_nan=False), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=8,
)
_cell = st.one_of(
    _json, st.sampled_from([1e308, -1e308, 2**63, 2**53 + 1, "JFK", "1", 1, "2024-06-01", "9999-12-31", "é" * 99])
)
_row = st.one_of(_json, st.fixed_dictionaries({}, optional=dict.fromkeys([*ROW, "x/~"], _cell)))
_body = st.one_of(_json, st.fixed_dictionaries({"rows": st.lists(_row, max_size=4)}))


def test_no_request_makes_the_service_fail(live: Live) -> None:
    @settings(max_examples=250, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
    @given(st.one_of(_body.map(lambda body: json.dumps(body).encode()), st.binary(max_size=60)))
    def ask(body: bytes) -> None:
        said = live.ask("POST", "/predict", body)
        assert said.status in (200, 400, 422)
        if said.status != 200:
            assert said.body["problems"]

    ask()


def test_valid_but_extreme_rows_are_answered(live: Live) -> None:
    """What the contract lets through, the model answers."""

    @settings(max_examples=100, deadline=None, derandomize=True)
    @given(
        st.fixed_dictionaries(
            {
                "delay": st.one_of(st.none(), st.floats(-100, 1000)),
                "seats": st.integers(1, 2**63 - 1),
                "carrier": st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z"]), max_size=20),
                "origin": st.sampled_from(["JFK", "LGA", "1", 1]),
                "windy": st.one_of(st.none(), st.booleans()),
                "when": st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
            }
        )
    )
    def ask(row: dict[str, Any]) -> None:
        said = live.predict(row)
        assert said.status == 200, said.body

    ask()
