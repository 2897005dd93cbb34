"""Contexts and Dockerfiles: the same bytes whoever makes them."""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path

from stages.images import context, dockerfile


def digest(files: dict[str, Path | bytes]) -> str:
    with context.archive(files) as packed:
        return hashlib.sha256(packed.read()).hexdigest()


def test_the_same_files_give_the_same_bytes(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for number, path in enumerate((one, two)):
        path.write_bytes(b"content")
        path.chmod(0o600 + number)
        os.utime(path, (number, number))
    assert digest({"a/b": one, "c": b"x"}) == digest({"c": b"x", "a/b": two})
    assert digest({"a/b": one}) != digest({"a/b": b"other"})


def test_group_0_may_write_what_root_owns(tmp_path: Path) -> None:
    with context.archive({"root/opt/x/y": b"1"}) as packed, tarfile.open(fileobj=packed) as archive:
        entries = {entry.name: entry for entry in archive}
    assert list(entries) == ["root", "root/opt", "root/opt/x", "root/opt/x/y"]
    assert {(entry.uid, entry.gid, entry.uname) for entry in entries.values()} == {(0, 0, "")}
    assert entries["root/opt"].mode == 0o755
    assert entries["root/opt/x"].mode == 0o775
    assert entries["root/opt/x/y"].mode == 0o664


def test_a_large_file_keeps_its_content(tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(os.urandom(70 * 2**20))
    with context.archive({"m": large}) as packed, tarfile.open(fileobj=packed) as archive:
        stream = archive.extractfile("m")
        assert stream is not None
        assert hashlib.sha256(stream.read()).digest() == hashlib.sha256(large.read_bytes()).digest()


def test_the_model_comes_last_and_alone() -> None:
    lines = dockerfile.model("mlci-runtime:abc", {"a": 'say "$x" \\ now', "b": "2"}, "d" * 64).splitlines()
    assert lines[:2] == ["FROM mlci-runtime:abc", "COPY root /"]
    assert 'LABEL a="say \\"\\$x\\" \\\\ now" \\' in lines
    assert lines[-1] == f'CMD ["--version", "{"d" * 64}"]'


def test_build_arguments_stay_in_the_stage_that_installs() -> None:
    text = dockerfile.dependencies("base:1", ["PIP_INDEX_URL"], certificates=True, own=True)
    install, final = text.split("\nFROM ")[0], text.split("\nFROM ")[1]
    assert "ARG PIP_INDEX_URL" in install
    assert "--require-hashes" in install
    assert final.splitlines() == ["base:1", "COPY --from=install /opt/mlci/python /opt/mlci/python"]
