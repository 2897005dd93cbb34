"""Promises about the repository itself that a change forgets easily."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.txt", "requirements-dev.txt")
MAX_BYTES = 2_000_000


def git(*arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True).stdout


def tracked() -> list[Path]:
    return [ROOT / name for name in git("ls-files", "-z").split("\0") if name and (ROOT / name).exists()]


def texts() -> list[tuple[str, str]]:
    """Relative name and content of every tracked text file."""
    found = []
    for path in tracked():
        content = path.read_bytes()
        if b"\0" not in content:
            found.append((str(path.relative_to(ROOT)), content.decode("utf-8")))
    return found


def project() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked(name: str) -> dict[str, str]:
    """Package → version of a lock file."""
    return dict(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", (ROOT / name).read_text(), flags=re.MULTILINE))


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# --- the tree -------------------------------------------------------------------------------------


def test_no_symlinks() -> None:
    """Recent Jenkins rejects a library checkout that holds one."""
    assert [line for line in git("ls-files", "-s").splitlines() if line.startswith("120000")] == []


def test_no_large_files() -> None:
    assert [str(path) for path in tracked() if path.stat().st_size > MAX_BYTES] == []


def test_no_absolute_home_paths() -> None:
    home = re.compile(r"(?<![\w.$}])/(?:home|Users)/[\w.-]+|(?<![\w.$}])/ro{2}t/")
    places = [str(place) for place in (Path.home(), ROOT) if len(place.parts) > 2]
    named = [name for name, text in texts() if home.search(text) or any(f"{place}/" in text for place in places)]
    assert named == []


def test_no_package_index_is_named() -> None:
    """Sites have mirrors: clients find their own settings, the tree does not override them."""
    hosts = [
        ".".join(labels) for labels in (("pypi", "org"), ("files", "pythonhosted", "org"), ("registry", "npmjs", "org"))
    ]
    assert [name for name, text in texts() if any(host in text for host in hosts)] == []


def test_markdown_links_lead_somewhere() -> None:
    broken = []
    for name, text in texts():
        if name.endswith(".md"):
            prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
            targets = re.findall(r"\]\(([^)\s#]+)(?:#[^)]*)?\)", prose)
            local = [target for target in targets if "://" not in target and not target.startswith("mailto:")]
            broken += [f"{name}: {target}" for target in local if not (ROOT / name).parent.joinpath(target).exists()]
    assert broken == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "decisions"
    pages = {path.name for path in folder.glob("*.md")} - {"README.md"}
    linked = re.findall(r"\]\(([^)]+\.md)\)", (folder / "README.md").read_text())
    assert pages
    assert sorted(linked) == sorted(pages)


def test_licence_is_apache_2() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert text.split()[:6] == ["Apache", "License", "Version", "2.0,", "January", "2004"]
    assert "END OF TERMS AND CONDITIONS" in text
    assert project()["license"] == "Apache-2.0"


def test_packages_say_that_they_are_typed() -> None:
    for package in ("stages", "jenkins_admin"):
        assert (ROOT / package / "py.typed").is_file(), package


# --- the locks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", LOCKS)
def test_lock_names_no_index(name: str) -> None:
    lines = (ROOT / name).read_text().splitlines()
    assert [line for line in lines if "://" in line or line.startswith("-")] == []


@pytest.mark.parametrize("name", LOCKS)
def test_lock_hashes_every_package(name: str) -> None:
    blocks = re.split(r"^(?=[a-z0-9])", (ROOT / name).read_text(), flags=re.MULTILINE)[1:]
    assert len(blocks) == len(locked(name)) > 0
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(("name", "extras"), [("requirements.txt", ()), ("requirements-dev.txt", ("dev",))])
def test_lock_holds_what_pyproject_asks_for(name: str, extras: tuple[str, ...]) -> None:
    """Fails when pyproject.toml was changed without `make lock`."""
    versions = locked(name)
    wanted = project()["dependencies"] + [
        line for extra in extras for line in project()["optional-dependencies"][extra]
    ]
    for requirement in map(Requirement, wanted):
        version = versions.get(normal(requirement.name))
        assert version is not None, f"{requirement} is not locked"
        assert requirement.specifier.contains(version), f"{requirement} is locked as {version}"


def test_dev_lock_only_adds() -> None:
    run, dev = (locked(name) for name in LOCKS)
    assert run.items() <= dev.items()


def test_lock_has_what_builds_mlci_itself() -> None:
    """`make setup` installs the project without build isolation, with the setuptools of the lock."""
    for requirement in map(
        Requirement, tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    ):
        assert requirement.specifier.contains(locked("requirements.txt")[requirement.name])


# --- the commands ---------------------------------------------------------------------------------


def test_make_alone_lists_every_target() -> None:
    shown = subprocess.run(["make"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    listed = dict(re.findall(r"^ +make (\S+) +(\S.*)$", shown, flags=re.MULTILINE))
    assert {"setup", "demo", "test", "lint", "lock", "bench", "test-jenkins", "clean"} <= listed.keys()
    assert len(shown.splitlines()) == len(listed), "one line a target"


def test_ci_runs_make_test() -> None:
    assert git("ls-files", "-s", ".ci/run").startswith("100755")
    assert (ROOT / ".ci" / "run").read_text().rstrip().endswith("exec make test")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with what setup reads, without a .venv."""
    shutil.copytree(ROOT / "tools", tmp_path / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    for name in (*LOCKS, "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    return tmp_path


def executable(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def setup(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["sh", "tools/setup.sh"],
        cwd=checkout,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_setup_with_uv_reads_the_settings_of_the_machine_alone(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of pyproject.toml are for the lock: with its hashes uv refuses the constraints there."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    executable(checkout / "bin" / "uv", f'echo "$PWD $*" >>"{checkout}/asked"')
    path = f"{checkout / 'bin'}:{os.environ['PATH']}"
    done = setup(checkout, PYTHON=sys.executable, PATH=path, PIP_CONFIG_FILE=os.devnull)
    assert "packages of requirements.txt with uv (one to three minutes" in done.stdout, done.stderr
    locked, editable = (checkout / "asked").read_text().splitlines()
    assert locked.startswith("/ pip install ")
    assert locked.endswith(f"--require-hashes -r {checkout}/requirements.txt")
    assert editable.endswith(f"--editable {checkout}")


def test_setup_refuses_a_python_that_is_not_supported(checkout: Path) -> None:
    old = executable(checkout / "bin" / "python", "exit 1")
    done = setup(checkout, PYTHON=str(old))
    assert done.returncode == 2
    assert "is not a Python 3.11, 3.12 or 3.13" in done.stderr
    assert not (checkout / ".venv").exists()


def test_setup_names_the_missing_system_package(checkout: Path) -> None:
    """Debian's python3 without python3-venv, on a machine where nothing may be installed."""
    bare = executable(
        checkout / "bin" / "python", f'case "$*" in *ensurepip*) exit 1 ;; esac\nexec "{sys.executable}" "$@"'
    )
    executable(checkout / "bin" / "apt-get", "exit 100")
    done = setup(checkout, PYTHON=str(bare), PATH=f"{checkout / 'bin'}:{os.environ['PATH']}")
    assert done.returncode == 2
    assert re.search(r"sudo apt-get install python3(\.\d+)?-venv", done.stderr)
    assert not (checkout / ".venv").exists()
