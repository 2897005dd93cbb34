"""Save the pipeline as an MLflow model with a signature: `mlflow models serve` does the rest."""

import json
import sys
from pathlib import Path

import joblib
import mlflow.sklearn
import pandas as pd
from mlflow.models import infer_signature

model, rows, out = (Path(argument) for argument in sys.argv[1:4])
pipeline = joblib.load(model)
frame = pd.DataFrame(json.loads(rows.read_text()))
mlflow.sklearn.save_model(
    pipeline,
    str(out),
    signature=infer_signature(frame, pipeline.predict(frame)),
    pip_requirements=[],
    serialization_format="cloudpickle",
)
