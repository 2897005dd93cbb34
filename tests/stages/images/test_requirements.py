"""What an image installs, and which of mlci's modules it holds."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stages import images
from stages.images import requirements, runtime, settings
from stages.records.digest import sha256_tree

ROOT = Path(images.__file__).parents[2]
OURS = Path(images.__file__).parent


def version(folder: Path, libraries: dict[str, str] | None = None, proved: bool = False) -> Path:
    (folder / "signature.json").write_text(json.dumps({"onnx": {"proved": proved}}))
    if libraries is not None:
        (folder / "environment.json").write_text(json.dumps({"libraries": libraries}))
    return folder


@pytest.mark.parametrize("name", [requirements.ONNX, requirements.SKLEARN])
def test_image_locks_are_parts_of_the_lock(name: str) -> None:
    """Fails when requirements.txt was changed without `make lock`."""
    everything = requirements.pinned((ROOT / "requirements.txt").read_text())
    text = (OURS / name).read_text()
    assert requirements.pinned(text).items() <= everything.items()
    assert text.count("--hash=sha256:") >= len(requirements.pinned(text)) > 5


def test_tooling_lists_the_lock_and_the_client_of_a_bucket() -> None:
    locked = re.findall(r"^([a-z0-9][a-z0-9.-]*)==", (ROOT / "requirements.txt").read_text(), flags=re.MULTILINE)
    tooling = (OURS / "tooling.txt").read_text().split()
    assert tooling == sorted(set(tooling))
    assert set(tooling) - set(locked) == {"boto3", "botocore", "jmespath", "s3transfer"}
    assert set(locked) <= set(tooling)


def test_onnx_needs_neither_scikit_learn_nor_pandas(tmp_path: Path) -> None:
    found = requirements.of_version(version(tmp_path, {"scikit-learn": "1.0"}, proved=True), None)
    assert not {"scikit-learn", "pandas", "scipy", "onnx", "docker"} & requirements.pinned(found.locked).keys()
    assert found.own == ()


def test_scikit_learn_comes_as_it_was_trained_with(tmp_path: Path) -> None:
    libraries = {"scikit_learn": "1.9.0", "numpy": "2.4.6", "lightgbm": "4.7.0", "pydantic": "2.0", "SQLAlchemy": "2.1"}
    found = requirements.of_version(version(tmp_path, libraries), None)
    assert found.own == ("lightgbm==4.7.0", "scikit-learn==1.9.0")
    assert "scikit-learn" not in requirements.pinned(found.locked)
    assert "numpy==2.4.6\n" in found.constraints
    assert "--hash" not in found.constraints


def test_what_the_models_own_modules_import_comes_along(tmp_path: Path) -> None:
    code = tmp_path / "code"
    code.mkdir()
    (code / "features.py").write_text("import os\nimport numpy\nfrom requests import get\n")
    libraries = {"requests": "2.34.2", "docker": "7.2.0"}
    assert requirements.of_version(version(tmp_path, libraries), code).own == ("requests==2.34.2",)


def test_no_stage_travels() -> None:
    names = set(runtime.runtime_files())
    assert {"stages/serving/app.py", "stages/images/probe.py", "stages/errors.py"} <= names
    assert not [n for n in names if re.match(r"stages/(train|prepare|deploy|config|targets|gate|store|data/csv)", n)]


def test_the_runtime_is_whole(tmp_path: Path) -> None:
    """Everything that a service imports at its start is among the files that travel."""
    for name, content in runtime.runtime_files().items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    wanted = "stages.serving.__main__ stages.serving.server stages.serving.start stages.serving.onnx_predictor"
    wanted += " stages.model.persistence stages.model.answers stages.model.frames"
    code = f"import sys; sys.path[:0] = [{str(tmp_path)!r}]\n"
    code += "\n".join(f"import {name}" for name in wanted.split())
    code += "\nassert 'pydantic' not in sys.modules and 'docker' not in sys.modules; print(stages.__file__)"
    said = subprocess.run([sys.executable, "-P", "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert said.stdout.strip() == str(tmp_path / "stages" / "__init__.py"), said.stderr


def test_pip_is_told_in_the_build_what_it_is_told_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = tmp_path / "ca.pem"
    bundle.write_bytes(b"certificates")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    monkeypatch.setenv("PIP_FIND_LINKS", "/a/folder/here")
    monkeypatch.setenv("PIP_CERT", str(bundle))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTP_PROXY", "http://localhost:3128")
    found = settings.pip_settings()
    assert found.arguments["PIP_INDEX_URL"] == "https://mirror.example/simple"
    assert found.arguments["HTTPS_PROXY"] == "http://proxy.example:3128"
    assert "HTTP_PROXY" not in found.arguments
    assert "PIP_FIND_LINKS" not in found.arguments
    assert found.certificates == b"certificates"


def test_no_import_is_overlooked() -> None:
    """The quick search for imports finds what a syntax tree has."""
    inside = runtime.runtime_files()
    for name, source in inside.items():
        for node in ast.walk(ast.parse(source)) if name.endswith(".py") else ():
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("stages"):
                found = runtime._imports(source)
                typed = b"TYPE_CHECKING" in source and node.col_offset == 4
                assert node.module in found or typed, (name, node.lineno)


def test_the_zipapp_holds_the_same(tmp_path: Path) -> None:
    """Images are built from the checkout and from what travels in the library alike."""
    packed = tmp_path / "mlci.pyz"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in sorted((ROOT / "stages").rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                archive.write(path, path.relative_to(ROOT))
    code = "from stages.images.runtime import runtime_files; from stages.records.digest import sha256_tree; "
    code += "from stages.images.requirements import pinned, _lock; "
    code += "print(sha256_tree(runtime_files()), len(pinned(_lock('onnx.txt'))))"
    said = subprocess.run(
        [sys.executable, "-P", "-c", code],
        env={**os.environ, "PYTHONPATH": str(packed)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    count = len(requirements.pinned((OURS / "onnx.txt").read_text()))
    assert said.stdout.split() == [sha256_tree(runtime.runtime_files()), str(count)], said.stderr
