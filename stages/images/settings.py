"""How pip reaches its index from inside a build: as it does outside. Such settings enter the build, never the image."""

from __future__ import annotations

import logging
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

log = logging.getLogger("mlci")

_PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "FTP_PROXY", "http_proxy", "https_proxy", "no_proxy", "ftp_proxy")
#: Options of pip that name something in the network; a path would mean nothing inside a build.
_OPTIONS = ("index-url", "extra-index-url", "find-links", "trusted-host", "proxy", "timeout", "retries")
_CERTIFICATES = ("PIP_CERT", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
_LOCAL = re.compile(r"//(localhost|127\.|\[::1\])")


@dataclass(frozen=True)
class PipSettings:
    """`arguments`: build arguments. `certificates`: a bundle that replaces the base image's own while it builds."""

    arguments: dict[str, str] = field(default_factory=dict)
    certificates: bytes | None = None


def pip_settings() -> PipSettings:
    """What pip's configuration files and the environment say on this machine."""
    configured = _configured()
    arguments = {}
    for option in _OPTIONS:
        value = configured.get(option)
        if value and (option != "find-links" or "://" in value):
            arguments[f"PIP_{option.upper().replace('-', '_')}"] = value
    for name in _PROXIES:
        value = os.environ.get(name)
        if value and _LOCAL.search(value):
            log.warning("%s names this machine, which a build cannot reach: left out", name)
        elif value:
            arguments[name] = value
    places = [configured.get("cert"), *(os.environ.get(name) for name in _CERTIFICATES)]
    for place in filter(None, places):
        if Path(place).is_file():
            return PipSettings(arguments, Path(place).read_bytes())
    return PipSettings(arguments)


def _configured() -> dict[str, str]:
    """Option → value, of `pip config list`; of the environment alone where there is no pip."""
    found = {name[4:].lower().replace("_", "-"): value for name, value in os.environ.items() if name.startswith("PIP_")}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, timeout=30, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return found
    for line in done.stdout.splitlines() if done.returncode == 0 else ():
        name, _, value = line.partition("=")
        section, _, option = name.rpartition(".")
        if section in ("global", "install", "download") and option not in found:
            words = shlex.split(value)
            found[option] = " ".join(words[0].split()) if words else ""
    return found
