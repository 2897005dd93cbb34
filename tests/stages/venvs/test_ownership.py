"""Folders that another user could change are not private. Other users are other user ids, which only root can be."""

from __future__ import annotations

import os
import pwd  # noqa: F401  a process that is another user could not import them any more
from pathlib import Path

import pytest

from stages.errors import InfraError
from stages.venvs import ownership, place
from tests.stages.venvs.users import MALLORY, OTHER, as_user, needs_root


def test_a_folder_of_ones_own_is_private(tmp_path: Path) -> None:
    assert ownership.problem(tmp_path) is None
    assert ownership.problem(tmp_path / "not" / "there" / "yet") is None


@pytest.mark.parametrize("mode", [0o702, 0o777, 0o1777, 0o757])
def test_a_folder_that_everybody_can_write_is_not(mode: int, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    folder.chmod(mode)
    assert ownership.problem(folder) == f"every user can write to {folder}"


@pytest.mark.parametrize(("mode", "private"), [(0o1777, True), (0o777, False), (0o755, True)])
def test_above_it_what_is_sticky_is_enough(mode: int, private: bool, tmp_path: Path) -> None:
    folder = tmp_path / "shared" / "cache"
    folder.mkdir(parents=True)
    folder.parent.chmod(mode)
    assert (ownership.problem(folder) is None) == private


@needs_root
def test_a_group_of_others_may_not_write(tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    os.chown(folder, 0, OTHER)
    folder.chmod(0o775)
    assert ownership.problem(folder) == f"group {OTHER} can write to {folder}"
    os.chown(folder, 0, 0)
    assert ownership.problem(folder) is None


@needs_root
@pytest.mark.parametrize(("gid", "private"), [(OTHER, True), (MALLORY, False)])
def test_the_group_of_a_user_without_an_entry(gid: int, private: bool, shared: Path) -> None:
    """As in a container that runs as `1000:1000`: the same number is the user's own group."""
    folder = shared / "cache"
    folder.mkdir()
    os.chown(folder, OTHER, gid)
    folder.chmod(0o775)
    assert as_user(OTHER, lambda: str(ownership.problem(folder) is None)) == str(private)


@needs_root
def test_what_another_user_owns_is_not_private(tmp_path: Path) -> None:
    folder = tmp_path / "theirs" / "cache"
    folder.mkdir(parents=True)
    os.chown(folder.parent, MALLORY, MALLORY)
    assert ownership.problem(folder) == f"{folder.parent} belongs to user {MALLORY}"
    assert ownership.problem(tmp_path / "theirs" / ".." / "theirs") == f"{folder.parent} belongs to user {MALLORY}"


@needs_root
def test_links_are_followed_and_have_owners(tmp_path: Path) -> None:
    real = tmp_path / "real" / "cache"
    real.mkdir(parents=True)
    link = tmp_path / "link"
    link.symlink_to("real")
    assert ownership.problem(link / "cache") is None
    real.parent.chmod(0o777)
    assert ownership.problem(link / "cache") == f"every user can write to {real.parent}"
    real.parent.chmod(0o755)
    os.chown(link, MALLORY, MALLORY, follow_symlinks=False)
    assert ownership.problem(link / "cache") == f"{link} belongs to user {MALLORY}"
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    assert "too many symbolic links" in str(ownership.problem(loop))


def test_in_a_folder_for_everybody_each_user_has_one(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    own = tmp_path / f"mlci-{os.getuid()}"
    assert place.choose({"MLCI_CACHE": str(tmp_path)}, ["venv/x"]) == own
    assert own.stat().st_mode & 0o777 == 0o700
    own.rmdir()
    own.symlink_to(tmp_path)
    with pytest.raises(InfraError):
        place.choose({"MLCI_CACHE": str(tmp_path)}, ["venv/x"])


def test_folders_are_made_for_this_user_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        ownership.make(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")] == [0o700, 0o700]


@needs_root
def test_a_folder_that_cannot_be_looked_at_is_skipped(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last candidate of one user, made by another one who lets nobody in, and a home that is closed."""
    for folder in (shared / f"mlci-{OTHER}", shared / "closed"):
        folder.mkdir(mode=0o700)
        os.chown(folder, MALLORY, MALLORY)
    workspace = shared / "workspace"
    workspace.mkdir()
    os.chown(workspace, OTHER, OTHER)

    def choose() -> str:
        environment = {"XDG_CACHE_HOME": str(shared / "closed" / "x"), "WORKSPACE_TMP": str(workspace)}
        found = place.choose(environment, ["venv/x"])
        return str(found.relative_to(workspace))

    monkeypatch.setenv("HOME", str(shared / "closed" / "home"))
    assert as_user(OTHER, choose) == "mlci-cache"


@needs_root
def test_the_error_names_each_place_and_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    os.chown(folder, MALLORY, MALLORY)
    with pytest.raises(InfraError) as caught:
        place.choose({"MLCI_CACHE": str(folder)}, [])
    assert caught.value.code == "DEP_CACHE"
    assert f"{folder}: {folder} belongs to user {MALLORY}" in caught.value.what
