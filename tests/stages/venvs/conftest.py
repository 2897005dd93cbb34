"""A folder for everybody, and the agents of the bootstrap's tests."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.stages.test_bootstrap import agent, index, pyz, warm  # noqa: F401


@pytest.fixture
def shared() -> Iterator[Path]:
    """A folder that everybody can write, as /tmp is, and everybody can reach."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    folder.chmod(0o1777)
    yield folder
    shutil.rmtree(folder)
