"""Recorded requests and answers: what an artefact must reproduce before it may serve.

A request is exactly a body for `POST /predict`. Rows are taken so that unusual ones are among them: extremes of each
number, rare categories, missing values, and one row with every nullable column null.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from stages.errors import ArtefactError
from stages.serving.decode import Decoder
from stages.serving.predictor import RowsRefused

if TYPE_CHECKING:
    import pyarrow as pa

#: |Δp| that counts as equal, and how far the two likeliest classes must stand apart for a changed label to count.
PROBABILITY_TOLERANCE = 1e-5
LABEL_MARGIN = 1e-4
#: Regression: |Δ| ≤ this · max(1, |y|).
VALUE_TOLERANCE = 1e-4

#: Rows that are also asked for one by one: a batch and its rows must agree.
SINGLES = 3

Row = dict[str, Any]
Predict = Callable[[Mapping[str, Sequence[Any]]], tuple[list[Any], list[dict[str, float]] | None]]


#: How many rows are recorded.
ROWS = 32


def record(signature: Mapping[str, Any], predict: Predict, table: pa.Table, n: int = ROWS) -> dict[str, Any]:
    """Choose about `n` rows of `table` (columns as `prepare` leaves them), ask for them, and keep both.

    Arguments and errors are those of `record_rows`. The same table gives the same file.
    """
    return record_rows(signature, predict, _rows(table, signature, n))


def record_rows(signature: Mapping[str, Any], predict: Predict, chosen: Sequence[Row]) -> dict[str, Any]:
    """Ask for rows, and keep them with the answers.

    `predict`: columns as `Decoder` gives them → predictions and probabilities.
    Rows that the contract of the signature refuses, or that the model has no finite answer for, are left out.

    Raises:
        ValueError: none of the rows can be asked for.
    """
    decoder = Decoder(signature)
    rows = [row for row in chosen if not decoder.decode([row]).refused]
    answered = [(row, answer) for row in rows if (answer := _ask(decoder, predict, row)) is not None]
    if not answered:
        raise ValueError("no row can be asked for")
    kept = [row for row, _ in answered]
    bodies = [{"rows": kept}, *({"rows": [row]} for row in kept[:SINGLES])]
    answers = []
    for body in bodies:
        predictions, probabilities = predict(decoder.decode(body["rows"]).columns)
        answers.append(
            {"predictions": predictions} | ({} if probabilities is None else {"probabilities": probabilities})
        )
    return {"schema_version": 1, "requests": bodies, "answers": answers}


def compare(golden: Mapping[str, Any], ask: Callable[[dict[str, Any]], Mapping[str, Any]]) -> list[str]:
    """Send each recorded request through `ask` (body → answer) and say what differs beyond the tolerance; at most
    ten lines.

    Values are left out of the lines: recorded rows are real ones.
    """
    found: list[str] = []
    for i, (body, recorded) in enumerate(zip(golden["requests"], golden["answers"], strict=True)):
        found += [f"request {i + 1}, {line}" for line in differences(recorded, ask(body))]
    return found[:10]


def differences(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Where two answers to one request differ beyond the tolerance."""
    before, after = recorded["predictions"], now.get("predictions")
    if not isinstance(after, list) or len(after) != len(before):
        return [f"{len(before)} predictions were recorded, {len(after) if isinstance(after, list) else 'none'} came"]
    chances, chances_now = recorded.get("probabilities"), now.get("probabilities")
    if chances is None:
        return [
            f"row {i + 1}: the prediction differs"
            for i, (a, b) in enumerate(zip(before, after, strict=True))
            if not _same(a, b)
        ]
    if not isinstance(chances_now, list) or len(chances_now) != len(chances):
        return ["the probabilities are missing"]
    lines = []
    for i, (old, new) in enumerate(zip(chances, chances_now, strict=True)):
        if not isinstance(new, dict) or old.keys() != new.keys():
            lines.append(f"row {i + 1}: the classes differ")
            continue
        largest = max(abs(old[name] - new[name]) for name in old)
        if not largest <= PROBABILITY_TOLERANCE:
            lines.append(f"row {i + 1}: a probability differs by {largest:.2g}")
        elif before[i] != after[i] and _lead(old) > LABEL_MARGIN:
            lines.append(f"row {i + 1}: the predicted class differs")
    return lines


def _same(recorded: Any, now: Any) -> bool:
    numbers = isinstance(recorded, int | float) and isinstance(now, int | float) and not isinstance(recorded, bool)
    return abs(recorded - now) <= VALUE_TOLERANCE * max(1.0, abs(recorded)) if numbers else bool(recorded == now)


def _lead(chances: Mapping[str, float]) -> float:
    ordered = sorted(chances.values(), reverse=True)
    return ordered[0] - ordered[1] if len(ordered) > 1 else 1.0


def _ask(decoder: Decoder, predict: Predict, row: Row) -> object | None:
    """The answer to one row, None where the model has none: such a row proves nothing."""
    try:
        return predict(decoder.decode([row]).columns)
    except (RowsRefused, ArtefactError, ValueError, OverflowError, FloatingPointError):
        return None


def _rows(table: pa.Table, signature: Mapping[str, Any], n: int) -> list[Row]:
    """Distinct rows as JSON: spread over the table, then the unusual ones, then one with every nullable column
    null."""
    features = signature["features"]
    picked = _picked(table, features, n)
    if not picked:
        return []
    columns = {f["name"]: _plain(table.column(f["name"]).take(picked), f) for f in features}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    nullable = [f["name"] for f in features if f.get("nullable")]
    if rows and nullable:
        rows.append({**rows[0], **dict.fromkeys(nullable)})
        rows.append({name: value for name, value in rows[-1].items() if name not in nullable})
    distinct = []
    for row in rows:
        if row not in distinct:
            distinct.append(row)
    return distinct


def _picked(table: pa.Table, features: Sequence[Mapping[str, Any]], n: int) -> list[int]:
    import pyarrow.compute as pc

    if not table.num_rows:
        return []
    spread = max(1, n // 2)
    picked = dict.fromkeys(i * table.num_rows // spread for i in range(spread))
    for feature in features:
        if len(picked) >= n:
            break
        column = table.column(feature["name"])
        wanted: list[Any] = []
        if column.null_count:
            picked[pc.index(pc.is_null(column), True).as_py()] = None
        if feature["type"] in ("number", "integer", "datetime"):
            ends = pc.min_max(column)
            wanted = [ends["min"], ends["max"]]
        elif feature["type"] in ("category", "text"):
            counts = pc.value_counts(column.cast("string")).to_pylist()
            rare = sorted((c["counts"], c["values"]) for c in counts if c["values"] is not None)
            column, wanted = column.cast("string"), [rare[0][1]] if rare else []
        for value in wanted:
            found = pc.index(column, value).as_py()
            if found >= 0:
                picked[found] = None
    return list(picked)[:n]


def _plain(column: pa.ChunkedArray, feature: Mapping[str, Any]) -> list[Any]:
    """Values as a caller would send them."""
    if feature["type"] == "category":
        column = column.cast("string")
    values: list[Any] = column.to_pylist()
    if feature["type"] != "datetime":
        return values
    layout = feature.get("format")
    zone = None
    if feature.get("timezone"):
        from zoneinfo import ZoneInfo

        zone = ZoneInfo(feature["timezone"])
    shown = []
    for value in values:
        moment = value if value is None or zone is None else value.astimezone(zone)
        shown.append(None if moment is None else moment.strftime(layout) if layout else moment.isoformat())
    return shown
