"""A real image registry on 127.0.0.1: Debian's docker-registry with a configuration of its own."""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.docker.parts import program, unpacked

USER, PASSWORD = "builder", "correct horse battery staple"


@dataclass
class Registry:
    """A running registry; `address` is what image names begin with."""

    address: str
    process: subprocess.Popen[bytes]
    log: Path

    def stop(self) -> None:
        """End it and wait for its end."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)


def start(folder: Path, *, tls: bool = False, password: bool = False, port: int | None = None) -> Registry:
    """Start a registry that keeps its data in `folder` and wait until it answers. Raises: Missing."""
    folder.mkdir(parents=True, exist_ok=True)
    port = port or _free_port()
    lines = [
        "version: 0.1",
        "log: {level: warn}",
        "storage:",
        f"  filesystem: {{rootdirectory: {folder}/data}}",
        "http:",
        f"  addr: 127.0.0.1:{port}",
        f"  secret: {os.urandom(8).hex()}",
    ]
    if tls:
        key, certificate = _certificate(folder)
        lines += ["  tls:", f"    certificate: {certificate}", f"    key: {key}"]
    if password:
        users = folder / "users"
        htpasswd = program("htpasswd", "apache2-utils")
        users.write_bytes(subprocess.run([htpasswd, "-Bbn", USER, PASSWORD], capture_output=True, check=True).stdout)
        lines += ["auth:", "  htpasswd:", "    realm: tests", f"    path: {users}"]
    settings = folder / "registry.yml"
    settings.write_text("\n".join(lines) + "\n")
    log = folder / "registry.log"
    with log.open("ab") as stream:
        process = subprocess.Popen(
            [unpacked("docker-registry", "docker-registry"), "serve", str(settings)],
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
        )
    registry = Registry(f"127.0.0.1:{port}", process, log)
    until = time.monotonic() + 300
    while not _answers(port, tls):
        if process.poll() is not None or time.monotonic() > until:
            registry.stop()
            raise AssertionError(f"the registry does not start: {log.read_text(errors='replace')[-500:]}")
        time.sleep(0.05)
    return registry


@contextlib.contextmanager
def running(folder: Path, *, tls: bool = False, password: bool = False) -> Iterator[Registry]:
    """A registry while the block runs."""
    registry = start(folder, tls=tls, password=password)
    try:
        yield registry
    finally:
        registry.stop()


def _answers(port: int, tls: bool) -> bool:
    try:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(
                "127.0.0.1", port, timeout=30, context=context
            )
        else:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/v2/")
            return connection.getresponse().status in (200, 401)
        finally:
            connection.close()
    except OSError:
        return False


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = [
        program("openssl", "openssl"),
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        "/CN=127.0.0.1",
    ]
    words += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    subprocess.run(words, capture_output=True, check=True)
    return key, certificate


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])
