"""Prepare takes a bounded amount of memory: a chunk, and a few dozen bytes a row."""

import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv

SCRIPT = """
import sys
from pathlib import Path
from stages.config.schema import Data
from stages.data.intake import Intake
from stages.data.reading import Reader
names = [f"c{i}" for i in range(12)]
data = Data.model_validate({"source": "x", "target": "c0", "key": ["id"],
    "columns": {"id": {"type": "integer", "feature": False}} | {n: {"type": "number"} for n in names}})
out = Path(sys.argv[2])
out.mkdir()
profile = Intake(data, "regression", out).run(Reader({"f": Path(sys.argv[1])}, "csv", data.read), None, {})
assert profile["rows"]["accepted"] == int(sys.argv[3])
# Not ru_maxrss, which a child inherits from the process that started it.
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak(folder, rows):
    random = np.random.default_rng(1)
    columns = {"id": np.arange(rows)} | {f"c{i}": random.integers(0, 1000, rows) / 8 for i in range(12)}
    path = folder / f"{rows}.csv"
    pacsv.write_csv(pa.table(columns), path)
    command = [sys.executable, "-c", SCRIPT, str(path), str(folder / f"out-{rows}"), str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return int(done.stdout) * 1024, path.stat().st_size


def test_memory_grows_by_hashes_not_by_rows(tmp_path):
    small, _ = peak(tmp_path, 150_000)
    large, size = peak(tmp_path, 900_000)
    # A row is 70 bytes of text and 104 of typed values. Four 8-byte numbers of it are kept; sorting takes space.
    assert size > 55_000_000
    assert (large - small) / 750_000 < 90
