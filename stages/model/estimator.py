"""From a dotted class name and parameters to an estimator, with every mistake named before anything is fitted."""

from __future__ import annotations

import difflib
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from stages.errors import ConfigError
from stages.model.families import NESTED

#: Distributions that are not called like the module they bring.
_DISTRIBUTIONS = {
    "sklearn": "scikit-learn",
    "imblearn": "imbalanced-learn",
    "sklego": "scikit-lego",
    "skopt": "scikit-optimize",
}

#: What to do instead of naming a Pipeline as the estimator.
_PIPELINE = (
    "name its last step as model.estimator, and return the other steps from model.preprocess: module:function "
    "(a Pipeline of transformers will do)"
)


def build(dotted: str, params: Mapping[str, Any], task: str) -> Any:
    """An unfitted estimator of class `dotted`.

    Where a meta-estimator takes another estimator, `params` may give its class by name, or as
    `{class: package.Class, params: {…}}`; `inner__name` sets a parameter of it.

    Raises:
        ConfigError: CFG_ESTIMATOR: unknown module, class or parameter, a value that the estimator refuses, or an
            estimator for another task; the message starts with the key of ml.yaml.
    """
    estimator = _instance(dotted, params, "model")
    _right_kind(estimator, dotted, task)
    return estimator


def find(dotted: str, key: str = "model.estimator") -> type:
    """The class of that dotted name.

    Raises:
        ConfigError: CFG_ESTIMATOR, naming the distribution that is missing or the nearest known name.
    """
    module_name, _, name = dotted.rpartition(".")
    if not module_name:
        raise _error(key, f"expected package.module.Class, got {dotted!r}", "write the name of a class with its module")
    module = _module(module_name, dotted, key)
    found = getattr(module, name, None)
    if found is None:
        classes = [n for n, v in vars(module).items() if inspect.isclass(v) and _is_estimator(v)]
        elsewhere = _elsewhere(name) if module_name.split(".")[0] == "sklearn" else None
        todo = f"it is {elsewhere}" if elsewhere else nearest_name(name, classes)
        raise _error(key, f"{module_name} has no class {name!r}", todo)
    if not inspect.isclass(found):
        todo = _PIPELINE if name == "make_pipeline" else "name the class of an estimator"
        raise _error(key, f"{dotted} is not a class", todo)
    if not _is_estimator(found):
        raise _error(key, f"{dotted} has no fit, predict and get_params", "name a scikit-learn compatible estimator")
    return found


def nearest_name(word: str, names: list[str]) -> str:
    """Like `problems.nearest`, for names with capitals."""
    by_lower = {n.lower(): n for n in names if not n.startswith("_")}
    close = difflib.get_close_matches(word.lower(), list(by_lower), n=1, cutoff=0.6)
    if close:
        return f"did you mean {by_lower[close[0]]!r}?"
    return f"known here: {', '.join(by_lower.values())}" if 0 < len(by_lower) <= 40 else "see its documentation"


def _instance(dotted: str, params: Mapping[str, Any], key: str) -> Any:
    cls = find(dotted, f"{key}.estimator" if key == "model" else key)
    own = {n: v for n, v in params.items() if "__" not in n}
    deeper = {n: v for n, v in params.items() if "__" in n}
    own = {n: _value(n, v, f"{key}.params.{n}") for n, v in own.items()}
    known = _parameters(cls)
    if known is not None:
        for name in own:
            if name not in known:
                raise _error(f"{key}.params", f"{cls.__name__} has no parameter {name!r}", nearest_name(name, known))
    try:
        estimator = cls(**own)
        inner = estimator.get_params() if deeper else {}
        for name in deeper:
            if name not in inner:
                todo = nearest_name(name, [n for n in inner if "__" in n])
                raise _error(f"{key}.params", f"{cls.__name__} has no parameter {name!r}", todo)
        if deeper:
            estimator.set_params(**deeper)
        if hasattr(estimator, "_parameter_constraints"):  # of scikit-learn's own, not of what only inherits from it
            estimator._validate_params()
    except (TypeError, ValueError, AttributeError) as error:
        if cls.__name__ == "Pipeline" and "'steps'" in str(error):
            where = f"{key}.estimator" if key == "model" else key
            raise _error(where, "mlci makes the Pipeline itself: preprocess, then the estimator", _PIPELINE) from error
        todo = f"see the parameters of {cls.__name__}"
        if "'estimators'" in str(error):
            todo = "give them by name: estimators: [[first, package.module.Class], [second, {class: …, params: {…}}]]"
        elif "missing" in str(error) and "'estimator'" in str(error):
            todo = "give it by name: params: {estimator: {class: package.module.Class, params: {…}}}"
        raise _error(f"{key}.params", one_line(error), todo) from error
    return estimator


