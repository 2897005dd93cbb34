"""What a rule of the gate found."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["passed", "failed", "inconclusive", "warned", "skipped"]

#: Statuses that keep a model from being approved.
STOPPING: tuple[Status, ...] = ("failed", "inconclusive")


@dataclass(frozen=True)
class Outcome:
    """One rule's finding.

    `rule`: its name, dotted, `metric.roc_auc`. `observed`: what was measured. `bound`: what it was held against.
    `interval`: lower and upper end of the observed value's uncertainty, None where there is none. `n`: rows that it
    rests on. `code`: stable name of why it did not pass. `sentence`: all of that for people. `details`: plain data
    for the report and for `--explain`.
    """

    rule: str
    status: Status
    sentence: str
    code: str | None = None
    observed: float | None = None
    bound: float | None = None
    interval: tuple[float, float] | None = None
    n: int | None = None
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def stops(self) -> bool:
        """Whether this alone keeps the model from being approved."""
        return self.status in STOPPING

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON: numbers that JSON cannot carry become text (`NaN`, `Infinity`)."""
        plain: dict[str, Any] = {
            "rule": self.rule,
            "status": self.status,
            "code": self.code,
            "observed": self.observed,
            "bound": self.bound,
            "interval": None if self.interval is None else list(self.interval),
            "n": self.n,
            "sentence": self.sentence,
            "details": self.details,
        }
        cleaned: dict[str, Any] = finite(plain)
        return cleaned


def finite(value: Any) -> Any:
    """`value` with NaN and infinities as text, numpy scalars as Python's, tuples as lists."""
    if isinstance(value, dict):
        return {str(key): finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, str | bytes):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")
    return value


def short(value: float) -> str:
    """A number as a person reads it: four significant digits, thousands apart."""
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if value == 0:
        return "0"
    digits = max(0, 3 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(digits, 8)}f}"
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return text.replace("-", "−") if text not in ("0", "-0") else f"{value:.1e}".replace("-", "−")


def moment(microseconds: float) -> str:
    """Microseconds since 1970 as date and time."""
    import numpy as np

    return str(np.datetime64(round(microseconds), "us").astype("datetime64[s]")).replace("T", " ")


def percent(share: float, digits: int = 0) -> str:
    """`95 %`, with a space as everywhere in these texts."""
    return f"{100 * share:.{digits}f} %"


def rows(count: int) -> str:
    """`1 row`, `67,355 rows`."""
    return f"{count:,} row{'' if count == 1 else 's'}"
