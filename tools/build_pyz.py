"""Build mlci.pyz, what travels inside the Jenkins library: the stages and the lock.

Entries are sorted, times and modes fixed: the same sources give the same file. It is deflated, because Jenkins keeps a
copy of it with every build; a zlib of another make may pack the same content into other bytes, so `--check` compares
what is inside.

python tools/build_pyz.py            write resources/mlci/mlci.pyz and mlci.pyz.sha256
python tools/build_pyz.py --check    exit 1 when they are not what the sources give
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import sys
import tomllib
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
#: The earliest time that a zip archive can hold: no build has another.
_TIME = (1980, 1, 1, 0, 0, 0)
_SKIPPED = {".pyc", ".pyo"}


def build(root: Path) -> bytes:
    """The zipapp of the sources below `root`."""
    files = {"__main__.py": (root / "stages" / "bootstrap" / "entry.py").read_bytes()}
    files["requirements.txt"] = (root / "requirements.txt").read_bytes()
    dependencies = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]["dependencies"]
    files["needs.txt"] = "".join(f"{line}\n" for line in sorted(dependencies)).encode()
    for path in (root / "stages").rglob("*"):
        if path.is_file() and path.suffix not in _SKIPPED and "__pycache__" not in path.parts:
            files[path.relative_to(root).as_posix()] = path.read_bytes()
    # What the unpacked files are compared with at each start.
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    files["digests.json"] = json.dumps(digests, sort_keys=True, indent=0).encode()
    buffer = io.BytesIO(b"#!/usr/bin/env python3\n")
    buffer.seek(0, io.SEEK_END)
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in sorted(files):
            entry = zipfile.ZipInfo(name, _TIME)
            entry.create_system, entry.compress_type = 3, zipfile.ZIP_DEFLATED
            entry.external_attr = 0o100644 << 16
            archive.writestr(entry, files[name])
    return buffer.getvalue()


def contents(pyz: bytes) -> list[tuple[object, ...]]:
    """Everything that is in it, in order: name, time, mode, bytes."""
    with zipfile.ZipFile(io.BytesIO(pyz)) as archive:
        return [(e.filename, e.date_time, e.external_attr, archive.read(e)) for e in archive.infolist()]


def _is_of(digest: Path, target: Path) -> bool:
    """Whether the file beside it holds the digest of the target."""
    return digest.is_file() and digest.read_text(encoding="utf-8") == _line(target.read_bytes())


def _line(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest() + "\n"


def main(arguments: list[str] | None = None) -> int:
    """The command line. Returns 1 when `--check` finds a difference."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare only")
    parser.add_argument("--root", type=Path, default=ROOT, help=argparse.SUPPRESS)
    parser.add_argument("--output", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    content = build(given.root)
    target = given.output or given.root / "resources" / "mlci" / "mlci.pyz"
    digest = target.with_name(target.name + ".sha256")
    line = _line(content)
    if given.check:
        same = target.is_file() and contents(target.read_bytes()) == contents(content) and _is_of(digest, target)
        print(f"{target.name}: {'as the sources give it' if same else 'differs from the sources; run: make pyz'}")
        return 0 if same else 1
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(content)
    digest.write_text(line, encoding="utf-8")
    print(f"{target.name}: {len(content) / 1000:.0f} kB, sha256 {line[:16]}…")
    return 0


if __name__ == "__main__":
    sys.exit(main())
