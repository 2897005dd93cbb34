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


class _Check(NamedTuple):
    """`known`: values that need no check, of a category its levels in training. `counted`: there are such levels, and
    what is none of them is told."""

    place: int
    check: Callable[[Any], Any]
    known: frozenset[str]
    counted: bool


class _Plan(NamedTuple):
    """`free` picks the numbers that only have to be finite."""

    checks: tuple[_Check, ...]
    free: Callable[[Sequence[Any]], tuple[Any, ...]] | None


class SingleRows:
    """`features` as in the signature; `checks`: for each a function from a JSON value (not null) to the column's, which
    gives a `refusal` where there is none; `levels`: column → categories known from training."""

    def __init__(
        self,
        features: Sequence[Mapping[str, Any]],
        checks: Sequence[Callable[[Any], Any]],
        refusal: type,
        levels: Mapping[str, frozenset[str]],
    ) -> None:
        self._features = features
        self._checks = checks
        self._refusal = refusal
        self._levels = levels
        # A level that the contract has come to refuse is checked like any other value.
        self._known = {
            feature["name"]: frozenset(one for one in levels.get(feature["name"], ()) if check(one) == one)
            for feature, check in zip(features, checks, strict=True)
        }
        self._pick = picker([feature["name"] for feature in features])
        self._plans: dict[tuple[type, ...], _Plan | None] = {}

    def values(self, row: Mapping[str, Any]) -> tuple[Sequence[Any], list[str] | None] | None:
        """The values in the order of the features, and the columns whose category training never saw; None where a
        value is missing or refused."""
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
        found: Any = values
        unseen = None
        for place, check, known, counted in checks:
            value = values[place]
            if value in known:
                continue
            checked = check(value)
            if type(checked) is self._refusal:
                return None
            if checked is not value:
                found = list(found)
                found[place] = checked
            if counted and checked not in known:
                unseen = [*(unseen or ()), self._features[place]["name"]]
        return found, unseen

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
            elif kind in (bool, int, float, str):
                name = feature["name"]
                checks.append(_Check(place, check, self._known[name], name in self._levels))
            elif kind is not type(None) or not feature.get("nullable"):
                return None
        return _Plan(tuple(checks), picker(free) if free else None)


def _unbounded(feature: Mapping[str, Any]) -> bool:
    return feature["type"] == "number" and all(feature.get(key) is None for key in ("min", "max", "values"))


def picker(keys: Sequence[Any]) -> Callable[[Any], tuple[Any, ...]]:
    """As `itemgetter`, but a tuple for one key and for none as well."""
    if len(keys) > 1:
        return itemgetter(*keys)
    return lambda values: tuple(values[key] for key in keys)
