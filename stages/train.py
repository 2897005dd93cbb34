"""Train: fit the model on what `prepare` left, measure it, and save it with its signature, card and recorded
requests."""

from __future__ import annotations

if __name__ == "__main__":
    import sys
    from pathlib import Path

    sys.path[0] = str(Path(__file__).resolve().parent.parent)
    from stages.cli import main

    sys.exit(main(["train", *sys.argv[1:]]))

import dataclasses
import hashlib
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from stages import console
from stages.data import upstream
from stages.errors import ArtefactError, DataError, GateError
from stages.project import Project
from stages.records.atomic import write_json
from stages.records.digest import sha256_file
from stages.records.jsonfile import read_json
from stages.records.keys import config_of, variables_of
from stages.records.result import Result
from stages.records.stage import Stage, Work, carry_out, outputs_of

if TYPE_CHECKING:
    from stages.model.training import Trained

_SIDES = ["train.parquet", "test.parquet"]
#: What the model depends on of `prepare`.
_PREPARED = [*_SIDES, "schema.json"]


def train(project: Project, verify_reproducible: bool = False) -> Result:
    """Fit and save the model, unless nothing changed.

    `verify_reproducible`: train once more and compare, also when the stage itself was skipped.

    Raises:
        ConfigError: the estimator, its parameters, the search or the preprocessing are wrong.
        DataError: the model cannot be fitted on these data.
        ArtefactError: there are no data, they do not match their record, or the model cannot be saved.
        GateError: MOD_NOT_REPRODUCIBLE.
    """
    result = carry_out(project, describe(project), lambda out: _work(project, out))
    if verify_reproducible:
        _verify(project, result)
    return result


def describe(project: Project) -> Stage:
    """What the model depends on: the data of both sides, and what the configuration says about them and the model."""
    upstream.require_current(project, "prepare")
    outputs_of(project, "prepare", ["profile.json"])  # for the card; it says more than the model depends on
    inputs = outputs_of(project, "prepare", _PREPARED)
    recorded = project.loaded.recorded("task", "data", "model", "golden")
    return Stage("train", config_of(project, "train"), recorded, inputs, variables_of(project, "train"))


def _work(project: Project, out: Path) -> Work:
    from stages.model import training

    found = _fit(project, out)
    console.doing("recording requests and responses")
    golden = _golden(project, out, found)
    found = dataclasses.replace(found, signature=found.signature | {"onnx": _export(project, out, found, golden)})
    write_json(out / "signature.json", found.signature)
    write_json(out / "metrics.json", found.metrics)
    write_json(out / "golden.json", golden)
    (out / "MODEL_CARD.md").write_text(_card(project, out, found), encoding="utf-8")
    summary = {
        "text": training.headline(found.metrics),
        "estimator": project.config.model.estimator,
        "rows": found.metrics["rows"],
        "test": found.metrics["test"],
        "predictions_sha256": found.predictions,
        "onnx": found.signature["onnx"],
    }
    return Work(summary)


def _fit(project: Project, out: Path) -> Trained:
    from stages.model import search, training

    model = project.config.model
    with project.located():
        own = None if model.preprocess == "auto" else project.function(model.preprocess)
        total = search.size(model.search) if model.search else None
        with console.progress("train", total) as advance:
            return training.train(project.config, project.folder("prepare"), out, own, advance)


def _golden(project: Project, out: Path, found: Trained) -> dict[str, Any]:
    """Recorded requests and answers, asked of the saved file as the service will ask it."""
    import pyarrow.parquet as pq
    from threadpoolctl import threadpool_limits

    from stages.model import persistence
    from stages.serving import golden
    from stages.serving.predictor import Predictor

    columns = [feature["name"] for feature in found.signature["features"]]
    table = pq.read_table(project.folder("prepare") / "test.parquet", columns=columns)
    predictor = Predictor(persistence.load(out, found.signature), found.signature)
    synthetic = project.config.golden.source == "synthetic"
    try:
        with threadpool_limits(1):  # as in the service: for single rows, threads only wait for each other
            if synthetic:
                return golden.record_rows(found.signature, predictor.predict, _synthetic(project, found, columns))
            return golden.record(found.signature, predictor.predict, table)
    except ValueError as error:
        if synthetic:
            what = f"no synthetic row can be recorded as a request: {error}"
            raise DataError("MOD_GOLDEN", what, "widen the contract, or set golden: {source: sampled}") from error
        what = f"no row of the test side can be recorded as a request: {error}"
        raise DataError("MOD_GOLDEN", what, "look at the contract of the columns and at the model's answers") from error


