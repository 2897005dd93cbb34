"""A file takes the place of another: wholly, reversibly, and after a kill at any step."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import ClassVar

import pytest

from stages.errors import InfraError
from stages.records.atomic import write_json
from stages.targets import artefact
from stages.targets.artefact import FileTarget, Made
from stages.targets.base import Version


class Text(FileTarget):
    """Writes its version's digest, as a file of that name."""

    suffix: ClassVar[str] = ".txt"

    def make(self, version: Version, folder: Path) -> Made:
        path = folder / f"{version.digest}.txt"
        path.write_text(version.digest)
        return Made(path, {"kind": "text"})

    def ask(self, made: Made, version: Version) -> list[str]:
        return ["row 1: the prediction differs"] if version.digest == "wrong" else []


def version(digest: str) -> Version:
    return Version("demo", digest, Path(), None, {})


def deploy(folder: Path, digest: str) -> list[str]:
    """Returns what was promoted."""
    target = Text(folder)
    promoted: list[str] = []
    target.build(version(digest))
    target.prove()
    target.switch(lambda: promoted.append(digest))
    assert target.watch(0) == []
    return promoted


def there(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_one_file_at_a_time(tmp_path: Path) -> None:
    folder = tmp_path / "product"
    assert Text(folder).serving() == []
    assert deploy(folder, "one") == ["one"]
    assert deploy(folder, "two") == ["two"]
    assert there(folder) == ["artefact.json", "two.txt"]
    found = Text(folder).serving()[0]
    assert (found.version, found.url) == ("two", str(folder / "two.txt"))
    assert found.details["kind"] == "text"
    assert Text(folder).answers(version("two"))
    assert not Text(folder).answers(version("one"))


def test_a_changed_file_does_not_answer(tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    (tmp_path / "one.txt").write_text("another")
    assert not Text(tmp_path).answers(version("one"))
    (tmp_path / "one.txt").unlink()
    assert not Text(tmp_path).answers(version("one"))
    assert Text(tmp_path).serving() == []


def test_a_wrong_answer_leaves_everything_as_it_was(tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    target = Text(tmp_path)
    target.build(version("wrong"))
    with pytest.raises(InfraError, match="DEP_PROOF") as error:
        target.prove()
    assert "row 1" in error.value.what
    assert target.restore() == "one"
    assert there(tmp_path) == ["artefact.json", "one.txt"]


def test_restore_puts_the_one_before_back(tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    target = Text(tmp_path)
    target.build(version("two"))
    target.switch(lambda: None)
    assert target.restore() == "one"
    assert Text(tmp_path).answers(version("one"))
    assert there(tmp_path) == ["artefact.json", "one.txt"]


def test_a_promotion_that_fails_is_undone(tmp_path: Path) -> None:
    def conflict() -> None:
        raise InfraError("STO_CONFLICT", "somebody else", "again")

    target = Text(tmp_path)
    target.build(version("one"))
    with pytest.raises(InfraError, match="STO_CONFLICT"):
        target.switch(conflict)
    assert target.restore() is None
    assert there(tmp_path) == []


class Killed(BaseException):
    """Nothing handles it."""


@pytest.mark.parametrize("step", range(1, 9))
def test_a_killed_switch_is_repaired(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Killed before the n-th change of the disk: either the old file or the new one is there, never both or none."""
    deploy(tmp_path, "one")
    target = Text(tmp_path)
    target.build(version("two"))
    left = [step]
    promoted = ["one"]

    def counted(function):
        def call(*args, **options):
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return function(*args, **options)

        return call

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counted(os.replace))
        patched.setattr(artefact, "write_json", counted(write_json))
        patched.setattr(Path, "unlink", counted(Path.unlink))
        patched.setattr(shutil, "rmtree", counted(shutil.rmtree))
        try:
            target.switch(counted(lambda: promoted.append("two")))
            target.watch(0)
        except Killed:
            pass
    again = Text(tmp_path)
    again.repair(promoted[-1])
    names = there(tmp_path)
    assert names in (["artefact.json", f"{promoted[-1]}.txt"], []), names
    if names:
        assert again.answers(version(promoted[-1]))
    deploy(tmp_path, "two")
    assert there(tmp_path) == ["artefact.json", "two.txt"]


def test_stop_takes_the_file_away(tmp_path: Path) -> None:
    deploy(tmp_path, "one")
    assert [s.version for s in Text(tmp_path).stop()] == ["one"]
    assert there(tmp_path) == []
    assert Text(tmp_path).stop() == []
