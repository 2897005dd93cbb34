"""Train–test gap: a model that is far better on the rows it has seen has learned them by heart. Only warns.

A relative loss of more than a tenth is Deepchecks' `TrainTestPerformance` default.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

from stages.gate.outcome import Outcome, percent, short
from stages.model import metrics

LARGEST = 0.1
#: Relative loss from which a percentage says nothing any more: the training side was nearly perfect.
MANY = 10.0


def check(names: Iterable[str], train: Mapping[str, float | None], test: Mapping[str, float | None]) -> list[Outcome]:
    """One outcome for each metric that stands in both `train` and `test` (as in metrics.json)."""
    found = []
    for name in names:
        on_train, on_test = train.get(name), test.get(name)
        if not _number(on_train) or not _number(on_test):
            continue
        assert on_train is not None
        assert on_test is not None
        sign = 1 if metrics.get(name).greater_is_better else -1
        lost = sign * (on_train - on_test)
        share = lost / abs(on_train) if on_train else math.inf * lost if lost else 0.0
        between = f"{name} is {short(on_train)} on the training side and {short(on_test)} on the test side"
        details = {"metric": name, "train": on_train, "test": on_test}
        if share > LARGEST:
            worse = f"{percent(share)} worse" if share < MANY else "many times worse"
            sentence = f"{between}: {worse}, so the model may have learned rows by heart"
            found.append(Outcome(f"gap.{name}", "warned", sentence, "GATE_GAP", share, LARGEST, details=details))
        else:
            found.append(Outcome(f"gap.{name}", "passed", between, None, share, LARGEST, details=details))
    return found


def _number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)
