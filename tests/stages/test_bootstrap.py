"""mlci.pyz on agents as they are: the real bootstrap, real pip and environments, with a lock of one small wheel."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.config import yamlfile
from stages.errors import ConfigError, InfraError
from stages.venvs import make, place, wanted

ROOT = Path(__file__).resolve().parents[2]
CLI = """
import importlib, json, os, sys
def main(words):
    import tinydep
    print(json.dumps({"prefix": sys.prefix, "words": list(words), "tinydep": tinydep.VERSION,
        "code": __file__, "extra": importlib.util.find_spec("extradep") is not None, "exit_code": 0}))
    return 0
"""


def wheel(folder: Path, name: str, version: str, requires: str = "") -> str:
    """Write a wheel of one module; return the hash of the file."""
    files = {
        f"{name}.py": f'VERSION = "{version}"\n',
        f"{name}-{version}.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n{requires}",
        f"{name}-{version}.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{path},sha256={base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b'=').decode()},{len(text)}\n"
        for path, text in files.items()
    )
    files[f"{name}-{version}.dist-info/RECORD"] = record + f"{name}-{version}.dist-info/RECORD,,\n"
    target = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(target, "w") as archive:
        for path, text in files.items():
            archive.writestr(path, text)
    return hashlib.sha256(target.read_bytes()).hexdigest()


@pytest.fixture(scope="session")
def index(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of wheels in the place of a package index."""
    folder = tmp_path_factory.mktemp("wheels")
    wheel(folder, "tinydep", "1.0")
    wheel(folder, "tinydep", "2.0")
    wheel(folder, "extradep", "1.0")
    wheel(folder, "oldfriend", "1.0", "Requires-Dist: tinydep<2\n")
    return folder


@pytest.fixture(scope="session")
def pyz(tmp_path_factory: pytest.TempPathFactory, index: Path) -> Path:
    """A pyz with the real bootstrap, a small command line, and tinydep 2.0 in its lock."""
    root = tmp_path_factory.mktemp("sources")
    (root / "stages").mkdir()
    for package in ("bootstrap", "venvs"):
        shutil.copytree(ROOT / "stages" / package, root / "stages" / package, ignore=shutil.ignore_patterns("*.pyc"))
    for name in ("__init__.py", "console.py", "errors.py", "escaping.py"):
        shutil.copy(ROOT / "stages" / name, root / "stages")
    (root / "stages" / "cli.py").write_text(CLI)
    digest = hashlib.sha256((index / "tinydep-2.0-py3-none-any.whl").read_bytes()).hexdigest()
    (root / "requirements.txt").write_text(f"tinydep==2.0 \\\n    --hash=sha256:{digest}\n    # via mlci\n")
    (root / "pyproject.toml").write_text('[project]\ndependencies = ["tinydep>=1"]\n')
    target = root / "mlci.pyz"
    subprocess.run(
        [sys.executable, ROOT / "tools" / "build_pyz.py", "--root", root, "--output", target],
        check=True,
        capture_output=True,
    )
    return target


@pytest.fixture
def agent(tmp_path: Path, index: Path) -> dict[str, str]:
    """The environment of an agent: system tools, no uv, an index, a home of its own."""
    (tmp_path / "home").mkdir()
    return {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path / "home"),
        "PIP_NO_INDEX": "1",
        "PIP_FIND_LINKS": str(index),
        "LANG": "C.UTF-8",
    }


