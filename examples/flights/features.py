"""What this model needs beyond mlci's defaults: how raw rows become labelled ones, and how features are encoded."""

from sklearn.compose import ColumnTransformer
from sklearn.preprocessing import OrdinalEncoder

LATE_MINUTES = 15
CATEGORIES = ["carrier", "origin", "dest"]


def arrived(flights):
    """Keep the flights that arrived and say which of them were late.

    This is data.transform: it derives the label from `arr_delay`, which no one knows at departure, so it runs in
    prepare only.
    """
    flights = flights[flights["arr_delay"].notna()].copy()
    flights["late"] = flights["arr_delay"] > LATE_MINUTES
    return flights


def columns():
    """Encode categories by number, the rare ones together; numbers pass as they are.

    This is model.preprocess: the service does the same to every request. Trees need no scaling, and histogram
    boosting takes
    missing numbers as they come.
    """
    categories = OrdinalEncoder(
        handle_unknown="use_encoded_value", unknown_value=-1, encoded_missing_value=-2, min_frequency=200
    )
    return ColumnTransformer([("categories", categories, CATEGORIES)], remainder="passthrough")
