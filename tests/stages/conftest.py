"""A small model repository, and the command line run in this process."""

import importlib
import json
import random
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from stages import cli

ML = """
name: houses
task: classification
data:
  source: data.csv
  target: sold
  key: [id]
  columns:
    id:    {type: integer, feature: false}
    size:  {type: number, min: 0, nullable: true}
    kind:  {type: category, values: [flat, house, boat]}
    built: {type: datetime}
    sold:  {type: boolean}
  max_bad_fraction: 0.05
model:
  estimator: sklearn.linear_model.LogisticRegression
validate:
  metrics:
    roc_auc: {min: 0.6}
store: store
"""


def rows(n=400, seed=1):
    """`n` rows of a data set in which size decides, with some noise."""
    chance = random.Random(seed)
    for number in range(n):
        size = round(chance.uniform(20, 200), 1)
        kind = chance.choice(["flat", "house", "boat"])
        sold = size + chance.gauss(0, 30) > 110
        built = f"{chance.randint(1950, 2020)}-{chance.randint(1, 12):02d}-{chance.randint(1, 28):02d}"
        yield [str(number), "" if number % 29 == 0 else str(size), kind, built, str(sold).lower()]


def csv(table):
    """A table as CSV text."""
    return "\n".join(",".join(row) for row in [["id", "size", "kind", "built", "sold"], *table]) + "\n"


@dataclass
class Said:
    """What a command said: exit code, the last line as JSON, standard error."""

    exit_code: int
    data: dict[str, Any]
    err: str

    @property
    def codes(self):
        return [error["code"] for error in self.data.get("errors", [])]


class Repository:
    """A model repository in `folder` and the command line in it."""

    def __init__(self, folder, capfd, monkeypatch):
        self.folder = folder
        self._capfd = capfd
        self._monkeypatch = monkeypatch
        self.write("ml.yaml", ML)
        self.write("data.csv", csv(rows()))

    def write(self, name, text):
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text) if isinstance(text, bytes) else path.write_text(textwrap.dedent(text))
        return path

    def change(self, old, new, name="ml.yaml"):
        text = (self.folder / name).read_text()
        assert old in text
        self.write(name, text.replace(old, new))

    def run(self, *words):
        self._monkeypatch.chdir(self.folder)
        self._capfd.readouterr()
        exit_code = cli.main([*words, "--json"])
        out, err = self._capfd.readouterr()
        return Said(exit_code, json.loads(out.strip().splitlines()[-1]), err)

    def process(self, *words, **options):
        command = [sys.executable, "-m", "stages", *words]
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, **options)

    def record(self, stage):
        return json.loads((self.folder / ".mlci" / stage / "result.json").read_text())


@pytest.fixture
def repository(tmp_path, capfd, monkeypatch):
    # what other tests' repositories brought in would be found before the module that a case leaves out
    others = str(tmp_path.parent)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if not place.startswith(others)])
    for name in ("mine", "features"):
        sys.modules.pop(name, None)
    importlib.invalidate_caches()
    folder = tmp_path / "houses"
    folder.mkdir()
    before = set(sys.modules)
    yield Repository(folder, capfd, monkeypatch)
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None)
        if file and Path(file).is_relative_to(folder):
            del sys.modules[name]
