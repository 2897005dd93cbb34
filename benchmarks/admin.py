"""Provisioning 1,000 jobs: mlci-admin, jenkins-job-builder and bare requests, against one and the same double.

    .venv/bin/python benchmarks/admin.py [--jobs 1000] [--rounds 3] [--workers 8] [--latency 5]

The double is the one of the tests, in a process of its own, and sleeps `--latency` milliseconds before each reply. Each
round gives every tool an empty one. Measured are whole processes, from start to exit:

- create: all jobs from nothing. mlci-admin: `apply`; jenkins-job-builder: `update` with a cold cache, as on a fresh
  agent; bare: one POST a job.
- no-op with drift check: all jobs exist and are as they should be. mlci-admin: `apply` again; jenkins-job-builder:
  `update --ignore-cache` (with its cache it looks at nothing, and so sees no drift); bare: one GET a job.

- the table of the models: `mlci-admin status` of 3,000 jobs and of 300, without latency.

All with the same number of workers. jenkins-job-builder is installed by this script into a cache folder outside the
tree (`MLCI_BENCH_CACHE`, else `~/.cache/mlci-bench`); it needs setuptools<82. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
JJB = "6.5.0"
TOOLS = ("mlci-admin", "jenkins-job-builder", "bare requests")


# ---- the double, in its own process ------------------------------------------------------------------------------


def serve(latency: float) -> None:
    """Run a double; answer each line of standard input with the requests since the last one."""
    sys.path.insert(0, str(ROOT))
    from tests.jenkins_admin.double.server import Double

    with Double(latency / 1000) as double:
        print(double.url, flush=True)
        for _ in sys.stdin:
            print(json.dumps({"requests": len(double.requests), "writes": len(double.writes)}), flush=True)
            double.forget()


class Served:
    """A double that was started for one tool."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self._process, self.url = process, url

    def counts(self) -> dict[str, int]:
        """Requests and writes since the last question."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(file=self._process.stdin, flush=True)
        found: dict[str, int] = json.loads(self._process.stdout.readline())
        return found


@contextmanager
def served(latency: float) -> Iterator[Served]:
    """A fresh double."""
    command = [sys.executable, __file__, "--serve", str(latency)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        yield Served(process, process.stdout.readline().strip())
        process.stdin.close()


# ---- the same jobs for everybody ---------------------------------------------------------------------------------

_MLCI = """
server: {{url: "{url}", user: admin, token: "{token}", workers: {workers}}}
folder: ml
defaults:
  kind: pipeline
  git: "https://git.example.com/ml/models.git"
  credential: git-token
  cron: "H 2 * * *"
  discard: {{builds: 20}}
  parameters: [{{name: ENV, choices: [staging, production]}}, {{name: VERSION, default: latest}}]
models:
"""

_JJB = """
- job-template:
    name: "ml/{model}"
    project-type: pipeline
    description: "{model}"
    concurrent: false
    properties:
      - build-discarder: {num-to-keep: 20}
    parameters:
      - choice: {name: ENV, choices: [staging, production]}
      - string: {name: VERSION, default: latest}
    triggers:
      - timed: "H 2 * * *"
    pipeline-scm:
      script-path: Jenkinsfile
      lightweight-checkout: true
      scm:
        - git: {url: "https://git.example.com/ml/models.git", credentials-id: git-token, branches: ["*/main"]}
- project:
    name: models
    jobs: ["ml/{model}"]
    model:
