"""What stands before the estimator: chosen from the contract and the estimator's family, or the user's own.

Everything here is a scikit-learn transformer that is fitted inside the Pipeline, on training rows only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import MinMaxScaler, OneHotEncoder, OrdinalEncoder, StandardScaler

from stages.errors import ConfigError, DataError
from stages.model import families
from stages.model.datetimes import DatetimeParts
from stages.model.estimator import one_line
from stages.model.frames import Feature

#: Most levels of one column that become columns of their own, and the rows that a level needs for that.
MOST_LEVELS, ROWS_OF_A_LEVEL = 100, 5

#: Most codes of one column for a tree; histogram boosting has 255 bins for known values.
MOST_CODES = 254


def pipeline(preprocess: Any, estimator: Any) -> Pipeline:
    """The one Pipeline: what is fitted, saved and served."""
    return Pipeline([("preprocess", preprocess), ("estimator", estimator)])


def auto(features: Sequence[Feature], estimator: Any) -> ColumnTransformer:
    """The treatment of each feature that fits the estimator's family.

    Trees: numbers pass (imputed by the median with an indicator only when the estimator refuses NaN), categories
    become codes; nothing is scaled. Others: imputed by the median with an indicator where the contract allows nulls,
    scaled; categories one-hot, rare and unseen ones together. Booleans are 0 and 1, datetimes `DatetimeParts`.

    Raises:
        ConfigError: CFG_PREPROCESS: a text column, which has no automatic treatment.
    """
    texts = [f["name"] for f in features if f["type"] == "text"]
    if texts:
        raise ConfigError(
            "CFG_PREPROCESS",
            f"model.preprocess: auto has no treatment for text columns ({', '.join(texts[:5])})",
            "make them a category, set feature: false, or give model.preprocess: module:function",
        )
    tree, nan = families.is_tree(estimator), families.takes_nan(estimator)
    parts: list[tuple[str, Any, list[str]]] = []
    for name, types in (("numbers", ("number", "integer")), ("booleans", ("boolean",)), ("times", ("datetime",))):
        for nullable in (False, True):
            columns = _names(features, types, nullable)
            steps = _steps(name, nullable and not (tree and nan), tree, families.positive_only(estimator))
            if columns:
                parts.append((f"{name}_nullable" if nullable else name, _chain(steps), columns))
    categories = _names(features, ("category",), None)
    if categories:
        sparse = families.takes_sparse(estimator) and not tree
        parts.append(("categories", _codes(nan) if tree else _levels(sparse), categories))
    keep_dense = tree or not families.takes_sparse(estimator)
    return ColumnTransformer(parts, sparse_threshold=0.0 if keep_dense else 0.3, verbose_feature_names_out=False)


def of_user(function: Callable[..., Any], name: str, schema: Sequence[Feature]) -> Any:
    """The transformer that the user's function returns; the function is given the features if it takes an argument.

    Raises:
        ConfigError: CFG_PREPROCESS: it takes more than one argument, or returns no transformer.
        DataError: MOD_PREPROCESS: it raised.
    """
    key = f"model.preprocess: {name}"
    try:
        required = [
            p
            for p in inspect.signature(function).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) and p.default is p.empty
        ]
    except (TypeError, ValueError):
        required = []
    if len(required) > 1:
        raise ConfigError(
            "CFG_PREPROCESS", f"{key} takes {len(required)} arguments", "it is called with none, or with the features"
        )
    try:
        made = function([dict(f) for f in schema]) if required else function()
    except Exception as error:  # the user's function may raise anything
        raise failed(error, name) from error
    if inspect.isclass(made) or not (hasattr(made, "fit") and hasattr(made, "transform")):
        shown = made.__name__ + ", a class" if inspect.isclass(made) else type(made).__name__
        raise ConfigError(
            "CFG_PREPROCESS", f"{key} returned {shown}", "return a transformer: an object with fit and transform"
        )
    return made


def failed(error: Exception, name: str, doing: str = "") -> DataError:
    """The error for a user's transformer or function that raised."""
    what = f"{name} raised {type(error).__name__}{doing}: {one_line(error)}"
    return DataError("MOD_PREPROCESS", what, "correct the function or its transformer")


def _names(features: Sequence[Feature], types: tuple[str, ...], nullable: bool | None) -> list[str]:
    return [
        f["name"] for f in features if f["type"] in types and (nullable is None or bool(f.get("nullable")) is nullable)
    ]


def _steps(kind: str, impute: bool, tree: bool, positive: bool) -> list[Any]:
    steps: list[Any] = [DatetimeParts()] if kind == "times" else []
    if impute:
        strategy = "most_frequent" if kind == "booleans" else "median"
        # A column that is empty in training stays, as zeros, so that the service takes the same columns.
        steps.append(SimpleImputer(strategy=strategy, add_indicator=True, keep_empty_features=True))
    if not tree and kind != "booleans":
        steps.append(MinMaxScaler(clip=True) if positive else StandardScaler())
    return steps


def _chain(steps: list[Any]) -> Any:
    if not steps:
        return "passthrough"
    return steps[0] if len(steps) == 1 else make_pipeline(*steps)


def _codes(nan: bool) -> OrdinalEncoder:
    """One number per category; unseen and missing ones are missing, or numbers of their own where NaN is refused."""
    unseen, missing = (float("nan"), float("nan")) if nan else (-1, -2)
    return OrdinalEncoder(
        handle_unknown="use_encoded_value",
        unknown_value=unseen,
        encoded_missing_value=missing,
        max_categories=MOST_CODES,
    )


def _levels(sparse: bool) -> OneHotEncoder:
    return OneHotEncoder(
        handle_unknown="infrequent_if_exist",
        max_categories=MOST_LEVELS,
        min_frequency=ROWS_OF_A_LEVEL,
        sparse_output=sparse,
    )
