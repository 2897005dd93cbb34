"""A folder of the cache is what was recorded, or it is not used."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from stages.venvs import kept, manifest
from tests.stages.venvs.users import MALLORY, needs_root

PACKAGES = "lib/python3.11/site-packages"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A small environment with its manifest."""
    found = tmp_path / "venv" / "key"
    for name, text in {
        "pyvenv.cfg": "home = /usr/bin\n",
        "bin/tool": "#!/bin/sh\n",
        f"{PACKAGES}/package/__init__.py": "VALUE = 1\n",
        f"{PACKAGES}/package/__pycache__/__init__.cpython-311.pyc": "compiled",
        f"{PACKAGES}/own.pth": "/srv/x\n",
    }.items():
        (found / name).parent.mkdir(parents=True, exist_ok=True)
        (found / name).write_text(text)
    (found / "lib64").symlink_to("lib")
    (found / PACKAGES / "package" / "__init__.py").chmod(0o666)
    manifest.record(found)
    return found


def keeping_time(path: Path, text: str) -> None:
    """Change a file so that its size and the time of its content stay."""
    status = path.stat()
    assert len(text) == status.st_size
    path.write_text(text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def redirected(link: Path) -> None:
    link.unlink()
    link.symlink_to("/srv")


def test_what_was_recorded_is_used(folder: Path) -> None:
    assert manifest.problem(folder) is None
    assert (folder / PACKAGES / "package" / "__init__.py").stat().st_mode & 0o022 == 0


CHANGES: dict[str, Callable[[Path], object]] = {
    "package/__init__.py was changed": lambda f: keeping_time(f / PACKAGES / "package/__init__.py", "VALUE = 2\n"),
    "__init__.cpython-311.pyc was changed": lambda f: keeping_time(
        f / PACKAGES / "package/__pycache__/__init__.cpython-311.pyc", "COMPILED"
    ),
    "own.pth was changed": lambda f: keeping_time(f / PACKAGES / "own.pth", "/srv/y\n"),
    "bin/tool was changed": lambda f: (f / "bin" / "tool").write_text("#!/bin/sh\nrm -rf /\n"),
    "pyvenv.cfg is missing": lambda f: (f / "pyvenv.cfg").unlink(),
    "lib64 was changed": lambda f: redirected(f / "lib64"),
    "is neither a file nor a folder": lambda f: os.mkfifo(f / "bin" / "pipe"),
    "every user can write to": lambda f: (f / "bin").chmod(0o777),
    "its manifest was changed": lambda f: (
        (f / manifest.MANIFEST).write_text("{}"),
        (f / "bin" / "tool").write_text("other"),
    ),
    "its manifest cannot be used": lambda f: (f / manifest.COMPLETE).write_text("[" * 200_000),
    "it is not complete": lambda f: (f / manifest.COMPLETE).unlink(),
}


@pytest.mark.parametrize("why", CHANGES)
def test_what_was_changed_is_not_used(why: str, folder: Path) -> None:
    CHANGES[why](folder)
    assert why in str(manifest.problem(folder))


def test_the_marker_of_an_earlier_release_is_not_enough(folder: Path) -> None:
    (folder / manifest.COMPLETE).write_text("")
    assert "its manifest cannot be used" in str(manifest.problem(folder))


@needs_root
def test_a_file_of_another_user_is_not_used(folder: Path) -> None:
    os.chown(folder / PACKAGES / "package" / "__init__.py", MALLORY, MALLORY)
    assert f"belongs to user {MALLORY}" in str(manifest.problem(folder))


def test_what_was_added_is_removed(folder: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (folder / PACKAGES / "evil.pth").write_text("import os\n")
    (folder / PACKAGES / "sitecustomize.py").write_text("import os\n")
    (folder / PACKAGES / "more" / "deep").mkdir(parents=True)
    (folder / PACKAGES / "link").symlink_to(outside)
    assert manifest.problem(folder) is None
    assert sorted(path.name for path in (folder / PACKAGES).iterdir()) == ["own.pth", "package"]
    assert outside.is_dir()


def test_a_copy_is_compared_by_content_and_recorded_again(folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy, symlinks=True)
    assert manifest.problem(copy) is None
    figures = json.loads((copy / manifest.COMPLETE).read_text())["figures"]
    assert figures != json.loads((folder / manifest.COMPLETE).read_text())["figures"]
    assert manifest.problem(copy) is None
    (copy / "bin" / "tool").write_text("other")
    assert "bin/tool was changed" in str(manifest.problem(copy))


def test_what_is_not_as_it_was_made_is_made_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    made = []

    def make(folder: Path) -> None:
        folder.mkdir()
        (folder / "file").write_text("content")
        made.append(folder)

    folder = tmp_path / "place" / "thing"
    for _ in range(2):
        kept.provide(folder, "a thing", make)
    assert len(made) == 1
    (folder / "file").write_text("changed")
    kept.provide(folder, "a thing", make)
    assert (folder / "file").read_text() == "content"
    assert f"{folder} is not used and made again: file was changed" in capfd.readouterr().err


def test_sources_that_are_known_otherwise_decide(tmp_path: Path) -> None:
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1\n")
    manifest.record(folder)
    right = {"a.py": "a28a9f4f2d8a2a9a6e1d"}
    assert "not those of this version" in str(manifest.problem(folder, right))
    right = {"a.py": manifest._digest(str(folder / "a.py"))}
    assert manifest.problem(folder, right) is None
    (folder / "stages.py").write_text("")
    manifest.record(folder)  # whoever can write there can write the manifest, too
    assert "not those of this version" in str(manifest.problem(folder, right))
