"""Requests a second, memory and start of mlci's service, MLflow, BentoML and a plain FastAPI service, in turn.

    python benchmarks/serving.py [--rounds 3] [--seconds 3]

All serve the same pipeline (histogram boosting of 200 iterations on flight-like rows, trained here), one worker each,
on 127.0.0.1, and are asked by wrk with 1, 16 and 64 connections for 1 and 100 rows. Before anything is measured each
has to give the pipeline's own labels for 100 rows. `empty` is an ASGI handler that does nothing, on the server that
mlci uses. The peers and wrk are installed by this script, the peers into a cache folder outside the tree
(`MLCI_BENCH_CACHE`, else `~/.cache/mlci-bench`).

Memory: proportional set size of all processes of a server after the load. Start: from starting the process to the first
answer. The last line is one JSON object; a ratio is the median of the ratios of the rounds.
"""

from __future__ import annotations

import argparse
import contextlib
import gzip
import hashlib
import http.client
import json
import os
import platform
import random
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve().parent
PEERS = HERE / "serving_peers"
PYTHON = Path(sys.executable)

#: What each peer needs beside the libraries that the model was trained with.
WANTED = {
    "mlflow": ["mlflow==3.17.2"],
    "bentoml": ["bentoml==1.4.39"],
    "fastapi": ["fastapi==0.165.0", "uvicorn==0.54.0", "httptools==0.9.0", "uvloop==0.23.0"],
}
SHARED = ("scikit-learn", "pandas", "numpy", "scipy", "joblib")
CONNECTIONS, ROWS = (1, 16, 64), (1, 100)
OURS, OTHERS = ("mlci onnx", "mlci sklearn"), ("mlflow", "bentoml", "fastapi")

CONFIG = """
name: flights
task: classification
data:
  source: flights.csv.gz
  target: late
  positive: true
  columns:
    dep_delay: {type: number}
    carrier: {type: category}
    origin: {type: category}
    dest: {type: category}
    distance: {type: number}
    month: {type: number}
    hour: {type: number}
    minute: {type: number}
    temp: {type: number, nullable: true}
    wind_speed: {type: number, nullable: true}
    precip: {type: number, nullable: true}
    visib: {type: number, nullable: true}
    pressure: {type: number, nullable: true}
    late: {type: boolean}
model:
  estimator: sklearn.ensemble.HistGradientBoostingClassifier
  params: {max_iter: 200, early_stopping: false}
  onnx: require
"""

LOAD = """
local file = io.open(os.getenv("BENCH_BODY"), "rb")
wrk.method, wrk.body = "POST", file:read("*a")
wrk.headers["Content-Type"] = "application/json"
done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('\\n{"requests": %d, "seconds": %f, "errors": %d, "p50": %f, "p99": %f}\\n', summary.requests,
    summary.duration / 1e6, e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
"""


def environment(**more: str) -> dict[str, str]:
    """The caller's, without what slows numpy on some machines; nobody phones home.

    One thread of OpenMP for all: mlci sets that for itself, and without it peers wait for threads on a busy machine.
    """
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CI", "JENKINS_URL")
    kept = {name: value for name, value in os.environ.items() if name not in dropped and not name.startswith("MLCI_")}
    silent = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True"}
    return {**kept, **silent, "OMP_NUM_THREADS": "1", **more}


