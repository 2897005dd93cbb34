"""BentoML as its documentation has it: a service class, one worker, JSON in and out."""

import os
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1)
class Flights:
    """The pipeline behind one endpoint."""

    def __init__(self) -> None:
        self.pipeline = joblib.load(os.environ["BENCH_MODEL"])

    @bentoml.api
    def predict(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Labels and probabilities."""
        chances = self.pipeline.predict_proba(pd.DataFrame(rows))
        labels = self.pipeline.classes_[chances.argmax(axis=1)]
        return {"predictions": labels.tolist(), "probabilities": chances.tolist()}
