"""What an estimator is and takes: decides its preprocessing and how it is seeded and served."""

from __future__ import annotations

import inspect
from typing import Any

#: Parameters in which scikit-learn's meta-estimators take another estimator.
NESTED = ("estimator", "base_estimator", "final_estimator", "regressor")

#: Boosting libraries outside scikit-learn whose estimators are trees and take missing values.
_BOOSTING = ("lightgbm", "xgboost", "catboost")

#: scikit-learn's base classes of single trees and of ensembles that can hold nothing but trees.
_TREES = ("BaseDecisionTree", "BaseForest", "BaseGradientBoosting", "BaseHistGradientBoosting")

#: scikit-learn's ensembles that hold trees unless they are given something else.
_TREES_BY_DEFAULT = ("BaseBagging", "BaseWeightBoosting")


def is_tree(estimator: Any) -> bool:
    """Whether it is a decision tree or an ensemble of them: scaling and one-hot columns do nothing good for those."""
    if type(estimator).__module__.split(".")[0] in _BOOSTING:
        return getattr(estimator, "booster", None) != "gblinear"
    # By name: importing sklearn.ensemble to ask isinstance costs a second that a linear model does not need.
    names = {c.__name__ for c in type(estimator).__mro__ if c.__module__.startswith("sklearn.")}
    if names & set(_TREES):
        return True
    inner = _inner(estimator)
    return all(is_tree(one) for one in inner) if inner else bool(names & set(_TREES_BY_DEFAULT))


def says_likeliest(estimator: Any) -> bool:
    """Whether `predict` is known to be the class of the greatest probability, so that one of the two calls is
    enough."""
    if not type(estimator).__module__.startswith("sklearn."):  # a subclass may override predict
        return False
    names = {c.__name__ for c in type(estimator).__mro__}
    return bool(names & {"BaseDecisionTree", "BaseForest", "BaseHistGradientBoosting"})


def wants_codes(estimator: Any) -> bool:
    """Whether a classifier takes classes only as 0, 1, 2, …: XGBoost. Its answers are translated back by `answers`."""
    return type(estimator).__module__.split(".")[0] == "xgboost" and hasattr(estimator, "predict_proba")


def takes_nan(estimator: Any) -> bool:
    """Whether the estimator is fitted on missing values as they are."""
    if type(estimator).__module__.split(".")[0] in _BOOSTING:
        return True
    return bool(getattr(_input_tags(estimator), "allow_nan", False))


def takes_sparse(estimator: Any) -> bool:
    """Whether the estimator is fitted on sparse matrices."""
    return bool(getattr(_input_tags(estimator), "sparse", False))


def positive_only(estimator: Any) -> bool:
    """Whether the estimator refuses negative inputs (multinomial naive Bayes, for example)."""
    return bool(getattr(_input_tags(estimator), "positive_only", False))


def takes_weights(estimator: Any) -> bool:
    """Whether `fit` takes `sample_weight`."""
    try:
        parameters = inspect.signature(estimator.fit).parameters
    except (TypeError, ValueError):
        return False
    if "sample_weight" in parameters:
        return True
    inner, passed_on = _inner(estimator), any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    return passed_on and bool(inner) and all(takes_weights(one) for one in inner)


def seed(model: Any, value: int) -> None:
    """Set every `random_state` inside `model` that is not set, at any depth."""
    named = ("random_state", "random_seed")
    unset = [n for n, v in model.get_params().items() if n.split("__")[-1] in named and v is None]
    if unset:
        model.set_params(**dict.fromkeys(unset, value))


def single_threaded(model: Any) -> None:
    """Set every `n_jobs` inside a fitted `model` to 1: for one row a pool costs more than the prediction."""
    seen: set[int] = set()
    waiting = [model]
    while waiting:
        part = waiting.pop()
        if id(part) in seen:
            continue
        seen.add(id(part))  # parts live as long as the model, so no id is used twice
        if isinstance(part, list | tuple):
            waiting += part
        elif isinstance(part, dict):
            waiting += part.values()
        elif hasattr(part, "__dict__") and not (
            inspect.isclass(part) or inspect.isroutine(part) or inspect.ismodule(part)
        ):
            # Some parts that hold estimators are none themselves, such as those of CalibratedClassifierCV.
            if vars(part).get("n_jobs") not in (None, 1):
                part.n_jobs = 1
            waiting += vars(part).values()


def _inner(estimator: Any) -> list[Any]:
    """The estimators that a meta-estimator was given; its own default, where it has one, is not among them."""
    found = []
    for name, value in estimator.get_params(deep=False).items():
        if name in NESTED and hasattr(value, "fit"):
            found.append(value)
        elif name in ("estimators", "steps") and isinstance(value, list):
            found += [pair[1] for pair in value if isinstance(pair, tuple) and hasattr(pair[1], "predict")]
    return found


def _input_tags(estimator: Any) -> Any:
    from sklearn.utils import get_tags

    try:
        return get_tags(estimator).input_tags
    except (AttributeError, TypeError, ValueError):
        return None
