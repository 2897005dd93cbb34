"""Real data bases for one session. A missing part of the machine is said in one loud line, and is a failure in CI."""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager

import pytest

from tests.docker.parts import Missing
from tests.stages.databases import servers
from tests.stages.databases.servers import Server


def _started(manager: AbstractContextManager[Server]) -> Iterator[Server]:
    try:
        with manager as server:
            yield server
    except Missing as error:
        if os.environ.get("TESTS_IN_CI"):
            pytest.fail(f"tests with data bases cannot run: {error}", pytrace=False)
        pytest.skip(f"TESTS WITH DATA BASES DO NOT RUN: {error}")


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    yield from _started(servers.postgresql())


@pytest.fixture(scope="session")
def maria() -> Iterator[Server]:
    yield from _started(servers.mariadb())
