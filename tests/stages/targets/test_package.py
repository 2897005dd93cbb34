"""The wheel: its bytes, its types, its answers, in an environment that has nothing but what it asks for."""

from __future__ import annotations

import email
import importlib
import io
import json
import os
import subprocess
import sys
import sysconfig
import venv as stdlib_venv
import zipfile
from pathlib import Path
from typing import Any

import pytest

from stages.errors import MlciError
from stages.product import interface, vendored, wheel
from stages.product.embedded import Embedded
from stages.targets.package import _differences
from stages.targets.venv import Venv, for_uv, pip_settings
from tests.stages import modelkit
from tests.stages.conftest import Repository

DIGEST = "3f2a" * 16


def metadata(path: Path) -> email.message.Message:
    with zipfile.ZipFile(path) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


# ---- the whole way, answering with ONNX -----------------------------------------------------------------------


def test_deploy_proves_a_wheel_that_needs_numpy_and_onnxruntime_alone(repository: Repository) -> None:
    repository.write("ml.yaml", (repository.folder / "ml.yaml").read_text() + "deploy: {product: {target: package}}\n")
    for stage in ("prepare", "train", "validate"):
        said = repository.run(stage, *(["--first"] if stage == "validate" else []))
        assert said.exit_code == 0, said.err
    said = repository.run("deploy", "--env", "product")
    assert said.exit_code == 0, said.err
    folder = repository.folder / ".mlci" / "deploy" / "product"
    (path,) = folder.glob("*.whl")
    told = metadata(path)
    assert [line.partition(">")[0] for line in told.get_all("Requires-Dist") or ()] == ["numpy", "onnxruntime"]
    assert told["Name"] == "houses"
    deployed = json.loads((folder / "deployment.json").read_text())
    assert deployed["url"] == str(path)
    assert path.name.split("+")[1].startswith(deployed["version"][:12])

    status = repository.run("status").data["environments"][0]
    assert (status["answers"], status["note"]) == (True, None)
    assert repository.run("deploy", "--env", "product").data["status"] == "skipped"
    path.write_bytes(path.read_bytes() + b"0")
    assert not repository.run("status").data["environments"][0]["answers"]
    assert repository.run("stop", "--env", "product").exit_code == 0
    assert list(folder.glob("*.whl")) == []


# ---- scikit-learn, in an environment that borrows this one's packages --------------------------------------------


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return modelkit.project(tmp_path_factory.mktemp("demo")).folder("train")


@pytest.fixture(scope="module")
def built(version: Path) -> wheel.Wheel:
    return wheel.build("demo", DIGEST, version, None)


@pytest.fixture(scope="module")
def installed(built: wheel.Wheel, tmp_path_factory: pytest.TempPathFactory) -> Venv:
    """The wheel, unpacked into an environment that sees the packages of this one but for mlci's checkout."""
    folder = tmp_path_factory.mktemp("venv")
    stdlib_venv.create(folder, with_pip=False, symlinks=True)
    site = folder / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}" / "site-packages"
    file = folder / built.file
    file.write_bytes(built.content)
    with zipfile.ZipFile(file) as archive:
        archive.extractall(site)
    (site / "borrowed.pth").write_text(f"import sys; sys.path.append({sysconfig.get_path('purelib')!r})\n")
    return Venv(folder / "bin" / "python", None)


