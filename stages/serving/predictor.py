"""A loaded model behind two calls: decode a request's rows, predict from its columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from stages.errors import ArtefactError
from stages.model.policy import Policy, proved
from stages.records.jsonfile import read_json
from stages.serving.decode import Decoded, Decoder

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Columns = Mapping[str, Sequence[Any]]


class Answers(NamedTuple):
    """Plain values in row order; `probabilities` is None for regression."""

    predictions: list[Any]
    probabilities: list[dict[str, float]] | None


class RowsRefused(Exception):
    """The model itself cannot answer some rows that the contract lets through; `rows` are their numbers, from 0."""

    def __init__(self, rows: list[int]) -> None:
        super().__init__(f"{len(rows)} rows")
        self.rows = rows


class Predictor:
    """A pipeline, its signature and its decoder.

    `levels`: categories seen in training, by column, so that unseen ones can be counted. `inline_rows`: up to so many
    rows are answered quicker than a thread could be asked.
    """

    runtime = "scikit-learn"
    inline_rows = 0

    def __init__(
        self, pipeline: Any, signature: Mapping[str, Any], levels: Mapping[str, list[str]] | None = None
    ) -> None:
        self.pipeline = pipeline
        self.signature = signature
        self.decoder = Decoder(signature, levels)

    @classmethod
    def load(cls, folder: Path, policy: Policy | None = None) -> Predictor:
        """Load `signature.json`, whose digest the caller has checked, and the model that it names with its digest: the
        ONNX one when that was proved, else the pipeline, if `policy` allows it.

        `policy`: see `persistence.load`.

        Raises:
            ArtefactError: a file is missing or unreadable, the model is a pickle or holds types that are not trusted.
        """
        signature = read_json(folder / "signature.json")
        if proved(signature):
            from stages.serving.onnx_predictor import OnnxPredictor

            return OnnxPredictor.open(folder, signature)
        from stages.model import persistence

        return cls(persistence.load(folder, signature, policy), signature, levels_of(folder))

    @property
    def gives_probabilities(self) -> bool:
        """Whether answers have probabilities."""
        from stages.model.answers import gives_probabilities

        return self.signature.get("classes") is not None and gives_probabilities(self.pipeline.steps[-1][1])

    def decode(self, rows: Sequence[Any]) -> Decoded:
        """Check the rows of a request."""
        return self.decoder.decode(rows)

    def answer(self, decoded: Decoded) -> Answers:
        """Answer the rows of a request. Raises: RowsRefused: as `predict`."""
        return self.predict(decoded.columns)

    def predict(self, columns: Columns) -> Answers:
        """Answer decoded rows.

        Raises:
            RowsRefused: the model fails for some of the rows or gives them no finite answer.
        """
        if not len(next(iter(columns.values()), ())):
            return Answers([], None if self.signature.get("classes") is None else [])
        from stages.model.frames import frame_from_lists

        return self._answer(frame_from_lists(columns, self.signature["features"]))

    def predict_table(self, table: pa.Table) -> Answers:
        """Answer the rows of an arrow table with contract types, as `prepare` leaves them.

        Raises:
            RowsRefused: as `predict`.
        """
        from stages.model.frames import frame

        return self._answer(frame(table, self.signature["features"]))

    def _answer(self, rows: pd.DataFrame) -> Answers:
        try:
            return self._ask(rows)
        except Exception as error:
            refused = self._failing(rows) if _blames_rows(error) else []
            if not refused:
                raise
            raise RowsRefused(refused) from error

    def _ask(self, rows: pd.DataFrame) -> Answers:
        from stages.model.answers import answers

        return Answers(*answers(self.pipeline, rows, self.signature))

    def _failing(self, rows: pd.DataFrame) -> list[int]:
        """Rows at which prediction fails, found by halving; at most ten."""
        failing: list[int] = []
        parts = [(0, len(rows))]
        while parts and len(failing) < 10:
            start, end = parts.pop()
            try:
                self._ask(rows.iloc[start:end].reset_index(drop=True))
            except Exception as error:
                if not _blames_rows(error):
                    raise
                if end - start == 1:
                    failing.append(start)
                else:
                    middle = (start + end) // 2
                    parts += [(middle, end), (start, middle)]
        return failing


def _blames_rows(error: Exception) -> bool:
    """Whether an error may come from the rows that were asked for, not from a broken model: golden answers proved
    the model."""
    if isinstance(error, ArtefactError):
        return error.code == "MOD_NOT_FINITE"
    return isinstance(error, ValueError | OverflowError | FloatingPointError)


def levels_of(folder: Path) -> dict[str, list[str]]:
    """Categories that training saw, from the `schema.json` beside a model; empty where there is none."""
    path = folder / "schema.json"
    if not path.is_file():
        return {}
    columns = read_json(path).get("columns", {})
    listed = columns.items() if isinstance(columns, dict) else ((c.get("name"), c) for c in columns)
    return {name: column["levels"] for name, column in listed if isinstance(column.get("levels"), list)}
