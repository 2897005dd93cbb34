"""What a service's own metrics say while it is watched: failed requests, answers that take much longer than before."""

from __future__ import annotations

import re
from dataclasses import dataclass

#: A new model is slow when its 99th percentile is over this many times the old one's, and over this many seconds.
SLOWER, SLOW_SECONDS = 4.0, 0.25
#: Fewer requests than this say nothing about a percentile.
LEAST_REQUESTS = 100

_REQUESTS = re.compile(r'^mlci_requests_total\{[^}]*status="5[^}]*\} ([0-9.e+]+)', re.MULTILINE)
_BUCKETS = re.compile(r'^mlci_predict_seconds_bucket\{le="([^"]+)"\} ([0-9.e+]+)', re.MULTILINE)


@dataclass(frozen=True)
class Counts:
    """Since the service started: requests answered with 5xx, and times (upper bound in s → requests up to it)."""

    failed: int
    seconds: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, metrics: str) -> Counts:
        """From the text of /metrics."""
        failed = sum(int(float(number)) for number in _REQUESTS.findall(metrics))
        return cls(failed, tuple((float(bound), float(count)) for bound, count in _BUCKETS.findall(metrics)))

    def p99(self) -> float | None:
        """Upper bound of the bucket that holds the 99th percentile, in s; None after too few requests."""
        total = self.seconds[-1][1] if self.seconds else 0.0
        if total < LEAST_REQUESTS:
            return None
        return next(bound for bound, count in self.seconds if count >= 0.99 * total)


def complaints(before: Counts | None, start: Counts, now: Counts) -> list[str]:
    """What is wrong with a service that counted `start` when its watch began and `now` counts more.

    `before`: what the service counted that it replaced, None if there was none.
    """
    found = []
    failed = now.failed - start.failed
    if failed > 0:
        found.append(f"{failed} requests were answered with 5xx")
    slow, usual = now.p99(), None if before is None else before.p99()
    if slow is not None and usual is not None and slow > max(SLOWER * usual, SLOW_SECONDS):
        found.append(f"1 in 100 answers takes over {usual:g} s, up to {slow:g} s; before it was {usual:g} s at most")
    return found
