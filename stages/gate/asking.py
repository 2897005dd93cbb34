"""What a stored model says about a parquet side, as arrays; in this process, or from another one:
`python -m stages.gate.asking FOLDER TEST.parquet ANSWER.npz [scores [POLICY]]`."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from stages import console
from stages.data.levels import respelled_table
from stages.data.spelling import written_before
from stages.errors import MlciError
from stages.model.metrics import Answer
from stages.model.policy import Policy
from stages.records.jsonfile import read_json
from stages.serving.predictor import Predictor, levels_of

#: Rows that are asked for at once: answers come as lists of Python objects, which take a hundred times their number.
_ROWS = 20_000


def ask(folder: Path, side: Path, policy: Policy | None = None) -> Answer:
    """Answers of the model in `folder` to every row of `side`, in order. `policy`: what it may be.

    Raises:
        ArtefactError: the model cannot be loaded here.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    predictor = Predictor.load(folder, policy)
    before = _as_trained(folder, predictor.signature)
    columns = [feature["name"] for feature in predictor.signature["features"]]
    labels, probabilities = [], []
    with pq.ParquetFile(side) as file:
        for batch in file.iter_batches(_ROWS, columns=columns):
            said = predictor.predict_table(respelled_table(pa.Table.from_batches([batch]), before))
            labels.append(np.asarray(said.predictions))
            if said.probabilities is not None:
                probabilities.append(np.array([list(row.values()) for row in said.probabilities]))
    return Answer(np.concatenate(labels), np.concatenate(probabilities) if probabilities else None)


def ask_with_scores(folder: Path, side: Path, policy: Policy | None = None) -> Answer:
    """Like `ask`, by the pipeline even where there is an ONNX model: only it has a decision function.

    Raises:
        ArtefactError: the model cannot be loaded here, or does not answer every row.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from stages.model import answers, frames, persistence

    signature = read_json(folder / "signature.json")
    pipeline, features = persistence.load(folder, signature, policy), signature["features"]
    before = _as_trained(folder, signature)
    parts: list[Answer] = []
    with pq.ParquetFile(side) as file:
        for batch in file.iter_batches(_ROWS, columns=[feature["name"] for feature in features]):
            rows = frames.frame(respelled_table(pa.Table.from_batches([batch]), before), features)
            parts.append(answers.ask(pipeline, rows, signature["classes"]))
    joined = [
        None if any(one is None for one in each) else np.concatenate([one for one in each if one is not None])
        for each in ([p.probabilities for p in parts], [p.scores for p in parts])
    ]
    return Answer(np.concatenate([part.labels for part in parts]), *joined)


def _as_trained(folder: Path, signature: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Column → canonical text → level, for a model whose levels were kept as its source wrote them."""
    levels = levels_of(folder)
    old = [f["name"] for f in signature["features"] if "spelling" not in f and f["type"] == "category"]
    found = {name: written_before(levels[name]) for name in old if name in levels}
    return {name: mapping for name, mapping in found.items() if mapping}


def read(path: Path) -> Answer:
    """An answer that another process wrote."""
    with np.load(path, allow_pickle=False) as kept:
        return Answer(kept["labels"], kept.get("probabilities"), kept.get("scores"))


def main(folder: str, side: str, answer: str, scores: str = "", policy: str = "") -> int:
    """Ask and write. `policy`: JSON of a `Policy`. What fails is one line on standard error."""
    try:
        given = json.loads(policy) if policy else None
        allowed = None if given is None else Policy(given["format"], tuple(given["trust"]))
        said = (ask_with_scores if scores else ask)(Path(folder), Path(side), allowed)
    except MlciError as error:
        console.say(f"{error.code}: {error.what}", error=True)
        return error.exit_code
    parts = {"labels": said.labels, "probabilities": said.probabilities, "scores": said.scores}
    np.savez(answer, **{name: part for name, part in parts.items() if part is not None})  # type: ignore[arg-type]
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