@pytest.fixture(scope="session")
def warm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that tests share that are not about making one."""
    return tmp_path_factory.mktemp("cache")


def run(pyz: Path, agent: dict[str, str], *words: str, cwd: Path | None = None, python: str = sys.executable):
    return subprocess.run(
        [python, str(pyz), *words], env=agent, cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def answer(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


# ---- making an environment, and finding it again


def test_the_first_run_makes_an_environment_and_the_next_finds_it(pyz, agent, tmp_path, warm) -> None:
    agent["MLCI_CACHE"] = str(warm)
    first = run(pyz, agent, "check", cwd=tmp_path)
    said = answer(first)
    assert said["tinydep"] == "2.0"
    assert said["words"] == ["check"]
    assert said["prefix"].startswith(str(warm / "venv"))
    assert "making a Python environment" in first.stderr

    assert run(pyz, agent, "check", cwd=tmp_path).stderr == ""


def test_nothing_of_the_agent_leaks_in(pyz, agent, tmp_path, warm) -> None:
    """Settings that send pip elsewhere, and a module in the way, do not break the environment."""
    (tmp_path / "stages").mkdir()
    (tmp_path / "stages" / "__init__.py").write_text("raise SystemExit('the repository is not mlci')")
    done = run(pyz, agent | {"MLCI_CACHE": str(warm), "PIP_USER": "1", "PIP_TARGET": "/x"}, "check", cwd=tmp_path)
    assert answer(done)["tinydep"] == "2.0"


def test_builds_at_once_make_one(pyz, agent, tmp_path) -> None:
    started = [
        subprocess.Popen(
            [sys.executable, str(pyz), "check"],
            env=agent,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    ended = [process.communicate(timeout=120) for process in started]
    assert [process.returncode for process in started] == [0] * 4, ended
    assert sum("making a Python environment" in err for _, err in ended) == 1


def test_a_half_made_environment_is_never_used(pyz, agent, tmp_path) -> None:
    agent["MLCI_CACHE"] = str(tmp_path / "cache")
    killed = subprocess.Popen(
        [sys.executable, str(pyz), "check"], env=agent, cwd=tmp_path, stderr=subprocess.DEVNULL, start_new_session=True
    )
    until = time.monotonic() + 60
    while not list((tmp_path / "cache").glob("venv/*/pyvenv.cfg")):
        assert time.monotonic() < until
        assert killed.poll() is None
        time.sleep(0.005)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.wait()
    (half,) = (path.parent for path in (tmp_path / "cache").glob("venv/*/pyvenv.cfg"))
    assert not (half / place.COMPLETE).exists()
    (half / "left-over").touch()
    assert answer(run(pyz, agent, "check", cwd=tmp_path))["tinydep"] == "2.0"
    assert not (half / "left-over").exists()


def test_an_environment_whose_python_is_gone_is_made_again(pyz, agent, tmp_path) -> None:
    agent["MLCI_CACHE"] = str(tmp_path / "cache")
    prefix = Path(answer(run(pyz, agent, "check", cwd=tmp_path))["prefix"])
    (prefix / "bin" / "python").unlink()
    (prefix / "bin" / "python").symlink_to(tmp_path / "gone")
    assert answer(run(pyz, agent, "check", cwd=tmp_path))["prefix"] == str(prefix)


def test_long_paths_with_spaces(pyz, agent, tmp_path) -> None:
    place = tmp_path / ("long name with spaces " * 5).strip() / ("and more of it " * 6).strip()
    place.mkdir(parents=True)
    assert len(str(place)) > 127
    copy = place / "mlci.pyz"
    shutil.copy(pyz, copy)
    said = answer(run(copy, agent | {"MLCI_CACHE": str(place / "cache")}, "check", cwd=place))
    assert said["prefix"].startswith(str(place))


# ---- the place


@pytest.mark.parametrize("home", [None, "/dev/null", "/proc/nobody", "/"])
def test_without_a_home_the_workspace_serves(home: str | None, tmp_path: Path, monkeypatch) -> None:
    """A container's user often has no home, or one that cannot be written."""
    if home is None:
        monkeypatch.delenv("HOME", raising=False)
        monkeypatch.setattr("os.path.expanduser", lambda path: path)  # a user id without an entry: `~` stays
    else:
        monkeypatch.setenv("HOME", home)
    environment = {"WORKSPACE_TMP": str(tmp_path / "ws@tmp")}
    assert place.choose(environment, ["venv/x"]) == tmp_path / "ws@tmp" / "mlci-cache"