def _value(name: str, value: Any, key: str) -> Any:
    """A parameter as Python takes it: nested estimators built, true/false as keys of class weights made 0/1."""
    if name in NESTED and isinstance(value, str) and "." in value:
        return _instance(value, {}, key)
    if name in NESTED and isinstance(value, Mapping) and isinstance(value.get("class"), str):
        return _instance(value["class"], value.get("params") or {}, key)
    if name == "estimators" and isinstance(value, list):
        return [
            (pair[0], _value("estimator", pair[1], key)) if isinstance(pair, list) and len(pair) == 2 else pair
            for pair in value
        ]
    if name == "class_weight" and isinstance(value, Mapping):
        # skops writes keys as JSON text and would read `false` back as true.
        return {int(k) if isinstance(k, bool) else k: v for k, v in value.items()}
    return value


def _parameters(cls: type) -> list[str] | None:
    """Names of the constructor's parameters, None when it takes any."""
    try:
        parameters = inspect.signature(cls).parameters
    except (TypeError, ValueError):
        return None
    if any(p.kind is p.VAR_KEYWORD for p in parameters.values()):
        return None
    return [n for n, p in parameters.items() if p.kind is not p.VAR_POSITIONAL]


def _right_kind(estimator: Any, dotted: str, task: str) -> None:
    from sklearn.base import is_classifier, is_clusterer, is_outlier_detector, is_regressor

    wanted, other = (is_classifier, is_regressor) if task == "classification" else (is_regressor, is_classifier)
    try:
        if wanted(estimator):
            return
        is_other = other(estimator)
        unfit = is_clusterer(estimator) or is_outlier_detector(estimator)
    except AttributeError:  # a class that does not inherit from scikit-learn's tells its kind by a method at most
        return
    name = dotted.rpartition(".")[2]
    if is_other:
        swap = ("Regressor", "Classifier") if task == "classification" else ("Classifier", "Regressor")
        twin = dotted.replace(swap[0], swap[1])
        todo = f"use {twin}, or change task" if twin != dotted and _exists(twin) else "change the estimator or the task"
        kind = "regressor" if task == "classification" else "classifier"
        raise _error("model.estimator", f"{name} is a {kind}, the task is {task}", todo)
    if unfit or not hasattr(estimator, "predict"):
        raise _error("model.estimator", f"{name} does not do {task}", "choose a classifier or regressor")


def _exists(dotted: str) -> bool:
    try:
        find(dotted)
    except ConfigError:
        return False
    return True


def _is_estimator(cls: type) -> bool:
    return all(hasattr(cls, method) for method in ("fit", "predict", "get_params"))


def _module(module_name: str, dotted: str, key: str) -> Any:
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        missing, top = error.name or module_name, module_name.split(".")[0]
        if not (module_name == missing or module_name.startswith(missing + ".")):
            name = _DISTRIBUTIONS.get(missing.split(".")[0], missing.split(".")[0])
            raise _error(
                key, f"importing {module_name} needs {missing!r}, which is not installed", _install(name)
            ) from error
        if missing == top:
            name = _DISTRIBUTIONS.get(top, top)
            raise _error(key, f"{dotted}: there is no module {top!r}", _install(name)) from None
        parent = importlib.import_module(missing.rpartition(".")[0])
        names = [m.name for m in pkgutil.iter_modules(getattr(parent, "__path__", [])) if not m.name.startswith("_")]
        word = missing.rpartition(".")[2]
        elsewhere = _elsewhere(dotted.rpartition(".")[2]) if top == "sklearn" else None
        from stages.config.problems import nearest  # a service, which has no pydantic, comes by here too

        todo = f"it is {elsewhere}" if elsewhere else nearest(word, names)
        raise _error(key, f"{dotted}: there is no module {missing!r}", todo) from None
    except (Exception, SystemExit) as error:  # the module may be the user's own and raise anything
        raise _error(
            key, f"importing {module_name} failed: {type(error).__name__} {one_line(error)}", "correct the module"
        ) from error


def _install(distribution: str) -> str:
    return f"add {distribution} to the repository's requirements.txt and install that"


def _elsewhere(name: str) -> str | None:
    """Where scikit-learn keeps the class of that name, or one of nearly that name."""
    from sklearn.utils import all_estimators

    classes: dict[str, Any] = dict(all_estimators(type_filter=["classifier", "regressor"]))
    spelled = {n.lower(): n for n in classes}.get(name.lower())
    if spelled is None:
        return None
    cls = classes[spelled]
    parts = cls.__module__.split(".")
    for end in range(2, len(parts) + 1):  # the shortest module that has it is the public one
        module = ".".join(parts[:end])
        if getattr(importlib.import_module(module), spelled, None) is cls:
            return f"{module}.{spelled}"
    return f"{cls.__module__}.{spelled}"


def one_line(error: BaseException) -> str:
    """An exception's message in one line of bounded length."""
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 400 else text[:397] + "…"


def _error(key: str, what: str, todo: str) -> ConfigError:
    return ConfigError("CFG_ESTIMATOR", f"{key}: {what}", todo)
