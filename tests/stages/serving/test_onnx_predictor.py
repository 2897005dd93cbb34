"""model.onnx behind the predictor's calls: the same answers as the pipeline's, without scikit-learn."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from stages.errors import ArtefactError
from stages.export.convert import convert
from stages.model.frames import frame
from stages.model.onnxlog import quiet_options
from stages.model.preprocess import auto, pipeline
from stages.serving.app import About, Service
from stages.serving.golden import compare, record
from stages.serving.onnx_predictor import OnnxPredictor
from stages.serving.predictor import Predictor, RowsRefused
from tests.stages import modelkit

from .conftest import ROW, serving

FEATURES: list[dict[str, Any]] = [
    {"name": "delay", "type": "number", "nullable": True, "min": -100, "max": 1000},
    {"name": "seats", "type": "integer", "nullable": False, "min": 1},
    {"name": "carrier", "type": "category", "nullable": False},
    {"name": "windy", "type": "boolean", "nullable": True},
    {"name": "when", "type": "datetime", "nullable": False, "timezone": "Europe/Berlin"},
]


def pair(estimator: Any, target: str = "two") -> tuple[Predictor, OnnxPredictor]:
    """The same model behind scikit-learn and behind onnxruntime."""
    table = modelkit.table(300)
    delay = np.nan_to_num(table["delay"].to_numpy())
    y = {"two": delay > 40, "three": np.digitize(delay, [20, 60]), "value": delay * 1.5}[target]
    classes = None if target == "value" else np.unique(y).tolist()
    fitted = pipeline(auto(FEATURES, estimator), estimator).fit(frame(table, FEATURES), y)
    task = "regression" if classes is None else "classification"
    signature = {"name": "demo", "task": task, "features": FEATURES, "classes": classes, "positive": None}
    signature |= {"target": {"name": "late", "type": "boolean"}, "ignored": []}
    return Predictor(fitted, signature), OnnxPredictor(convert(fitted, signature).content, signature)


def estimators() -> list[Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestClassifier
    from sklearn.linear_model import LinearRegression, LogisticRegression, RidgeClassifier

    return [
        pytest.param(HistGradientBoostingClassifier(max_iter=5), "two", id="boosting"),
        pytest.param(HistGradientBoostingClassifier(max_iter=5), "three", id="boosting-three"),
        pytest.param(RandomForestClassifier(5), "three", id="forest-three"),
        pytest.param(LogisticRegression(max_iter=500), "two", id="logistic"),
        pytest.param(RidgeClassifier(), "two", id="labels-two"),
        pytest.param(RidgeClassifier(), "three", id="labels-three"),
        pytest.param(LinearRegression(), "value", id="linear"),
        pytest.param(HistGradientBoostingRegressor(max_iter=5), "value", id="boosting-value"),
    ]


@pytest.mark.parametrize(("estimator", "target"), estimators())
def test_single_rows_many_rows_and_tables_are_answered_as_by_the_pipeline(estimator: Any, target: str) -> None:
    by_pipeline, by_onnx = pair(estimator, target)
    table = modelkit.table(120, seed=5)
    golden = record(by_pipeline.signature, by_pipeline.predict, table, n=60)

    def ask(body: dict[str, Any]) -> dict[str, Any]:
        return by_onnx.predict(by_onnx.decode(body["rows"]).columns)._asdict()

    assert compare(golden, ask) == []
    for row, expected in zip(golden["requests"][0]["rows"][:20], golden["answers"][0]["predictions"][:20], strict=True):
        alone = by_onnx.predict(by_onnx.decode([row]).columns)
        assert alone.predictions == [pytest.approx(expected)]
        assert [type(one) for one in alone.predictions] == [type(expected)]
    whole, again = by_pipeline.predict_table(table), by_onnx.predict_table(table)
    assert again.predictions == pytest.approx(whole.predictions)
    assert (again.probabilities is None) == (whole.probabilities is None)
    for one, other in zip(again.probabilities or [], whole.probabilities or [], strict=True):
        assert one == pytest.approx(other, abs=1e-6)
        assert list(one) == list(other)


def test_no_rows_get_no_answers() -> None:
    _, by_onnx = pair(estimators()[0].values[0])
    assert by_onnx.predict({f["name"]: [] for f in FEATURES}) == ([], [])


def test_threads_do_not_mix_up_rows() -> None:
    """The memory of a single row is shared; whoever finds it taken uses memory of its own."""
    from sklearn.linear_model import LinearRegression

    _, by_onnx = pair(LinearRegression(), "value")
    rows = [{**ROW, "delay": float(delay)} for delay in range(0, 100, 5)]
    for row in rows:
        row.pop("origin")
    asked = [by_onnx.decode([row]).columns for row in rows]
    expected = [by_onnx.predict(columns) for columns in asked]
    assert len({answer.predictions[0] for answer in expected}) == len(rows)
    wrong: list[int] = []

    def work(start: int) -> None:
        for i in range(400):
            at = (start + i) % len(asked)
            if by_onnx.predict(asked[at]) != expected[at]:
                wrong.append(at)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 7)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_an_answer_that_is_not_finite_is_refused() -> None:
    from sklearn.linear_model import LinearRegression

    _, by_onnx = pair(LinearRegression(), "value")  # the target is 1.5 times the delay
    columns = by_onnx.decode([{key: value for key, value in ROW.items() if key != "origin"}] * 3).columns
    columns["delay"][1] = 1.7e308
    with pytest.raises(RowsRefused) as caught:
        by_onnx.predict(columns)
    assert caught.value.rows == [1]
    with pytest.raises(RowsRefused) as caught:
        by_onnx.predict({name: values[1:2] for name, values in columns.items()})
    assert caught.value.rows == [0]


def _folder(tmp_path: Path) -> Path:
    """A folder as an image has it: the proved ONNX model and no pipeline."""
    import hashlib

    by_pipeline, _ = pair(estimators()[0].values[0])
    content = convert(by_pipeline.pipeline, by_pipeline.signature).content
    signature = {**by_pipeline.signature, "positive": True}
    signature["onnx"] = {"proved": True, "sha256": hashlib.sha256(content).hexdigest()}
    (tmp_path / "model.onnx").write_bytes(content)
    (tmp_path / "signature.json").write_text(json.dumps(signature))
    return tmp_path


def test_a_proved_model_is_served_without_scikit_learn_and_pandas(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    body = {"rows": [{key: value for key, value in ROW.items() if key != "origin"}]}
    program = f"""
