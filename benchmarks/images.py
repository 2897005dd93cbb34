"""Container images of one random forest by mlci, MLflow and BentoML: size, cold build, build after retraining, in turn.

    python benchmarks/images.py [--rounds 3]

All start from the same base image: python:3.11-slim where the engine has or can pull it, else a Debian with Python made
for it. An engine is started where none answers and that is allowed. Every side has the same scikit-learn, pandas and
numpy. The peers are installed into a cache folder outside the tree (`MLCI_BENCH_CACHE`, else `~/.cache/mlci-bench`).

Cold: no layer of any side fits on the base, packages come over the network. Retrained: another forest on the same
data. Timed is from a saved model to a tagged image, by the commands that each side needs for it: for mlci a whole
process that builds (interpreter and imports included), for MLflow `mlflow models generate-dockerfile` and the build,
for BentoML `bentoml build` and `bentoml containerize`. The last column has what building the image alone takes of that.
Each image has to answer before its figures count. A ratio is the median of the ratios of the rounds; the last line is
one JSON object.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))
PEERS = HERE / "images_peers"
BASE = "mlci-bench/python:3.11-slim"
OURS = "mlci-bench/ours"
WANTED = {"mlflow": "mlflow==3.17.2", "bentoml": "bentoml==1.4.39"}
SHARED = ("scikit-learn", "pandas", "numpy", "scipy", "joblib")
SIDES = ("mlci", "mlflow", "bentoml")

CONFIG = """
name: forest
task: classification
data:
  source: data.csv
  target: benign
  columns: {columns}
model:
  estimator: sklearn.ensemble.RandomForestClassifier
  params: {{n_estimators: 100}}
  seed: {seed}
deploy: {{}}
store: store
"""


def run(words: list[Any], **options: Any) -> str:
    """Run a command, show its output when it fails, return what it printed."""
    command = [str(word) for word in words]
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, check=False, **options
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")
    return done.stdout


def environment(**more: str) -> dict[str, str]:
    """The caller's, with telemetry off, without what makes numpy slow or changes where mlci works."""
    dropped = ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE", "CI", "JENKINS_URL")
    kept = {n: v for n, v in os.environ.items() if n not in dropped and not n.startswith("MLCI_")}
    quiet = {"DO_NOT_TRACK": "1", "MLFLOW_DISABLE_TELEMETRY": "true", "BENTOML_DO_NOT_TRACK": "True"}
    return {**kept, **quiet, "DOCKER_BUILDKIT": "0", **more}


def peer(name: str) -> Path:
    """The `bin` folder of a peer's environment, installed once."""
    wanted = [WANTED[name], *(f"{package}=={version(package)}" for package in SHARED), "setuptools<82"]
    key = hashlib.sha256(" ".join([sys.version, *wanted]).encode()).hexdigest()[:12]
    cache = Path(os.environ.get("MLCI_BENCH_CACHE") or Path.home() / ".cache" / "mlci-bench")
    folder = cache / f"images-{name}-{key}"
    if not (folder / "complete").is_file():
        print(f"installing {name} …", file=sys.stderr, flush=True)
        shutil.rmtree(folder, ignore_errors=True)
        run([sys.executable, "-m", "venv", folder])
        uv = Path(sys.executable).parent / "uv"
        install = [uv, "pip", "install", "--python", folder / "bin" / "python"]
        run([*(install if uv.is_file() else [folder / "bin" / "python", "-m", "pip", "install"]), "-q", *wanted])
        (folder / "complete").touch()
    return folder / "bin"


