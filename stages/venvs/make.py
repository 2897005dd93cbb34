"""Making the virtual environment that mlci.pyz runs in. Standard library alone: nothing else is there yet."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from stages.errors import ConfigError, InfraError
from stages.escaping import printable
from stages.venvs import local
from stages.venvs.place import between_lines, choose
from stages.venvs.wanted import Wanted, effective, read

_PIN = re.compile(r"^([A-Za-z0-9][\w.-]*)==([^\s;\\]+)\s*(;)?", re.MULTILINE)
_NAME = re.compile(r"^([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?\s*(?:==\s*([^\s;,]+))?$")

#: Free bytes with which no step of making an environment succeeds.
_TOO_LITTLE = 2 * 2**20

#: What tells pip, and not uv, where packages come from.
_PIP_SETTINGS = (
    "INDEX_URL",
    "EXTRA_INDEX_URL",
    "NO_INDEX",
    "FIND_LINKS",
    "TRUSTED_HOST",
    "PROXY",
    "CERT",
    "CLIENT_CERT",
)


def pins(lock: str) -> dict[str, tuple[str, bool]]:
    """Package → (version, whether it is for some platforms only) of a lock file."""
    return {normal(name): (version, bool(marker)) for name, version, marker in _PIN.findall(lock)}


def normal(name: str) -> str:
    """A package's name in the one spelling that compares (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def adds_nothing(lines: list[str], locked: dict[str, tuple[str, bool]]) -> bool:
    """Whether requirements ask only for what is locked anyway, so that no environment of their own is needed."""
    for line in lines:
        match = _NAME.match(line)
        version, elsewhere = locked.get(normal(match[1]), ("", True)) if match else ("", True)
        if match is None or elsewhere or match[2] not in (None, version):
            return False
    return True


def has_everything(locked: dict[str, tuple[str, bool]], lines: list[str]) -> bool:
    """Whether this very interpreter has all locked packages and what `lines` ask for: then it is used as it is."""
    installed: dict[str, str] = {}
    for folder in sys.path:
        if folder and Path(folder).is_dir():
            for name in os.listdir(folder):  # noqa: PTH208  half the time of pathlib, on every start
                if name.endswith(".dist-info") and "-" in name:
                    package, _, version = name.removesuffix(".dist-info").rpartition("-")
                    installed.setdefault(normal(package), version)
    for name, (version, elsewhere) in locked.items():
        if installed.get(name, version if elsewhere else None) != version:
            return False
    for line in lines:
        match = _NAME.match(line)
        if (
            match is None
            or match[2] not in (None, installed.get(normal(match[1])))
            or normal(match[1]) not in installed
        ):
            return False
    return True


def make(folder: Path, lock: Path, needs: Path, wanted: Wanted) -> None:
    """Make the environment in `folder`: the locked packages by their hashes, then the repository's own.

    With `versions: own` the repository's file and mlci's bounds (`needs`) are resolved together, without the lock.

    Raises:
        InfraError: DEP_VENV, DEP_NETWORK, DEP_DISK, DEP_INSTALL; ConfigError: CFG_REQUIREMENTS: the versions do not go
            together.
    """
    asked = read(wanted.requirements) if wanted.requirements else None
    uv = _uv() if asked is None or asked.plain else None  # uv reads UTF-8 alone
    _venv(folder, uv)
    python = folder / "bin" / "python"
    repository = ["-r", str(wanted.requirements.absolute())] if wanted.requirements else []
    if uv and asked is not None and local.named(asked.lines, os.environ):
        repository.append("--refresh")  # it would take a folder for unchanged whose modules changed
    if wanted.versions == "own":
        _install(python, uv, ["-r", str(needs), *repository], wanted)
        return
    _install(python, uv, ["--require-hashes", "-r", str(lock)], Wanted(None))
    if wanted.requirements:
        locked = pins(lock.read_text(encoding="utf-8"))
        _refuse_conflicts(effective(wanted.requirements), locked, wanted.requirements)
        constraints = folder / "mlci-constraints.txt"
        constraints.write_text(
            "".join(f"{name}=={version}\n" for name, (version, _) in locked.items()), encoding="utf-8"
        )
        _install(python, uv, ["-c", str(constraints), *repository], wanted)


