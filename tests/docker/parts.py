"""The parts of the machine that Docker tests need: programs, the stand-in base image, the gateway image.

What takes long to make is kept outside the tree, in TESTS_CACHE or ~/.cache/mlci-tests.
"""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

if TYPE_CHECKING:
    import docker

ROOT = Path(__file__).resolve().parents[2]

#: Stands in for python:3.11-slim where no image registry is in reach.
BASE = "mlci-tests/python:3.11-slim"
#: HAProxy on that base, from Debian's package.
GATEWAY = "mlci-tests/haproxy:debian"

_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_SUITE = "bookworm"


class Missing(Exception):
    """A part of the machine that Docker tests need is not there and cannot be had."""


#: Suspends pytest's capture of output; set when pytest is configured.
capture_off: Callable[[], AbstractContextManager[None]] = nullcontext


def announce(text: str) -> None:
    """Say what is being waited for, now and not when a test fails."""
    with capture_off():
        print(f"\ntests: {text}", file=sys.stderr, flush=True)


def unmount_below(folder: Path) -> None:
    """Unmount what a program that was killed left mounted: it would keep the folder from being removed."""
    for line in Path("/proc/mounts").read_text().splitlines():
        mount_point = line.split()[1]
        if mount_point.startswith(f"{folder}/"):
            subprocess.run(["umount", "-l", mount_point], capture_output=True, check=False)


@contextmanager
def _scratch() -> Iterator[Path]:
    """A folder next to what is kept, removed in any case, so that a failed attempt leaves nothing."""
    folder = Path(tempfile.mkdtemp(dir=cache()))
    try:
        yield folder
    finally:
        unmount_below(folder)
        shutil.rmtree(folder, ignore_errors=True)


def _run_to_the_end(command: list[str]) -> tuple[int, str]:
    """Run a program that starts others. Returns its exit code and output; on an exception all of them are ended."""
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    try:
        output, _ = process.communicate()
    except BaseException:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        raise
    return process.returncode, output


def cache() -> Path:
    """The folder for what takes long to make."""
    given = os.environ.get("TESTS_CACHE")
    folder = Path(given) if given else Path.home() / ".cache" / "mlci-tests"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def program(name: str, package: str) -> str:
    """Path of a program, installed from its Debian package when it is missing and that is allowed.

    Raises:
        Missing: it is not there.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=path)
    if found is None:
        subprocess.run(["sh", str(ROOT / "tools" / "apt.sh"), package], capture_output=True, check=False)
        found = shutil.which(name, path=path)
    if found is None:
        raise Missing(f"{name} is missing (Debian, Ubuntu: apt-get install {package})")
    return found


def unpacked(name: str, package: str) -> str:
    """Path of a program out of a Debian package that is unpacked, not installed, so that no service starts.

    Raises:
        Missing: the package cannot be fetched.
    """
    folder = cache() / package
    with FileLock(cache() / f"{package}.lock"):
        found = next(folder.glob(f"usr/*bin/{name}"), None)
        if found is None:
            with _scratch() as scratch:
                fetch = ["apt-get", "download", package]
                done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
                if done.returncode and os.geteuid() == 0:
                    subprocess.run(["apt-get", "-qq", "update"], capture_output=True, check=False)
                    done = subprocess.run(fetch, cwd=scratch, capture_output=True, text=True, check=False)
                archives = list(scratch.glob("*.deb"))
                if done.returncode or not archives:
                    raise Missing(f"{package} cannot be fetched: {done.stderr.strip()[-200:]}")
                subprocess.run(["dpkg", "-x", str(archives[0]), str(scratch / "unpacked")], check=True)
                shutil.rmtree(folder, ignore_errors=True)
                (scratch / "unpacked").rename(folder)
            found = next(folder.glob(f"usr/*bin/{name}"))
    return str(found)


def base_image(client: docker.DockerClient) -> str:
    """Make sure that the engine has `BASE`. Returns the name.

    Raises:
        Missing: it cannot be made here.
    """
    if not _has(client, BASE):
        archive = str(_root_file_system())
        made = client.api.import_image_from_file(archive, repository="mlci-tests/python", tag="3.11-slim")
        if "error" in str(made):
            raise Missing(f"the base image could not be imported: {made}")
    return BASE


def gateway_image(client: docker.DockerClient) -> str:
    """Make sure that the engine has `GATEWAY`. Returns the name. Raises: Missing."""
    if _has(client, GATEWAY):
        return GATEWAY
    base_image(client)
    kept = cache() / f"gateway-{_root_file_system().stem}.tar"
    with FileLock(kept.with_suffix(".lock")):
        if not kept.exists():
            announce("building the gateway's image: half a minute, on a busy machine several; kept for later runs")
            _build_gateway(client)
            partial = kept.with_suffix(".partial")
            with partial.open("wb") as stream:
                for chunk in client.images.get(GATEWAY).save(named=True):
                    stream.write(chunk)
            partial.replace(kept)
    if not _has(client, GATEWAY):
        with kept.open("rb") as stream:
            client.images.load(stream)
    return GATEWAY


def _build_gateway(client: docker.DockerClient) -> None:
    text = (
        f"FROM {BASE}\n"
        "RUN apt-get -qq update && apt-get -qq -y --no-install-recommends install haproxy "
        "&& rm -rf /var/lib/apt/lists/* /var/cache/apt\n"
    )
    client.images.build(fileobj=io.BytesIO(text.encode()), tag=GATEWAY, rm=True)


def _has(client: docker.DockerClient, name: str) -> bool:
    import docker

    try:
        client.images.get(name)
    except docker.errors.ImageNotFound:
        return False
    return True


def _root_file_system() -> Path:
    """A Debian with Python and the certificates of this machine, as a tar file; made once."""
    bundle = _CA_BUNDLE.read_bytes() if _CA_BUNDLE.exists() else b""
    key = hashlib.sha256(b"1" + _SUITE.encode() + bundle).hexdigest()[:12]
    kept = cache() / f"base-{key}.tar"
    with FileLock(cache() / "base.lock"):
        if not kept.exists():
            if os.geteuid() != 0:
                raise Missing("making the base image needs root (debootstrap)")
            debootstrap = program("debootstrap", "debootstrap")
            announce("making the base image with debootstrap: a minute, on a busy machine several; kept for later runs")
            with _scratch() as scratch:
                root = scratch / "root"
                packages = "python3,python3-venv,python3-pip,ca-certificates"
                command = [debootstrap, "--variant=minbase", f"--include={packages}", _SUITE, str(root)]
                code, output = _run_to_the_end(command)
                if code:
                    raise Missing(f"debootstrap failed: {output.strip()[-300:]}")
                _trim(root, bundle)
                partial = scratch / "base.tar"
                with tarfile.open(partial, "w") as archive:
                    archive.add(root, arcname=".")
                partial.replace(kept)
    return kept


def _trim(root: Path, bundle: bytes) -> None:
    """What the official image leaves out as well, and what it has and Debian's does not."""
    for name in ("usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info", "var/cache/apt"):
        shutil.rmtree(root / name, ignore_errors=True)
    for path in (root / "var/lib/apt/lists").glob("*"):
        shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink()
    for marker in (root / "usr/lib").glob("python3*/EXTERNALLY-MANAGED"):
        marker.unlink()
    (root / "usr/bin/python").symlink_to("python3")
    if bundle:
        (root / _CA_BUNDLE.relative_to("/")).write_bytes(bundle)
