"""An empty virtual environment, and packages into it from where pip finds them."""

from __future__ import annotations

import configparser
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stages.errors import InfraError

#: Settings of pip → the same words of uv, which does not read pip's; an environment variable where there are none.
_WORDS = {
    "index-url": "--default-index",
    "extra-index-url": "--index",
    "find-links": "--find-links",
    "trusted-host": "--allow-insecure-host",
}
_VARIABLES = {"cert": "SSL_CERT_FILE", "client-cert": "SSL_CLIENT_CERT", "proxy": "ALL_PROXY"}


@dataclass(frozen=True)
class Venv:
    """`python`: its interpreter. `uv`: what installs, None for pip."""

    python: Path
    uv: str | None

    @classmethod
    def make(cls, folder: Path) -> Venv:
        """An environment without packages, of this very Python: by uv when there is one, else with venv.

        Raises:
            InfraError: DEP_VENV.
        """
        uv = shutil.which("uv") or shutil.which("uv", path=str(Path(sys.executable).parent))
        if uv is not None:
            command = [uv, "venv", "--quiet", "--python", sys.executable, str(folder)]
        elif importlib.util.find_spec("ensurepip") is not None:
            command = [sys.executable, "-m", "venv", str(folder)]
        else:
            package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
            raise InfraError(
                "DEP_VENV",
                f"{sys.executable} cannot make virtual environments, and uv is not there",
                f"install uv, or the system package for it (Debian, Ubuntu: apt-get install {package})",
            )
        done = _run(command, _environment())
        if done.returncode:
            raise InfraError("DEP_VENV", f"an empty environment could not be made: {_last(done)}", "see the message")
        return cls(folder / "bin" / "python", uv)

    def install(self, *arguments: str) -> None:
        """Install what pip's arguments say, wheels alone.

        Raises:
            InfraError: DEP_INSTALL.
        """
        environment = _environment()
        if self.uv is not None:
            words, variables = for_uv(pip_settings())
            command = [self.uv, "pip", "install", "--quiet", "--python", str(self.python), *words]
            environment |= variables
        else:
            command = [str(self.python), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
            command += ["--no-input", "--no-compile"]
        done = _run([*command, "--only-binary", ":all:", *arguments], environment)
        if done.returncode:
            raise InfraError(
                "DEP_INSTALL",
                f"installing into an empty environment failed: {_last(done)}",
                "see that pip reaches an index with these versions (PIP_INDEX_URL, PIP_FIND_LINKS, HTTPS_PROXY)",
            )

    def run(self, words: list[str], text: str) -> subprocess.CompletedProcess[str]:
        """Run its Python, isolated from the environment and from the user's own packages, with `text` as input."""
        return _run([str(self.python), "-I", *words], {"PATH": os.defpath, "PYTHONUTF8": "1"}, text)


def pip_settings() -> dict[str, str]:
    """Where packages come from, as pip's configuration files and the environment say: option → value."""
    user = [Path("~/.config/pip/pip.conf").expanduser(), Path("~/.pip/pip.conf").expanduser()]
    files = [Path("/etc/xdg/pip/pip.conf"), Path("/etc/pip.conf"), *user, Path(sys.prefix) / "pip.conf"]
    named = os.environ.get("PIP_CONFIG_FILE")
    if named is not None:
        files = [*files, Path(named)] if named != os.devnull else []
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(files, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return {}
    found: dict[str, str] = {}
    for section in ("global", "install"):
        if parser.has_section(section):
            found |= {name.replace("_", "-"): value for name, value in parser.items(section)}
    given = {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name.startswith("PIP_")}
    wanted = {*_WORDS, *_VARIABLES, "no-index"}
    return {name: value for name, value in {**found, **given}.items() if name in wanted and value.strip()}


def for_uv(settings: Mapping[str, str]) -> tuple[list[str], dict[str, str]]:
    """Settings of pip as arguments and environment variables of uv."""
    words = [
        word for name, option in _WORDS.items() for value in settings.get(name, "").split() for word in (option, value)
    ]
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        words.append("--no-index")
    return words, {variable: settings[name] for name, variable in _VARIABLES.items() if name in settings}


def _environment() -> dict[str, str]:
    """This one's, without what would lead an installation elsewhere."""
    misleading = ("PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PYTHONHOME", "PYTHONPATH", "VIRTUAL_ENV")
    kept = {name: value for name, value in os.environ.items() if name not in misleading}
    return {**kept, "PIP_REQUIRE_VIRTUALENV": "0", "PYTHONUTF8": "1"}


def _run(command: list[str], environment: dict[str, str], text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="replace",
        check=False,
    )


def _last(done: subprocess.CompletedProcess[str]) -> str:
    """The line that says what failed, without passwords in addresses."""
    lines = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    errors = [line for line in lines if line.lower().startswith("error")]
    shown = (errors or lines or ["no output"])[-1].removeprefix("ERROR: ")
    return re.sub(r"://[^/@\s]+@", "://****@", shown)
