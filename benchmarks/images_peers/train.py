"""Train the forest of the benchmark and save it as a peer wants it: `train.py mlflow|joblib DATA SEED FOLDER BASE`."""

import shutil
import sys
from importlib.metadata import version
from pathlib import Path

import joblib
import pandas as pd
from sklearn.ensemble import RandomForestClassifier

kind, data, seed, folder = sys.argv[1], sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
frame = pd.read_csv(data)
model = RandomForestClassifier(n_estimators=100, random_state=seed).fit(frame.drop(columns="benign"), frame["benign"])
shutil.rmtree(folder, ignore_errors=True)
if kind == "mlflow":
    import mlflow.sklearn

    pinned = [f"{name}=={version(name)}" for name in ("mlflow", "scikit-learn", "pandas", "numpy", "cloudpickle")]
    mlflow.sklearn.save_model(model, str(folder), serialization_format="cloudpickle", pip_requirements=pinned)
else:
    folder.mkdir(parents=True)
    joblib.dump(model, folder / "model.joblib")
    shutil.copy(Path(__file__).with_name("service.py"), folder)
