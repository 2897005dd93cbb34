"""The values of a row that comes alone, which is what most requests are, at half the price of columns.

What has to be looked at depends on the types of the values, and a caller sends the same types again and again: a plan
is made once for each combination of types. Whatever a plan does not let through is decoded with columns, which says
what is wrong with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from math import isfinite
from operator import itemgetter
from typing import Any, NamedTuple

#: Plans that are kept. A caller that sends ever new combinations gains nothing, and fills no memory either.
_MOST_PLANS = 256

_UNKNOWN = object()


class _Plan(NamedTuple):
    """`checks`: place of a value and the function that checks it. `free`: picks the numbers that only have to be
    finite."""

    checks: tuple[tuple[int, Callable[[Any], Any]], ...]
    free: Callable[[Sequence[Any]], tuple[Any, ...]] | None


class SingleRows:
    """`features` as in the signature; `checks`: for each a function from a JSON value (not null) to the column's, which
    gives a `refusal` where there is none."""

    def __init__(
        self, features: Sequence[Mapping[str, Any]], checks: Sequence[Callable[[Any], Any]], refusal: type
    ) -> None:
        self._features = features
        self._checks = checks
        self._refusal = refusal
        self._pick = picker([feature["name"] for feature in features])
        self._plans: dict[tuple[type, ...], _Plan | None] = {}

    def values(self, row: Mapping[str, Any]) -> list[Any] | None:
        """The values in the order of the features; None where one is missing or refused."""
        try:
            values = self._pick(row)
        except KeyError:
            return None
        types = tuple(map(type, values))
        plan: Any = self._plans.get(types, _UNKNOWN)
        if plan is _UNKNOWN:
            plan = self._made(types)
        if plan is None:
            return None
        checks, free = plan
        if free is not None and not isfinite(sum(free(values))):
            return None
        found = list(values)
        refusal = self._refusal
        for place, check in checks:
            value = check(found[place])
            if type(value) is refusal:
                return None
            found[place] = value
        return found

    def _made(self, types: tuple[type, ...]) -> _Plan | None:
        plan = self._plan(types)
        if len(self._plans) < _MOST_PLANS:
            self._plans[types] = plan
        return plan

    def _plan(self, types: tuple[type, ...]) -> _Plan | None:
        checks, free = [], []
        for place, (feature, check, kind) in enumerate(zip(self._features, self._checks, types, strict=True)):
            if kind is float and _unbounded(feature):
                free.append(place)
            elif kind is not type(None):
                checks.append((place, check))
            elif not feature.get("nullable"):
                return None
        return _Plan(tuple(checks), picker(free) if free else None)


def _unbounded(feature: Mapping[str, Any]) -> bool:
    return feature["type"] == "number" and all(feature.get(key) is None for key in ("min", "max", "values"))


def picker(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """As `itemgetter`, but a tuple for one key and for none as well."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda values: tuple(values[key] for key in keys)
