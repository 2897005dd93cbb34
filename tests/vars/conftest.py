"""Maven and Java for the tests of the Groovy; installed where that is allowed, as `make setup` does with others."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docker.parts import announce

ROOT = Path(__file__).resolve().parents[2]
VARS = Path(__file__).resolve().parent
#: `tests/conftest.py` takes CI out of the environment and leaves this in its place.
STARTED_IN_CI = os.environ.get("TESTS_IN_CI") == "1"


@pytest.fixture(scope="session")
def maven() -> str:
    """The command mvn. Missing and not to be had: one loud skip on a laptop, a failure in CI."""
    if shutil.which("mvn") is None or shutil.which("javac") is None:
        subprocess.run(["sh", ROOT / "tools" / "apt.sh", "maven", "default-jdk-headless"], check=False)
    found = shutil.which("mvn")
    if found is None or shutil.which("javac") is None:
        text = "the Groovy tests need Maven and a JDK (Debian, Ubuntu: sudo apt-get install maven default-jdk-headless)"
        if STARTED_IN_CI:
            pytest.fail(text)
        pytest.skip(text)
    return found


def mvn(maven: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Maven in tests/vars; offline first, so that a machine that has everything needs no network."""
    command = [maven, "--batch-mode", "--quiet", "--no-transfer-progress", *arguments]
    done = subprocess.run([*command, "--offline"], cwd=VARS, capture_output=True, text=True, timeout=1800, check=False)
    missing = (
        *("Cannot access", "has not been downloaded from it before", "could not be resolved", "in offline mode"),
        "No plugin found for prefix",
    )
    if done.returncode != 0 and any(text in done.stdout + done.stderr for text in missing):
        announce("Maven downloads what the Groovy tests need: a minute or two; kept for later runs")
        done = subprocess.run(command, cwd=VARS, capture_output=True, text=True, timeout=1800, check=False)
    return done


@pytest.fixture(scope="session")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library with the stages as they are now, whether or not its pyz was rebuilt in the tree."""
    from tools import build_pyz

    folder = tmp_path_factory.mktemp("library")
    for name in ("vars", "src"):
        shutil.copytree(ROOT / name, folder / name)
    build_pyz.main(["--output", str(folder / "resources" / "mlci" / "mlci.pyz")])
    return folder


@pytest.fixture(scope="session")
def rig(maven: str, library: Path) -> list[str]:
    """The command that runs a Pipeline on the real shell and disk: `rig.Main`, see tests/vars/cps."""
    target = VARS / "cps" / "target"
    done = mvn(
        maven, "-pl", "cps", "compile", "dependency:build-classpath", f"-Dmdep.outputFile={target / 'classpath.txt'}"
    )
    assert done.returncode == 0, done.stdout + done.stderr
    packages = ("lang", "util", "util.regex", "lang.reflect", "io", "net", "text")
    opens = [word for package in packages for word in ("--add-opens", f"java.base/java.{package}=ALL-UNNAMED")]
    classpath = f"{target / 'classes'}:{(target / 'classpath.txt').read_text().strip()}"
    return ["java", *opens, "-cp", classpath, "rig.Main", str(library)]
