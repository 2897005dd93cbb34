"""Fixtures: a bucket on a real server over HTTP. MLCI_TEST_S3=http://… takes another server than our own, with the
credentials of the environment."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stages.store import conditions
from tests.stages.s3.front import Front, fronted

ROOT = Path(__file__).parents[3]
SECRET = "not-to-be-seen"
#: A server checks the signature of what a front changed on the way; moto does not.
FOREIGN = os.environ.get("MLCI_TEST_S3")


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """Its address."""
    if FOREIGN:
        yield FOREIGN
        return
    command = [sys.executable, "-m", "tests.stages.s3.server"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        assert port, "the server did not start"
        yield f"http://127.0.0.1:{port}"
        process.stdin.close()
        process.stdin = None
        process.wait(timeout=300)


@pytest.fixture
def aws(s3_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment of somebody who uses the server."""
    for name in [name for name in os.environ if name.startswith("AWS_") and not FOREIGN]:
        monkeypatch.delenv(name)
    ours = {"AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}
    for name, value in ours.items():
        if not FOREIGN:
            monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "no-config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "no-credentials"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1,localhost")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3_server)
    monkeypatch.setenv("MLCI_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(conditions, "_obedient", set())
    return monkeypatch


@pytest.fixture
def s3_client(aws: pytest.MonkeyPatch) -> Any:
    """boto3's own client, for looking at what is there and for tampering with it."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", config=Config(request_checksum_calculation="when_required"))


@pytest.fixture
def s3_bucket(s3_client: Any) -> str:
    """Name of a new bucket."""
    name = f"mlci-{uuid.uuid4().hex}"
    s3_client.create_bucket(Bucket=name)
    return name


@pytest.fixture
def s3_front(s3_server: str, s3_bucket: str, aws: pytest.MonkeyPatch) -> Iterator[Front]:
    """Stands between mlci and the server from now on."""
    with fronted(s3_server) as made:
        aws.setenv("AWS_ENDPOINT_URL_S3", made.endpoint)
        yield made