def _uv() -> str | None:
    """uv, unless pip was told about an index, a certificate or a proxy that uv would not know of."""
    uv = shutil.which("uv")
    if uv is None or any(os.environ.get(f"PIP_{name}") for name in _PIP_SETTINGS):
        return None
    files = [os.environ.get("PIP_CONFIG_FILE", ""), "/etc/pip.conf", "/etc/xdg/pip/pip.conf", f"{sys.prefix}/pip.conf"]
    files += [os.path.expanduser(name) for name in ("~/.config/pip/pip.conf", "~/.pip/pip.conf")]  # noqa: PTH111
    words = re.compile("|".join(name.lower().replace("_", "[-_]") for name in _PIP_SETTINGS))
    for name in files:
        try:
            if name and words.search(Path(name).read_text(encoding="utf-8", errors="replace").lower()):
                return None
        except OSError:
            continue
    return uv


def _venv(folder: Path, uv: str | None) -> None:
    virtualenv = shutil.which("virtualenv")
    if uv:
        command = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
    elif importlib.util.find_spec("venv") and importlib.util.find_spec("ensurepip"):
        command = [sys.executable, "-m", "venv", str(folder)]
    elif importlib.util.find_spec("virtualenv"):
        command = [sys.executable, "-m", "virtualenv", "--quiet", str(folder)]
    elif virtualenv:
        command = [virtualenv, "--quiet", "--python", sys.executable, str(folder)]
    else:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        raise InfraError(
            "DEP_VENV",
            f"{sys.executable} cannot make virtual environments, and neither uv nor virtualenv is there",
            f"install the system package for it (Debian, Ubuntu: apt-get install python3-venv, or {package})",
        )
    done = _run(command)
    if done.returncode != 0:
        _raise_outside(done.stdout, folder)
        raise InfraError(
            "DEP_VENV",
            f"making the virtual environment failed: {_last_line(done.stdout)}",
            f"run it by hand to see why: {' '.join(command[:3])} …",
        )


def _install(python: Path, uv: str | None, arguments: list[str], wanted: Wanted) -> None:
    if uv:
        command = [uv, "pip", "install", "--compile-bytecode", "--link-mode", "copy"]
        command += ["--python", str(python), *arguments]
    else:
        command = [str(python), "-m", "pip", "--disable-pip-version-check", "install", "--no-input"]
        command += ["--progress-bar", "off"]
        # Debian 12's pip otherwise builds what comes as source in its old way, and warns of it.
        command += ["--use-pep517", "--prefer-binary", *arguments]
    done = _run(command, _folder_for(python, wanted), python.parent.parent)
    if done.returncode == 0:
        return
    _raise_outside(done.stdout, python)
    for line in done.stdout.strip().splitlines()[-15:]:
        print(f"  {printable(line)}", file=sys.stderr)
    if wanted.requirements and re.search(
        r"conflict|no solution|unsatisfiable|ResolutionImpossible", done.stdout, re.IGNORECASE
    ):
        raise ConfigError(
            "CFG_REQUIREMENTS",
            f"{wanted.requirements.name} does not go together with mlci's locked versions: {_both_pins(done.stdout)}",
            "change the version there, or set environment: {versions: own} in ml.yaml",
        )
    what = wanted.requirements.name if wanted.requirements else "the locked packages"
    raise InfraError(
        "DEP_INSTALL",
        f"installing {what} failed: {_last_line(done.stdout)}",
        "see the lines above; no half-made environment was kept",
    )


def _folder_for(python: Path, wanted: Wanted) -> Path:
    """Where the installer works: relative paths lead on from there, and uv reads the settings of the repository there.

    Those are for its own requirements: with the hashes of the lock uv refuses constraints.
    """
    if wanted.requirements is None:
        return python.parent
    return local.where(effective(wanted.requirements), [wanted.folder.absolute(), Path.cwd()], os.environ)


