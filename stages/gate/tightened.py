"""Whether a `validate:` section asks for more than the one under which a verdict was given."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_LEVELS = {"off": 0, "warn": 1, "fail": 2}
_BASELINES = {"dummy": "fail", "linear": "warn"}
#: Bounds that a larger value loosens; `min` is loosened by a smaller one.
_LARGER_IS_LOOSER = ("max", "margin", "max_share", "p99_ms", "max_mb")


def tightened(before: Mapping[str, Any], now: Mapping[str, Any], inconclusive: bool) -> list[str]:
    """What `now` asks for and `before` did not, a sentence each; empty when a verdict under `before` holds under `now`.

    `before`, `now`: the section as plain data. `inconclusive`: the verdict let rules pass that could not tell.
    """
    found = []
    for name, bound in _mapping(now.get("metrics")).items():
        found += _bounds(f"validate.metrics.{name}", _mapping(before.get("metrics")).get(name), bound)
    for name in ("drift", "latency", "size"):
        if now.get(name) is not None:
            found += _bounds(f"validate.{name}", before.get(name), now[name])
    known = before.get("slices") or []
    found += [f"validate.slices: {name} was added" for name in now.get("slices") or [] if name not in known]
    for name, default in _BASELINES.items():
        was, level = (_mapping(side.get("baselines")).get(name, default) for side in (before, now))
        if _LEVELS.get(str(level), 2) > _LEVELS.get(str(was), 0):
            found.append(f"validate.baselines.{name} changed from {was} to {level}")
    if inconclusive and now.get("inconclusive", "ask") != "pass":
        found.append(f"validate.inconclusive is {now.get('inconclusive', 'ask')} now")
    return found


def _bounds(path: str, before: Any, now: Any) -> list[str]:
    if before is None:
        return [f"{path} was added"]
    found = []
    for key, bound in _mapping(now).items():
        was = _mapping(before).get(key)
        if bound is None or bound == was:
            continue
        numbers = all(isinstance(one, int | float) and not isinstance(one, bool) for one in (was, bound))
        looser = numbers and (bound > was if key in _LARGER_IS_LOOSER else bound < was)
        if not looser:
            found.append(
                f"{path}.{key} changed from {was} to {bound}" if was is not None else f"{path}.{key} was added"
            )
    return found


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