def test_a_read_only_home_with_what_is_needed_is_used(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".cache" / "mlci" / "venv" / "x").mkdir(parents=True)
    (tmp_path / ".cache" / "mlci" / "venv" / "x" / place.COMPLETE).touch()
    environment = {"XDG_CACHE_HOME": str(tmp_path / "other")}
    assert place.choose(environment, ["venv/x"]) == tmp_path / ".cache" / "mlci"
    assert place.choose(environment, ["venv/y"]) == tmp_path / "other" / "mlci"


def test_a_cache_that_cannot_be_used_is_named(pyz, agent, tmp_path) -> None:
    (tmp_path / "file").touch()
    done = run(pyz, agent | {"MLCI_CACHE": str(tmp_path / "file")}, "check", cwd=tmp_path)
    assert done.returncode == 5
    assert done.stderr.splitlines()[0].startswith("error DEP_CACHE: ")
    assert "set MLCI_CACHE" in done.stderr.splitlines()[1]
    done = run(pyz, agent | {"MLCI_CACHE": str(tmp_path / "file")}, "check", "--log-format", "json", cwd=tmp_path)
    (line,) = map(json.loads, done.stderr.splitlines())
    assert (done.returncode, line["level"], line["code"]) == (5, "error", "DEP_CACHE")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("needs to mount a small disk, as root")
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def test_a_full_disk_is_said_and_nothing_half_made_stays(pyz, agent, tmp_path, small_disk) -> None:
    done = run(pyz, agent | {"MLCI_CACHE": str(small_disk)}, "check", cwd=tmp_path)
    assert done.returncode == 5
    assert "error DEP_DISK: no space left" in done.stderr
    assert not list(small_disk.glob("venv/*/bin"))


# ---- the interpreter


def started_as(pyz: Path, version: str) -> str:
    """A program that runs the pyz in a Python that takes itself for another."""
    lines = ["import runpy, sys", f"sys.version_info, sys.argv = {version}, [{str(pyz)!r}, 'check']"]
    return "; ".join([*lines, "runpy.run_path(sys.argv[0], run_name='__main__')"])


@pytest.mark.parametrize("version", ["(2, 7, 18)", "(3, 8, 1)", "(3, 10, 13)", "(3, 14, 0)"])
def test_a_python_that_is_not_supported_says_so(version: str, pyz, agent) -> None:
    agent["PATH"] = "/nonexistent"
    code = started_as(pyz, version)
    done = subprocess.run([sys.executable, "-c", code], env=agent, capture_output=True, text=True, check=False)
    assert done.returncode == 5
    assert done.stderr.splitlines()[0].startswith("error DEP_PYTHON: mlci needs Python 3.11, 3.12 or 3.13; this is ")


def test_a_supported_python_beside_an_old_one_is_taken(pyz, agent, tmp_path) -> None:
    (tmp_path / "bin").mkdir()
    newer = tmp_path / "bin" / "python3.12"
    newer.write_text('#!/bin/sh\necho "taken: $@"\n')
    newer.chmod(0o755)
    agent["PATH"] = str(tmp_path / "bin")
    code = started_as(pyz, "(3, 9)")
    done = subprocess.run([sys.executable, "-c", code], env=agent, capture_output=True, text=True, check=True)
    assert done.stdout == f"taken: {pyz} check\n"
    shim = tmp_path / "bin" / "python3.13"  # as pyenv leaves one for a version that is not chosen
    shim.write_text("#!/bin/sh\necho not found >&2\nexit 127\n")
    shim.chmod(0o755)
    past = subprocess.run([sys.executable, "-c", code], env=agent, capture_output=True, text=True, check=True)
    assert (past.stdout, past.stderr) == (f"taken: {pyz} check\n", "")
    newer.unlink()
    none = subprocess.run([sys.executable, "-c", code], env=agent, capture_output=True, text=True, check=False)
    assert (none.returncode, none.stderr[:16]) == (5, "error DEP_PYTHON")
    code = code.replace("import runpy, sys;", "import runpy, sys, os; os.environ['MLCI_PYTHON'] = 'python3.9';")
    named = subprocess.run([sys.executable, "-c", code], env=agent, capture_output=True, text=True, check=False)
    assert named.returncode == 5, "the one that was named is not replaced by another"