class Bench:
    """One engine, three sides, some rounds."""

    def __init__(self, client: Any, folder: Path) -> None:
        self.client, self.folder = client, folder
        self.seed = 0
        self.data = folder / "data.csv"
        self.bins = {name: peer(name) for name in WANTED}
        self._data()
        self.known = {image.id for image in client.images.list()}
        self.side_of: dict[str, str] = {}
        self.base_size = 0

    def _data(self) -> None:
        from sklearn.datasets import load_breast_cancer

        frame = load_breast_cancer(as_frame=True).frame.rename(columns=lambda c: c.replace(" ", "_"))
        frame["benign"] = frame.pop("target").astype(bool)
        frame.to_csv(self.data, index=False)
        self.columns = {name: {"type": "number"} for name in frame.columns[:-1]} | {"benign": {"type": "boolean"}}

    def new_base(self) -> None:
        """The same base under a new id, so that no layer of any side fits on it: the next builds are cold."""
        import docker

        from tests.docker import parts

        try:
            origin = self.client.images.get("python:3.11-slim").tags[0]
        except docker.errors.ImageNotFound:
            try:
                origin = self.client.images.pull("python", "3.11-slim").tags[0]
            except docker.errors.APIError:
                origin = parts.base_image(self.client)
        bundle = "/etc/ssl/certs/ca-certificates.crt"
        # In the base, so that it is there for all sides: uv and pip of the peers look for it.
        text = f"FROM {origin}\nENV PIP_CERT={bundle} SSL_CERT_FILE={bundle}\nLABEL bench={secrets.token_hex(8)}\n"
        image, _ = self.client.images.build(fileobj=io.BytesIO(text.encode()), tag=BASE, rm=True)
        image.tag("python", f"{sys.version.split()[0]}-slim")  # what MLflow's Dockerfile begins with
        self.base_size = int(image.attrs["Size"])

    # ---- one model for each side -----------------------------------------------------------------------------------

    def retrain(self) -> None:
        """Another forest, saved for each side."""
        self.seed += 1
        ours = self.folder / "ours"
        ours.mkdir(exist_ok=True)
        shutil.copy(self.data, ours)
        (ours / "ml.yaml").write_text(CONFIG.format(columns=json.dumps(self.columns), seed=self.seed))
        for stage in ("prepare", "train"):
            run([sys.executable, "-m", "stages", "-C", ours, stage], env=environment(PYTHONPATH=str(HERE.parent)))
        for name, kind in (("mlflow", "mlflow"), ("bentoml", "joblib")):
            place = self.folder / name
            run([self.bins[name] / "python", PEERS / "train.py", kind, self.data, self.seed, place], env=environment())

    def _bento(self) -> dict[str, str]:
        packages = " ".join(f"{name}=={version(name)}" for name in ("scikit-learn", "pandas", "numpy", "joblib"))
        home = self.folder / "bento-home"
        home.mkdir(exist_ok=True)
        path = os.pathsep.join(["/usr/bin", os.environ["PATH"]])  # the engine's own docker command, where there is one
        return environment(BENTOML_HOME=str(home), BENCH_BASE=BASE, BENCH_PACKAGES=packages, PATH=path)

    # ---- building --------------------------------------------------------------------------------------------------

    def build(self, side: str) -> tuple[float, float]:
        """Seconds from the saved model to the tagged image, and those of them that building the image takes."""
        started = time.perf_counter()
        if side == "mlflow":
            words = ["models", "generate-dockerfile", "-m", self.folder / "mlflow", "-d", self.folder / "mlflow-docker"]
            run([self.bins["mlflow"] / "mlflow", *words, "--env-manager", "local"], env=environment())
        elif side == "bentoml":
            words = ["build", "--name", "forest", "--version", f"v{self.seed}", "."]
            run([self.bins["bentoml"] / "bentoml", *words], cwd=self.folder / "bentoml", env=self._bento())
        prepared = time.perf_counter()
        if side == "mlci":
            run(
                [sys.executable, __file__, "--build", self.folder / "ours"],
                env=environment(PYTHONPATH=str(HERE.parent)),
            )
        elif side == "mlflow":
            self.client.images.build(path=str(self.folder / "mlflow-docker"), tag="mlci-bench/mlflow", rm=True)
        else:
            words = ["containerize", f"forest:v{self.seed}", "--image-tag", "mlci-bench/bentoml", "--backend", "docker"]
            run([self.bins["bentoml"] / "bentoml", *words], env=self._bento())
        done = time.perf_counter()
        self._made(side)
        return done - started, done - prepared

    def forget(self) -> None:
        """Remove the images that this benchmark made; what was there before stays."""
        from docker.errors import APIError

        made = [image for side in SIDES for image in self._made(side)]
        # The newest first: an image cannot go before those that were built on it.
        for image in sorted(made, key=lambda image: str(image.attrs["Created"]), reverse=True):
            try:
                self.client.images.remove(image.id, force=True)
            except APIError as error:
                print(f"{image.short_id} stays: {error.explanation}", file=sys.stderr)

    def _made(self, side: str) -> list[Any]:
        """Images of a side that this benchmark made, replaced ones without a name among them, the newest first."""
        names = {"mlci": (OURS, "mlci-dependencies", "mlci-runtime"), "mlflow": ("mlci-bench/mlflow",)}
        wanted = names.get(side, ("mlci-bench/bentoml",))
        new = [image for image in self.client.images.list() if image.id not in self.known]
        for image in new:
            if any(tag.rpartition(":")[0] in wanted for tag in image.tags):
                self.side_of[image.id] = side
        return [image for image in new if self.side_of.get(image.id) == side]

    def size(self, side: str) -> int:
        """Bytes of a side's image."""
        names = {"mlci": OURS, "mlflow": "mlci-bench/mlflow", "bentoml": "mlci-bench/bentoml"}
        found = [i for i in self.client.images.list() if any(t.rpartition(":")[0] == names[side] for t in i.tags)]
        return int(found[0].attrs["Size"])

    def answers(self, side: str) -> None:
        """End the benchmark unless an image gets ready."""
        names = {"mlci": OURS, "mlflow": "mlci-bench/mlflow", "bentoml": "mlci-bench/bentoml"}
        place = {"mlci": "8080/readyz", "mlflow": "8080/ping", "bentoml": "3000/readyz"}[side]
        image = next(i for i in self.client.images.list() if any(t.rpartition(":")[0] == names[side] for t in i.tags))
        ask = f"import urllib.request as r; print(r.urlopen('http://127.0.0.1:{place}', timeout=5).status)"
        container = self.client.containers.run(image.id, detach=True)
        try:
            for _ in range(300):
                if container.exec_run(["python3", "-c", ask]).output.strip() == b"200":
                    return
                time.sleep(0.2)
            sys.exit(f"the image of {side} does not answer:\n{container.logs().decode()[-3000:]}")
        finally:
            container.remove(force=True)