def run(command: list[Any], **more: Any) -> str:
    """Standard output of a command; ends the script, with what it said, when it fails."""
    done = subprocess.run(
        list(map(str, command)), env=environment(), capture_output=True, text=True, check=False, **more
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return str(done.stdout)


# ---- what is needed


def peer(name: str) -> Path:
    """The folder of a virtual environment with the peer and the libraries of the model, made once."""
    wanted = WANTED[name] + [f"{one}=={version(one)}" for one in SHARED]
    key = hashlib.sha256(json.dumps([wanted, platform.python_version()]).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("MLCI_BENCH_CACHE") or Path.home() / ".cache" / "mlci-bench")
    folder = cache / f"serving-{name}-{key}"
    if not (folder / "complete").is_file():
        print(f"installing {name} …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        run([PYTHON, "-m", "venv", folder])
        uv = PYTHON.parent / "uv"
        if uv.is_file():
            run([uv, "pip", "install", "-q", "--python", folder / "bin" / "python", *wanted])
        else:
            run([folder / "bin" / "python", "-m", "pip", "install", "-q", *wanted])
        (folder / "complete").touch()
    return folder


def load_generator() -> str:
    """The path of wrk, installed from the system's packages where it is missing and that is allowed."""
    if shutil.which("wrk") is None and os.geteuid() == 0 and shutil.which("apt-get"):
        run(["apt-get", "update", "-qq"])
        run(["apt-get", "install", "-y", "-qq", "wrk"])
    found: str | None = shutil.which("wrk")
    if found is None:
        sys.exit("wrk is missing: apt-get install wrk")
    return found


def flights(count: int = 60_000) -> tuple[str, list[dict[str, Any]]]:
    """Flight-like rows as CSV, and the first of them as JSON rows without the target."""
    rng = np.random.default_rng(2013)
    columns: dict[str, Any] = {
        "dep_delay": np.round(rng.exponential(20, count) - 10),
        "carrier": rng.choice([f"{a}{b}" for a in "ABDU" for b in "ALSX"], count),
        "origin": rng.choice(["EWR", "JFK", "LGA"], count),
        "dest": rng.choice([f"D{i:02d}" for i in range(100)], count),
        "distance": np.round(rng.uniform(80, 5000, count)),
        "month": rng.integers(1, 13, count).astype(float),
        "hour": rng.integers(5, 24, count).astype(float),
        "minute": rng.integers(0, 60, count).astype(float),
        "temp": np.round(rng.normal(57, 18, count), 2),
        "wind_speed": np.round(rng.gamma(3, 3.5, count), 4),
        "precip": np.round(rng.exponential(0.01, count), 2),
        "visib": np.round(rng.uniform(0, 10, count), 1),
        "pressure": np.round(rng.normal(1018, 7, count), 1),
    }
    score = columns["dep_delay"] - 15 + 8 * (columns["precip"] > 0.02) + (columns["carrier"] == "AA") * 5
    late = score + rng.normal(0, 12, count) > 0
    for name in ("temp", "wind_speed", "precip", "visib", "pressure"):
        columns[name] = np.where(rng.random(count) < 0.03, None, columns[name])
    names = list(columns)
    table = list(zip(*(columns[name].tolist() for name in names), strict=True))
    lines = [
        ",".join("" if v is None else str(v) for v in row) + f",{str(bool(y)).lower()}"
        for row, y in zip(table, late, strict=True)
    ]
    text = "\n".join([",".join([*names, "late"]), *lines]) + "\n"
    return text, [dict(zip(names, row, strict=True)) for row in table[: max(ROWS)]]


@dataclass
class Model:
    """The trained pipeline in every form that a server wants, 100 rows and the pipeline's labels for them."""

    onnx: Path
    sklearn: Path
    joblib: Path
    mlflow: Path
    rows: list[dict[str, Any]]
    labels: list[bool]


def trained(place: Path) -> Model:
    """Train with mlci; hand the same pipeline to everyone."""
    import joblib

    from stages.model import persistence
    from stages.model.answers import answers
    from stages.model.frames import frame_from_lists

    text, rows = flights()
    (place / "flights.csv.gz").write_bytes(gzip.compress(text.encode(), mtime=0))
    (place / "ml.yaml").write_text(CONFIG)
    for stage in ("prepare", "train"):
        run([PYTHON, "-m", "stages", stage, "-C", place], cwd=HERE.parent)
    onnx, sklearn = place / ".mlci" / "train", place / "sklearn"
    shutil.copy(place / ".mlci" / "prepare" / "schema.json", onnx)  # with whose categories an image counts others
    shutil.copytree(onnx, sklearn)
    (sklearn / "model.onnx").unlink()
    signature = json.loads((sklearn / "signature.json").read_text())
    signature["onnx"] = {"proved": False, "reason": "left out for comparison"}
    (sklearn / "signature.json").write_text(json.dumps(signature))
    pipeline = persistence.load(sklearn, signature)
    lists = {name: [row[name] for row in rows] for name in rows[0]}
    labels, _ = answers(pipeline, frame_from_lists(lists, signature["features"]), signature)
    joblib.dump(pipeline, place / "model.joblib")
    (place / "rows.json").write_text(json.dumps([row for row in rows if None not in row.values()]))
    save = [PEERS / "mlflow_save.py", place / "model.joblib", place / "rows.json", place / "mlflow"]
    run([peer("mlflow") / "bin" / "python", *save])
    return Model(onnx, sklearn, place / "model.joblib", place / "mlflow", rows, labels)


# ---- servers


@dataclass
class Server:
    """One contender. `bodies`: rows → request; `port` and `process` while it runs."""

    name: str
    command: list[str]
    path: str
    bodies: dict[int, bytes]
    env: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    port: int = 0
    process: subprocess.Popen[bytes] | None = None

    def start(self, folder: Path) -> float:
        """Start it; seconds until its first answer."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = [word.replace("PORT", str(self.port)) for word in self.command]
        with (folder / f"{self.name.replace(' ', '-')}.log").open("ab") as log:
            begun = time.perf_counter()
            self.process = subprocess.Popen(
                words, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd=folder,
                env=environment(**self.env), start_new_session=True,
            )  # fmt: skip
        while time.perf_counter() - begun < 120:
            with contextlib.suppress(OSError, http.client.HTTPException):
                if self.ask(1) is not None:
                    return time.perf_counter() - begun
            if self.process.poll() is not None:
                break
            time.sleep(0.005)
        sys.exit(f"{self.name} did not start:\n{Path(log.name).read_text()[-3000:]}")

    def ask(self, rows: int) -> Any:
        """The answer to one request, None unless it is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(
                "POST", self.path, self.bodies[rows], {"Content-Type": "application/json", **self.headers}
            )
            answer = connection.getresponse()
            content = answer.read()
            return json.loads(content) if answer.status == 200 else None
        finally:
            connection.close()

    def stop(self) -> None:
        """End it and what it started."""
        if self.process is None:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)  # its own session: nothing else is in it
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(10)
                break
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process = None

    def memory(self) -> float:
        """MB of proportional set size of the process and its descendants."""
        assert self.process is not None
        parents: dict[int, list[int]] = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                words = stat.read_text().rpartition(")")[2].split()
                parents.setdefault(int(words[1]), []).append(int(stat.parent.name))
        family, total = [self.process.pid], 0
        while family:
            pid = family.pop()
            family += parents.get(pid, [])
            with contextlib.suppress(OSError):
                rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
                total += sum(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
        return total / 1024


def servers(model: Model) -> list[Server]:
    """All contenders."""
    rows = {n: model.rows[:n] for n in ROWS}
    plain = {n: json.dumps({"rows": part}).encode() for n, part in rows.items()}
    columns = list(model.rows[0])
    split = {
        n: json.dumps({"dataframe_split": {"columns": columns, "data": [list(r.values()) for r in part]}}).encode()
        for n, part in rows.items()
    }
    shared = {"BENCH_MODEL": str(model.joblib)}
    ours = {"PYTHONPATH": str(HERE.parent)}
    python = str(PYTHON)
    bin_of = {name: peer(name) / "bin" for name in WANTED}
    mlflow = [
        "models",
        "serve",
        "-m",
        str(model.mlflow),
        "-p",
        "PORT",
        "-h",
        "127.0.0.1",
        "--env-manager",
        "local",
        "-w",
        "1",
    ]
    bento = ["serve", "bentoml_service:Flights", "--working-dir", str(PEERS), "--host", "127.0.0.1", "--port", "PORT"]
    fastapi = ["fastapi_app:app", "--app-dir", str(PEERS), "--port", "PORT", "--log-level", "warning"]
    on_path = {"PATH": f"{bin_of['mlflow']}:{os.environ['PATH']}"}
    serving = [python, "-m", "stages.serving", "--port", "PORT", "--folder"]
    return [
        Server("mlci onnx", [*serving, str(model.onnx)], "/predict", plain, ours),
        Server("mlci sklearn", [*serving, str(model.sklearn)], "/predict", plain, ours),
        Server("mlflow", [str(bin_of["mlflow"] / "mlflow"), *mlflow], "/invocations", split, on_path),
        Server("bentoml", [str(bin_of["bentoml"] / "bentoml"), *bento], "/predict", plain, shared),
        Server("fastapi", [str(bin_of["fastapi"] / "uvicorn"), *fastapi], "/predict", plain, shared),
        Server("empty", [python, str(PEERS / "empty_app.py"), "PORT"], "/", plain),
    ]


@contextlib.contextmanager
def running(contenders: list[Server], folder: Path) -> Iterator[None]:
    """All of them up; ended whatever happens."""
    try:
        for server in contenders:
            server.start(folder)
        yield
    finally:
        for server in contenders:
            server.stop()


# ---- measuring


def load(wrk: str, server: Server, connections: int, rows: int, seconds: float, folder: Path) -> dict[str, float]:
    """wrk's figures for one server; ends the script when an answer was not 200."""
    body, script = folder / "body.json", folder / "load.lua"
    body.write_bytes(server.bodies[rows])
    script.write_text(LOAD)
    command = [wrk, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "30s", "-s", str(script)]
    done = subprocess.run(
        [*command, f"http://127.0.0.1:{server.port}{server.path}"],
        env=environment(BENCH_BODY=str(body)), capture_output=True, text=True, check=True,
    )  # fmt: skip
    found: dict[str, float] = json.loads(done.stdout.strip().splitlines()[-1])
    if found["errors"]:
        sys.exit(f"{server.name}: {found['errors']:g} errors in {found['requests']:g} requests")
    return {"rate": found["requests"] / found["seconds"], "p50": found["p50"], "p99": found["p99"]}


def check(server: Server, labels: list[bool]) -> None:
    """Every contender has to answer as the pipeline does."""
    if server.name == "empty":
        return
    said = server.ask(max(ROWS))["predictions"]
    if [bool(one) for one in said] != labels:
        sys.exit(f"{server.name} gives other labels than the pipeline")


def main() -> None:
    """Measure, print the tables, end with one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3.0, help="of load for each figure")
    options = parser.parse_args()
    sys.path.insert(0, str(HERE.parent))
    wrk = load_generator()
    figures: dict[tuple[str, int, int], list[dict[str, float]]] = {}
    starts: dict[str, list[float]] = {}
    memory: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="mlci-bench-") as name:
        folder = Path(name)
        model = trained(folder)
        contenders = servers(model)
        for number in range(options.rounds + 1):
            for server in contenders:
                seconds = server.start(folder)
                server.stop()
                if number:  # the first round fills the page cache and writes byte code, for all alike
                    starts.setdefault(server.name, []).append(seconds)
        with running(contenders, folder):
            for server in contenders:
                check(server, model.labels)
                load(wrk, server, 4, 1, 2.0, folder)
            for number in range(options.rounds):
                for rows in ROWS:
                    for connections in CONNECTIONS:
                        for server in random.Random(number).sample(contenders, len(contenders)):
                            found = load(wrk, server, connections, rows, options.seconds, folder)
                            figures.setdefault((server.name, rows, connections), []).append(found)
            memory = {server.name: server.memory() for server in contenders}
    report(figures, starts, memory)


def report(
    figures: dict[tuple[str, int, int], list[dict[str, float]]],
    starts: dict[str, list[float]],
    memory: dict[str, float],
) -> None:
    """The tables and the last line."""
    for rows in ROWS:
        print(f"\n{rows} row(s) a request: requests a second, median (least–most); p50 / p99 in ms")
        print(f"{'':14}" + "".join(f"{f'{c} connections':>36}" for c in CONNECTIONS))
        for name in memory:
            cells = []
            for connections in CONNECTIONS:
                found = figures[name, rows, connections]
                rates = sorted(one["rate"] for one in found)
                p50, p99 = (statistics.median(one[p] for one in found) for p in ("p50", "p99"))
                cells.append(f"{statistics.median(rates):,.0f} ({rates[0]:,.0f}–{rates[-1]:,.0f}) {p50:.2f}/{p99:.1f}")
            print(f"{name:14}" + "".join(f"{cell:>36}" for cell in cells))
    print(f"\n{'':14}{'memory, MB':>12}{'first answer, s: min median max':>36}")
    for name, mb in memory.items():
        times = sorted(starts[name])
        print(f"{name:14}{mb:>12.0f}{times[0]:>22.2f}{statistics.median(times):>7.2f}{times[-1]:>7.2f}")

    def ratio(name: str, others: tuple[str, ...], connections: int) -> float:
        """The median over rounds of `name` against the best of `others` in that round."""
        mine = figures[name, 1, connections]
        best = [max(figures[o, 1, connections][i]["rate"] for o in others) for i in range(len(mine))]
        return round(statistics.median(one["rate"] / b for one, b in zip(mine, best, strict=True)), 3)

    fastest = [min(starts[o][i] for o in OTHERS) for i in range(len(starts["mlflow"]))]
    begun = [mine / theirs for mine, theirs in zip(starts["mlci onnx"], fastest, strict=True)]
    ratios = {
        "onnx_vs_mlflow_c1": ratio("mlci onnx", ("mlflow",), 1),
        "onnx_vs_mlflow_c16": ratio("mlci onnx", ("mlflow",), 16),
        "onnx_vs_best_peer_c16": ratio("mlci onnx", OTHERS, 16),
        "onnx_vs_empty_c16": ratio("mlci onnx", ("empty",), 16),
        "sklearn_vs_mlflow_c16": ratio("mlci sklearn", ("mlflow",), 16),
        "sklearn_vs_best_peer_c16": ratio("mlci sklearn", OTHERS, 16),
        "memory_vs_smallest_peer": round(memory["mlci onnx"] / min(memory[o] for o in OTHERS), 3),
        "start_vs_fastest_peer": round(statistics.median(begun), 3),
    }
    versions = {name: version(name) for name in ("mlci", "onnxruntime", "uvicorn", *SHARED)}
    versions |= {pin.split("==")[0]: pin.split("==")[1] for pins in WANTED.values() for pin in pins[:1]}
    print(
        "\n"
        + json.dumps(
            {"name": "serving", "ratios": ratios, "versions": {**versions, "python": platform.python_version()}}
        )
    )


if __name__ == "__main__":
    main()