def golden(version: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((version / "golden.json").read_text())
    return found


def test_it_answers_as_recorded(installed: Venv, version: Path) -> None:
    assert _differences(installed, "demo", golden(version)) == []


def test_another_answer_is_found(installed: Venv, version: Path) -> None:
    recorded = golden(version)
    chances = recorded["answers"][1]["probabilities"][0]
    chances["true"], chances["false"] = chances["true"] - 0.01, chances["false"] + 0.01
    (line,) = _differences(installed, "demo", recorded)
    assert line.startswith("request 2, row 1: a probability differs by 0.01")


def test_a_wheel_that_does_not_start_fails_its_proof(installed: Venv, version: Path) -> None:
    with pytest.raises(MlciError) as error:
        _differences(installed, "no_such_package", golden(version))
    assert error.value.code == "DEP_PROOF_LOST"


USE = """
import datetime, json, sys, threading
import demo, numpy
row = {"delay": 1, "seats": 9, "carrier": "AA", "origin": 1, "when": "2024-06-01T12:00:00"}
said = {}
said["loaded early"] = sorted({"sklearn", "pandas"} & set(sys.modules))
threads = [threading.Thread(target=demo.load) for _ in range(4)]
[t.start() for t in threads]; [t.join() for t in threads]
first = demo.predict([row])
same = [
    {**row, "delay": numpy.float64(1), "seats": numpy.int64(9), "origin": "1"},
    {**row, "when": datetime.datetime(2024, 6, 1, 12), "windy": None, "no such column": object()},
]
said["same"] = demo.predict(same) == demo.Answers(first.predictions * 2, first.probabilities * 2)
said["none"] = demo.predict([])
try:
    demo.predict(row)
except TypeError as error:
    said["one"] = str(error)
said["types"] = [type(first.predictions[0]).__name__, type(first.probabilities[0]["true"]).__name__]
try:
    demo.predict([row, {**row, "delay": "secret", "when": "2024-03-31T02:30:00"}, 7])
except demo.Refused as refused:
    said["refused"] = [str(refused), refused.code, refused.total, [p["pointer"] for p in refused.problems]]
said["mlci"] = sorted(name for name in sys.modules if name.split(".")[0] == "stages")
print(json.dumps(said))
"""


def test_product_code_uses_it(installed: Venv) -> None:
    done = installed.run(["-c", USE], "")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["loaded early"] == []
    assert said["same"] is True
    assert said["none"] == [[], []]
    assert "give a list of rows" in said["one"]
    assert said["types"] == ["bool", "float"]
    text, code, total, pointers = said["refused"]
    assert (code, total) == ("DAT_REFUSED", 3)
    assert pointers == ["/rows/1/delay", "/rows/1/when", "/rows/2"]
    assert "secret" not in text
    assert said["mlci"] == []


TYPED = """
import demo
said = demo.predict([{"delay": 1.5, "seats": 9, "carrier": "AA", "origin": "JFK", "when": "2024-06-01T12:00:00"}])
reveal_type(said.predictions)
demo.predict([{"delay": "late", "seats": 9, "carrier": "AA", "origin": "JFK", "when": "2024-06-01T12:00:00"}])
demo.predict([{"delay": None}])
"""


def test_the_types_are_those_of_the_contract(installed: Venv, tmp_path: Path) -> None:
    (tmp_path / "use.py").write_text(TYPED)
    (tmp_path / "mypy.ini").write_text(
        "[mypy]\nfollow_imports = silent\n[mypy-demo._runtime.*]\nfollow_imports = skip\n"
    )
    command = [sys.executable, "-m", "mypy", "--python-executable", str(installed.python), "use.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    assert 'Revealed type is "list[bool]"' in lines[0].replace("builtins.", ""), done.stdout
    assert lines[1].startswith("use.py:5: error:")
    assert 'item "delay"' in lines[1]
    assert lines[2].startswith("use.py:6: error: Missing keys")
    assert "Found 2 errors" in lines[-1]


def test_uv_is_told_what_pip_was_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = http://one/simple\ncert = /a.pem\n[install]\nno-index = true\n"
    )
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://two/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/wheels http://three/")
    monkeypatch.setenv("PIP_QUIET", "1")
    words, variables = for_uv(pip_settings())
    pairs = ["--default-index", "http://two/simple", "--find-links", "/wheels", "--find-links", "http://three/"]
    assert words == [*pairs, "--no-index"]
    assert variables["SSL_CERT_FILE"] == "/a.pem"


# ---- the bytes ------------------------------------------------------------------------------------------------


def test_the_same_model_gives_the_same_bytes(built: wheel.Wheel, version: Path) -> None:
    assert wheel.build("demo", DIGEST, version, None).content == built.content
    assert built.file == "demo-2026.1.1.0+3f2a3f2a3f2a-py3-none-any.whl"


def test_scikit_learn_is_pinned_and_the_rest_is_bounded(built: wheel.Wheel) -> None:
    asked = {
        line.split(operator)[0]: operator for line in built.requires for operator in ("==", ">=") if operator in line
    }
    assert asked == {"numpy": ">=", "pandas": ">=", "scikit-learn": "==", "scipy": ">=", "skops": ">="}
    assert "tzdata" in built.requires  # the contract has a time zone
    assert "uvicorn" not in str(built.requires)


def test_own_modules_travel_along(version: Path, tmp_path: Path) -> None:
    (tmp_path / "features.py").write_text("x = 1\n")
    content = wheel.build("demo", DIGEST, version, tmp_path).content
    path = tmp_path / "it.whl"
    path.write_bytes(content)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("demo/_code/features.py") == b"x = 1\n"
        assert b'_HERE / "_code"' in archive.read("demo/__init__.py")


def test_another_module_of_the_same_name_is_told(
    version: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A product may have one; the model must not take it for its own."""
    for place in ("product", "wheel"):
        (tmp_path / place).mkdir()
        (tmp_path / place / "features_of_both.py").write_text(f"place = {place!r}\n")
    monkeypatch.setattr(sys, "path", [str(tmp_path / "product"), *sys.path])
    embedded = Embedded(version, tmp_path / "wheel")
    assert embedded.load() is embedded.load()
    importlib.import_module("features_of_both")
    with pytest.raises(MlciError, match="MOD_SHADOWED") as error:
        Embedded(version, tmp_path / "wheel").load()
    assert "features_of_both" in error.value.what
    del sys.modules["features_of_both"]


def test_no_golden_row_is_inside(built: wheel.Wheel) -> None:
    """Recorded rows are real ones."""
    with zipfile.ZipFile(io.BytesIO(built.content)) as archive:
        assert [name for name in archive.namelist() if "_model/" in name] == [
            "demo/_model/signature.json",
            "demo/_model/model.skops",
        ]


@pytest.mark.parametrize("onnx", [True, False])
def test_no_vendored_module_imports_mlci(onnx: bool) -> None:
    found = vendored.runtime("demo._runtime", onnx)
    assert ("serving/onnx_predictor.py" in found) is onnx
    assert ("model/persistence.py" in found) is not onnx
    for path, source in found.items():
        compile(source, path, "exec")
        assert not {b"from stages", b"import stages"} & {
            b" ".join(line.split()[:2]).split(b".")[0] for line in source.splitlines()
        }, path


def test_an_import_that_cannot_be_moved_is_refused() -> None:
    with pytest.raises(ValueError, match="line 2"):
        vendored.moved(b"import json\nimport stages.errors\n", "demo")


@pytest.mark.parametrize(
    ("name", "imported"), [("flight-delays", "flight_delays"), ("class", "class_model"), ("json", "json_model")]
)
def test_the_name_to_import(name: str, imported: str) -> None:
    assert interface.import_name(name) == imported


def test_names_from_outside_end_no_text() -> None:
    feature = {"name": 'a"""b\n', "type": "number", "min": 1}
    signature = {"features": [feature], "target": {"name": 't"""\\'}, "classes": ['"""', "b\n"]}
    text = interface.init("demo", signature, DIGEST, False)
    compile(text, "demo", "exec")
