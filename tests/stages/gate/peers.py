"""What Evidently answers, from an environment of its own.

Evidently 0.7.23 cannot be imported beside pandas 3 (`pandas.core.dtypes.common.infer_dtype_from_object` is gone), so
that it is installed apart, once, where the tests keep what takes long to make.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.docker.parts import announce, cache

EVIDENTLY = "0.7.23"
#: The libraries that compute: what agrees must agree by the formula, not by chance of versions.
SHARED = ("numpy", "scipy", "scikit-learn", "statsmodels")

SCRIPT = """
import json, sys, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently.legacy.calculations import stattests
from evidently.legacy.core import ColumnType
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset

answers = []
for case in json.load(sys.stdin):
    level = case["kind"] == "level"
    reference, current = (pd.Series(case[side], dtype=object if level else float) for side in ("reference", "current"))
    kind = ColumnType.Categorical if level else ColumnType.Numerical
    try:
        if case["test"] == "preset":
            names = {"categorical_columns": ["x"]} if level else {"numerical_columns": ["x"]}
            definition = DataDefinition(**names)
            frames = [pd.DataFrame({"x": side}) for side in (current, reference)]
            sides = [Dataset.from_pandas(frame, data_definition=definition) for frame in frames]
            found = Report([DataDriftPreset()]).run(*sides).dict()["metrics"]
            value = [one for one in found if "ValueDrift" in (one.get("metric_name") or one.get("metric_id"))][0]
            answers.append({"score": float(value["value"]), "drifted": found[0]["value"]["count"] > 0})
        else:
            test = getattr(stattests, case["test"])
            result = test(reference, current, kind, case.get("threshold", 0.05))
            answers.append({"score": float(result.drift_score), "drifted": bool(result.drifted)})
    except Exception as error:
        answers.append({"error": type(error).__name__ + ": " + str(error)})
print(json.dumps(answers))
"""


def _python() -> Path:
    """Python of the environment with Evidently, made when it is not there."""
    home = cache() / f"evidently-{EVIDENTLY}-{sys.version_info[0]}.{sys.version_info[1]}"
    python = home / "bin" / "python"
    with (cache() / f"{home.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "ready").exists():
            announce(f"installing Evidently {EVIDENTLY} in its own environment: a minute or two; kept for later runs")
            _install(home, python)
    return python


def _install(home: Path, python: Path) -> None:
    from importlib.metadata import version

    shutil.rmtree(home, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    subprocess.run([*uv, "venv", "-q", "--python", sys.executable, str(home)], check=True)
    wanted = [f"evidently=={EVIDENTLY}", "pandas<3", *(f"{name}=={version(name)}" for name in SHARED)]
    subprocess.run([*uv, "pip", "install", "-q", "--python", str(python), *wanted], check=True, timeout=1800)
    (home / "ready").touch()


def evidently(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Evidently's answer to each case {test, kind, reference, current}: {score, drifted} or {error}. Skips the test
    where it cannot be installed, except in CI."""
    try:
        python = _python()
    except (subprocess.SubprocessError, OSError) as error:
        if os.environ.get("TESTS_IN_CI"):
            raise
        pytest.skip(f"Evidently cannot be installed: {error}")
    plain = [{**case, **{side: _plain(case[side]) for side in ("reference", "current")}} for case in cases]
    quiet = {**os.environ, "DO_NOT_TRACK": "1"}
    done = subprocess.run(
        [str(python), "-c", SCRIPT], input=json.dumps(plain), capture_output=True, text=True, env=quiet, timeout=600
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answers: list[dict[str, Any]] = json.loads(done.stdout.splitlines()[-1])
    return answers


def _plain(values: Any) -> list[Any]:
    return [None if pd.isna(value) else value for value in pd.Series(values).tolist()]