OLD = [
    str(path)
    for path in (
        Path("/usr/bin/python2.7"),
        Path("/usr/bin/python3.9"),
        *Path.home().glob(".pyenv/versions/*/bin/python"),
    )
    if path.exists() and not path.parts[-3].startswith(("3.11", "3.12", "3.13"))
]


@pytest.mark.parametrize("python", OLD or [None])
def test_an_old_python_can_read_the_first_file(python: str | None, pyz, agent) -> None:
    if python is None:
        pytest.skip("there is no other Python on this machine")
    done = run(pyz, agent | {"PATH": "/nonexistent"}, "--version", python=python)
    assert "SyntaxError" not in done.stderr
    assert done.returncode in (0, 1, 5)


def test_without_venv_the_system_package_is_named(tmp_path: Path, monkeypatch) -> None:
    """Debian's python3 without python3-venv."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(InfraError) as caught:
        make.make(tmp_path / "venv", tmp_path, tmp_path, wanted.Wanted(None))
    assert caught.value.code == "DEP_VENV"
    assert "apt-get install python3-venv" in caught.value.todo


def test_virtualenv_serves_where_venv_is_missing(pyz, index, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "bin").mkdir()
    tool = tmp_path / "bin" / "virtualenv"
    tool.write_text(f'#!/bin/sh\nfor last; do :; done\nexec "{sys.executable}" -m venv "$last"\n')
    tool.chmod(0o755)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(index))
    lock = pyz.parent / "requirements.txt"
    make.make(tmp_path / "venv", lock, lock, wanted.Wanted(None))
    assert list((tmp_path / "venv").glob("lib/python*/site-packages/tinydep.py"))


def test_uv_makes_and_fills_an_environment(pyz, index, tmp_path: Path, monkeypatch) -> None:
    uv = Path(sys.executable).parent / "uv"
    monkeypatch.setattr(make, "_uv", lambda: str(uv))  # this machine's own pip.conf may forbid it
    monkeypatch.setenv("UV_NO_INDEX", "1")
    monkeypatch.setenv("UV_FIND_LINKS", str(index))
    lock = pyz.parent / "requirements.txt"
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "pyproject.toml").write_text('[tool.uv]\nconstraint-dependencies = ["tinydep<9"]\n')
    monkeypatch.chdir(tmp_path / "repository")
    make.make(tmp_path / "venv", lock, lock, wanted.Wanted(None))
    (installer,) = (tmp_path / "venv").glob("lib/python*/site-packages/tinydep-2.0.dist-info/INSTALLER")
    assert installer.read_text().strip() == "uv"


@pytest.mark.parametrize("name", ["PIP_INDEX_URL", "PIP_CERT", "PIP_FIND_LINKS", "PIP_PROXY"])
def test_uv_is_left_out_when_pip_was_told_something(name: str, tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "uv").touch(0o755)
    assert shutil.which("uv", path=str(tmp_path))
    for known in [known for known in os.environ if known.startswith("PIP_")]:
        monkeypatch.delenv(known)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv(name, "x")
    assert make._uv() is None


def test_an_interpreter_with_everything_is_used_as_it_is(pyz, agent, index, tmp_path) -> None:
    full = tmp_path / "full"
    subprocess.run([sys.executable, "-m", "venv", full], check=True)
    subprocess.run([full / "bin" / "python", "-m", "pip", "install", "-q", "tinydep==2.0"], env=agent, check=True)
    said = answer(run(pyz, agent, "check", cwd=tmp_path, python=str(full / "bin" / "python")))
    assert said["prefix"] == str(full)
    assert not (tmp_path / "home" / ".cache" / "mlci" / "venv").exists()
    (tmp_path / "ml.yaml").write_text("name: x\n")
    (tmp_path / "requirements.txt").write_text("extradep\n")
    said = answer(run(pyz, agent, "check", cwd=tmp_path, python=str(full / "bin" / "python")))
    assert said["prefix"] != str(full), "it lacks what the repository asks for"
    said = answer(
        run(pyz, agent | {"MLCI_BOOTSTRAP": "off"}, "check", cwd=tmp_path, python=str(full / "bin" / "python"))
    )
    assert said["prefix"] == str(full)


# ---- the network and the repository's requirements


def test_no_network_is_said_in_one_line(pyz, agent, tmp_path) -> None:
    del agent["PIP_NO_INDEX"], agent["PIP_FIND_LINKS"]
    agent |= {
        "PIP_INDEX_URL": "http://user:secret@127.0.0.1:9/simple",
        "PIP_RETRIES": "1",
        "PIP_CONFIG_FILE": os.devnull,
    }
    done = run(pyz, agent, "check", cwd=tmp_path)
    assert done.returncode == 5
    assert "error DEP_NETWORK: the package index cannot be reached" in done.stderr
    assert "secret" not in done.stderr
    assert not list((tmp_path / "home").rglob("pyvenv.cfg"))


def repository(tmp_path: Path, requirements: str, config: str = "") -> Path:
    (tmp_path / "ml.yaml").write_text(f"name: x\n{config}")
    (tmp_path / "requirements.txt").write_text(requirements)
    return tmp_path


def test_the_repositorys_requirements_are_installed(pyz, agent, tmp_path) -> None:
    said = answer(run(pyz, agent, "check", cwd=repository(tmp_path, "extradep>=0.5  # ours\n")))
    assert said["extra"]
    assert said["tinydep"] == "2.0"


def test_requirements_that_add_nothing_need_no_environment_of_their_own(pyz, agent, tmp_path, warm) -> None:
    agent["MLCI_CACHE"] = str(warm)
    plain = answer(run(pyz, agent, "check", cwd=tmp_path))["prefix"]
    assert answer(run(pyz, agent, "check", cwd=repository(tmp_path, "tinydep\n# nothing else\n")))["prefix"] == plain


def test_a_conflict_names_both_pins(pyz, agent, tmp_path) -> None:
    done = run(pyz, agent, "train", cwd=repository(tmp_path, "tinydep==1.0\n"))
    assert done.returncode == 2
    assert "CFG_REQUIREMENTS: requirements.txt asks for tinydep==1.0, mlci is locked to tinydep==2.0" in done.stderr
    assert "versions: own" in done.stderr


def test_a_conflict_further_down_names_both(pyz, agent, tmp_path) -> None:
    done = run(pyz, agent, "train", cwd=repository(tmp_path, "oldfriend\n"))
    assert done.returncode == 2
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error CFG_REQUIREMENTS"))
    assert "tinydep<2" in line
    assert "tinydep==2.0" in line


def test_own_versions_are_the_way_out(pyz, agent, tmp_path) -> None:
    config = "environment: {requirements: requirements.txt, versions: own}\n"
    assert answer(run(pyz, agent, "train", cwd=repository(tmp_path, "oldfriend\n", config)))["tinydep"] == "1.0"


def test_a_named_file_that_is_missing_is_a_config_error(pyz, agent, tmp_path) -> None:
    (tmp_path / "ml.yaml").write_text("environment:\n  requirements: deps.txt\n")
    done = run(pyz, agent, "train", cwd=tmp_path)
    assert done.returncode == 2
    assert "there is no file deps.txt" in done.stderr


# ---- called by Jenkins


def test_a_call_travels_in_files(pyz, agent, tmp_path, warm) -> None:
    call, told = tmp_path / "call.json", tmp_path / "answer.json"
    call.write_text(json.dumps({"arguments": ["check", "--set=a=$(id) 'x'"]}))
    agent |= {"MLCI_CACHE": str(warm), "MLCI_CALL": str(call), "MLCI_ANSWER": str(told)}
    done = run(pyz, agent, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(told.read_text())["words"] == ["check", "--set=a=$(id) 'x'", "--json"]


def test_an_error_before_the_command_reaches_jenkins(pyz, agent, tmp_path) -> None:
    call, told = tmp_path / "call.json", tmp_path / "answer.json"
    call.write_text('{"arguments": ["check"]}')
    (tmp_path / "file").touch()
    agent |= {"MLCI_CACHE": str(tmp_path / "file"), "MLCI_CALL": str(call), "MLCI_ANSWER": str(told)}
    assert run(pyz, agent, cwd=tmp_path).returncode == 5
    assert json.loads(told.read_text())["error"]["code"] == "DEP_CACHE"


def test_a_damaged_archive_is_not_run(pyz, agent, tmp_path) -> None:
    copy = tmp_path / "mlci.pyz"
    shutil.copy(pyz, copy)
    done = run(copy, agent | {"MLCI_PYZ_SHA256": "0" * 64}, "check")
    assert done.returncode == 75
    assert not copy.exists()


def test_help_needs_no_environment(pyz, agent, tmp_path) -> None:
    done = run(ROOT / "resources" / "mlci" / "mlci.pyz", agent | {"MLCI_CACHE": "/dev/null"}, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "From a commit to a model" in done.stdout


# ---- the reader of ml.yaml


@pytest.mark.parametrize(
    "text",
    [
        "name: x\n",
        "environment: {requirements: requirements.txt, versions: own}\nname: x\n",
        "environment: {versions: own}   # because\n",
        "name: x\nenvironment:\n  requirements: 'deps #1.txt'   # ours\n\n  versions: \"own\"\nstore: x\n",
        "environment:\n    # first a comment\n    versions: locked\n",
        "environment: {}\n",
        "environment: ~\n",
        "environment:\nname: x\n",
        "environment:\n  requirements:\n  versions: own\n",
        'environment: {"versions": own, requirements: "a, b.txt"}\n',
        "environment: {\n  versions: own,\n  requirements: deps.txt\n}\nname: x\n",
        "'environment':\n  versions: own\n",
        "text: |\n  environment: {versions: own}\nname: x\n",
        "environments: {versions: own}\n",
        "environment: {requirements: a#b.txt}\n",
        "environment: {variables: [SLOW, REGION], requirements: a.txt}\n",
        "environment:\n  variables: [SLOW]\n  versions: own\n",
        "environment:\n  variables:\n    - SLOW\n    - REGION\n  requirements: a.txt\n",
        "environment:\n  requirements: a.txt\n  variables: [SLOW,\n    REGION]\n",
    ],
)
def test_environment_is_read_as_the_real_reader_reads_it(text: str, tmp_path: Path) -> None:
    file = tmp_path / "ml.yaml"
    file.write_text(text)
    expected = yamlfile.read(file, "ml.yaml").data.get("environment") or {}
    lists = {"variables"} & expected.keys()  # read by the real reader alone
    assert wanted.section(text) == {key: "" if key in lists else value or "" for key, value in expected.items()}


@pytest.mark.parametrize("text", ["environment: *other\n", "environment:\n  - versions\n", "environment: [a]\n"])
def test_what_cannot_be_read_is_refused(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        wanted.section(text)
    assert caught.value.code == "CFG_ENVIRONMENT"


def test_the_command_line_decides_which_file_is_read(tmp_path: Path, monkeypatch) -> None:
    folder = tmp_path / "models" / "a"
    folder.mkdir(parents=True)
    (folder / "other.yaml").write_text("environment: {requirements: '${DEPS:-deps.txt}'}\n")
    (folder / "deps.txt").write_text("x\n")
    monkeypatch.chdir(tmp_path)
    found = wanted.wanted(["--config=other.yaml", "train", "-C", "models/a", "--set", "environment.versions=own"], {})
    assert found == wanted.Wanted(folder / "deps.txt", "own")
