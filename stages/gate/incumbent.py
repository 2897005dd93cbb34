"""The champion: which model it is, and what it says about today's test rows.

It answers through its own ONNX model, else through scikit-learn: in a process of its own when it was trained with
modules of the repository, which may have changed since, and in an environment of its own when the versions have. What
cannot be scored is not approved: a library upgrade must not be a way around the comparison.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import stages
from stages.errors import ArtefactError, MlciError
from stages.gate import asking
from stages.gate.champion import Rival, fresh_rows
from stages.model import metrics
from stages.model.metrics import Answer
from stages.model.policy import Policy, proved
from stages.records import jsonfile
from stages.records.jsonfile import read_json
from stages.serving.predictor import RowsRefused

if TYPE_CHECKING:
    from stages.store import Store

log = logging.getLogger("mlci")


@dataclass(frozen=True)
class Incumbent:
    """A model that serves an environment. `folder`: in the store, its digest checked."""

    env: str
    version: str
    folder: Path


class CannotScore(Exception):
    """The champion cannot be asked about today's rows; the text says why."""


def find(store: Store, name: str, env: str | None) -> Incumbent | None:
    """The champion of an environment; None where nothing was deployed there yet.

    Raises:
        UsageError, ArtefactError, InfraError: the store cannot give it.
    """
    alias = None if env is None else store.alias(name, env)
    if env is None or alias is None:
        return None
    return Incumbent(env, alias.digest, store.get(name, alias.digest))


def history(store: Store, name: str, env: str | None, most: int = 8) -> list[dict[str, Any]]:
    """What was deployed to an environment, the newest first: when, model, by, and its metrics on the test side of its
    time. A model that the store cannot give any more has none."""
    found = []
    for move in reversed(store.history(name, env)[-most:] if env else []):
        measured: dict[str, Any] = {}
        with suppress(MlciError, ValueError):
            measured = jsonfile.parse(store.read(name, move.digest, "metrics.json")).get("test") or {}
        found.append({"when": move.when, "model": move.digest, "by": move.by, "metrics": measured})
    return found


def score(
    incumbent: Incumbent,
    test: Path,
    rows: np.ndarray,
    signature: Mapping[str, Any],
    names: Iterable[str] = (),
    policy: Policy | None = None,
) -> Rival:
    """What the champion says about the test rows that it was not trained on.

    `test`: test.parquet. `rows`: the hashes of its rows. `signature`: the candidate's; answers are put in its
    classes' order. `names`: the metrics that they are wanted for. `policy`: what the champion's file may be.

    Raises:
        CannotScore: it predicts something else, or there is no way to ask it.
    """
    try:
        own = read_json(incumbent.folder / "signature.json")
        _comparable(own, signature, test)
        trained = np.load(incumbent.folder / "train.rows.npy", allow_pickle=False)
        ranks = any(metrics.get(name).needs == "score" for name in names)
        answer, how = _ask(incumbent.folder, test, ranks, policy)
    except CannotScore:
        raise
    except RowsRefused as error:
        raise CannotScore("it has no answer for some of the test rows") from error
    except (MlciError, OSError, ValueError, KeyError, TypeError) as error:
        raise CannotScore(getattr(error, "what", None) or f"{type(error).__name__}: {error}") from error
    fresh = fresh_rows(rows, trained)
    return Rival(incumbent.version, incumbent.env, fresh, _reordered(answer, own, signature).take(fresh), how)


def _comparable(own: Mapping[str, Any], signature: Mapping[str, Any], test: Path) -> None:
    if own["task"] != signature["task"] or own["target"]["name"] != signature["target"]["name"]:
        raise CannotScore(f"it predicts {own['target']['name']} ({own['task']})")
    if signature["classes"] is not None and set(own["classes"]) != set(signature["classes"]):
        known, now = ({metrics.canonical(one) for one in side["classes"]} for side in (own, signature))
        new, gone = (", ".join(sorted(one)[:5]) for one in (now - known, known - now))
        said = [f"the data now have class {new}, which it does not know"] * bool(new)
        said += [f"it knows class {gone}, which the data no longer have"] * bool(gone)
        raise CannotScore(" and ".join(said))
    import pyarrow.parquet as pq

    there = set(pq.read_schema(test).names)
    lacking = [feature["name"] for feature in own["features"] if feature["name"] not in there]
    if lacking:
        asks = f"it asks for {', '.join(lacking[:5])}, which the data no longer have"
        raise CannotScore(f"{asks} (a column listed with feature: false is kept for it)")


def _ask(folder: Path, test: Path, ranks: bool, policy: Policy | None) -> tuple[Answer, str]:
    """Answers to every row of `test`, and what gave them.

    `ranks`: they have to say how likely a class is, by probabilities or, where there are none, by scores. An ONNX model
    of labels does not.

    Raises:
        MlciError, CannotScore: it cannot be loaded, or fails.
    """
    if proved(read_json(folder / "signature.json")):
        said = asking.ask(folder, test, policy)
        if said.probabilities is not None or not ranks:
            return said, "its ONNX model"
    try:
        if not (folder / "code").is_dir():
            ask = asking.ask_with_scores if ranks else asking.ask
            return ask(folder, test, policy), "scikit-learn"
        return _in_a_process(Path(sys.executable), folder, test, ranks, policy), "scikit-learn, with its own modules"
    except MlciError as error:
        if error.code != "MOD_VERSION":
            raise
        from stages.gate.own_environment import python_of

        log.info("the champion is asked with the versions that it was trained with: %s", error.what)
        return _in_a_process(
            python_of(folder), folder, test, ranks, policy
        ), "scikit-learn, in the versions it was trained with"


def _in_a_process(python: Path, folder: Path, test: Path, ranks: bool, policy: Policy | None) -> Answer:
    """Ask a model in a process of its own, which imports the modules that it was trained with, not today's.

    Raises:
        MlciError: what that process reports. CannotScore: it fails otherwise.
    """
    places = [str(folder / "code"), str(Path(stages.__file__).resolve().parent.parent)]
    with tempfile.TemporaryDirectory() as scratch:
        said = Path(scratch) / "answer.npz"
        allowed = "" if policy is None else json.dumps(dataclasses.asdict(policy))
        words = [str(folder), str(test), str(said), "scores" if ranks else "", allowed]
        done = subprocess.run(
            [str(python), "-P", "-m", "stages.gate.asking", *words],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(places)},
            cwd=scratch,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            return asking.read(said)
    last = next((line.strip() for line in reversed(done.stderr.splitlines()) if line.strip()), "")
    if done.returncode == ArtefactError.exit_code and ": " in last:
        code, _, what = last.partition(": ")
        raise ArtefactError(code, what, "train it again, or deploy another model")
    raise CannotScore(last or f"it ended with code {done.returncode}")


def _reordered(answer: Answer, own: Mapping[str, Any], signature: Mapping[str, Any]) -> Answer:
    """Columns of probabilities in the order of the candidate's classes, scores for its second class."""
    if signature["classes"] is None or not answer.has("score"):
        return answer
    order = [own["classes"].index(one) for one in signature["classes"]]
    if answer.probabilities is None:
        return Answer(answer.labels, None, answer.leaning(order[1]))
    return Answer(answer.labels, answer.probabilities[:, order])
