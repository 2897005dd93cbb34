"""What holds for all tests: nothing of the machine leaks in, nothing leaks out into the home folder."""

from __future__ import annotations

import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from stages import errors

# At import, before a fixture of any scope can start mlci. A test that is about one of these sets it itself.
for _name in [name for name in os.environ if name.startswith(("MLCI_", "JENKINS_"))]:
    if not _name.startswith("MLCI_TEST_"):  # what the tests themselves are told
        del os.environ[_name]
# A shell gives what it starts in the background (`make test &`) an ignored SIGINT, which tests of Ctrl-C would pass on.
signal.signal(signal.SIGINT, signal.default_int_handler)
if os.environ.pop("CI", ""):
    os.environ["TESTS_IN_CI"] = "1"  # a missing part of the machine is then a failure, not a skip
pytest_plugins = ["tests.docker.fixtures", "tests.stages.s3.fixtures"]
_scratch = Path(tempfile.mkdtemp(prefix="mlci-tests-"))
os.environ["MLCI_STORE"] = str(_scratch / "store")
os.environ["MLCI_CACHE"] = str(_scratch / "cache")
os.environ["MPLBACKEND"] = "Agg"


@pytest.fixture(autouse=True)
def _nothing_hidden() -> Iterator[None]:
    yield
    errors.hide({})


@pytest.fixture(scope="session", autouse=True)
def _remove_scratch() -> Iterator[None]:
    yield
    shutil.rmtree(_scratch, ignore_errors=True)
