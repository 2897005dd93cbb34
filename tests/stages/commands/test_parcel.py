import hashlib
import io
import json
import os
import subprocess
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


# --- packs made by somebody else ------------------------------------------------------------------------


def edited(packed, edit):
    """The package with the manifest and the entries (TarInfo, content) that `edit(manifest, entries)` leaves."""
    out = packed.with_name("edited.tar")
    with tarfile.open(packed) as source:
        entries = [(member, source.extractfile(member).read()) for member in source]
    manifest = json.loads(entries[0][1])
    changed = edit(manifest, entries)
    content = json.dumps(manifest if changed is None else changed).encode() if type(changed) is not bytes else changed
    with tarfile.open(out, "w", format=tarfile.PAX_FORMAT) as target:
        for number, (member, data) in enumerate(entries):
            data = content if number == 0 else data
            member.size = len(data) if member.isreg() else 0
            target.addfile(member, io.BytesIO(data))
    return out


def add(name, kind=tarfile.REGTYPE, link="", content=b""):
    """One more entry, which the manifest lists."""

    def edit(manifest, entries):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        entries.append((member, content))
        manifest["files"][name] = hashlib.sha256(content).hexdigest()

    return edit


def record_with(**parts):
    """The record of the stage with other parts, its digest in the manifest put right."""

    def edit(manifest, entries):
        number = next(i for i, (member, _) in enumerate(entries) if member.name.endswith("result.json"))
        content = json.dumps(json.loads(entries[number][1]) | parts).encode()
        entries[number] = (entries[number][0], content)
        manifest["files"][entries[number][0].name] = hashlib.sha256(content).hexdigest()

    return edit


FOREIGN = {
    "a list": lambda m, e: [],
    "a number": lambda m, e: 7,
    "no name": lambda m, e: {"schema_version": 1, "files": m["files"]},
    "a name that is none": lambda m, e: m | {"name": ["a"]},
    "files as a list": lambda m, e: m | {"files": list(m["files"])},
    "no files": lambda m, e: m | {"files": {}},
    "digests that are none": lambda m, e: m | {"files": dict.fromkeys(m["files"], 7)},
    "another schema": lambda m, e: m | {"schema_version": 2},
    "deep": lambda m, e: b"[" * 200_000,
    "a long number": lambda m, e: b'{"schema_version": ' + b"1" * 5000 + b"}",
    "a symlink": add("prepare/x", tarfile.SYMTYPE, "/etc/passwd"),
    "a hard link": add("prepare/x", tarfile.LNKTYPE, "prepare/result.json"),
    "a fifo": add("prepare/x", tarfile.FIFOTYPE),
    "a device": add("prepare/x", tarfile.CHRTYPE),
    "a folder": add("prepare/x", tarfile.DIRTYPE),
    "an absolute name": add("/dev/zero"),
    "a name that leaves": add("prepare/../../x"),
    "another folder": add("deploy/local/deployment.json"),
    "a stage that is a file": add("train"),
    "a file in a file": add("prepare/result.json/x"),
    "an empty part": add("prepare//x"),
    "a very long name": add("prepare/" + "x" * 300),
    "what no record names": add("prepare/model.onnx", content=b"x"),
    "a stage without a record": add("train/x", content=b"x"),
    "outputs as a list": record_with(outputs=["deep/file"]),
    "outputs without digests": record_with(outputs={"deep/file": 1}),
    "outputs with other sizes": record_with(outputs={"deep/file": {"sha256": "0", "size": "5"}}),
    "an output outside": record_with(outputs={"/dev/zero": {"sha256": "0", "size": 0}}),
    "an output above": record_with(outputs={"../../ml.yaml": {"sha256": "0", "size": 5}}),
    "inputs as a text": record_with(inputs="x"),
    "a key that is a list": record_with(key=[1]),
    "modules outside": record_with(key={"user_files": {"../../x.py": "0"}}),
    "libraries of numbers": record_with(key={"libraries": {"": 7}}),
    "an error that is a text": record_with(error="x"),
    "seconds as a text": record_with(seconds="1"),
    "the record of another stage": record_with(stage="train"),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_package_is_refused(tmp_path, packed, name):
    other = repository(tmp_path / "two")
    unpack(other, packed)
    with pytest.raises(ArtefactError, match="MOD_PACK") as refused:
        unpack(other, edited(packed, FOREIGN[name]))
    assert refused.value.exit_code == 3
    assert sorted(p.name for p in other.work.iterdir() if p.is_dir()) == ["prepare"]
    assert (other.folder("prepare") / "deep" / "file").read_text() == "hello"


def test_an_entry_that_claims_more_than_the_package_holds(tmp_path, packed):
    """A sparse entry of a tebibyte, and a header of one: neither fills the disk or the memory."""
    other = repository(tmp_path / "two")
    for header in ({"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(1 << 40)},):
        entry = tarfile.TarInfo("prepare/deep/file")
        entry.pax_headers = header

        def edit(manifest, entries, entry=entry):
            entries[1] = (entry, b"0\n" + b"\0" * 510)

        with pytest.raises(ArtefactError, match="MOD_PACK"):
            unpack(other, edited(packed, edit))
    huge = tarfile.TarInfo("././@PaxHeader")
    huge.type, huge.size = tarfile.XHDTYPE, 1 << 40
    (tmp_path / "huge.tar").write_bytes(huge.tobuf() + b"\0" * 4096)
    with pytest.raises(ArtefactError, match="MOD_PACK"):
        unpack(other, tmp_path / "huge.tar")


def test_no_package_is_read_from_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="CFG_FILE"):
        unpack(repository(tmp_path / "two"), tmp_path / "pipe")


@pytest.mark.parametrize("record", ["", "{", "[]", '{"schema_version": 1}', None])
def test_a_stage_with_a_broken_record_is_not_left_out(tmp_path, packed, record):
    project = Project.open(tmp_path / "one" / "ml.yaml")
    carry_out(project, Stage("train", {}, {}), lambda out: Work({}))
    path = project.folder("train") / "result.json"
    path.unlink() if record is None else path.write_text(record)
    with pytest.raises(ArtefactError, match="MOD_RECORD") as refused:
        pack(project, tmp_path / "q.tar")
    assert "mlci train" in refused.value.todo
    assert not (tmp_path / "q.tar").exists()


@pytest.mark.parametrize("special", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_a_special_file_among_results_is_no_result(tmp_path, packed, special):
    project = Project.open(tmp_path / "one" / "ml.yaml")
    for name in ("deep/file", "result.json"):
        path = project.folder("prepare") / name
        path.unlink()
        special(path)
        with pytest.raises(ArtefactError, match="MOD_RECORD"):
            pack(project, tmp_path / "q.tar")


def test_a_sparse_file_is_not_unpacked(tmp_path):
    (tmp_path / "prepare").mkdir()
    with (tmp_path / "prepare" / "file").open("wb") as out:
        out.truncate(2**40)
    (tmp_path / "mlci-pack.json").write_text(
        json.dumps({"schema_version": 1, "name": "a", "files": {"prepare/file": "0"}})
    )
    names = ["mlci-pack.json", "prepare/file"]
    subprocess.run(["tar", "--sparse", "-cf", "q.tar", *names], cwd=tmp_path, check=True)
    assert (tmp_path / "q.tar").stat().st_size < 100_000
    with pytest.raises(ArtefactError, match="unexpected entry 'prepare/file'"):
        unpack(repository(tmp_path / "two"), tmp_path / "q.tar")
