"""signature.json: what goes in, what comes out. Everything that serves the model decodes requests from it."""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from stages.config import Config

#: Keys of a column's contract that a service checks, copied when they are set.
_CONTRACT = ("min", "max", "values", "pattern", "timezone", "format")

#: Distributions whose version decides whether a saved model can be loaded.
_LIBRARIES = ("scikit-learn", "numpy", "scipy", "pandas", "skops", "joblib")


def features(config: Config, spellings: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """The features in contract order: name, type, nullable and what else the contract says. `spellings`: column →
    spelling of its levels (see `stages.data.spelling`), for a model that is to be served."""
    out = []
    for name in config.data.features:
        column = config.data.columns[name]
        said = {key: getattr(column, key) for key in _CONTRACT if getattr(column, key) is not None}
        said |= {"spelling": spellings[name]} if spellings and name in spellings else {}
        out.append({"name": name, "type": column.type, "nullable": column.nullable, **said})
    return out


def signature(
    config: Config, classes: Sequence[Any] | None, positive: Any, spellings: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """The whole signature. `classes`: in the order of the probabilities, None for regression. `spellings`: as
    `features` has them."""
    data = config.data
    chosen = features(config, spellings)
    names = {f["name"] for f in chosen}
    return {
        "schema_version": 1,
        "name": config.name,
        "task": config.task,
        "features": chosen,
        "ignored": [name for name in data.columns if name not in names],
        "target": {"name": data.target, "type": data.columns[data.target].type},
        "classes": None if classes is None else [plain(c) for c in classes],
        "positive": None if positive is None else plain(positive),
        "model": {
            "estimator": config.model.estimator,
            "format": config.model.format,
            "trust": sorted(config.model.trust),
        },
        "versions": versions(config.model.estimator),
    }


def versions(estimator: str) -> dict[str, str]:
    """Python and the distributions that a saved model depends on; `estimator` is its dotted class name."""
    found = {"python": platform.python_version()}
    top = estimator.split(".")[0]
    owners = [] if top == "sklearn" else importlib.metadata.packages_distributions().get(top, [])
    for name in [*_LIBRARIES, *owners]:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def plain(value: Any) -> Any:
    """A class or value as JSON has it: bool, int, float or str."""
    if isinstance(value, np.generic):
        value = value.item()
    return value
