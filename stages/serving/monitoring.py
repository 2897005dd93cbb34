"""What Prometheus reads. Labels take values from the signature and from fixed lists alone, never from callers."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST, generate_latest

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Monitoring:
    """The metrics of one service."""

    content_type = CONTENT_TYPE_LATEST

    def __init__(self, name: str, version: str) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        model = Gauge("mlci_model", "The model that is served; always 1", ["name", "version"], registry=self.registry)
        model.labels(name, version).set(1)
        self._requests = Counter("mlci_requests", "Requests", ["path", "status"], registry=self.registry)
        self._seconds = Histogram(
            "mlci_predict_seconds", "Time to answer POST /predict", buckets=_SECONDS, registry=self.registry
        )
        self._batches = Histogram(
            "mlci_batch_rows", "Rows predicted in one call", buckets=_ROWS, registry=self.registry
        )
        self.rows = Counter("mlci_rows", "Rows answered", registry=self.registry)
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
        self._counted: dict[tuple[str, int], Counter] = {}

    def request(self, path: str, status: int) -> None:
        """Count one answer; `path` is one of the service's own."""
        counter = self._counted.get((path, status))
        if counter is None:
            counter = self._counted[path, status] = self._requests.labels(path, str(status))
        counter.inc()

    def predicted(self, seconds: float) -> None:
        """Time one answer of POST /predict."""
        self._seconds.observe(seconds)

    def batch(self, rows: int) -> None:
        """Record the size of one call of the model."""
        self._batches.observe(rows)

    def unseen(self, columns: dict[str, int]) -> None:
        """Count unseen categories by column."""
        for column, count in columns.items():
            self._unseen.labels(column).inc(count)

    def page(self) -> bytes:
        """The metrics as OpenMetrics text."""
        return bytes(generate_latest(self.registry))  # type: ignore[no-untyped-call]
