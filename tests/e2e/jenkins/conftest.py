"""A real Jenkins, named by `MLCI_TEST_JENKINS_URL`, `MLCI_TEST_JENKINS_USER` and `MLCI_TEST_JENKINS_TOKEN`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import pytest
import requests

Found = TypeVar("Found")

#: How long to wait for one thing that a controller is to do, in seconds: for one that hangs, not for a slow one.
PATIENCE = float(os.environ.get("MLCI_TEST_JENKINS_SECONDS", "900"))
#: For one test, which waits for several.
LIMIT = 4 * PATIENCE

_NAMES = ("MLCI_TEST_JENKINS_URL", "MLCI_TEST_JENKINS_USER", "MLCI_TEST_JENKINS_TOKEN")


@dataclass(frozen=True)
class Real:
    """Where it is and who administers it."""

    url: str
    user: str
    token: str

    @property
    def variables(self) -> dict[str, str]:
        return {"URL": self.url, "USER_NAME": self.user, "TOKEN": self.token}

    def groovy(self, script: str) -> str:
        """Run a script on the controller: what a person does in forms, in a form that repeats."""
        auth = (self.user, self.token)
        text = "import jenkins.model.*\n" + script
        answer = requests.post(f"{self.url}/scriptText", data={"script": text}, auth=auth, timeout=PATIENCE)
        answer.raise_for_status()
        assert "Exception" not in answer.text, answer.text
        return answer.text


def until(look: Callable[[], Found | None], what: str) -> Found:
    """Look until something is found. `what` says in a failure what was waited for."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        found = look()
        if found:
            return found
        time.sleep(0.2)
    pytest.fail(f"{what}: not within {PATIENCE:.0f} s; a slow controller needs more, in MLCI_TEST_JENKINS_SECONDS")


@pytest.fixture(scope="session")
def real() -> Real:
    values = [os.environ.get(name, "") for name in _NAMES]
    if not all(values):
        pytest.skip(f"needs a Jenkins: {', '.join(_NAMES)}")
    url, user, token = values
    return Real(url.rstrip("/"), user, token)
