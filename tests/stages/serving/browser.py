"""Debian's Chromium, headless, driven by the WebDriver protocol (W3C) itself."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
#: Key codes of WebDriver.
TAB, ENTER, SPACE, DOWN = "\ue004", "\ue007", " ", "\ue015"

_SWITCHES = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--window-size=1000,1100"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server"),
)


class Browser:
    """One session of a running chromedriver."""

    def __init__(self, port: int, profile: Path) -> None:
        self._base = f"http://127.0.0.1:{port}"
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
        chrome = {"args": [*_SWITCHES, f"--user-data-dir={profile}"], "binary": shutil.which("chromium")}
        wanted = {"goog:chromeOptions": chrome, "goog:loggingPrefs": {"browser": "ALL"}}
        wanted["timeouts"] = {"script": 300_000}  # in ms, on a busy machine
        made = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._session = f"/session/{made['sessionId']}"

    def _ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._base + path, data, {"Content-Type": "application/json"}, method=method)
        with self._open(request, timeout=300) as answer:
            return json.loads(answer.read())["value"]

    def go(self, url: str) -> None:
        self._ask("POST", f"{self._session}/url", {"url": url})

    def run(self, script: str, *arguments: Any) -> Any:
        """Value of a function body."""
        return self._ask("POST", f"{self._session}/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str) -> Any:
        """Value of an expression as soon as it is truthy."""
        script = f"""const done = arguments[0], end = Date.now() + 200000;
        (function look() {{
            const found = {condition};
            if (found || Date.now() > end) done(found); else setTimeout(look, 20);
        }})();"""
        found = self._ask("POST", f"{self._session}/execute/async", {"script": script, "args": []})
        assert found, f"never so: {condition}"
        return found

    def press(self, *keys: str) -> None:
        """Type into whatever has the focus, as a person would."""
        actions = [{"type": kind, "value": key} for word in keys for key in word for kind in ("keyDown", "keyUp")]
        sequence = {"type": "key", "id": "keyboard", "actions": actions}
        self._ask("POST", f"{self._session}/actions", {"actions": [sequence]})

    def console(self) -> list[str]:
        """Messages of the console since the last call: errors, and what the content policy blocked."""
        return [line["message"] for line in self._ask("POST", f"{self._session}/se/log", {"type": "browser"})]

    def devtools(self, command: str, **parameters: Any) -> Any:
        body = {"cmd": command, "params": parameters}
        return self._ask("POST", f"{self._session}/goog/cdp/execute", body)

    def screenshot(self, path: Path) -> None:
        path.write_bytes(base64.b64decode(self._ask("GET", f"{self._session}/screenshot")))

    def close(self) -> None:
        self._ask("DELETE", self._session)


def _installed() -> bool:
    return shutil.which("chromium") is not None and shutil.which("chromedriver") is not None


@contextmanager
def browser(scratch: Path) -> Iterator[Browser]:
    """A browser; installed where that is allowed, else the test is skipped (in CI: fails)."""
    if not _installed():
        script = ROOT / "tools" / "apt.sh"
        subprocess.run(["sh", str(script), "chromium", "chromium-driver"], capture_output=True, check=False)
    if not _installed():
        said = "chromium is missing (Debian: apt-get install chromium chromium-driver)"
        if os.environ.get("TESTS_IN_CI"):
            pytest.fail(said)
        pytest.skip(said)
    with subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, text=True) as driver:
        try:
            assert driver.stdout is not None
            port = next(
                int(m[1]) for m in (re.search(r"successfully on port (\d+)", line) for line in driver.stdout) if m
            )
            opened = Browser(port, scratch / "profile")
            try:
                yield opened
            finally:
                opened.close()
        finally:
            driver.terminate()