def build_ours(folder: Path) -> None:
    """What `mlci deploy` does between the store and the proof, in a process of its own."""
    from stages.images.build import Order, build
    from stages.images.engine import connected
    from stages.store import model_digest

    train = folder / ".mlci" / "train"
    with connected() as client:
        build(client, Order("forest", model_digest(train), train, None, OURS, BASE))


def measure(bench: Bench, rounds: int) -> dict[str, dict[str, list[float]]]:
    """Seconds by side and kind, and MB."""
    found: dict[str, dict[str, list[float]]] = {
        s: {"cold": [], "retrain": [], "image alone": [], "size": []} for s in SIDES
    }
    for number in range(rounds):
        order = SIDES[number % 3 :] + SIDES[: number % 3]
        bench.new_base()
        bench.retrain()
        for side in order:
            found[side]["cold"].append(bench.build(side)[0])
            if number == 0:
                bench.answers(side)
        for _ in range(2):
            bench.retrain()
            for side in order:
                whole, alone = bench.build(side)
                found[side]["retrain"].append(whole)
                found[side]["image alone"].append(alone)
        for side in SIDES:
            found[side]["size"].append(bench.size(side) / 1e6)
        print(f"round {number + 1} of {rounds} is done", file=sys.stderr, flush=True)
    return found


def report(bench: Bench, found: dict[str, dict[str, list[float]]]) -> None:
    """The table, and one JSON object."""
    print(f"base image {bench.base_size / 1e6:.0f} MB; seconds: median (min to max)")
    print(f"{'':10}{'image MB':>10}{'cold s':>26}{'retrained s':>26}{'of that, the image s':>26}")
    for side in SIDES:
        columns = [sorted(found[side][kind]) for kind in ("cold", "retrain", "image alone")]
        shown = [f"{statistics.median(v):.2f} ({v[0]:.2f} to {v[-1]:.2f})" for v in columns]
        print(f"{side:10}{found[side]['size'][-1]:>10.0f}" + "".join(f"{text:>26}" for text in shown))

    def ratio(kind: str) -> float:
        rounds = zip(*(found[side][kind] for side in SIDES), strict=True)
        return round(float(statistics.median(ours / min(others) for ours, *others in rounds)), 3)

    versions = {name: version(name) for name in ("mlci", "scikit-learn", "numpy", "docker", "onnxruntime")}
    versions |= {name: wanted.partition("==")[2] for name, wanted in WANTED.items()}
    versions |= {"engine": bench.client.version()["Version"], "python": sys.version.split()[0]}
    ratios = {
        "size_vs_smallest_peer": ratio("size"),
        "cold_vs_fastest_peer": ratio("cold"),
        "retrain_vs_fastest_peer": ratio("retrain"),
    }
    print(json.dumps({"name": "images", "ratios": ratios, "versions": versions}))


def main() -> None:
    """Run the rounds, print the table, end with one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--build", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.build:
        build_ours(given.build)
        return
    from tests.docker.engine import acquire, release

    with tempfile.TemporaryDirectory(prefix="mlci-bench-") as place:
        shared = Path(place)
        engine = acquire(shared)
        os.environ["DOCKER_HOST"] = engine.address
        client = engine.client()
        try:
            bench = Bench(client, shared)
            try:
                report(bench, measure(bench, given.rounds))
            finally:
                bench.forget()
        finally:
            client.close()
            release(engine, shared)


if __name__ == "__main__":
    main()
