"""The store in a bucket, on a real server over HTTP."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from stages import bucket as client_module
from stages.bucket import Address
from stages.commands.doctor import doctor
from stages.errors import ArtefactError, InfraError, MlciError, UsageError
from stages.store import DirectoryStore, Move, at, lease
from stages.store.base import DEPLOY
from stages.store.s3 import S3Store
from stages.store.version import digest_of_files
from tests.stages import modelkit
from tests.stages.s3.fixtures import FOREIGN, SECRET
from tests.stages.s3.front import Front, once

FILES: dict[str, Path | bytes] = {
    "model.skops": b"model" * 1000,
    "signature.json": b"{}",
    "golden.json": b"{}",
    "code/own.py": b"x = 1",
    "gate.json": b"yes",
}
SPAWN = multiprocessing.get_context("spawn")


def move(generation: int, digest: str = "d1", origin: str | None = None, env: str = "live") -> Move:
    return Move("2026-01-01T00:00:00Z", env, DEPLOY, origin, digest, "me", "because", None, generation)


@pytest.fixture
def store(s3_bucket: str) -> S3Store:
    return S3Store(f"s3://{s3_bucket}/team/models")


@pytest.fixture
def keys(s3_client: Any, s3_bucket: str) -> Callable[[], set[str]]:
    """What is in the bucket now."""
    return lambda: {item["Key"] for item in s3_client.list_objects_v2(Bucket=s3_bucket).get("Contents", ())}


def file_of(digest: str, name: str) -> str:
    return f"team/models/models/demo/{digest}/{name}"


def refused(code: str, act: Callable[[], object]) -> MlciError:
    with pytest.raises(MlciError) as error:
        act()
    assert error.value.code == code, error.value
    assert "\n" not in error.value.what + error.value.todo
    assert SECRET not in f"{error.value.what} {error.value.todo}"
    return error.value


# --- addresses -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "prefix"),
    [
        *(("s3://abc", ""), ("s3://abc/", ""), ("s3://abc/x", "x/"), ("s3://a.b-c/x/y", "x/y/"), ("s3:/abc", None)),
        *(("s3://a", None), ("s3://Ab/c", None), ("s3://abc/../x", None), ("s3://u:p@abc/x", None)),
        *(("s3://abc/y z", None), ("s3://abc/x//y", None)),
    ],
)
def test_addresses(text: str, prefix: str | None) -> None:
    if prefix is None:
        with pytest.raises(ValueError):
            Address.of(text)
    else:
        assert Address.of(text).prefix == prefix
        assert str(Address.of(text)) == text.rstrip("/")


def test_one_place_chooses_by_address(tmp_path: Path) -> None:
    assert isinstance(at("s3://abc/x", tmp_path), S3Store)
    there = at("store", tmp_path)
    assert isinstance(there, DirectoryStore)
    assert there.root == tmp_path / "store"


# --- versions ------------------------------------------------------------------------------------------


def test_a_version_is_kept_and_checked(store: S3Store, keys: Callable[[], set[str]], tmp_path: Path) -> None:
    digest = store.put("demo", FILES)
    wanted = {file_of(digest, name) for name in [*FILES, "complete.json"]}
    assert keys() >= wanted
    folder = store.get("demo", digest)
    assert folder.is_relative_to(tmp_path / "cache")
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert store.versions("demo") == [digest]
    assert store.get("demo", digest[:8]) == folder
    assert store.read("demo", digest, "gate.json") == b"yes"
    assert store.versions("other") == []


def test_a_file_is_sent_as_it_is(store: S3Store, tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(os.urandom(3_000_000))
    digest = store.put("demo", FILES | {"model.onnx": tmp_path / "large"})
    assert (store.get("demo", digest) / "model.onnx").read_bytes() == (tmp_path / "large").read_bytes()


def test_a_version_stays_as_it_was_first_put_and_is_not_sent_again(store: S3Store, s3_front: Front) -> None:
    digest = store.put("demo", FILES)
    sent = len(s3_front.seen)
    store.put("demo", FILES | {"gate.json": b"another day"})
    assert {method for method, _ in s3_front.seen[sent:]} == {"GET"}
    assert store.read("demo", digest, "gate.json") == b"yes"


def test_a_copy_is_not_brought_twice(store: S3Store, s3_front: Front) -> None:
    digest = store.put("demo", FILES)
    folder = store.get("demo", digest)
    asked = len(s3_front.seen)
    assert store.get("demo", digest) == folder
    assert [path.rpartition("/")[2] for _, path in s3_front.seen[asked:]] == ["complete.json"]
    (folder / "model.skops").write_bytes(b"evil")
    assert (store.get("demo", digest) / "model.skops").read_bytes() == FILES["model.skops"], "brought again"


@pytest.mark.parametrize("name", ["model.skops", "code/own.py", "gate.json"])
@pytest.mark.parametrize("gone", [False, True])
def test_what_does_not_match_its_record_is_not_given_out(
    store: S3Store, s3_client: Any, s3_bucket: str, name: str, gone: bool
) -> None:
    digest = store.put("demo", FILES)
    if gone:
        s3_client.delete_object(Bucket=s3_bucket, Key=file_of(digest, name))
    else:
        s3_client.put_object(Bucket=s3_bucket, Key=file_of(digest, name), Body=bytes(len(FILES[name])))  # type: ignore[arg-type]
    for act in (lambda: store.get("demo", digest), lambda: store.read("demo", digest, name)):
        error = refused("STO_DIGEST", act)
        assert isinstance(error, ArtefactError)
        assert name in error.what
    store.put("demo", FILES)
    assert (store.get("demo", digest) / name).read_bytes() == FILES[name], "putting it there again mends it"


def test_a_bucket_that_was_copied_is_not_damaged(
    store: S3Store, s3_client: Any, s3_bucket: str, s3_front: Front
) -> None:
    digest = store.put("demo", FILES)
    key = file_of(digest, "complete.json")
    record = json.loads(s3_client.get_object(Bucket=s3_bucket, Key=key)["Body"].read())
    for file in record["files"].values():
        file["etag"] = '"another"'
    s3_client.put_object(Bucket=s3_bucket, Key=key, Body=json.dumps(record).encode())
    sent = len(s3_front.seen)
    store.put("demo", FILES | {"gate.json": b"another day"})
    written = {path.rpartition("/")[2] for method, path in s3_front.seen[sent:] if method == "PUT"}
    assert not written, "its files were read and found to be as recorded"


def test_a_record_that_was_changed_with_its_file_does_not_help(store: S3Store, s3_client: Any, s3_bucket: str) -> None:
    digest = store.put("demo", FILES)
    key = file_of(digest, "complete.json")
    record = json.loads(s3_client.get_object(Bucket=s3_bucket, Key=key)["Body"].read())
    other = store.put("demo", FILES | {"model.skops": b"evil!"})
    evil = json.loads(s3_client.get_object(Bucket=s3_bucket, Key=file_of(other, "complete.json"))["Body"].read())
    record["files"]["model.skops"] = evil["files"]["model.skops"]
    s3_client.put_object(Bucket=s3_bucket, Key=key, Body=json.dumps(record).encode())
    s3_client.put_object(Bucket=s3_bucket, Key=file_of(digest, "model.skops"), Body=b"evil!")
    refused("STO_DIGEST", lambda: store.get("demo", digest))


@pytest.mark.parametrize("name", ["../../../../evil", "/tmp/mlci-evil", "a/../../evil", "..\\evil"])
def test_a_record_writes_nothing_outside_of_its_folder(
    store: S3Store, s3_client: Any, s3_bucket: str, tmp_path: Path, name: str
) -> None:
    digest = store.put("demo", FILES)
    key = file_of(digest, "complete.json")
    record = json.loads(s3_client.get_object(Bucket=s3_bucket, Key=key)["Body"].read())
    record["files"][name] = record["files"]["gate.json"]
    s3_client.put_object(Bucket=s3_bucket, Key=key, Body=json.dumps(record).encode())
    s3_client.put_object(Bucket=s3_bucket, Key=file_of(digest, "x").removesuffix("x") + name, Body=FILES["gate.json"])
    refused("STO_DIGEST", lambda: store.get("demo", digest))
    assert not list(tmp_path.rglob("*evil*"))
    assert not Path("/tmp/mlci-evil").exists()


def _put_and_die(address: str, after: int) -> None:
    sent: list[str] = []
    whole = S3Store._upload

    def upload(self: S3Store, name: str, digest: str, file: str, content: Path | bytes) -> Any:
        if len(sent) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        sent.append(file)
        return whole(self, name, digest, file, content)

    S3Store._upload = upload  # type: ignore[method-assign]
    S3Store(address, lease=1).put("demo", FILES)


@pytest.mark.parametrize("after", [0, 4])
def test_a_half_made_version_does_not_exist_and_is_completed(store: S3Store, after: int) -> None:
    child = SPAWN.Process(target=_put_and_die, args=(str(store.address), after))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    digest = digest_of_files(FILES)
    assert store.versions("demo") == []
    with pytest.raises(UsageError):
        store.get("demo", digest)
    assert store.put("demo", FILES) == digest
    assert store.get("demo", digest).is_dir()


def test_a_download_that_breaks_off_goes_on(store: S3Store, s3_front: Front) -> None:
    digest = store.put("demo", FILES)
    s3_front.cut = once("GET", "model.skops")
    assert (store.get("demo", digest) / "model.skops").read_bytes() == FILES["model.skops"]
    assert len([path for _, path in s3_front.seen if "model.skops" in path]) == 3, "sent, half had, had"


# --- aliases -------------------------------------------------------------------------------------------


def test_a_damaged_line_of_the_log_is_not_passed_over_by_whoever_moves(
    store: S3Store, s3_client: Any, s3_bucket: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.move("demo", move(1, "d1"))
    store.move("demo", move(1, "d2", env="other"))
    store.move("demo", move(2, "d3", origin="d1"))
    assert [m.digest for m in store.promotions("demo")] == ["d1", "d2", "d3"]
    key = store._log_key("demo")
    whole = s3_client.get_object(Bucket=s3_bucket, Key=key)["Body"].read()
    lines = whole.splitlines()
    s3_client.put_object(Bucket=s3_bucket, Key=key, Body=b"\n".join([lines[0], b'{"to": 7}', lines[2], b""]))
    for act in (lambda: store.move("demo", move(3, "d4")), lambda: store.promotions("demo")):
        with pytest.raises(InfraError) as damaged:
            act()
        assert damaged.value.code == "STO_LOG"
        assert f"s3://{s3_bucket}/{key}: line 2 " in damaged.value.what
    assert [m.digest for m in store.history("demo", "live")] == ["d1", "d3"]
    assert "line 2 of the promotion log is damaged" in caplog.text
    s3_client.put_object(Bucket=s3_bucket, Key=key, Body=b"\n".join([*lines[:2], lines[2][:50]]))
    store.move("demo", move(3, "d4", origin="d3"))
    assert [m.digest for m in store.promotions("demo") if m.env == "live"] == ["d1", "d3", "d4"]


def test_files_that_describe_a_version_can_be_replaced(store: S3Store) -> None:
    digest = store.put("demo", FILES | {"MODEL_CARD.md": b"card"})
    assert (store.get("demo", digest) / "MODEL_CARD.md").read_bytes() == b"card"
    store.describe("demo", digest, {"MODEL_CARD.md": b"another", "override.json": b"{}"})
    folder = store.get("demo", digest)
    assert (folder / "MODEL_CARD.md").read_bytes() == b"another"
    assert (folder / "override.json").read_bytes() == b"{}"
    assert store.put("demo", FILES) == digest
    with pytest.raises(ValueError, match=r"code/own\.py"):
        store.describe("demo", digest, {"code/own.py": b"x"})


def test_an_alias_moves_by_compare_and_swap(store: S3Store) -> None:
    assert store.alias("demo", "live") is None
    store.move("demo", move(1, "d1"))
    store.move("demo", move(2, "d2", origin="d1"))
    alias = store.alias("demo", "live")
    assert (alias.digest, alias.generation) == ("d2", 2)
    for late in (1, 2, 4):
        refused("STO_CONFLICT", partial(store.move, "demo", move(late, "d3")))
    assert [m.digest for m in store.history("demo", "live")] == ["d1", "d2"]
    assert store.history("demo", "other") == []


def test_who_was_overtaken_between_looking_and_writing_has_lost(
    store: S3Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for generation in (1, 2):
        other, seen = S3Store(str(store.address)), store._alias("demo", "live")
        other.move("demo", move(generation, "other"))
        with monkeypatch.context() as late:
            late.setattr(store, "_alias", lambda *_, seen=seen: seen)
            refused("STO_CONFLICT", partial(store.move, "demo", move(generation, "late")))
    assert [m.digest for m in store.history("demo", "live")] == ["other", "other"]


def _race(address: str, number: int, start: Any, won: Any) -> None:
    store = S3Store(address)
    store.alias("demo", "live")
    start.wait()
    try:
        store.move("demo", move(1, f"d{number}"))
        won.put(number)
    except InfraError as error:
        assert error.code == "STO_CONFLICT"  # noqa: PT017  in a process of its own
    store.move("demo", move(1, f"d{number}", env=f"own{number}"))


def test_of_several_at_once_one_wins_and_no_line_is_lost(store: S3Store) -> None:
    won, start = SPAWN.Queue(), SPAWN.Barrier(4)
    racers = [SPAWN.Process(target=_race, args=(str(store.address), n, start, won)) for n in range(4)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    winner = won.get(timeout=120)
    assert won.empty()
    assert [m.digest for m in store.history("demo", "live")] == [f"d{winner}"]
    log = store.bucket.get(store._log_key("demo")).content
    assert sorted(json.loads(line)["env"] for line in log.splitlines()) == ["live", "own0", "own1", "own2", "own3"]


def test_a_line_that_a_killed_run_did_not_write_is_not_lost(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.move("demo", move(1, "d1"))
    with monkeypatch.context() as killed:
        killed.setattr(S3Store, "_log", lambda *_: None)
        store.move("demo", move(2, "d2", origin="d1"))
    assert [m.digest for m in store.history("demo", "live")] == ["d1", "d2"]
    store.move("demo", move(3, "d3", origin="d2"))
    log = store.bucket.get(store._log_key("demo")).content
    assert [json.loads(line)["to"] for line in log.splitlines()] == ["d1", "d2", "d3"]


@pytest.mark.parametrize("part", ["live.json", "promotions.jsonl"])
def test_a_write_whose_answer_was_lost_counts_once(store: S3Store, s3_front: Front, part: str) -> None:
    store.move("demo", move(1, "d1"))
    s3_front.lose = once("PUT", part)
    store.move("demo", move(2, "d2", origin="d1"))
    assert len([path for method, path in s3_front.seen if method == "PUT" and part in path]) == 3
    log = store.bucket.get(store._log_key("demo")).content
    assert [json.loads(line)["to"] for line in log.splitlines()] == ["d1", "d2"]


def test_a_damaged_alias_is_an_error_not_a_first_deployment(store: S3Store, s3_client: Any, s3_bucket: str) -> None:
    store.move("demo", move(1))
    s3_client.put_object(Bucket=s3_bucket, Key="team/models/aliases/demo/live.json", Body=b"{")
    refused("STO_READ", lambda: store.alias("demo", "live"))


def test_the_alias_is_a_file_here_too_for_services_whose_deployer_was_killed(store: S3Store) -> None:
    store.move("demo", move(1, "d1"))
    file = store.alias_file("demo", "live")
    assert json.loads(file.read_text())["digest"] == "d1"
    with store.deploying("demo", "live"):
        assert not file.exists(), "another machine may have moved it since"


# --- servers that do not keep to conditions ------------------------------------------------------------


@pytest.mark.skipif(bool(FOREIGN), reason="it would miss the signed headers")
@pytest.mark.parametrize("headers", [{"if-none-match", "if-match"}, {"if-match"}, {"if-none-match"}])
def test_a_server_that_ignores_conditions_is_refused(
    store: S3Store, s3_front: Front, keys: Callable[[], set[str]], headers: set[str]
) -> None:
    s3_front.strip = frozenset(headers)
    for act in (
        lambda: store.put("demo", FILES),
        lambda: store.move("demo", move(1)),
        lambda: store.deploying("demo", "live").__enter__(),
        store.reached,
    ):
        error = refused("STO_CONDITIONS", act)
        assert s3_front.endpoint.removeprefix("http://") in error.what
    assert keys() == {"team/models/conditions.json"}
    assert store.versions("demo") == []


@pytest.mark.skipif(bool(FOREIGN), reason="it would miss the signed headers")
def test_a_server_that_looks_first_and_writes_afterwards_is_refused(store: S3Store, s3_front: Front) -> None:
    s3_front.hasty = True
    assert "same moment" in refused("STO_CONDITIONS", lambda: store.move("demo", move(1))).what
    assert store.alias("demo", "live") is None


@pytest.mark.parametrize(("status", "code"), [(501, "NotImplemented"), (400, "InvalidArgument")])
def test_a_server_that_does_not_know_conditions_is_refused(
    store: S3Store, s3_front: Front, status: int, code: str
) -> None:
    s3_front.answer = lambda method, path: (status, code) if method == "PUT" else None
    assert code in refused("STO_CONDITIONS", lambda: store.move("demo", move(1))).what


def test_conditions_are_tried_out_once(store: S3Store, s3_front: Front) -> None:
    store.move("demo", move(1))
    S3Store(str(store.address)).move("demo", move(1, env="other"))
    before = [path.rpartition("/")[2] for _, path in s3_front.seen]
    S3Store(str(store.address)).move("demo", move(2, env="other"))
    after = [path.rpartition("/")[2] for _, path in s3_front.seen]
    assert before.count("conditions.json") == after.count("conditions.json") > 3


# --- who may write -------------------------------------------------------------------------------------


def test_a_read_only_store_is_read(
    store: S3Store, keys: Callable[[], set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    digest = store.put("demo", FILES)
    store.move("demo", move(1, digest))
    before = keys()
    monkeypatch.setenv("MLCI_STORE_READONLY", "1")
    reader = S3Store(str(store.address))
    assert reader.get("demo", digest).name == digest
    assert len(reader.history("demo", "live")) == 1
    for write in (
        lambda: reader.put("demo", FILES),
        lambda: reader.move("demo", move(2)),
        lambda: reader.deploying("demo", "live").__enter__(),
    ):
        refused("STO_READONLY", write)
    assert "MLCI_STORE_READONLY" in str(reader.reached())
    assert keys() == before


def test_one_deployment_at_a_time(store: S3Store) -> None:
    other = S3Store(str(store.address))
    with store.deploying("demo", "live"):
        error = refused("DEP_BUSY", lambda: other.deploying("demo", "live").__enter__())
        assert "@" in error.what, "by whom"
        assert "killed counts as ended after 60 s" in error.todo
        with other.deploying("demo", "other"):
            pass
    with other.deploying("demo", "live"):
        pass


def _eventually(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 300
    while not true():
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_hold_is_renewed_while_its_owner_works(store: S3Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease, "_RENEWALS", 600)
    other = S3Store(str(store.address))
    with store.deploying("demo", "live"):
        etags = set()

        def renewed() -> bool:
            etags.add(store.bucket.get("team/models/aliases/demo/.live.deploying").etag)
            return len(etags) > 4

        _eventually(renewed)
        refused("DEP_BUSY", lambda: other.deploying("demo", "live").__enter__())
        store.move("demo", move(1))


class AgedBucket:
    """The store's bucket, whose server's clock runs `ahead` seconds before the time of the objects."""

    def __init__(self, bucket: client_module.Bucket) -> None:
        self._bucket = bucket
        self.ahead = 0.0

    def get(self, key: str) -> client_module.Object:
        found = self._bucket.get(key)
        return replace(found, now=found.now + timedelta(seconds=self.ahead))

    def put(self, key: str, content: bytes, **conditions: Any) -> str:
        etag = self._bucket.put(key, content, **conditions)
        self.ahead = 0.0  # what was written now is new
        return etag


def test_a_hold_ends_when_it_was_not_renewed_for_as_long_as_it_lasts(store: S3Store) -> None:
    bucket = AgedBucket(store.bucket)
    key = "team/models/aliases/demo/.live.deploying"
    first, second = (lease.Lease(bucket, key, by, 600) for by in ("first", "second"))  # type: ignore[arg-type]
    assert first.acquire() is None
    bucket.ahead = 590
    assert "first, for" in (second.acquire() or "")
    assert first.renew(), "the time counts from the last renewal"
    bucket.ahead = 590
    assert "first, for" in (second.acquire() or "")
    bucket.ahead = 1200
    assert second.acquire() is None
    assert not first.renew()
    assert first.lost()
    assert not second.lost()
    second.release()
    first.release()


def _hold_and_die(address: str) -> None:
    with S3Store(address, lease=2).deploying("demo", "live"):
        os.kill(os.getpid(), signal.SIGKILL)


def test_the_hold_of_a_killed_deployment_ends_by_itself(store: S3Store) -> None:
    child = SPAWN.Process(target=_hold_and_die, args=(str(store.address),))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL

    def free() -> bool:
        try:
            with store.deploying("demo", "live"):
                return True
        except InfraError:
            return False

    _eventually(free)


def test_who_lost_the_hold_promotes_nothing(store: S3Store, s3_client: Any, s3_bucket: str) -> None:
    with store.deploying("demo", "live"):
        held = store._held["demo", "live"]
        another = b'{"owner": "x", "by": "y", "seconds": 99}'
        s3_client.put_object(Bucket=s3_bucket, Key="team/models/aliases/demo/.live.deploying", Body=another)
        _eventually(held.lost)
        refused("STO_LEASE", lambda: store.move("demo", move(1)))
    assert store.alias("demo", "live") is None
    assert "y, for" in refused("DEP_BUSY", lambda: store.deploying("demo", "live").__enter__()).what


# --- what goes wrong -----------------------------------------------------------------------------------


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_ATTEMPTS", 1)
    monkeypatch.setattr(client_module, "_PAUSES", ())


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(
    ("status", "said", "code", "todo"),
    [
        (403, "AccessDenied", "STO_ACCESS", "s3:ListBucket"),
        (403, "InvalidAccessKeyId", "STO_CREDENTIALS", "AWS_ACCESS_KEY_ID"),
        (403, "SignatureDoesNotMatch", "STO_CREDENTIALS", "AWS_SECRET_ACCESS_KEY"),
        (400, "ExpiredToken", "STO_CREDENTIALS", "AWS_SESSION_TOKEN"),
        (403, "RequestTimeTooSkewed", "STO_CLOCK", "clock"),
        (404, "NoSuchBucket", "STO_BUCKET", "endpoint"),
        (503, "SlowDown", "STO_NETWORK", "network"),
        (500, "InternalError", "STO_NETWORK", "network"),
        (418, "Teapot", "STO_READ", "documentation"),
    ],
)
def test_what_a_server_says_no_to(
    store: S3Store, s3_front: Front, status: int, said: str, code: str, todo: str
) -> None:
    s3_front.answer = lambda *_: (status, said)
    error = refused(code, lambda: store.alias("demo", "live"))
    assert error.exit_code == 5
    assert todo in error.todo
    for act in (lambda: store.versions("demo"), lambda: store.get("demo", "a" * 64), store.reached):
        refused(code, act)
    wanted = code if code != "STO_READ" else "STO_CONDITIONS"
    refused(wanted, lambda: store.move("demo", move(1)))


@pytest.mark.usefixtures("impatient")
def test_a_bucket_that_is_not_there_is_no_empty_store(s3_bucket: str) -> None:
    missing = S3Store(f"s3://{s3_bucket}-other/x")
    acts = (lambda: missing.alias("demo", "live"), lambda: missing.versions("demo"), lambda: missing.put("d", FILES))
    for act in acts:
        assert "has no bucket" in refused("STO_BUCKET", act).what


@pytest.mark.usefixtures("impatient")
def test_nobody_answers(store: S3Store, s3_front: Front, aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ENDPOINT_URL_S3", f"http://user:{SECRET}@127.0.0.1:9")
    error = refused("STO_NETWORK", lambda: store.alias("demo", "live"))
    assert "127.0.0.1:9 gave no answer" in error.what
    assert "AWS_ENDPOINT_URL_S3" in error.todo


def test_an_endpoint_that_is_none(s3_bucket: str, aws: pytest.MonkeyPatch) -> None:
    aws.setenv("AWS_ENDPOINT_URL_S3", f"no address {SECRET}")
    refused("STO_READ", lambda: S3Store(f"s3://{s3_bucket}").alias("demo", "live"))


def test_nobody_gave_credentials(s3_bucket: str, aws: pytest.MonkeyPatch) -> None:
    aws.delenv("AWS_ACCESS_KEY_ID")
    aws.delenv("AWS_SECRET_ACCESS_KEY")
    error = refused("STO_CREDENTIALS", lambda: S3Store(f"s3://{s3_bucket}").alias("demo", "live"))
    assert "no credentials were found" in error.what
    aws.setenv("AWS_PROFILE", "nobody")
    refused("STO_CREDENTIALS", lambda: S3Store(f"s3://{s3_bucket}").alias("demo", "live"))


def test_without_boto3(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "boto3", None)
    error = refused("STO_CLIENT", lambda: S3Store("s3://abc").alias("demo", "live"))
    assert "requirements.txt" in error.todo


def test_whoever_may_only_read_is_told(store: S3Store, s3_front: Front) -> None:
    s3_front.answer = lambda method, _: (403, "AccessDenied") if method == "PUT" else None
    assert "only read here" in str(store.reached())
    s3_front.answer = lambda *_: None
    assert store.reached() is None


def test_doctor(s3_bucket: str, tmp_path: Path, s3_front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    made = modelkit.project(tmp_path / "p", store=f"s3://{s3_bucket}/x")
    path = made.loaded.path
    assert f"OK   store s3://{s3_bucket}/x" in doctor(path, []).lines
    assert f"has no bucket {s3_bucket}-other" in "\n".join(doctor(path, [f"store=s3://{s3_bucket}-other"]).lines)
    s3_front.answer = lambda *_: (403, "AccessDenied")
    answer = doctor(path, [])
    assert answer.exit_code == 5
    assert "access was refused" in "\n".join(answer.lines)


def test_nothing_of_it_is_imported_for_a_directory(tmp_path: Path) -> None:
    code = "import sys, pathlib; from stages.store import at; at('x', pathlib.Path()).versions('y')"
    code += "; print('boto3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert done.stdout.strip() == "False"
