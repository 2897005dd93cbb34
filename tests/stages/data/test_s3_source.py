"""A source in a bucket."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from stages import bucket as client_module
from stages.data import fetch
from stages.errors import DataError, InfraError
from tests.stages.s3.front import Front, once

COLUMNS = {"x": {"type": "number"}, "y": {"type": "number"}}
CSV = b"x,y\n" + b"".join(b"%d,%d\n" % (i, i * i) for i in range(100_000))


def test_an_object_is_read(repository: Any, s3_client: Any, s3_bucket: str) -> None:
    s3_client.put_object(Bucket=s3_bucket, Key="a b/data ü.csv", Body=CSV)
    done = repository.prepare(COLUMNS, source=f"s3://{s3_bucket}/a b/data ü.csv")
    assert done.profile["rows"]["read"] == 100_000
    [digest] = done.profile["source"]["files"].values()
    assert digest["size"] == len(CSV)


def test_an_answer_that_breaks_off_is_fetched_again(
    repository: Any, s3_client: Any, s3_bucket: str, s3_front: Front
) -> None:
    s3_client.put_object(Bucket=s3_bucket, Key="data.csv", Body=CSV)
    s3_front.cut = once("GET", "data.csv")
    assert repository.prepare(COLUMNS, source=f"s3://{s3_bucket}/data.csv").profile["rows"]["read"] == 100_000
    assert len(s3_front.seen) == 2


@pytest.mark.parametrize(
    ("said", "code", "todo"),
    [
        ((404, "NoSuchKey"), "DAT_SOURCE_MISSING", "correct data.source"),
        ((404, "NoSuchBucket"), "DAT_SOURCE", "make it"),
        ((403, "AccessDenied"), "DAT_SOURCE", "s3:GetObject"),
        ((403, "InvalidAccessKeyId"), "DAT_SOURCE", "AWS_ACCESS_KEY_ID"),
        ((503, "SlowDown"), "DAT_NETWORK", "network"),
    ],
)
def test_what_a_server_says_no_to(
    repository: Any, s3_bucket: str, s3_front: Front, monkeypatch: pytest.MonkeyPatch, said: Any, code: str, todo: str
) -> None:
    monkeypatch.setattr(client_module, "_ATTEMPTS", 1)
    monkeypatch.setattr("stages.data.fetch.PAUSES", (0.01,))
    s3_front.answer = lambda *_: said
    with pytest.raises((DataError, InfraError)) as refused:
        repository.prepare(COLUMNS, source=f"s3://{s3_bucket}/data.csv")
    assert (refused.value.code, todo in refused.value.todo) == (code, True), refused.value.todo
    assert refused.value.what.count("s3://") <= 1


@pytest.mark.parametrize("address", ["s3://Bad_Bucket!/x.csv", "s3://.../x.csv", "s3:///x.csv", "s3://a/x.csv"])
def test_without_the_client_an_address_of_any_kind_is_refused(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("boto3", "botocore", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(DataError, match="needs the package boto3"):
        fetch.fetch(address, tmp_path, reuse=False)


@pytest.mark.parametrize("address", ["s3://Bad_Bucket!/x.csv", "s3:///x.csv"])
def test_an_address_that_the_client_refuses(address: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="is no address of an object"):
        fetch.fetch(address, tmp_path, reuse=False)
