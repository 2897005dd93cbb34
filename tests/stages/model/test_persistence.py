"""Model files: the same bytes for the same model, and nothing is built that is not trusted."""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sklearn
import skops.io

from stages.errors import ArtefactError
from stages.model import answers, frames, persistence, training
from stages.model.metrics import Answer
from stages.model.trusted import TRUSTED
from tests.stages.model.conftest import Bench

LOGISTIC = "sklearn.linear_model.LogisticRegression"


def _trained(bench: Bench, model_format: str = "skops", estimator: str = LOGISTIC, **model: Any) -> training.Trained:
    trained = training.train(
        bench.config("late", estimator, format=model_format, **model), bench.prepared, bench.out, None
    )
    _record(bench.out, trained.signature)
    return trained


def _record(folder: Path, signature: dict[str, Any]) -> None:
    (folder / "signature.json").write_text(json.dumps(signature))


def _forge(bench: Bench, signature: dict[str, Any], data: bytes) -> None:
    """Put `data` where the model is, with a signature that agrees: what only an attacker with the record could do."""
    path = bench.out / signature["model"]["file"]
    path.write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    _record(bench.out, {**signature, "model": {**signature["model"], "sha256": digest}})


def _code(folder: Path) -> str:
    with pytest.raises(ArtefactError) as caught:
        persistence.load(folder)
    assert caught.value.exit_code == 3
    assert "\n" not in caught.value.what + caught.value.todo
    return caught.value.code


@pytest.mark.parametrize("model_format", ["skops", "joblib"])
def test_loads_what_was_saved(bench: Bench, model_format: str) -> None:
    trained = _trained(
        bench, model_format, "sklearn.ensemble.RandomForestClassifier", params={"n_jobs": 2, "n_estimators": 4}
    )
    loaded = persistence.load(bench.out)
    frame = frames.frame_from_parquet(bench.prepared / "test.parquet", trained.signature["features"])
    before, after = (answers.ask(p, frame, [False, True]) for p in (trained.pipeline, loaded))
    assert persistence.alike(before, after)
    assert loaded.steps[-1][1].n_jobs == 1
    assert trained.pipeline.steps[-1][1].n_jobs == 2
    assert trained.signature["model"]["file"] == f"model.{model_format}"