import sys, json
from pathlib import Path
from stages.serving.start import service_of
service = service_of(Path({str(folder)!r}), "x")
said = service.predictor.predict(service.predictor.decode({body["rows"]!r}).columns)
assert service.predictor.runtime == "onnxruntime"
heavy = {{"sklearn", "pandas", "scipy", "pyarrow", "onnx", "skops", "joblib", "pydantic"}}
print(json.dumps([said.predictions, sorted(heavy & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    predictions, loaded = json.loads(done.stdout)
    assert predictions in ([True], [False])
    assert loaded == []


def test_a_file_that_was_exchanged_is_refused(tmp_path: Path) -> None:
    folder = _folder(tmp_path)
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-5] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(ArtefactError, match="does not match the digest") as caught:
        Predictor.load(folder)
    assert caught.value.code == "MOD_RECORD"
    (folder / "model.onnx").unlink()
    with pytest.raises(ArtefactError) as caught:
        Predictor.load(folder)
    assert caught.value.code == "MOD_RECORD"


def test_what_is_no_model_is_refused() -> None:
    with pytest.raises(ArtefactError) as caught:
        OnnxPredictor(b"no model", {"features": FEATURES, "classes": None})
    assert caught.value.code == "MOD_UNREADABLE"


def test_the_service_answers_few_rows_at_once_and_many_in_batches() -> None:
    by_pipeline, by_onnx = pair(estimators()[0].values[0])
    row = {key: value for key, value in ROW.items() if key != "origin"}
    by_onnx.inline_rows = 2
    with (
        serving(Service(by_onnx, About("demo", "abc"))) as live,
        serving(Service(by_pipeline, About("demo", "abc"))) as slow,
    ):
        assert live.ask("GET", "/model").body["runtime"] == "onnxruntime"
        for count in (1, 2, 3, 50):
            fast, usual = live.predict(*[row] * count), slow.predict(*[row] * count)
            assert fast.status == usual.status == 200
            assert fast.body["predictions"] == usual.body["predictions"]
            for one, other in zip(fast.body["probabilities"], usual.body["probabilities"], strict=True):
                assert one == pytest.approx(other, abs=1e-9)
        assert live.predict({**row, "seats": 0}).status == 422


def test_what_onnxruntime_cannot_do_is_raised_and_not_written(capfd: pytest.CaptureFixture[str]) -> None:
    """Its own lines, in colors, would stand between those of mlci."""
    _, by_onnx = pair(estimators()[3].values[0])
    options = quiet_options()
    for content in (b"no model", b""):
        with pytest.raises(Exception, match=r"(?i)onnx|model|protobuf"):
            onnxruntime.InferenceSession(content, options)
    with pytest.raises(Exception, match="rows"):
        by_onnx._run(np.zeros((2, 999)))
    table = helper.make_tensor("table", TensorProto.INT64, [1], [10**6])
    rows, answer = (helper.make_tensor_value_info(name, TensorProto.DOUBLE, None) for name in ("rows", "answer"))
    graph = helper.make_graph(
        [helper.make_node("Gather", ["rows", "table"], ["answer"])], "g", [rows], [answer], [table]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    with pytest.raises(Exception, match="Gather"):
        session.run(None, {"rows": np.zeros((2, 2))})
    assert capfd.readouterr() == ("", "")
