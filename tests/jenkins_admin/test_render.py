"""Rendering: pairs of `pairs/x.yaml` and `pairs/x.xml`, which is the last item of the file."""

from __future__ import annotations

from pathlib import Path

import pytest

from jenkins_admin import xmltree
from jenkins_admin.canonical import canonical
from jenkins_admin.diff import differences
from jenkins_admin.render import Item, path_of, render
from jenkins_admin.schema import minutes
from tests.jenkins_admin.conftest import settings
from tests.jenkins_admin.double.saving import saved

PAIRS = sorted((Path(__file__).parent / "pairs").glob("*.yaml"))
HEAD = 'server: {url: "http://localhost"}\n'


def items(text: str) -> list[Item]:
    return render(settings(HEAD + ("" if "folder:" in text.split("models:")[0] else "folder: ml\n") + text))


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_pair(path: Path) -> None:
    assert xmltree.pretty(items(path.read_text())[-1].config) == path.with_suffix(".xml").read_text()


@pytest.mark.parametrize("path", PAIRS, ids=lambda path: path.stem)
def test_what_jenkins_makes_of_it_means_the_same(path: Path) -> None:
    for item in items(path.read_text()):
        assert differences(canonical(saved(item.config)), canonical(item.config)) == []


def test_every_pair_has_both_halves() -> None:
    assert PAIRS
    assert [path.stem for path in PAIRS] == sorted(p.stem for p in PAIRS[0].parent.glob("*.xml"))


def test_folders_come_before_what_stands_in_them() -> None:
    models = "{name: m, git: x, folder: a/b}, {name: n, git: x}, {name: o, git: x, folder: z}"
    text = f"folders: [{{name: z}}]\nmodels: [{models}]"
    assert [item.path for item in items(text)] == ["ml", "ml/a", "ml/z", "ml/a/b", "ml/a/b/m", "ml/n", "ml/z/o"]


def test_the_source_id_is_constant_and_the_models_own() -> None:
    found = [
        item.config.findtext(".//source/id") for item in items("models: [{name: a, git: x}, {name: b, git: x}]")[1:]
    ]
    assert found == ["mlci-a", "mlci-b"]


def test_a_branch_is_a_name_or_a_specification() -> None:
    def spec(branch: str) -> str | None:
        text = f"models: [{{name: a, kind: pipeline, git: x, branch: '{branch}'}}]"
        return items(text)[1].config.findtext(".//hudson.plugins.git.BranchSpec/name")

    assert [spec(b) for b in ("main", "release/2", "refs/tags/v1", "*", ":^v.*")] == [
        "*/main",
        "*/release/2",
        "refs/tags/v1",
        "*",
        ":^v.*",
    ]


@pytest.mark.parametrize(
    ("scan", "spec", "millis"),
    [
        ("5m", "* * * * *", 300_000),
        ("15m", "H/5 * * * *", 900_000),
        ("1h", "H/15 * * * *", 3_600_000),
        ("4h", "H/30 * * * *", 14_400_000),
        ("1d", "H H/4 * * *", 86_400_000),
        ("2d", "H H/12 * * *", 172_800_000),
        ("1w", "H H * * *", 604_800_000),
    ],
)
def test_a_scan_interval_is_stored_as_jenkins_computes_it(scan: str, spec: str, millis: int) -> None:
    """The schedules are those of PeriodicFolderTrigger in cloudbees-folder 6.999, asked on a running Jenkins."""
    trigger = items(f"models: [{{name: a, git: x, scan: {scan}}}]")[1].config.find("triggers")
    assert trigger is not None
    assert [trigger[0].findtext("spec"), trigger[0].findtext("interval")] == [spec, str(millis)]
    assert minutes(scan) * 60_000 == millis


def test_any_character_survives_rendering() -> None:
    value = "é☃𝄞 <&>\"'\t\x1b[31m\n]]>"
    found = settings(HEAD + 'folder: ml\nmodels: [{name: a, kind: pipeline, git: x, description: "${D}"}]', D=value)
    item = render(found)[1]
    assert xmltree.decoded(xmltree.parse(item.xml()).findtext("description")).startswith(value)
    assert path_of(found.models[0], found) == item.path