def _run(command: list[str], folder: Path | None = None, venv: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run in `folder`, or here, with one output, secrets in addresses removed, saying how far `venv` is."""
    misleading = ("PIP_TARGET", "PIP_PREFIX", "PIP_NO_COMPILE", "PYTHONHOME", "PYTHONPATH", "PYTHONPYCACHEPREFIX")
    environment = {k: v for k, v in os.environ.items() if k not in misleading}
    environment |= {"PIP_USER": "0", "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONUTF8": "1", **_apart(environment)}
    started = time.monotonic()
    with tempfile.TemporaryFile() as output:
        try:
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, cwd=folder
            )
        except OSError as error:
            raise InfraError(
                "DEP_VENV", f"{command[0]}: {error.strerror}", "see that it can be run on this agent"
            ) from None
        with process:
            while True:
                try:
                    code = process.wait(between_lines())
                    break
                except subprocess.TimeoutExpired:
                    told = _last_line(_told(output, 4096), f"running {Path(command[0]).name}")
                    count = len(list(venv.glob("lib/*/site-packages/*.dist-info"))) if venv else 0
                    done = f"{count} packages installed, " if venv else ""
                    print(f"mlci: {time.monotonic() - started:.0f} s, {done}{told[:150]}", file=sys.stderr, flush=True)
                except BaseException:
                    process.kill()
                    raise
        return subprocess.CompletedProcess(command, code, _told(output))


def _told(output: IO[bytes], most: int | None = None) -> str:
    """What was written so far, or the end of it."""
    size = os.fstat(output.fileno()).st_size
    start = 0 if most is None else max(0, size - most)
    text = os.pread(output.fileno(), size - start, start).decode("utf-8", "replace")
    return re.sub(r"://[^/@\s]+@", "://****@", text)


def _apart(environment: Mapping[str, str]) -> dict[str, str]:
    """The installers' own caches for builds of a cache domain: what others left in theirs is not installed."""
    if not environment.get("MLCI_CACHE_DOMAIN"):
        return {}
    place = choose(environment, [])
    return {"PIP_CACHE_DIR": str(place / "pip"), "UV_CACHE_DIR": str(place / "uv")}


def _raise_outside(output: str, place: Path) -> None:
    """Raise for what has nothing to do with the packages: a full disk, no network."""
    from stages.venvs.place import full

    said = re.search(r"No space left on device|os error 28|Errno 28|Disk quota exceeded", output)
    # ensurepip keeps to itself why it failed.
    if said or shutil.disk_usage(place if place.exists() else place.parent).free < _TOO_LITTLE:
        raise full(place)
    lost = re.search(
        r"NewConnectionError|ConnectTimeout|NameResolutionError|Name or service not known|failure in name resolution"
        r"|Network is unreachable|Connection refused|Could not connect|error sending request|dns error|ProxyError"
        r"|Read timed out|CERTIFICATE_VERIFY_FAILED|Failed to fetch",
        output,
    )
    if lost:
        raise InfraError(
            "DEP_NETWORK",
            f"the package index cannot be reached ({lost[0]})",
            "set pip's index or proxy on the agent (PIP_INDEX_URL, HTTPS_PROXY), or use an image that has everything",
        )


def _refuse_conflicts(lines: list[str], locked: dict[str, tuple[str, bool]], file: Path) -> None:
    for line in lines:
        match = _NAME.match(line)
        if match and match[2] and normal(match[1]) in locked and "*" not in match[2]:
            version, _ = locked[normal(match[1])]
            if match[2] != version:
                raise ConfigError(
                    "CFG_REQUIREMENTS",
                    f"{file.name} asks for {match[1]}=={match[2]}, mlci is locked to {normal(match[1])}=={version}",
                    f"write {match[1]}=={version}, or set environment: {{versions: own}} in ml.yaml",
                )


def _both_pins(output: str) -> str:
    """Of a resolver's report, the lines that name what was asked for."""
    found = [
        line.strip() for line in output.splitlines()
        if re.search(r"The user requested|depends on|you require|requires|constraint", line)
    ]  # fmt: skip
    return "; ".join(dict.fromkeys(found)) or _last_line(output)


def _last_line(output: str, otherwise: str = "no output") -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    return (errors or lines or [otherwise])[-1].removeprefix("ERROR: ")
