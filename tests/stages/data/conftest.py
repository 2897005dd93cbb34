"""A model repository made from a contract and a source, and what prepare leaves in it."""

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from stages.project import Project
from stages.records.result import Result


@dataclass
class Prepared:
    """Outputs of a prepare run."""

    result: Result
    folder: Path

    def table(self, name: str) -> pa.Table:
        return pq.read_table(self.folder / f"{name}.parquet")

    @property
    def profile(self):
        return json.loads((self.folder / "profile.json").read_text())

    @property
    def schema(self):
        return json.loads((self.folder / "schema.json").read_text())

    @property
    def refused(self):
        return [tuple(r.values()) for r in self.table("quarantine").to_pylist()]

    def rows(self, *columns: str):
        """Accepted rows of both sides, sorted."""
        both = [self.table(side) for side in ("train", "test")]
        names = list(columns) or both[0].column_names
        return sorted(
            (tuple(row[n] for n in names) for table in both for row in table.to_pylist()),
            key=lambda row: tuple((v is None, str(v)) for v in row),
        )


class Repository:
    """A folder with an ml.yaml; `columns` and other keys of `data` are given as they stand there."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def project(self, columns, source="data.csv", task="regression", target="y", **data) -> Project:
        config = {
            "name": "model",
            "task": task,
            "data": {"source": source, "target": target, "columns": columns, **data},
            "model": {"estimator": "sklearn.dummy.DummyRegressor"},
        }
        (self.root / "ml.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
        return Project.open(self.root / "ml.yaml")

    def prepare(self, columns, **options) -> Prepared:
        from stages.prepare import prepare

        project = self.project(columns, **options)
        return Prepared(prepare(project), project.folder("prepare"))

    def write(self, name: str, content: bytes | str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path


@pytest.fixture
def repository(tmp_path, monkeypatch) -> Iterator[Repository]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    # Two versions of a file within a second look alike to Python's cache of compiled files.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield Repository(tmp_path)
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
