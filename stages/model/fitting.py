"""Fitting a pipeline, with what goes wrong told in one line: whose fault it is, and what to do."""

from __future__ import annotations

import logging
import random
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd

from stages.errors import ConfigError, DataError, MlciError
from stages.model import families, preprocess
from stages.model.estimator import one_line

log = logging.getLogger("mlci")


def transform(pipeline: Any, frame: pd.DataFrame, y: np.ndarray, own: str | None) -> Any:
    """Fit the pipeline's preprocessing in place and return the transformed training rows.

    `own`: the name of the user's preprocessing function, None for `auto`.

    Raises:
        DataError: MOD_PREPROCESS: the user's transformer raised, or no column is left; MOD_FIT: ours raised.
    """
    transformer = pipeline.steps[0][1]
    with blamed(own, " in fit"):
        if hasattr(transformer, "fit_transform"):
            inputs = transformer.fit_transform(frame, y)
        else:
            inputs = transformer.fit(frame, y).transform(frame)
    if getattr(inputs, "shape", (0, 1))[1:] == (0,):
        raise DataError("MOD_PREPROCESS", "preprocessing leaves no column", "keep at least one feature")
    return inputs


def fit(pipeline: Any, inputs: Any, y: np.ndarray, weight: np.ndarray | None) -> None:
    """Fit the pipeline's estimator in place on transformed rows; `weight` of each row, or None.

    Raises:
        ConfigError: CFG_ESTIMATOR: the estimator refuses a parameter.
        DataError: MOD_FIT: it raised anything else.
    """
    with blamed(None):
        pipeline.steps[-1][1].fit(inputs, y, **({} if weight is None else {"sample_weight": weight}))


@contextmanager
def blamed(own: str | None, doing: str = "") -> Iterator[None]:
    """Turn what scikit-learn or the user's code raises into an error of one line, and warnings into one line each."""
    from sklearn.utils._param_validation import InvalidParameterError

    with warnings.catch_warnings(record=True) as raised:
        warnings.simplefilter("default")
        try:
            yield
        except MlciError:
            raise
        except MemoryError as error:
            todo = "use fewer rows, a smaller model or a larger machine"
            raise DataError("MOD_FIT", "there is not enough memory to fit the model", todo) from error
        except InvalidParameterError as error:
            raise ConfigError("CFG_ESTIMATOR", f"model.params: {one_line(error)}", "correct the parameter") from error
        except Exception as error:  # estimators and transformers, the user's among them, may raise anything
            if own is not None:
                raise preprocess.failed(error, own, doing) from error
            what = f"the model could not be fitted or asked: {type(error).__name__}: {one_line(error)}"
            raise DataError("MOD_FIT", what, "look at the estimator's parameters and at the features") from error
        finally:
            _tell(raised)


def seeded(pipeline: Any, value: int) -> Any:
    """Set every seed: each `random_state` in the pipeline, and the global generators for code that uses those."""
    families.seed(pipeline, value)
    random.seed(value)
    np.random.seed(value % 2**32)  # third-party estimators draw from it
    return pipeline


def _tell(raised: list[warnings.WarningMessage]) -> None:
    """Each distinct warning as one line of the log."""
    counted = Counter((w.category.__name__, one_line(ValueError(str(w.message).split("\n\n")[0]))) for w in raised)
    for (category, message), times in counted.items():
        log.warning("%s: %s%s", category, message[:240], f" ({times} times)" if times > 1 else "")
