"""mlci.pyz in resources/ is what the sources give, and answers a Jenkins step."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from tools import build_pyz

ROOT = Path(__file__).resolve().parents[2]
PYZ = ROOT / "resources" / "mlci" / "mlci.pyz"


def test_committed_pyz_is_what_the_sources_give() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tools" / "build_pyz.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_same_sources_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("stages", "requirements.txt", "pyproject.toml"):
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(source, tmp_path / name, copy_function=shutil.copy)
        else:
            shutil.copy(source, tmp_path)
    for path in tmp_path.rglob("*"):
        os.utime(path, (1, 1))
    (tmp_path / "stages" / "__pycache__").mkdir(exist_ok=True)
    (tmp_path / "stages" / "__pycache__" / "left.pyc").touch()
    assert build_pyz.build(tmp_path) == build_pyz.build(ROOT)


def test_a_change_is_seen(tmp_path: Path) -> None:
    target = tmp_path / "mlci.pyz"
    arguments = ["--output", str(target)]
    assert build_pyz.main(arguments) == 0
    assert build_pyz.main([*arguments, "--check"]) == 0
    content = target.read_bytes()
    with zipfile.ZipFile(target, "a") as archive:
        archive.writestr("stages/other.py", "x = 1\n")
    assert build_pyz.main([*arguments, "--check"]) == 1
    target.write_bytes(content)
    target.with_name("mlci.pyz.sha256").write_text("0\n")
    assert build_pyz.main([*arguments, "--check"]) == 1


def test_it_is_small_sorted_and_without_times() -> None:
    content = build_pyz.build(ROOT)
    assert len(content) < 900_000
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = archive.namelist()
        assert names == sorted(names)
        assert {entry.date_time for entry in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {"__main__.py", "requirements.txt", "needs.txt", "stages/cli.py"} <= set(names)


@pytest.fixture
def pyz(tmp_path: Path) -> Path:
    target = tmp_path / "bin" / "mlci.pyz"
    build_pyz.main(["--output", str(target)])
    return target


def call(pyz: Path, folder: Path, *words: str) -> tuple[int, dict[str, object], str]:
    """Run a command as the Jenkins step does. Exit code, answer, output."""
    (folder / "call.json").write_text(json.dumps({"arguments": words}))
    environment = {
        **os.environ,
        "MLCI_BOOTSTRAP": "off",
        "MLCI_CALL": str(folder / "call.json"),
        "MLCI_ANSWER": str(folder / "answer.json"),
    }
    done = subprocess.run(
        [sys.executable, pyz], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads((folder / "answer.json").read_text()), done.stdout + done.stderr


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    rows = ["x,y,label", *(f"{i % 7},{i % 5},{'a' if (i % 7) + (i % 5) > 5 else 'b'}" for i in range(400))]
    (folder / "rows.csv").write_text("\n".join(rows) + "\n")
    (folder / "ml.yaml").write_text(
        "name: small\ntask: classification\n"
        "data: {source: rows.csv, target: label, split: {by: random},\n"
        "  columns: {x: {type: number}, y: {type: number}, label: {type: category}}}\n"
        "model: {estimator: sklearn.tree.DecisionTreeClassifier}\n"
        "validate: {on_fail: unstable, metrics: {accuracy: {min: 1.1}}}\n"
        "deploy: {local: {target: process, port: 18999}, files: {target: process, port: 18998}}\n"
    )
    return folder


def test_check_tells_the_pipeline_what_it_needs(pyz: Path, repository: Path) -> None:
    code, told, _ = call(pyz, repository, "check")
    assert code == 0
    plan = told["plan"]
    assert isinstance(plan, dict)
    assert plan["name"] == "small"
    assert plan["environments"] == [{"name": "local", "target": "process"}, {"name": "files", "target": "process"}]
    assert plan["store"]["kind"] == "directory"
    assert plan["store"]["identity"]


def test_a_stage_tells_what_it_left(pyz: Path, repository: Path) -> None:
    code, told, said = call(pyz, repository, "prepare")
    assert code == 0, said
    assert told["folder"] == ".mlci/prepare"
    assert told["junit"] is False
    assert "rows" in str(told["text"])
    assert '"exit_code"' not in said, "the line for the machine stays out of the log"
    assert "prepare" in said


def test_a_refusal_tells_how_to_take_it(pyz: Path, repository: Path) -> None:
    for stage in ("prepare", "train"):
        assert call(pyz, repository, stage)[0] == 0
    code, told, _ = call(pyz, repository, "validate", "--first")
    assert code == 4
    assert (told["on_fail"], told["verdict"], told["inconclusive"]) == ("unstable", "failed", "ask")
    assert told["junit"] is True
    junit = repository / ".mlci" / "validate" / "junit.xml"
    os.utime(junit, (1, 1))
    started = time.time()
    assert call(pyz, repository, "validate", "--first")[0] == 4
    assert junit.stat().st_mtime >= started - 1, "Jenkins takes results older than the build for left over"
    text = (repository / "ml.yaml").read_text()
    (repository / "ml.yaml").write_text(
        text.replace("min: 1.1", "min: 0.5").replace("on_fail: unstable", "inconclusive: pass")
    )
    code, told, said = call(pyz, repository, "validate", "--first")
    assert (code, told["verdict"]) == (0, "approved"), said


def test_the_model_card_becomes_a_page_that_jenkins_shows(pyz: Path, repository: Path) -> None:
    text = (repository / "ml.yaml").read_text()
    (repository / "ml.yaml").write_text(text + "card: {owner: '<script>alert(1)</script> `x` | **us**'}\n")
    for stage in ("prepare", "train"):
        code, told, _ = call(pyz, repository, stage)
        assert code == 0
    assert told["card"] == ".mlci/card"
    page = (repository / ".mlci" / "card" / "index.html").read_text()
    assert "<script" not in page
    assert "style=" not in page
    assert "&lt;script&gt;" in page
    assert '<th scope="col">feature</th>' in page
    assert (repository / ".mlci" / "card" / "report.css").stat().st_size > 100


def test_a_folder_elsewhere_is_named_from_where_the_step_stands(pyz: Path, repository: Path) -> None:
    (repository / "models").mkdir()
    for name in ("ml.yaml", "rows.csv"):
        (repository / name).rename(repository / "models" / name)
    code, told, said = call(pyz, repository, "prepare", "-C", "models")
    assert code == 0, said
    assert told["folder"] == "models/.mlci/prepare"


def test_an_error_is_told_whole(pyz: Path, repository: Path) -> None:
    (repository / "ml.yaml").write_text("nme: x\n")
    code, told, _ = call(pyz, repository, "train")
    assert code == 2
    error = told["error"]
    assert isinstance(error, dict)
    assert {"code", "what", "todo"} <= error.keys()