"""


def names(count: int) -> list[str]:
    """m0000, m0001, …"""
    return [f"m{index:04}" for index in range(count)]


def write_mlci(folder: Path, url: str, count: int, workers: int) -> None:
    """jenkins.yaml of `count` models."""
    from tests.jenkins_admin.double.server import TOKEN

    models = "".join(f"  - {{name: {name}, description: {name}}}\n" for name in names(count))
    (folder / "jenkins.yaml").write_text(_MLCI.format(url=url, token=TOKEN, workers=workers) + models)


def write_jjb(folder: Path, url: str, count: int) -> None:
    """The configuration and the jobs of jenkins-job-builder, without its question about plugins."""
    from tests.jenkins_admin.double.server import TOKEN

    head = "[job_builder]\nallow_duplicates=False\n"
    login = f"[jenkins]\nurl={url}\nuser=admin\npassword={TOKEN}\nquery_plugins_info=False\n"
    (folder / "jjb.ini").write_text(head + login)
    (folder / "jobs.yaml").write_text(_JJB + "".join(f"      - {name}\n" for name in names(count)))


def make_folder(url: str) -> None:
    """The folder, for jenkins-job-builder: its workers would make jobs before the folder that holds them."""
    import requests

    from tests.jenkins_admin.double.server import TOKEN, USER

    xml = b"<com.cloudbees.hudson.plugins.folder.Folder/>"
    headers = {"Content-Type": "application/xml"}
    where = f"{url}/createItem?name=ml"
    requests.post(where, xml, headers=headers, auth=(USER, TOKEN), timeout=60).raise_for_status()


def bare(url: str, count: int, workers: int, create: bool) -> None:
    """The least that has to go over the wire: one request a job."""
    import requests

    from jenkins_admin.config import parse
    from jenkins_admin.render import render
    from stages.config import yamlfile
    from tests.jenkins_admin.double.server import TOKEN, USER

    with tempfile.TemporaryDirectory() as folder:
        write_mlci(Path(folder), url, count, workers)
        items = render(parse(yamlfile.read(Path(folder) / "jenkins.yaml")))
    session = requests.Session()
    session.auth = (USER, TOKEN)
    session.mount("http://", requests.adapters.HTTPAdapter(pool_maxsize=workers))

    def one(item: Any) -> None:
        folder, _, name = item.path.rpartition("/")
        where = f"{url}/job/{folder}" if folder else url
        if create:
            headers = {"Content-Type": "application/xml"}
            session.post(f"{where}/createItem?name={name}", item.xml(), headers=headers).raise_for_status()
        else:
            session.get(f"{where}/job/{name}/config.xml").raise_for_status()

    one(items[0])
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(one, items[1:]))


# ---- measuring ---------------------------------------------------------------------------------------------------


@dataclass
class Run:
    """One process: wall seconds, peak resident MiB, and what it asked of the double."""

    seconds: float
    mib: float
    requests: int
    writes: int


def measured(command: list[str], folder: Path, double: Served) -> Run:
    """Run a command to its end; its output is shown when it fails."""
    dropped = ("CI", "JENKINS_URL")
    env = {k: v for k, v in os.environ.items() if k not in dropped and not k.startswith(("MLCI_", "JENKINS_"))}
    env |= {"PYTHONPATH": str(ROOT), "XDG_CACHE_HOME": str(folder / "cache"), "HOME": str(folder)}
    double.counts()
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=output)
        _, status, usage = os.wait4(process.pid, 0)
        seconds = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            sys.exit(f"{' '.join(command)} ended with {process.returncode}:\n{output.read().decode()[-3000:]}")
    counts = double.counts()
    return Run(seconds, usage.ru_maxrss / 1024, counts["requests"], counts["writes"])


def installed_jjb() -> Path:
    """jenkins-job-builder in an environment of its own, made on first use. Returns its command."""
    cache = os.environ.get("MLCI_BENCH_CACHE") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "mlci-bench"
    place = Path(cache).expanduser() / f"jenkins-job-builder-{JJB}"
    done = place / "installed"
    if not done.exists():
        print(f"installing jenkins-job-builder {JJB} into {place}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(place)], check=True)
        wanted = [f"jenkins-job-builder=={JJB}", "setuptools<82"]
        pip = [str(place / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, *wanted], check=True)
        done.touch()
    return place / "bin" / "jenkins-jobs"


def one_round(options: argparse.Namespace, jjb: Path) -> Iterator[tuple[str, str, Run]]:
    """Every tool once, each with an empty double: (tool, what, run)."""
    count, workers = options.jobs, options.workers
    python = [sys.executable, "-m", "jenkins_admin"]
    update = [str(jjb), "--conf", "jjb.ini", "update", "--workers", str(workers), "jobs.yaml"]
    me = [sys.executable, __file__, "--jobs", str(count), "--workers", str(workers), "--bare"]

    def commands(tool: str, url: str) -> tuple[list[str], list[str]]:
        if tool == "mlci-admin":
            return [*python, "apply"], [*python, "apply"]
        if tool == "jenkins-job-builder":
            return update, [*update[:1], "--ignore-cache", *update[1:]]
        return [*me, url, "--create"], [*me, url]

    for tool in TOOLS:
        with served(options.latency) as double, tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_mlci(folder, double.url, count, workers)
            write_jjb(folder, double.url, count)
            create, noop = commands(tool, double.url)
            if tool == "jenkins-job-builder":
                make_folder(double.url)
            yield tool, "create", measured(create, folder, double)
            yield tool, "no-op", measured(noop, folder, double)


def memory(options: argparse.Namespace) -> tuple[float, float]:
    """Peak MiB of mlci-admin's no-op with a tenth of the jobs and with all of them."""
    found = []
    for count in (options.jobs // 10, options.jobs):
        with served(0) as double, tempfile.TemporaryDirectory() as name:
            write_mlci(Path(name), double.url, count, options.workers)
            command = [sys.executable, "-m", "jenkins_admin", "apply"]
            measured(command, Path(name), double)
            found.append(measured(command, Path(name), double).mib)
    return found[0], found[1]


def status_growth(workers: int) -> float:
    """How many times as long `status` takes for 3,000 jobs as for 300."""
    seconds = []
    for count in (300, 3000):
        with served(0) as double, tempfile.TemporaryDirectory() as name:
            write_mlci(Path(name), double.url, count, workers)
            measured([sys.executable, "-m", "jenkins_admin", "apply"], Path(name), double)
            status = [sys.executable, "-m", "jenkins_admin", "status"]
            seconds.append(statistics.median(measured(status, Path(name), double).seconds for _ in range(3)))
    return float(round(seconds[1] / seconds[0], 3))


def median(runs: list[Run], of: Callable[[Run], float]) -> float:
    """The middle of the rounds."""
    return statistics.median(of(run) for run in runs)


def report(options: argparse.Namespace) -> None:
    """Measure, print the table and the last line."""
    jjb = installed_jjb()
    runs: dict[tuple[str, str], list[Run]] = {}
    for index in range(options.rounds):
        print(f"round {index + 1} of {options.rounds}", file=sys.stderr)
        for tool, what, run in one_round(options, jjb):
            runs.setdefault((tool, what), []).append(run)
    small, large = memory(options)
    print(
        f"{options.jobs} jobs, {options.latency:g} ms a reply, {options.workers} workers, {options.rounds} rounds: "
        "median (lowest to highest)\n"
    )
    print(f"{'':<22}{'':<8}{'seconds':<24}{'requests a job':<16}{'writes':<9}{'MiB':<6}")
    for (tool, what), found in runs.items():
        times = [run.seconds for run in found]
        spread = f"{statistics.median(times):6.2f} ({min(times):.2f} to {max(times):.2f})"
        each = median(found, lambda run: run.requests) / options.jobs
        writes, mib = median(found, lambda run: run.writes), median(found, lambda run: run.mib)
        print(f"{tool:<22}{what:<8}{spread:<24}{each:<16.3f}{writes:<9.0f}{mib:<6.0f}")
    print(f"\nmlci-admin's memory: {small:.0f} MiB with {options.jobs // 10} jobs, {large:.0f} MiB with {options.jobs}")

    def ratio(what: str) -> float:
        ours, theirs = (median(runs[tool, what], lambda run: run.seconds) for tool in TOOLS[:2])
        return float(round(ours / theirs, 3))

    def asked(what: str) -> float:
        found = median(runs["mlci-admin", what], lambda run: run.requests)
        return float(round(found / options.jobs, 3))

    ratios = {
        "create_vs_jjb": ratio("create"),
        "requests_per_create": asked("create"),
        "noop_vs_jjb": ratio("no-op"),
        "requests_per_noop": asked("no-op"),
        "writes_in_noop": max(run.writes for run in runs["mlci-admin", "no-op"]),
        "status_3000_vs_300": status_growth(options.workers),
    }
    versions = {
        "mlci": version("mlci"),
        "jenkins-job-builder": JJB,
        "python-jenkins": version("python-jenkins"),
        "requests": version("requests"),
        "python": sys.version.split()[0],
    }
    memory_mib = {"tenth": round(small, 1), "all": round(large, 1)}
    print(json.dumps({"name": "admin", "ratios": ratios, "versions": versions, "memory_mib": memory_mib}))


def main() -> None:
    """Parse the options and run."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=8)
    parser.add_argument("--latency", type=float, default=5.0, help="milliseconds before each reply")
    parser.add_argument("--serve", type=float, metavar="MS", help=argparse.SUPPRESS)
    parser.add_argument("--bare", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--create", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    if options.serve is not None:
        serve(options.serve)
    elif options.bare:
        bare(options.bare, options.jobs, options.workers, options.create)
    else:
        report(options)


if __name__ == "__main__":
    main()
