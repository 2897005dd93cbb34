"""A small project with a trained, approved model, made without the stages, for tests of what comes after them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from stages.project import Project
from stages.records import provenance, result
from stages.records.result import Result, digests_of
from stages.store import model_digest

CONFIG = """
name: {name}
task: classification
data:
  source: data.csv
  target: late
  columns:
    delay: {{type: number, min: -100, max: 1000, nullable: true}}
    seats: {{type: integer, min: 1}}
    carrier: {{type: category}}
    origin: {{type: category, values: [JFK, LGA, 1]}}
    windy: {{type: boolean, nullable: true}}
    when: {{type: datetime, timezone: Europe/Berlin}}
    flight: {{type: category, feature: false}}
    late: {{type: boolean}}
model:
  estimator: sklearn.linear_model.LogisticRegression
deploy:
  local: {{target: process, port: {port}{options}}}
store: {store}
"""


def table(rows: int = 60, seed: int = 1) -> pa.Table:
    """What prepare would leave of some rows."""
    draw = random.Random(seed)
    zoned = pa.timestamp("us", tz="UTC")
    start = datetime(2024, 1, 1, tzinfo=UTC)
    delays = [None if i % 11 == 0 else draw.uniform(-20, 120) for i in range(rows)]
    texts = pa.dictionary(pa.int32(), pa.string())
    return pa.table(
        {
            "delay": pa.array(delays, pa.float64()),
            "seats": pa.array([draw.randint(20, 300) for _ in range(rows)], pa.int64()),
            "carrier": pa.array([draw.choice(["AA", "B6", "DL"]) for _ in range(rows)]).cast(texts),
            "origin": pa.array([draw.choice(["JFK", "LGA", "1"]) for _ in range(rows)]).cast(texts),
            "windy": pa.array([None if i % 7 == 0 else draw.random() < 0.3 for i in range(rows)]),
            "when": pa.array([start + timedelta(hours=5 * i) for i in range(rows)], zoned),
            "late": pa.array([(d or 0) + draw.gauss(0, 10) > 30 for d in delays]),
        }
    )


def project(
    root: Path,
    port: int = 9,
    *,
    seed: int = 1,
    name: str = "demo",
    options: str = "",
    store: str = "store",
    approved: bool = True,
) -> Project:
    """A project in `root` with a model that depends on `seed`."""
    root.mkdir(parents=True, exist_ok=True)
    (root / "ml.yaml").write_text(CONFIG.format(name=name, port=port, options=options, store=store))
    made = Project.open(root / "ml.yaml")
    train(made, seed)
    judge(made, approved)
    return made


def train(made: Project, seed: int) -> None:
    """What `mlci train` would leave, from rows that depend on `seed`."""
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline, make_pipeline
    from sklearn.preprocessing import OneHotEncoder, StandardScaler

    from stages.model import answers, frames, persistence, signature
    from stages.serving import golden

    folder = made.folder("train")
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    rows = table(seed=seed)
    said = signature.signature(made.config, [False, True], True)
    features = said["features"]
    frame = frames.frame(rows, features)
    steps = ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["delay", "seats", "windy"]),
            ("texts", OneHotEncoder(handle_unknown="ignore"), ["carrier", "origin"]),
        ]
    )
    pipeline = Pipeline([("prepare", steps), ("model", LogisticRegression())])
    pipeline.fit(frame, frames.target(rows.column("late"), "boolean", "classification"))
    said = persistence.save(pipeline, folder, said, frame, answers.ask(pipeline, frame, said["classes"]))
    (folder / "signature.json").write_text(json.dumps(said))

    def predict(columns: Mapping[str, Any]) -> Any:
        return answers.answers(pipeline, frames.frame_from_lists(columns, features), said)

    (folder / "golden.json").write_text(json.dumps(golden.record(said, predict, rows)))
    (folder / "metrics.json").write_text(json.dumps({"test": {"roc_auc": 0.9}, "train": {"roc_auc": float("nan")}}))
    write_result(made, "train")


def judge(made: Project, approved: bool) -> None:
    """What `mlci validate` would leave."""
    folder = made.folder("validate")
    folder.mkdir(parents=True, exist_ok=True)
    word = {
        "approved": approved,
        "model": model_digest(made.folder("train")),
        "sentence": "approved" if approved else "too bad",
    }
    (folder / "gate.json").write_text(json.dumps(word))
    write_result(made, "validate", exit_code=0 if approved else 4)


def write_result(
    made: Project, stage: str, exit_code: int = 0, inputs: dict[str, Any] | None = None, **summary: Any
) -> None:
    """A record of what stands in a stage's folder."""
    folder = made.folder(stage)
    folder.mkdir(parents=True, exist_ok=True)
    Result(
        stage=stage,
        status="failed" if exit_code else "done",
        exit_code=exit_code,
        started="2026-01-01T00:00:00+00:00",
        seconds=0.0,
        peak_rss_bytes=0,
        inputs=inputs or {},
        outputs=digests_of(folder),
        config={},
        python=provenance.python_version(),
        libraries={"numpy": "1"},
        git_commit=None,
        summary=summary,
        key={"user_files": {}, "platform": provenance.platform_tag()},
    ).write(folder)
    assert result.read(folder) is not None
