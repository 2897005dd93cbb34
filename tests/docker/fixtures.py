"""Fixtures around a real Docker engine, for every test marked `docker`.

Where a part is missing, one loud line says so and the tests are skipped; with CI set they fail instead.
"""

from __future__ import annotations

import gc
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest
from filelock import FileLock

from tests.docker import parts
from tests.docker.engine import Engine, acquire, release
from tests.docker.registry import Registry, running


def pytest_configure(config: pytest.Config) -> None:
    """docker-py leaves sockets to the engine (family 1: a Unix socket) for the garbage collector to close."""
    ours = r"Exception ignored in. <socket\.socket fd=\d+, family=1, "
    config.addinivalue_line("filterwarnings", f"ignore:{ours}:pytest.PytestUnraisableExceptionWarning")
    capture = config.pluginmanager.getplugin("capturemanager")
    if capture is not None:
        parts.capture_off = capture.global_and_fixture_disabled


@pytest.hookimpl(tryfirst=True)
def pytest_unconfigure() -> None:
    """The last ones, which outlived their session."""
    _collect()


def _collect(times: int = 3) -> None:
    """See `pytest_configure`: what is collected here is not collected where nobody filters warnings any more.

    After two thousand tests one time takes a third of a second.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        for _ in range(times):
            gc.collect()


def _shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that all worker processes of this run see."""
    base = tmp_path_factory.getbasetemp()
    return base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base


def _missing(error: parts.Missing) -> None:
    if os.environ.get("TESTS_IN_CI"):
        pytest.fail(f"Docker tests cannot run: {error}", pytrace=False)
    pytest.skip(f"DOCKER TESTS DO NOT RUN: {error}")


@pytest.fixture(scope="session")
def docker_engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """An engine with the base image; DOCKER_HOST names it while the session lasts."""
    shared = _shared(tmp_path_factory)
    try:
        engine = acquire(shared)
    except parts.Missing as error:
        _missing(error)
        return
    before = os.environ.get("DOCKER_HOST")
    os.environ["DOCKER_HOST"] = engine.address
    try:
        client = engine.client()
        try:
            with FileLock(shared / "images.lock"):
                parts.base_image(client)
        except parts.Missing as error:
            _missing(error)
        finally:
            client.close()
        yield engine
    finally:
        _collect()
        if before is None:
            del os.environ["DOCKER_HOST"]
        else:
            os.environ["DOCKER_HOST"] = before
        release(engine, shared)


@pytest.fixture
def engine(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """The engine for one test at a time, also across worker processes."""
    with FileLock(_shared(tmp_path_factory) / "one-test.lock"):
        yield docker_engine
        _collect(1)


@pytest.fixture
def client(engine: Engine) -> Iterator[docker.DockerClient]:
    """A client of the engine."""
    made = engine.client()
    yield made
    made.close()


@pytest.fixture(scope="session")
def base_image(docker_engine: Engine) -> str:
    """Name of the stand-in for python:3.11-slim."""
    return parts.BASE


@pytest.fixture(scope="session")
def gateway_image(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Name of an HAProxy image."""
    client = docker_engine.client()
    try:
        with FileLock(_shared(tmp_path_factory) / "images.lock"):
            return parts.gateway_image(client)
    except parts.Missing as error:
        _missing(error)
        raise
    finally:
        client.close()


@pytest.fixture
def registry(engine: Engine, tmp_path: Path) -> Iterator[Registry]:
    """An image registry without TLS and without a password."""
    try:
        with running(tmp_path / "registry") as started:
            yield started
    except parts.Missing as error:
        _missing(error)
