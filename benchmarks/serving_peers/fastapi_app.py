"""What one writes by hand: FastAPI, a pydantic model of a row, a data frame, the pipeline."""

import os

import joblib
import pandas as pd
from fastapi import FastAPI
from pydantic import BaseModel

pipeline = joblib.load(os.environ["BENCH_MODEL"])
app = FastAPI()


class Row(BaseModel):
    """One flight."""

    dep_delay: float
    carrier: str
    origin: str
    dest: str
    distance: float
    month: float
    hour: float
    minute: float
    temp: float | None
    wind_speed: float | None
    precip: float | None
    visib: float | None
    pressure: float | None


class Request(BaseModel):
    """A body."""

    rows: list[Row]


@app.post("/predict")
def predict(request: Request):
    """Labels and probabilities."""
    frame = pd.DataFrame([row.model_dump() for row in request.rows])
    chances = pipeline.predict_proba(frame)
    labels = pipeline.classes_[chances.argmax(axis=1)]
    return {"predictions": labels.tolist(), "probabilities": chances.tolist()}