def test_a_skops_file_depends_on_the_model_alone(bench: Bench) -> None:
    trained = _trained(bench)
    with zipfile.ZipFile(bench.out / "model.skops") as archive:
        assert {e.date_time for e in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        names = archive.namelist()
        schema = archive.read("schema.json").decode()
    assert names == [*(f"{i + 1}.npy" for i in range(len(names) - 1)), "schema.json"]
    for part in (trained.pipeline, trained.pipeline.steps[-1][1]):
        assert str(id(part)) not in schema
    other = bench.out.parent / "again"
    other.mkdir()
    persistence.save(trained.pipeline, other, trained.signature, *_sample(bench, trained))
    assert (other / "model.skops").read_bytes() == (bench.out / "model.skops").read_bytes()


def test_sets_are_written_in_one_order(bench: Bench) -> None:
    def saved(order: list[str]) -> bytes:
        trained = _trained(bench)
        held: dict[str, None] = dict.fromkeys(order)
        trained.pipeline.steps[-1][1].seen_ = set(held)
        persistence.save(trained.pipeline, bench.out, trained.signature, *_sample(bench, trained))
        return (bench.out / "model.skops").read_bytes()

    first, second = ["a", "i", "q"], ["q", "i", "a"]
    assert saved(first) == saved(second)
    loaded = skops.io.loads((bench.out / "model.skops").read_bytes(), trusted=sorted(TRUSTED))
    assert loaded.steps[-1][1].seen_ == {"a", "i", "q"}


def _sample(bench: Bench, trained: training.Trained) -> tuple[Any, Any]:
    frame = frames.frame_from_parquet(bench.prepared / "test.parquet", trained.signature["features"])
    return frame, answers.ask(trained.pipeline, frame, trained.signature["classes"])


def test_an_exchanged_or_missing_file_is_not_opened(bench: Bench) -> None:
    trained = _trained(bench)
    path = bench.out / "model.skops"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert _code(bench.out) == "MOD_RECORD"
    path.unlink()
    assert _code(bench.out) == "MOD_RECORD"
    _record(bench.out, {"schema_version": 1})
    assert _code(bench.out) == "MOD_RECORD"
    (bench.out / "signature.json").unlink()
    assert _code(bench.out) == "MOD_RECORD"
    assert trained.signature["model"]["sha256"]


@pytest.mark.parametrize("data", [b"", b"PK not a zip", b"\x00" * 100])
def test_damaged_files_with_a_forged_record(bench: Bench, data: bytes) -> None:
    trained = _trained(bench)
    _forge(bench, trained.signature, data)
    assert _code(bench.out) == "MOD_UNREADABLE"


EVIL = "import pathlib, sys\npathlib.Path(__file__).with_name('ran').write_text('code ran')\n"


class Evil:
    """Unpickles into a call."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return (Path.write_text, (self.path, "code ran"))


def test_a_malicious_joblib_file_is_refused_by_its_digest(bench: Bench, tmp_path: Path) -> None:
    _trained(bench, "joblib")
    (bench.out / "model.joblib").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    assert _code(bench.out) == "MOD_RECORD"
    assert not (tmp_path / "ran").exists()


def test_a_joblib_file_beside_a_skops_model_is_ignored(bench: Bench, tmp_path: Path) -> None:
    _trained(bench)
    (bench.out / "model.joblib").write_bytes(pickle.dumps(Evil(tmp_path / "ran")))
    persistence.load(bench.out)
    assert not (tmp_path / "ran").exists()


def _with_function(data: bytes, module: str, name: str) -> bytes:
    """A skops file in which one node became a reference to a function."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as archive, zipfile.ZipFile(out, "w") as new:
        for entry in archive.namelist():
            content = archive.read(entry)
            if entry == "schema.json":
                schema = json.loads(content)
                schema["content"]["content"]["evil"] = {
                    "__class__": name,
                    "__module__": module,
                    "__loader__": "FunctionNode",
                }
                content = json.dumps(schema).encode()
            new.writestr(entry, content)
    return out.getvalue()


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("os", "system"),
        ("builtins", "eval"),
        ("numpy", "load"),
        ("numpy.f2py", "main"),
        ("joblib", "load"),
        ("evil", "x"),
    ],
)
def test_a_malicious_skops_file_is_refused_even_with_a_forged_record(
    bench: Bench, write_module: Callable[[str, str], None], tmp_path: Path, module: str, name: str
) -> None:
    write_module("evil", EVIL)
    trained = _trained(bench)
    _forge(bench, trained.signature, _with_function((bench.out / "model.skops").read_bytes(), module, name))
    with pytest.raises(ArtefactError) as caught:
        persistence.load(bench.out)
    assert caught.value.code == "MOD_UNTRUSTED"
    assert f"{module}.{name}" in caught.value.what
    assert not (tmp_path / "ran").exists()


def test_other_versions_are_refused_before_the_file_is_read(bench: Bench) -> None:
    trained = _trained(bench)
    versions = {**trained.signature["versions"], "scikit-learn": "1.2.3"}
    _record(bench.out, {**trained.signature, "versions": versions})
    with pytest.raises(ArtefactError) as caught:
        persistence.load(bench.out)
    assert caught.value.code == "MOD_VERSION"
    assert "scikit-learn 1.2.3" in caught.value.what
    assert sklearn.__version__ in caught.value.what


def test_joblib_also_wants_the_same_python(bench: Bench) -> None:
    trained = _trained(bench, "joblib")
    _record(bench.out, {**trained.signature, "versions": {**trained.signature["versions"], "python": "3.9.1"}})
    assert _code(bench.out) == "MOD_VERSION"
    trained = _trained(bench)
    _record(bench.out, {**trained.signature, "versions": {**trained.signature["versions"], "python": "3.9.1"}})
    persistence.load(bench.out)


