"""Local packages are known by their content, requirements files by what pip reads in them."""

from __future__ import annotations

import codecs
import zipfile
from pathlib import Path

import pytest

from stages.errors import ConfigError
from stages.venvs import local
from stages.venvs.wanted import effective, read
from tests.stages.test_bootstrap import answer, repository, run, wheel


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository with a wheel, a folder with a package, and a local git repository."""
    folder = tmp_path / "my repo"
    for name in (
        "libs/mine-1.0-py3-none-any.whl",
        "pkg/pyproject.toml",
        "pkg/mine/__init__.py",
        "git/.git/HEAD",
        "wheels/other-1.0.zip",
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("one")
    return folder


LINES = {
    "./libs/mine-1.0-py3-none-any.whl": "libs/mine-1.0-py3-none-any.whl",
    "libs/mine-1.0-py3-none-any.whl ; python_version > '3'": "libs/mine-1.0-py3-none-any.whl",
    "./libs/mine-1.0-py3-none-any.whl --hash=sha256:abc": "libs/mine-1.0-py3-none-any.whl",
    "file:libs/mine-1.0-py3-none-any.whl": "libs/mine-1.0-py3-none-any.whl",
    "file://{quoted}/libs/mine-1.0-py3-none-any.whl#egg=mine": "libs/mine-1.0-py3-none-any.whl",
    "mine @ file://{quoted}/libs/mine-1.0-py3-none-any.whl": "libs/mine-1.0-py3-none-any.whl",
    "mine[all] @ file://localhost{quoted}/pkg ; python_version > '3'": "pkg/mine/__init__.py",
    "file://${{HERE}}/pkg": "pkg/mine/__init__.py",
    "./pkg": "pkg/mine/__init__.py",
    "./pkg[extra]": "pkg/mine/__init__.py",
    "./pkg#subdirectory=x": "pkg/mine/__init__.py",
    "-e ./pkg": "pkg/pyproject.toml",
    "--editable=pkg": "pkg/pyproject.toml",
    "-e 'pkg'": "pkg/pyproject.toml",
    "mine @ git+file://{quoted}/git@main": "git/.git/HEAD",
    "--find-links wheels\nother": "wheels/other-1.0.zip",
    "-f ./wheels\nother==1.0": "wheels/other-1.0.zip",
    "FILE://{quoted}/libs/mine-1.0-py3-none-any.whl": "libs/mine-1.0-py3-none-any.whl",
    "--extra-index-url=file://{quoted}/libs\nmine": "libs/mine-1.0-py3-none-any.whl",
    "-i file:///{quoted}/libs\nmine": "libs/mine-1.0-py3-none-any.whl",
}


@pytest.mark.parametrize("text", LINES)
def test_a_change_of_what_is_named_shows(text: str, repo: Path) -> None:
    lines = text.format(quoted=str(repo).replace(" ", "%20")).splitlines()
    environment = {"HERE": str(repo)}
    before = local.digests(lines, [repo / "deps", repo], environment)
    assert len(before) == 1
    assert local.digests(lines, [repo], environment) == before
    (repo / LINES[text]).write_text("two")
    assert local.digests(lines, [repo], environment) != before


@pytest.mark.parametrize(
    "text",
    [
        "numpy",
        "numpy==1.0",
        "a @ https://x/y.whl",
        "-i https://x",
        "git+https://x/y@z",
        "--no-binary :all:",
        "-r o.txt",
    ],
)
def test_what_is_elsewhere_is_no_concern(text: str, repo: Path) -> None:
    assert local.digests([text], [repo], {}) == []


def test_a_folder_that_appears_or_goes_shows(repo: Path) -> None:
    absent = local.digests(["./later"], [repo], {})
    (repo / "later").mkdir()
    assert absent != local.digests(["./later"], [repo], {})


def test_an_editable_package_is_used_where_it_lies(repo: Path) -> None:
    before = local.digests(["-e ./pkg"], [repo], {})
    (repo / "pkg" / "mine" / "__init__.py").write_text("two")
    assert local.digests(["-e ./pkg"], [repo], {}) == before
    (repo / "pkg" / "second").mkdir()
    (repo / "pkg" / "second" / "__init__.py").write_text("")
    assert local.digests(["-e ./pkg"], [repo], {}) != before


def test_what_runs_leave_in_a_repository_changes_nothing(repo: Path) -> None:
    (repo / "ml.yaml").write_text("")
    (repo / "src.py").write_text("")
    before = local.digests(["."], [repo], {})
    for name in (".mlci/x.json", "data/rows.csv", "store/models/x/model.skops", "pkg/__pycache__/a.pyc", ".git/HEAD"):
        (repo / name).parent.mkdir(parents=True, exist_ok=True)
        (repo / name).write_text("x")
    assert local.digests(["."], [repo], {}) == before
    (repo / "src.py").write_text("x = 1")
    assert local.digests(["."], [repo], {}) != before


def test_a_loop_of_links_ends(repo: Path) -> None:
    (repo / "pkg" / "again").symlink_to(repo / "pkg")
    assert local.digests(["./pkg"], [repo], {})


# ---- reading


TEXT = "# größe\nmine==1.0\n-r more.txt\n"


@pytest.mark.parametrize(
    "content",
    [
        codecs.BOM_UTF16_LE + TEXT.encode("utf-16-le"),
        codecs.BOM_UTF16_BE + TEXT.encode("utf-16-be"),
        codecs.BOM_UTF32_LE + TEXT.encode("utf-32-le"),
        codecs.BOM_UTF8 + TEXT.encode(),
        TEXT.encode(),
        TEXT.replace("\n", "\r\n").encode(),
        b"# -*- coding: latin-1 -*-\n" + TEXT.encode("latin-1"),
        b"#!/x\n# vim: set fileencoding=cp1252 :\n" + TEXT.encode("cp1252"),
    ],
)
def test_encodings_are_those_of_pip(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(content)
    (tmp_path / "more.txt").write_text("other\n")
    assert effective(tmp_path / "requirements.txt") == ["mine==1.0", "-r more.txt", "other"]
    assert read(tmp_path / "requirements.txt").plain == (TEXT.encode().split(b"\n")[0] in content)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (TEXT.encode("latin-1"), "cannot be decoded"),
        ("mine==1.0\n".encode("utf-16-le"), "null characters"),
        (codecs.BOM_UTF16_LE + b"m\0i\0n", "cannot be decoded"),
        (b"# coding: nonsense\nmine\n", "unknown encoding: nonsense"),
    ],
)
def test_what_cannot_be_read_is_refused(content: bytes, why: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        effective(tmp_path / "requirements.txt")
    assert (caught.value.code, why in caught.value.what) == ("CFG_REQUIREMENTS", True), caught.value.what


@pytest.mark.parametrize(
    "include",
    [
        "-r more.txt",
        "-c  more.txt # why",
        "-rmore.txt",
        "--requirement=more.txt",
        "-r 'more.txt'",
        "-r ${HERE}/more.txt",
        "-r file://{here}/more.txt",
    ],
)
def test_includes_are_followed(include: str, tmp_path: Path) -> None:
    (tmp_path / "more.txt").write_text("other\n")
    (tmp_path / "requirements.txt").write_text(include.replace("{here}", str(tmp_path)))
    assert "other" in read(tmp_path / "requirements.txt", {"HERE": str(tmp_path)}).lines


@pytest.mark.parametrize("include", ["-r /dev/zero", "-r gone.txt", "-r ."])
def test_an_include_that_is_no_file_is_refused(include: str, tmp_path: Path) -> None:
    (tmp_path / "requirements.txt").write_text(include)
    with pytest.raises(ConfigError):
        effective(tmp_path / "requirements.txt")


# ---- with the real installer


def test_a_changed_wheel_is_installed_again(pyz, agent, tmp_path) -> None:
    folder = repository(tmp_path, "./libs/extradep-1.0-py3-none-any.whl\n")
    (folder / "libs").mkdir()
    wheel(folder / "libs", "extradep", "1.0")
    first = answer(run(pyz, agent, "check", cwd=folder))
    assert first["extra"]
    assert answer(run(pyz, agent, "check", cwd=folder))["prefix"] == first["prefix"]
    with zipfile.ZipFile(folder / "libs" / "extradep-1.0-py3-none-any.whl", "a") as archive:
        archive.writestr("added.py", "")
    second = answer(run(pyz, agent, "check", cwd=folder))
    assert list(Path(second["prefix"]).rglob("added.py"))


def test_requirements_in_utf_16_beside_a_wheel_of_another_folder(pyz, agent, tmp_path) -> None:
    """What PowerShell's `pip freeze > requirements.txt` writes. With -C, paths are those of the model's folder."""
    folder = tmp_path / "models"
    (folder / "libs").mkdir(parents=True)
    wheel(folder / "libs", "extradep", "1.0")
    (folder / "ml.yaml").write_text("name: x\n")
    (folder / "requirements.txt").write_bytes("./libs/extradep-1.0-py3-none-any.whl\r\n".encode("utf-16"))
    assert answer(run(pyz, agent, "-C", "models", "check", cwd=tmp_path))["extra"]
