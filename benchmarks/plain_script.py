"""What a person would write by hand for the flights example: one script, pandas and scikit-learn, nothing to start
from.

python benchmarks/plain_script.py FOLDER
"""

import json
import sys
from pathlib import Path

import pandas as pd
import skops.io
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    balanced_accuracy_score,
    brier_score_loss,
    f1_score,
    log_loss,
    matthews_corrcoef,
    precision_score,
    recall_score,
    roc_auc_score,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, OrdinalEncoder, StandardScaler

CATEGORIES = ["carrier", "origin", "dest"]
NUMBERS = ["dep_delay", "distance", "month", "hour", "minute", "temp", "wind_speed", "precip", "visib", "pressure"]
KEY = ["time_hour", "carrier", "flight", "origin"]
BOUNDS = {"dep_delay": (-120, 2000), "distance": (0, 6000), "month": (1, 12), "hour": (0, 23), "minute": (0, 59)}
NULLABLE = ["temp", "wind_speed", "precip", "visib", "pressure"]


def read(folder: Path) -> pd.DataFrame:
    """The flights that arrived, with their label, checked."""
    frame = pd.read_csv(folder / "data" / "flights.csv.gz")
    frame = frame[frame["arr_delay"].notna()]
    frame["late"] = frame["arr_delay"] > 15
    frame = frame[[*KEY, *[c for c in CATEGORIES + NUMBERS if c not in KEY], "late"]].drop_duplicates()
    frame["time_hour"] = pd.to_datetime(frame["time_hour"], utc=True)
    bad = pd.Series(False, index=frame.index)
    for column, (low, high) in BOUNDS.items():
        bad |= ~frame[column].between(low, high)
    for column in ("wind_speed", "precip", "visib"):
        bad |= frame[column] < 0
    bad |= frame["pressure"].notna() & ~frame["pressure"].between(900, 1100)
    bad |= ~frame["origin"].isin(["EWR", "JFK", "LGA"])
    bad |= frame[[c for c in frame.columns if c not in NULLABLE]].isna().any(axis=1)
    bad |= frame.duplicated(KEY, keep=False)
    if bad.mean() > 0.01:
        sys.exit("too many bad rows")
    return frame[~bad]


def metrics(truth, probability):
    """The usual figures of a binary classifier."""
    label = probability >= 0.5
    return {
        "accuracy": accuracy_score(truth, label),
        "balanced_accuracy": balanced_accuracy_score(truth, label),
        "f1": f1_score(truth, label),
        "precision": precision_score(truth, label, zero_division=0),
        "recall": recall_score(truth, label),
        "matthews_corrcoef": matthews_corrcoef(truth, label),
        "roc_auc": roc_auc_score(truth, probability),
        "average_precision": average_precision_score(truth, probability),
        "log_loss": log_loss(truth, probability),
        "brier_score_loss": brier_score_loss(truth, probability),
    }


def main() -> None:
    """Train, compare with both baselines, save."""
    folder = Path(sys.argv[1])
    frame = read(folder)
    train, test = train_test_split(frame, test_size=0.2, random_state=42, stratify=frame["late"])
    del frame
    x_train, y_train = train[CATEGORIES + NUMBERS], train["late"].to_numpy()
    x_test, y_test = test[CATEGORIES + NUMBERS], test["late"].to_numpy()
    encoder = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2, min_frequency=200
    )
    model = Pipeline(
        [
            ("preprocess", ColumnTransformer([("categories", encoder, CATEGORIES)], remainder="passthrough")),
            ("estimator", HistGradientBoostingClassifier(max_iter=200, learning_rate=0.1, random_state=42)),
        ]
    )
    model.fit(x_train, y_train)
    result = {
        "test": metrics(y_test, model.predict_proba(x_test)[:, 1]),
        "train": metrics(y_train, model.predict_proba(x_train)[:, 1]),
    }
    dummy = DummyClassifier(strategy="prior").fit(x_train, y_train)
    result["dummy"] = metrics(y_test, dummy.predict_proba(x_test)[:, 1])
    linear = make_pipeline(
        ColumnTransformer(
            [
                (
                    "numbers",
                    make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()),
                    NUMBERS,
                ),
                ("categories", OneHotEncoder(handle_unknown="infrequent_if_exist", min_frequency=20), CATEGORIES),
            ]
        ),
        LogisticRegression(max_iter=200),
    ).fit(x_train, y_train)
    result["linear"] = metrics(y_test, linear.predict_proba(x_test)[:, 1])
    (folder / "plain").mkdir(exist_ok=True)
    skops.io.dump(model, folder / "plain" / "model.skops")
    (folder / "plain" / "metrics.json").write_text(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
