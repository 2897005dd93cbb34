import io
import json
import tarfile

import pytest

from stages.commands.parcel import pack, unpack
from stages.errors import ArtefactError, UsageError
from stages.project import Project
from stages.records import result
from stages.records.stage import Stage, Work, carry_out

ML = """
name: NAME
task: classification
data:
  source: data.csv
  target: y
  columns: {x: {type: number}, y: {type: boolean}}
model: {estimator: sklearn.linear_model.LogisticRegression}
"""


def repository(folder, name="a"):
    folder.mkdir()
    (folder / "ml.yaml").write_text(ML.replace("NAME", name))
    return Project.open(folder / "ml.yaml")


@pytest.fixture
def packed(tmp_path):
    project = repository(tmp_path / "one")

    def work(out):
        (out / "deep").mkdir()
        (out / "deep" / "file").write_text("hello")
        return Work({})

    carry_out(project, Stage("prepare", {}, {}), work)
    pack(project, tmp_path / "p.tar")
    return tmp_path / "p.tar"


def test_what_is_packed_arrives_whole(tmp_path, packed):
    other = repository(tmp_path / "two")
    assert unpack(other, packed).data["stages"] == ["prepare"]
    assert (other.folder("prepare") / "deep" / "file").read_text() == "hello"
    assert result.read(other.folder("prepare")).changed_outputs(other.folder("prepare")) == []
    assert not (other.work / ".tmp").exists() or not list((other.work / ".tmp").iterdir())


def test_the_same_content_packs_to_the_same_bytes(tmp_path, packed):
    again = tmp_path / "again.tar"
    pack(Project.open(tmp_path / "one" / "ml.yaml"), again)
    assert again.read_bytes() == packed.read_bytes()


def test_what_was_changed_after_its_record_is_not_packed(tmp_path, packed):
    project = Project.open(tmp_path / "one" / "ml.yaml")
    (project.folder("prepare") / "deep" / "file").write_text("other")
    with pytest.raises(ArtefactError, match="MOD_RECORD"):
        pack(project, tmp_path / "q.tar")
    assert not (tmp_path / "q.tar").exists()


def rewritten(packed, change):
    """The package with `change(name, content)` applied to each entry; None drops it."""
    out = packed.with_name("changed.tar")
    with tarfile.open(packed) as source, tarfile.open(out, "w") as target:
        for member in source:
            changed = change(member.name, source.extractfile(member).read())
            if changed is not None:
                name, content = changed
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                target.addfile(entry, io.BytesIO(content))
    return out


def manifest_with(name):
    def change(entry, content):
        if entry != "mlci-pack.json":
            return entry, content
        data = json.loads(content)
        data["files"][name] = data["files"].pop("prepare/deep/file")
        return entry, json.dumps(data).encode()

    return change


@pytest.mark.parametrize(
    "change",
    [
        lambda n, c: (n, c.replace(b"hello", b"hellO")),
        lambda n, c: None if n.endswith("file") else (n, c),
        lambda n, c: None if n == "mlci-pack.json" else (n, c),
        lambda n, c: ("prepare/../../escaped", c) if n.endswith("file") else (n, c),
        lambda n, c: ("extra", c) if n.endswith("file") else (n, c),
        lambda n, c: (n, b"{}") if n == "mlci-pack.json" else (n, c),
        manifest_with("prepare/../../../escaped"),
    ],
)
def test_a_damaged_package_changes_nothing(tmp_path, packed, change):
    other = repository(tmp_path / "two")
    unpack(other, packed)
    with pytest.raises(ArtefactError, match="MOD_PACK"):
        unpack(other, rewritten(packed, change))
    assert (other.folder("prepare") / "deep" / "file").read_text() == "hello"
    assert not (tmp_path / "escaped").exists()


@pytest.mark.parametrize("size", [0, 100, 700, 2000])
def test_a_truncated_package_is_refused(tmp_path, packed, size):
    (tmp_path / "cut.tar").write_bytes(packed.read_bytes()[:size])
    with pytest.raises(ArtefactError, match="MOD_PACK"):
        unpack(repository(tmp_path / "two"), tmp_path / "cut.tar")


def test_another_models_package_is_refused(tmp_path, packed):
    with pytest.raises(ArtefactError, match="MOD_PACK_OTHER"):
        unpack(repository(tmp_path / "two", "b"), packed)


def test_nothing_to_pack_and_no_such_file(tmp_path):
    project = repository(tmp_path / "two")
    with pytest.raises(ArtefactError, match="MOD_NOTHING_TO_PACK"):
        pack(project, tmp_path / "p.tar")
    with pytest.raises(UsageError, match="CFG_FILE"):
        unpack(project, tmp_path / "nope.tar")
