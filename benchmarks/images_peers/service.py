"""The forest of the benchmark as a BentoML service. BASE and the versions stand in the environment of the build."""

from __future__ import annotations

import os
from pathlib import Path

import bentoml

image = bentoml.images.Image(base_image=os.environ.get("BENCH_BASE", "python:3.11-slim"))
image.python_packages(*os.environ.get("BENCH_PACKAGES", "scikit-learn pandas joblib").split())


@bentoml.service(image=image)
class Forest:
    """One forest behind one method."""

    def __init__(self) -> None:
        import joblib

        self.model = joblib.load(Path(__file__).with_name("model.joblib"))

    @bentoml.api
    def predict(self, x: list[list[float]]) -> list[int]:
        return [int(value) for value in self.model.predict(x)]