def _synthetic(project: Project, found: Trained, columns: list[str]) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    from stages.model import training
    from stages.serving import golden, synthetic

    prepared = project.folder("prepare")

    def real() -> Iterator[Any]:
        for side in ("train", "test"):
            with pq.ParquetFile(prepared / f"{side}.parquet") as file:
                yield from file.iter_batches(columns=columns)

    schema = training.schema_of(prepared)
    return synthetic.rows(found.signature, schema, real, golden.ROWS, project.config.model.seed)


def _export(project: Project, out: Path, found: Trained, golden: dict[str, Any]) -> dict[str, Any]:
    """Write model.onnx if it answers like the pipeline, on the test side and to the recorded requests. Returns what is
    known of it, for signature.json.

    Raises:
        ArtefactError: MOD_ONNX: it does not, and model.onnx is `require`.
    """
    wanted = project.config.model.onnx
    if wanted == "never":
        return {"proved": False, "reason": "model.onnx is never"}
    from stages.export.export import export

    console.doing("converting to ONNX, and comparing its predictions")
    test = project.folder("prepare") / "test.parquet"
    exported = export(found.pipeline, found.signature, test, found.truth, found.said)
    record = exported.record
    if exported.content is not None:
        different = _unlike(exported.content, found.signature, golden)
        record = record if different is None else {**record, "proved": False, "reason": different}
    if record["proved"] and exported.content is not None:
        (out / "model.onnx").write_bytes(exported.content)
        return {**record, "sha256": hashlib.sha256(exported.content).hexdigest()}
    if wanted == "require":
        raise ArtefactError(
            "MOD_ONNX",
            f"there is no ONNX model of this pipeline: {record['reason']}",
            "set model.onnx: auto, which serves with scikit-learn, or change the model",
        )
    console.log.info("scikit-learn will serve, there is no ONNX model: %s", record["reason"])
    return record


def _unlike(content: bytes, signature: dict[str, Any], golden: dict[str, Any]) -> str | None:
    """How the ONNX model, asked as the service will ask it, differs from the recorded answers."""
    from stages.serving.golden import compare
    from stages.serving.onnx_predictor import OnnxPredictor
    from stages.serving.predictor import RowsRefused

    predictor = OnnxPredictor(content, signature)

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        said = predictor.predict(predictor.decode(body["rows"]).columns)
        return {"predictions": said.predictions, "probabilities": said.probabilities}

    try:
        different = compare(golden, ask)
    except RowsRefused:
        return "it refuses recorded requests"
    return f"recorded requests are answered differently: {different[0]}" if different else None


def _card(project: Project, out: Path, found: Trained) -> str:
    from stages.model import card

    prepared = project.folder("prepare")
    profile = prepared / "profile.json"
    model_file = found.signature["model"]["file"]
    digests = {name: sha256_file(prepared / name).sha256 for name in _SIDES} | {
        model_file: found.signature["model"]["sha256"]
    }
    estimator = found.pipeline.steps[-1][1]
    source = project.loaded.document.data["data"]["source"]
    facts = card.Facts(
        signature=found.signature,
        metrics=found.metrics,
        params=estimator.get_params(deep=False),
        given=found.given,
        preprocessing=card.steps(found.pipeline.steps[0][1]),
        digests=digests,
        source=source["sql"] if isinstance(source, dict) else str(source),
        profile=read_json(profile) if profile.is_file() else {},
    )
    return card.card(project.config, facts)


def _verify(project: Project, result: Result) -> None:
    """Train once more and compare with the record.

    Raises:
        GateError: MOD_NOT_REPRODUCIBLE: the second model says something else about the test side.
    """
    with tempfile.TemporaryDirectory() as folder:
        again = _fit(project, Path(folder))
    recorded = result.outputs[again.signature["model"]["file"]]["sha256"]
    if again.predictions != result.summary["predictions_sha256"]:
        raise GateError(
            "MOD_NOT_REPRODUCIBLE",
            "training twice on the same data gave models that answer differently",
            "seed everything that is random in your own code, and set n_jobs: 1",
        )
    same = "the same file" if recorded == again.signature["model"]["sha256"] else "a file that differs in its bytes"
    console.log.info("reproducible: trained again, the same predictions from %s", same)