def test_scikit_learns_own_warning_is_an_error(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    trained = _trained(bench)
    data = (bench.out / "model.skops").read_bytes()
    version = sklearn.__version__
    _forge(bench, trained.signature, data)
    monkeypatch.setattr("sklearn.base.__version__", "0.1.0")
    monkeypatch.setattr("stages.model.persistence.installed_versions", lambda name: {**trained.signature["versions"]})
    assert version == trained.signature["versions"]["scikit-learn"]
    assert _code(bench.out) == "MOD_VERSION"


def test_user_code_that_is_not_there_is_named(
    bench: Bench, write_module: Callable[[str, str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    import sys

    source = "from sklearn.linear_model import LogisticRegression\nclass Mine(LogisticRegression):\n    pass\n"
    write_module("mine_once", source)
    _trained(bench, estimator="mine_once.Mine", trust=["mine_once.Mine"])
    persistence.load(bench.out)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(bench.out.parent)])
    sys.modules.pop("mine_once", None)
    with pytest.raises(ArtefactError) as caught:
        persistence.load(bench.out)
    assert caught.value.code == "MOD_UNREADABLE"
    assert "mine_once" in caught.value.what


def test_what_skops_cannot_hold_is_refused_with_the_way_out(
    bench: Bench, write_module: Callable[[str, str], None]
) -> None:
    source = (
        "import threading\nfrom sklearn.dummy import DummyClassifier\n"
        "class Locked(DummyClassifier):\n    def fit(self, X, y, sample_weight=None):\n"
        "        self.lock_ = (i for i in range(3))\n        return super().fit(X, y, sample_weight)\n"
    )
    write_module("mine_locked", source)
    with pytest.raises(ArtefactError) as caught:
        _trained(bench, estimator="mine_locked.Locked", trust=["mine_locked.Locked"])
    assert caught.value.code in ("MOD_NOT_SKOPS", "MOD_UNTRUSTED")
    with pytest.raises(ArtefactError) as caught:
        _trained(bench, "joblib", estimator="mine_locked.Locked")
    assert caught.value.code == "MOD_NOT_SAVED"


def test_a_model_that_comes_back_different_is_not_kept(bench: Bench, write_module: Callable[[str, str], None]) -> None:
    source = (
        "import numpy as np\nfrom sklearn.linear_model import LogisticRegression\n"
        "class Forgetful(LogisticRegression):\n    def __getstate__(self):\n"
        "        state = dict(super().__getstate__())\n"
        "        if 'coef_' in state:\n            state['coef_'] = np.zeros_like(state['coef_'])\n"
        "        return state\n"
    )
    write_module("mine_forgetful", source)
    for model_format, code in (("skops", "MOD_NOT_SKOPS"), ("joblib", "MOD_NOT_SAVED")):
        with pytest.raises(ArtefactError) as caught:
            _trained(bench, model_format, estimator="mine_forgetful.Forgetful", trust=["mine_forgetful.Forgetful"])
        assert caught.value.code == code
        assert not (bench.out / f"model.{model_format}").exists()


def test_the_list_of_trusted_types_holds_exact_names_that_exist() -> None:
    import importlib

    for name in TRUSTED:
        module, _, attribute = name.rpartition(".")
        assert hasattr(importlib.import_module(module), attribute), name
        assert "*" not in name
    for never in ("builtins.eval", "os.system", "numpy.load", "functools.partial", "operator.attrgetter"):
        assert never not in TRUSTED
    assert not any("PyFunc" in name for name in TRUSTED)


def test_alike_leaves_the_last_bits_open_and_nothing_else() -> None:
    one = Answer(np.array(["a", "b"]), np.array([[0.25, 0.75], [0.5, 0.5]]))
    assert one.probabilities is not None
    assert persistence.alike(one, Answer(one.labels, one.probabilities * (1 + 1e-14)))
    assert not persistence.alike(one, Answer(one.labels, one.probabilities + 1e-6))
    assert not persistence.alike(one, Answer(np.array(["a", "a"]), one.probabilities))
    assert not persistence.alike(one, Answer(one.labels))


@pytest.mark.parametrize("name", ["schema.json", "1.npy"])
def test_an_archive_that_unpacks_to_gigabytes_is_not_read(bench: Bench, name: str) -> None:
    signature = _trained(bench).signature
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive, archive.open(name, "w", force_zip64=True) as out:
        for _ in range(100):
            out.write(bytes(1 << 20))
    _forge(bench, signature, bomb.getvalue())
    assert _code(bench.out) == "MOD_UNREADABLE"


@pytest.mark.parametrize("schema", [b"[" * 200_000, b'{"content":' * 200_000, b"9" * 5000])
def test_a_schema_that_no_parser_takes(bench: Bench, schema: bytes) -> None:
    signature = _trained(bench).signature
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w") as archive:
        archive.writestr("schema.json", schema)
    _forge(bench, signature, bomb.getvalue())
    assert _code(bench.out) == "MOD_UNREADABLE"
