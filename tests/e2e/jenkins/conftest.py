"""A real Jenkins, named by `MLCI_TEST_JENKINS_URL`, `MLCI_TEST_JENKINS_USER` and `MLCI_TEST_JENKINS_TOKEN`."""

from __future__ import annotations

import os
from dataclasses import dataclass

import pytest
import requests

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
        answer = requests.post(f"{self.url}/scriptText", data={"script": text}, auth=auth, timeout=60)
        answer.raise_for_status()
        assert "Exception" not in answer.text, answer.text
        return answer.text


@pytest.fixture(scope="session")
def real() -> Real:
    values = [os.environ.get(name, "") for name in _NAMES]
    if not all(values):
        pytest.skip(f"needs a Jenkins: {', '.join(_NAMES)}")
    url, user, token = values
    return Real(url.rstrip("/"), user, token)
