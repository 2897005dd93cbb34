"""Types that a skops model may hold besides those that skops trusts itself: reviewed one by one, exact names only.

skops audits a file's types before it builds anything, and builds only what is on a list: its own (scikit-learn's
estimators, numpy's arrays and dtypes, ufuncs), this one, and `model.trust`. What was looked at for each entry:
building it, or setting its state, runs no code that the file chooses, opens nothing and imports nothing by a name
from the file. Functions are here when they compute on arrays alone. Prefixes are never trusted: `numpy.*` holds
functions that run code.

Not here, on purpose: `PyFuncDistance` (calls a function from the file), `functools.partial`, anything of `joblib`,
`pickle`, `operator` or `builtins`. The index arrays of trees are not checked by scikit-learn against their bounds, so
a made-up file could crash the process; that is why a model is read only after its digest was found equal to its
record.
"""

from __future__ import annotations

_TREES = (
    "sklearn.tree._tree.Tree",  # arrays of nodes; every tree, forest and gradient boosting
    "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",  # the same for histogram boosting
)

_DTYPES = ("numpy.dtype",)  # SimpleImputer and KBinsDiscretizer keep one; built by skops from its text form

_LOSSES = (
    "sklearn._loss.loss.HalfTweedieLoss",
    "sklearn._loss.loss.HalfTweedieLossIdentity",
)

_NEIGHBOURS = (
    "sklearn.neighbors._kd_tree.KDTree",
    "sklearn.neighbors._ball_tree.BallTree",
    *(
        f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
        for name in ("Euclidean", "Manhattan", "Chebyshev", "Minkowski", "SEuclidean", "Mahalanobis", "Hamming")
        for bits in (32, 64)
    ),
    *(
        f"sklearn.metrics._dist_metrics.{name}Distance{bits}"
        for name in ("Canberra", "BrayCurtis", "Haversine", "Jaccard", "Dice", "RogersTanimoto", "RussellRao")
        for bits in (32, 64)
    ),
)

_KERNELS = tuple(
    f"sklearn.gaussian_process.kernels.{name}"
    for name in (
        "CompoundKernel",
        "ConstantKernel",
        "DotProduct",
        "ExpSineSquared",
        "Exponentiation",
        "Hyperparameter",
        "Matern",
        "PairwiseKernel",
        "Product",
        "RBF",
        "RationalQuadratic",
        "Sum",
        "WhiteKernel",
    )
)

_PARTS = (
    "collections.OrderedDict",
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
    "sklearn.calibration._TemperatureScaling",
    "sklearn.compose._column_transformer.make_column_selector",
    "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
    "sklearn.impute._iterative.IterativeImputer",
    "sklearn.impute._iterative._ImputerTriplet",
    "sklearn.metrics._scorer._CurveScorer",  # scorers hold a function, which needs trust of its own
    "sklearn.metrics._scorer._PassthroughScorer",
    "sklearn.metrics._scorer._Scorer",
    "sklearn.model_selection._split.KFold",
    "sklearn.model_selection._split.StratifiedKFold",
    "sklearn.multiclass._ConstantPredictor",
    "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
    "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
    "sklearn.utils._bunch.Bunch",  # a dict whose keys are attributes too
    "sklearn.utils._metadata_requests.MetadataRequest",
    "sklearn.utils._metadata_requests.MethodMetadataRequest",
    "scipy.interpolate._bsplines.BSpline",
)

_FUNCTIONS = (
    "numpy.mean",
    "scipy._lib.array_api_compat.numpy._aliases.asarray",
    "sklearn.feature_selection._mutual_info.mutual_info_classif",
    "sklearn.feature_selection._mutual_info.mutual_info_regression",
    "sklearn.feature_selection._univariate_selection.chi2",
    "sklearn.feature_selection._univariate_selection.f_classif",
    "sklearn.feature_selection._univariate_selection.f_regression",
    "sklearn.metrics._classification.balanced_accuracy_score",
    "sklearn.metrics._ranking.roc_auc_score",
)

_OURS = ("stages.model.datetimes.DatetimeParts",)

TRUSTED: frozenset[str] = frozenset(
    (*_TREES, *_DTYPES, *_LOSSES, *_NEIGHBOURS, *_KERNELS, *_PARTS, *_FUNCTIONS, *_OURS)
)
"""Exact type names, `module.Name`."""
