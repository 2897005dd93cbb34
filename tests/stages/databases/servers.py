"""A PostgreSQL and a MariaDB of our own on this machine's loopback: files in a temporary folder, a free port, an
unprivileged user, ended by their process."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.docker.parts import ROOT, Missing, program

USER, PASSWORD = "ml", "s3cret word"
_SECONDS = 120


@dataclass(frozen=True)
class Server:
    """`port` on 127.0.0.1; `database`: its name."""

    port: int
    database: str

    def url(self, dialect: str, password: str = PASSWORD, query: str = "") -> str:
        """The address as ml.yaml has it."""
        return f"{dialect}://{USER}:{password.replace(' ', '%20')}@127.0.0.1:{self.port}/{self.database}{query}"

    def execute(self, dialect: str, *statements: str) -> None:
        """Statements that are not mlci's."""
        import sqlalchemy

        engine = sqlalchemy.create_engine(self.url(dialect), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            for one in statements:
                connection.exec_driver_sql(one)
        engine.dispose()


@contextmanager
def postgresql() -> Iterator[Server]:
    """Raises: Missing."""
    with _folder() as folder:
        programs = _postgresql_programs(folder)
        secret = folder / "password"
        secret.write_text(PASSWORD)
        data = folder / "data"
        options = ["-U", USER, f"--pwfile={secret}", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "--no-sync"]
        _run([programs / "initdb", "-D", data, *options])
        port = _free_port()
        settings = ["listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off", "jit=off", "timezone=UTC"]
        command: list[str | Path] = [
            programs / "postgres",
            "-D",
            data,
            "-p",
            str(port),
            *(w for one in settings for w in ("-c", one)),
        ]
        server = Server(port, "postgres")
        with _running(command, folder, lambda: server.execute("postgresql+psycopg", "SELECT 1")):
            yield server


def _postgresql_programs(folder: Path) -> Path:
    """Where initdb is: installed, or unpacked into `folder`, because the server's user sees no home folder of others.

    The package is not installed: Debian would make a cluster and start it.
    """
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if installed:
        return installed[-1].parent
    found = subprocess.run(
        ["apt-cache", "depends", "--no-recommends", "--no-suggests", "postgresql"],
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split()
    package = next((word for word in found if word.startswith("postgresql-") and word[11:].isdigit()), None)
    if package is None:
        raise Missing("PostgreSQL is missing (Debian, Ubuntu: apt-get install postgresql)")
    subprocess.run(["sh", str(ROOT / "tools" / "apt.sh"), "libpq5", "libxml2"], capture_output=True, check=False)
    scratch = folder / "programs"
    with tempfile.TemporaryDirectory() as fetched:
        subprocess.run(["apt-get", "download", package], cwd=fetched, capture_output=True, check=False)
        archives = list(Path(fetched).glob("*.deb"))
        if not archives:
            raise Missing(f"{package} cannot be fetched")
        subprocess.run(["dpkg", "-x", str(archives[0]), str(scratch)], check=True)
    return next(scratch.glob("usr/lib/postgresql/*/bin/initdb")).parent


@contextmanager
def mariadb() -> Iterator[Server]:
    """Raises: Missing."""
    server_program = program("mariadbd", "mariadb-server-core")
    with _folder() as folder:
        data = folder / "data"
        data.mkdir()
        _hand_over(data)
        common = [
            "--no-defaults",
            f"--datadir={data}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-use-native-aio=0",
            f"--tmpdir={data}",
        ]
        tables = [
            (Path("/usr/share/mysql") / f"mysql_{name}.sql").read_text()
            for name in ("system_tables", "performance_tables", "system_tables_data")
        ]
        account = f"{USER}@'127.0.0.1'"
        _run(
            [server_program, *common, "--bootstrap"],
            "SET @auth_root_socket=NULL;\ncreate database mysql;\nuse mysql;\n"
            + "".join(tables)
            + f"\ncreate database shop;\nflush privileges;\ncreate user {account} identified by '{PASSWORD}';\n"
            f"grant all on *.* to {account};\n",
        )
        port = _free_port()
        network = [f"--port={port}", "--bind-address=127.0.0.1", "--skip-name-resolve"]
        files = [f"--socket={data}/socket", f"--pid-file={data}/pid"]
        server = Server(port, "shop")
        command = [server_program, *common, *network, *files]
        with _running(command, folder, lambda: server.execute("mysql+pymysql", "SELECT 1")):
            yield server


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="mlci-db-", dir="/tmp"))
    _hand_over(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _hand_over(folder: Path) -> None:
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        folder.chmod(0o755)


def _user() -> dict[str, Any]:
    """PostgreSQL does not start as root."""
    return {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}


def _run(command: Sequence[str | Path], text: str = "") -> None:
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False, cwd="/", **_user())
    if done.returncode:
        raise Missing(f"{Path(command[0]).name} failed: {done.stderr.strip()[-300:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def _running(command: Sequence[str | Path], folder: Path, ask: Callable[[], None]) -> Iterator[None]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, cwd="/", **_user())
        try:
            _wait(process, Path(command[0]).name, folder / "log", ask)
            yield
        finally:
            process.terminate()
            try:
                process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(process: subprocess.Popen[bytes], name: str, log: Path, ask: Callable[[], None]) -> None:
    """Until the server answers. Raises: Missing: it ended, or does not answer."""
    from sqlalchemy.exc import SQLAlchemyError

    end = time.monotonic() + _SECONDS
    while True:
        try:
            return ask()
        except SQLAlchemyError as error:
            if process.poll() is not None or time.monotonic() > end:
                raise Missing(f"{name}: {error}; {log.read_text()[-500:]}") from error
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=0.1)
