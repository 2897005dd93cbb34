"""What Prometheus reads. Labels take values from the signature and from fixed lists alone, never from callers."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics_core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.registry import Collector

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Answered(Collector):
    """What is counted with every request. Only the event loop counts, so that plain numbers are enough; a locked
    counter and histogram each take longer than decoding the request's JSON."""

    def __init__(self) -> None:
        self.rows = 0
        self._requests: dict[tuple[str, int], int] = {}
        self._buckets = [0] * (len(_SECONDS) + 1)
        self._seconds = 0.0

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count one answer, and time it where it is one of POST /predict; `path` is one of the service's own."""
        counts, key = self._requests, (path, status)
        counts[key] = counts.get(key, 0) + 1
        if path == "/predict":
            self._buckets[bisect_left(_SECONDS, seconds)] += 1
            self._seconds += seconds

    def collect(self) -> Iterator[Metric]:
        """What the registry asks for."""
        requests = CounterMetricFamily("mlci_requests", "Requests", labels=["path", "status"])
        for (path, status), count in self._requests.items():
            requests.add_metric([path, str(status)], count)
        yield requests
        bounds, counts, total = [*map(str, map(float, _SECONDS)), "+Inf"], [], 0
        for count in self._buckets:
            total += count
            counts.append(total)
        yield HistogramMetricFamily(
            "mlci_predict_seconds",
            "Time to answer POST /predict",
            buckets=list(zip(bounds, counts, strict=True)),
            sum_value=self._seconds,
        )
        yield CounterMetricFamily("mlci_rows", "Rows answered", value=self.rows)


class Monitoring:
    """The metrics of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, name: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        model = Gauge("mlci_model", "The model that is served; always 1", ["name", "version"], registry=self.registry)
        model.labels(name, version).set(1)
        self.answered = Answered()
        self.registry.register(self.answered)
        self._batches = Histogram(
            "mlci_batch_rows", "Rows predicted in one call", buckets=_ROWS, registry=self.registry
        )
        self.refused = Counter("mlci_refused_values", "Values that did not meet the contract", registry=self.registry)
        self.unknown = Counter("mlci_unknown_values", "Values of columns that are not listed", registry=self.registry)
        self.ignored = Counter(
            "mlci_ignored_values", "Values of listed columns that are no features", registry=self.registry
        )
        self._unseen = Counter(
            "mlci_unseen_categories", "Categories that training never saw", ["column"], registry=self.registry
        )
        self.in_flight = Gauge("mlci_in_flight", "Requests for predictions being worked on", registry=self.registry)
        self.ready = Gauge("mlci_ready", "1 while the service takes requests", registry=self.registry)

    def batch(self, rows: int) -> None:
        """Record the size of one call of the model."""
        self._batches.observe(rows)

    def unseen(self, columns: Mapping[str, int]) -> None:
        """Count unseen categories by column."""
        for column, count in columns.items():
            self._unseen.labels(column).inc(count)

    def page(self) -> bytes:
        """The metrics as OpenMetrics text."""
        return bytes(generate_latest(self.registry))  # type: ignore[no-untyped-call]
