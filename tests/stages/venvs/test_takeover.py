"""mlci.pyz beside another user who prepares a cache for it, and beside builds that may not deploy."""

from __future__ import annotations

import json
import os
import shutil
import threading
from pathlib import Path

import pytest

from stages.errors import UsageError
from stages.venvs import make, manifest, place
from tests.stages.test_bootstrap import answer, run
from tests.stages.venvs.users import MALLORY, needs_root


def site_packages(cache: Path) -> Path:
    (found,) = cache.glob("venv/*/lib/python*/site-packages")
    return found


@pytest.fixture
def evil(pyz, agent, warm, tmp_path) -> str:
    """A line that a .pth file runs; `warm` is a good cache afterwards."""
    answer(run(pyz, agent | {"MLCI_CACHE": str(warm)}, "check", cwd=tmp_path))
    return f"import os; os.close(os.open({str(tmp_path / 'taken over')!r}, os.O_CREAT))\n"


@needs_root
def test_a_cache_that_another_user_prepared_is_not_used(
    pyz,
    agent,
    warm,
    evil,
    shared,
    tmp_path,
) -> None:
    """As the last candidate it is passed over; named by MLCI_CACHE it is refused."""
    theirs = shared / "mlci-0"
    shutil.copytree(warm, theirs, symlinks=True)
    (site_packages(theirs) / "evil.pth").write_text(evil)
    manifest.record(site_packages(theirs).parents[2])
    for path in (theirs, *theirs.rglob("*")):
        os.chown(path, MALLORY, MALLORY, follow_symlinks=False)
    agent |= {"HOME": "/dev/null", "TMPDIR": str(shared)}
    done = run(pyz, agent, "check", cwd=tmp_path)
    assert (done.returncode, done.stderr.splitlines()[0][:17]) == (5, "error DEP_CACHE: "), done.stderr
    assert f"{theirs} belongs to user {MALLORY}" in done.stderr
    done = run(pyz, agent | {"MLCI_CACHE": str(theirs)}, "check", cwd=tmp_path)
    assert (done.returncode, f"{theirs} belongs to user {MALLORY}" in done.stderr) == (5, True), done.stderr
    (shared / "own").mkdir()
    os.chown(shared / "own", MALLORY, MALLORY)
    shutil.move(theirs, shared / "own" / "cache")
    for path in (shared / "own" / "cache").rglob("*"):
        os.chown(path, 0, 0, follow_symlinks=False)
    done = run(pyz, agent | {"MLCI_CACHE": str(shared / "own" / "cache")}, "check", cwd=tmp_path)
    assert (done.returncode, f"{shared / 'own'} belongs to" in done.stderr) == (5, True), done.stderr
    assert not (tmp_path / "taken over").exists()


def test_what_was_changed_in_the_cache_is_not_run(pyz, agent, warm, evil, tmp_path) -> None:
    cache = tmp_path / "cache"
    shutil.copytree(warm, cache, symlinks=True)
    agent["MLCI_CACHE"] = str(cache)
    (site_packages(cache) / "evil.pth").write_text(evil)
    (site_packages(cache) / "sitecustomize.py").write_text(evil)
    said = answer(run(pyz, agent, "check", cwd=tmp_path))
    assert said["prefix"].startswith(str(cache))
    assert not (tmp_path / "taken over").exists()
    module = site_packages(cache) / "tinydep.py"
    module.write_text(evil + module.read_text())
    done = run(pyz, agent, "check", cwd=tmp_path)
    assert answer(done)["tinydep"] == "2.0"
    assert "is not used and made again: " in done.stderr
    (code,) = cache.glob("code/*/stages/cli.py")
    code.write_text(evil + code.read_text())
    manifest.record(code.parents[1])  # even by somebody who can write the manifest
    done = run(pyz, agent, "check", cwd=tmp_path)
    assert answer(done)["tinydep"] == "2.0"
    assert "its files are not those of this version of mlci" in done.stderr
    assert not (tmp_path / "taken over").exists()


def test_builds_of_a_domain_share_nothing_with_others(pyz, agent, index, tmp_path, monkeypatch) -> None:
    agent |= {"MLCI_CACHE": str(tmp_path / "cache"), "MLCI_CACHE_DOMAIN": "branches"}
    (tmp_path / "ml.yaml").write_text("name: x\n")
    said = answer(run(pyz, agent, "check", cwd=tmp_path))
    own = tmp_path / "cache" / "domains" / "branches"
    assert said["prefix"].startswith(str(own))
    assert said["code"].startswith(str(own))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["domains"]
    done = run(pyz, agent | {"MLCI_CACHE_DOMAIN": "../x"}, "check", cwd=tmp_path)
    assert (done.returncode, "error CFG_CACHE_DOMAIN: MLCI_CACHE_DOMAIN is '../x'" in done.stderr) == (2, True)
    caches = make._apart({"MLCI_CACHE": str(tmp_path / "cache"), "MLCI_CACHE_DOMAIN": "branches"})
    assert caches == {"PIP_CACHE_DIR": str(own / "pip"), "UV_CACHE_DIR": str(own / "uv")}
    assert make._apart({"MLCI_CACHE": str(tmp_path / "cache")}) == {}


@pytest.mark.parametrize("name", ["..", "a/b", "-x", ".hidden", "x" * 65, "a b", "ü"])
def test_a_domain_is_a_plain_name(name: str) -> None:
    with pytest.raises(UsageError) as caught:
        place.candidates({"MLCI_CACHE_DOMAIN": name})
    assert caught.value.code == "CFG_CACHE_DOMAIN"


def test_who_waits_says_for_whom(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setenv("BUILD_TAG", "jenkins-flights-12")
    monkeypatch.setattr(place, "PATIENCE", 0.0)
    monkeypatch.setattr(place, "IN_LOG", 0.0)
    inside, leave = threading.Event(), threading.Event()

    def first() -> None:
        with place.exclusive(tmp_path / "key.lock", "a Python environment"):
            inside.set()
            leave.wait(60)

    def second() -> None:
        with place.exclusive(tmp_path / "key.lock", "a Python environment"):
            pass

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    assert inside.wait(60)
    threads[1].start()
    told = ""
    while "waiting" not in told:
        told += capfd.readouterr().err
    leave.set()
    for thread in threads:
        thread.join()
    expected = (
        f"mlci: waiting for process {os.getpid()} ('build jenkins-flights-12'), which makes 'a Python environment'"
    )
    assert expected in told


def test_a_long_installation_says_how_far_it_is(tmp_path, capfd, monkeypatch) -> None:
    monkeypatch.setattr(make, "between_lines", lambda: 0.05)
    tool = tmp_path / "tool"
    tool.write_text(
        f"#!/bin/sh\necho Collecting from https://me:secret@host/x\nwhile [ ! -e {tmp_path}/go ]; do sleep 0.02; done\n"
    )
    tool.chmod(0o755)
    thread = threading.Thread(target=make._run, args=([str(tool)],))
    thread.start()
    told = ""
    while "Collecting" not in told:
        told += capfd.readouterr().err
    (tmp_path / "go").touch()
    thread.join()
    assert "s, Collecting from https://****@host/x" in told


def test_a_killed_waiter_leaves_a_lock_that_can_be_read(tmp_path) -> None:
    (tmp_path / "key.lock").write_text("{broken")
    with place.exclusive(tmp_path / "key.lock", "x"):
        assert json.loads((tmp_path / "key.lock").read_text())["what"] == "x"
    assert (tmp_path / "key.lock").read_text() == ""
