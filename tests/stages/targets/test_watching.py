"""What a service's metrics say under watch."""

from __future__ import annotations

from stages.targets.watching import Counts, complaints


def metrics(failed: int, fast: int, slow: int) -> str:
    return (
        'mlci_requests_total{path="/predict",status="200"} 7.0\n'
        f'mlci_requests_total{{path="/predict",status="503"}} {failed}.0\n'
        f'mlci_predict_seconds_bucket{{le="0.01"}} {fast}.0\n'
        f'mlci_predict_seconds_bucket{{le="1.0"}} {fast + slow}.0\n'
        f'mlci_predict_seconds_bucket{{le="+Inf"}} {fast + slow}.0\n'
    )


def test_failed_requests_are_counted_from_the_start_of_the_watch() -> None:
    start = Counts.of(metrics(3, 10, 0))
    assert complaints(None, start, Counts.of(metrics(3, 20, 0))) == []
    assert complaints(None, start, Counts.of(metrics(5, 20, 0))) == ["2 requests were answered with 5xx"]


def test_slower_than_before() -> None:
    before, start = Counts.of(metrics(0, 1000, 0)), Counts.of(metrics(0, 0, 0))
    assert before.p99() == 0.01
    assert complaints(before, start, Counts.of(metrics(0, 1000, 5))) == []
    assert complaints(before, start, Counts.of(metrics(0, 50, 5))) == []
    assert len(complaints(before, start, Counts.of(metrics(0, 1000, 50)))) == 1
    assert complaints(None, start, Counts.of(metrics(0, 1000, 50))) == []
