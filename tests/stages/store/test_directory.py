"""The store in a folder."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from stages.errors import ArtefactError, InfraError, UsageError
from stages.store import DirectoryStore, Move, model_digest
from stages.store import directory as module
from stages.store.base import DEPLOY, RESTORE, ROLLBACK, find, serving_before
from stages.store.version import content_digest, digest_of_files, files_of
from stages.store.who import who
from tests.stages import modelkit

FILES: dict[str, Path | bytes] = {
    "model.skops": b"model",
    "signature.json": b"{}",
    "golden.json": b"{}",
    "code/own.py": b"x = 1",
    "gate.json": b"yes",
}


@pytest.fixture
def store(tmp_path: Path) -> DirectoryStore:
    return DirectoryStore(tmp_path / "store")


def move(
    generation: int, digest: str = "d1", action: str = DEPLOY, origin: str | None = None, env: str = "live"
) -> Move:
    return Move("2026-01-01T00:00:00Z", env, action, origin, digest, "me", "because", None, generation)


# --- versions ------------------------------------------------------------------------------------------


def test_a_version_is_kept_and_checked(store: DirectoryStore) -> None:
    digest = store.put("demo", FILES)
    folder = store.get("demo", digest)
    assert folder == store.root / "models" / "demo" / digest
    assert {name: (folder / name).read_bytes() for name in FILES} == FILES
    assert store.versions("demo") == [digest]
    assert store.put("demo", FILES) == digest


def test_the_digest_depends_on_what_answers_depend_on() -> None:
    digests = {
        digest_of_files(FILES | changed)
        for changed in (
            {},
            {"model.skops": b"other"},
            {"signature.json": b"[]"},
            {"golden.json": b"[]"},
            {"code/own.py": b"x = 2"},
        )
    }
    assert len(digests) == 5
    assert digest_of_files(FILES | {"gate.json": b"no"}) in digests


def test_a_version_stays_as_it_was_first_put(store: DirectoryStore) -> None:
    digest = store.put("demo", FILES)
    store.put("demo", FILES | {"gate.json": b"another day"})
    assert (store.get("demo", digest) / "gate.json").read_bytes() == b"yes"


@pytest.mark.parametrize("name", ["model.skops", "code/own.py", "gate.json"])
def test_what_does_not_match_its_record_is_not_given_out(store: DirectoryStore, name: str) -> None:
    digest = store.put("demo", FILES)
    path = store.get("demo", digest) / name
    path.write_bytes(path.read_bytes()[::-1] + b"!")
    with pytest.raises(ArtefactError) as refused:
        store.get("demo", digest)
    assert refused.value.code == "STO_DIGEST"
    assert name in refused.value.what
    store.put("demo", FILES)
    assert (store.get("demo", digest) / name).read_bytes() == FILES[name], "putting it there again mends it"


def test_a_record_that_was_changed_with_its_file_does_not_help(store: DirectoryStore) -> None:
    digest = store.put("demo", FILES)
    folder = store.get("demo", digest)
    (folder / "model.skops").write_bytes(b"evil!")
    marker = json.loads((folder / "complete.json").read_text())
    marker["files"]["model.skops"] = module._copy(b"evil!", folder / "model.skops")
    (folder / "complete.json").write_text(json.dumps(marker))
    with pytest.raises(ArtefactError) as refused:
        store.get("demo", digest)
    assert refused.value.code == "STO_DIGEST"


def _put_and_die(root: Path, after: int) -> None:
    copied: list[Path] = []
    whole = module._copy

    def copy(content: Path | bytes, to: Path) -> dict[str, Any]:
        if len(copied) == after:
            os.kill(os.getpid(), signal.SIGKILL)
        copied.append(to)
        return whole(content, to)

    module._copy = copy
    DirectoryStore(root).put("demo", FILES)


@pytest.mark.parametrize("after", [0, 2, 4])
def test_a_half_made_version_does_not_exist_and_is_completed(store: DirectoryStore, after: int) -> None:
    child = multiprocessing.get_context("fork").Process(target=_put_and_die, args=(store.root, after))
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    digest = digest_of_files(FILES)
    assert store.versions("demo") == []
    with pytest.raises(UsageError):
        store.get("demo", digest)
    assert store.put("demo", FILES) == digest
    assert store.get("demo", digest).is_dir()


def test_beginnings_of_digests() -> None:
    assert find(["abc1", "abd2"], "abc") == "abc1"
    for wanted in ("ab", "x", ""):
        with pytest.raises(UsageError) as refused:
            find(["abc1", "abd2"], wanted)
        assert refused.value.code == "STO_UNKNOWN"
        assert "abd2, abc1" in refused.value.todo


# --- aliases -------------------------------------------------------------------------------------------


def test_an_alias_moves_by_compare_and_swap(store: DirectoryStore) -> None:
    assert store.alias("demo", "live") is None
    store.move("demo", move(1, "d1"))
    store.move("demo", move(2, "d2", origin="d1"))
    alias = store.alias("demo", "live")
    assert alias is not None
    assert (alias.digest, alias.generation) == ("d2", 2)
    for late in (1, 2, 4):
        with pytest.raises(InfraError) as refused:
            store.move("demo", move(late, "d3"))
        assert refused.value.code == "STO_CONFLICT"
    assert [m.digest for m in store.history("demo", "live")] == ["d1", "d2"]
    assert store.history("demo", "other") == []


def _move(root: Path, number: int, won: Any) -> None:
    try:
        DirectoryStore(root).move("demo", move(1, f"d{number}"))
        won.put(number)
    except InfraError as error:
        assert error.code == "STO_CONFLICT"  # noqa: PT017  in a process of its own


def test_of_several_at_once_one_wins(store: DirectoryStore) -> None:
    context = multiprocessing.get_context("fork")
    won = context.Queue()
    racers = [context.Process(target=_move, args=(store.root, number, won)) for number in range(6)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join()
        assert racer.exitcode == 0
    winner = won.get(timeout=120)
    assert won.empty()
    assert [m.digest for m in store.history("demo", "live")] == [f"d{winner}"]


def test_a_line_that_a_killed_run_did_not_write_is_not_lost(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.move("demo", move(1, "d1"))
    log = store.root / "aliases" / "demo" / "promotions.jsonl"
    with monkeypatch.context() as killed:
        killed.setattr(DirectoryStore, "_log", lambda *_: None)
        store.move("demo", move(2, "d2", origin="d1"))
    with log.open("ab") as torn:
        torn.write(b'{"when": "20')
    assert [m.digest for m in store.history("demo", "live")] == ["d1", "d2"]
    store.move("demo", move(3, "d3", origin="d2"))
    lines = log.read_text().splitlines()
    assert [json.loads(line)["to"] for line in lines if line.endswith("}")] == ["d1", "d2", "d3"]
    assert [m.generation for m in store.history("demo", "live")] == [1, 2, 3]


MOVE: dict[str, Any] = {
    "when": "2026-01-01T00:00:00+00:00",
    "env": "live",
    "action": "deploy",
    "from": None,
    "to": "d",
    "by": "b",
    "why": "",
    "override": None,
    "generation": 1,
}
DAMAGED = {
    "no JSON": b"#####",
    "a list": b"[1, 2]",
    "a number": b"7",
    "deep": b"[" * 100_000,
    "a missing key": b'{"when": "x", "env": "live"}',
    "a wrong type": b'{"when": 1, "env": "live", "action": "deploy", "to": "d", "by": "b", "why": "", "generation": 1}',
    "a text for a number": b'{"when": "", "env": "", "action": "", "to": "d", "by": "b", "why": "", "generation": ""}',
    "no override": b'{"when": "", "env": "", "action": "", "to": "", "from": "", "by": "", "why": "", "generation": 1}',
    "no text": b"\xff\xfe",
    "an unknown action": json.dumps(MOVE | {"action": "x"}).encode(),
    "no generation": json.dumps(MOVE | {"generation": 0}).encode(),
    "an override without a reason": json.dumps(MOVE | {"override": ""}).encode(),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_line_is_not_passed_over_by_whoever_moves(
    store: DirectoryStore, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    store.move("demo", move(1, "d1"))
    store.move("demo", move(2, "d2", origin="d1"))
    log = store.root / "aliases" / "demo" / "promotions.jsonl"
    first, second = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([first, DAMAGED[name], second, b""]))
    before = {path: path.read_bytes() for path in store.root.rglob("*.json*")}
    for act in (lambda: store.move("demo", move(3, "d3")), lambda: store.promotions("demo")):
        with pytest.raises(InfraError) as refused:
            act()
        assert refused.value.code == "STO_LOG"
        assert f"{log}: line 2 " in refused.value.what
    assert {path: path.read_bytes() for path in store.root.rglob("*.json*")} == before
    assert [m.digest for m in store.history("demo", "live")] == ["d1", "d2"]
    assert "line 2 of the promotion log is damaged" in caplog.text


def test_a_line_that_was_cut_is_damage_where_it_stands_nowhere_else(store: DirectoryStore) -> None:
    for number in (1, 2, 3):
        store.move("demo", move(number, f"d{number}"))
    log = store.root / "aliases" / "demo" / "promotions.jsonl"
    lines = log.read_bytes().splitlines()
    log.write_bytes(b"\n".join([lines[0], lines[1][:40], lines[2], b""]))
    with pytest.raises(InfraError, match="line 2 "):
        store.promotions("demo")
    log.write_bytes(b"\n".join([lines[0], lines[1], lines[2][:40]]))
    assert [m.digest for m in store.promotions("demo")] == ["d1", "d2", "d3"], "the alias has it whole"


def test_what_a_later_release_adds_to_a_move_is_no_damage(store: DirectoryStore) -> None:
    store.move("demo", move(1, "d1"))
    log = store.root / "aliases" / "demo" / "promotions.jsonl"
    log.write_text(json.dumps(json.loads(log.read_text()) | {"tracking": {"run": 7}}) + "\n")
    store.move("demo", move(2, "d2"))
    assert [m.digest for m in store.promotions("demo")] == ["d1", "d2"]


def test_files_that_describe_a_version_can_be_replaced(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.put("demo", FILES | {"MODEL_CARD.md": b"card"})
    store.describe("demo", digest, {"MODEL_CARD.md": b"another", "override.json": b"{}"})
    folder = store.get("demo", digest)
    assert store.read("demo", digest, "MODEL_CARD.md") == b"another"
    assert (folder / "override.json").read_bytes() == b"{}"
    assert store.versions("demo") == [digest]
    with pytest.raises(ValueError, match=r"signature\.json"):
        store.describe("demo", digest, {"signature.json": b"{}"})

    def dies(content: Path | bytes, to: Path) -> dict[str, Any]:
        raise OSError(28, "No space left on device", str(to))

    with monkeypatch.context() as killed:
        killed.setattr(module, "_copy", dies)
        with pytest.raises(InfraError, match="STO_WRITE"):
            store.describe("demo", digest, {"MODEL_CARD.md": b"third"})
    assert store.get("demo", digest).is_dir(), "a version is whole whatever happens in between"


def test_environments_share_a_log_but_not_a_history(store: DirectoryStore) -> None:
    store.move("demo", move(1, "d1", env="a"))
    store.move("demo", move(1, "d2", env="b"))
    assert [m.digest for m in store.history("demo", "a")] == ["d1"]
    assert [m.digest for m in store.history("demo", "b")] == ["d2"]


def test_a_damaged_alias_is_an_error_not_a_first_deployment(store: DirectoryStore) -> None:
    store.move("demo", move(1))
    (store.root / "aliases" / "demo" / "live.json").write_text("{")
    with pytest.raises(InfraError) as refused:
        store.alias("demo", "live")
    assert refused.value.code == "STO_READ"


@pytest.mark.parametrize(
    ("moves", "before"),
    [
        ([], None),
        ([(DEPLOY, "a")], None),
        ([(DEPLOY, "a"), (DEPLOY, "b")], "a"),
        ([(DEPLOY, "a"), (DEPLOY, "b"), (DEPLOY, "b")], "a"),
        ([(DEPLOY, "a"), (DEPLOY, "b"), (DEPLOY, "c"), (ROLLBACK, "b")], "a"),
        ([(DEPLOY, "a"), (DEPLOY, "b"), (DEPLOY, "c"), (RESTORE, "b"), (DEPLOY, "d")], "b"),
        ([(DEPLOY, "a"), (DEPLOY, "b"), (ROLLBACK, "a")], None),
        ([(DEPLOY, "a"), (DEPLOY, "b"), (ROLLBACK, "z")], "b"),
        ([(DEPLOY, "a"), (DEPLOY, "b"), (DEPLOY, "a"), (ROLLBACK, "b")], "a"),
    ],
)
def test_a_rollback_goes_a_step_further_each_time(moves: list[tuple[str, str]], before: str | None) -> None:
    assert serving_before([move(i + 1, digest, action) for i, (action, digest) in enumerate(moves)]) == before


# --- who may write -------------------------------------------------------------------------------------


def test_a_read_only_store_is_read(store: DirectoryStore, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = store.put("demo", FILES)
    store.move("demo", move(1, digest))
    monkeypatch.setenv("MLCI_STORE_READONLY", "1")
    assert store.get("demo", digest).name == digest
    assert len(store.history("demo", "live")) == 1
    for write in (
        lambda: store.put("demo", FILES),
        lambda: store.move("demo", move(2)),
        lambda: store.deploying("demo", "live").__enter__(),
    ):
        with pytest.raises(InfraError) as refused:
            write()
        assert refused.value.code == "STO_READONLY"


def test_a_store_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    store = DirectoryStore(tmp_path / "file" / "store")
    for write in (
        lambda: store.put("demo", FILES),
        lambda: store.move("demo", move(1)),
        lambda: store.deploying("demo", "x").__enter__(),
    ):
        with pytest.raises(InfraError) as refused:
            write()
        assert refused.value.code == "STO_WRITE"
        assert "file" in refused.value.what


def test_a_full_disk() -> None:
    store = DirectoryStore(Path("/dev/full/store"))
    with pytest.raises(InfraError) as refused:
        store.put("demo", FILES)
    assert refused.value.code == "STO_WRITE"


def test_one_deployment_at_a_time(store: DirectoryStore) -> None:
    with store.deploying("demo", "live"):
        with pytest.raises(InfraError) as refused, DirectoryStore(store.root).deploying("demo", "live"):
            raise AssertionError("two at once")
        assert refused.value.code == "DEP_BUSY"
        with store.deploying("demo", "other"):
            pass
    with store.deploying("demo", "live"):
        pass


# --- what belongs to a version -------------------------------------------------------------------------


def test_a_project_and_the_store_agree_on_the_digest(tmp_path: Path, store: DirectoryStore) -> None:
    made = modelkit.project(tmp_path / "p")
    (made.root / "features.py").write_text("def own(): ...\n")
    without = model_digest(made.folder("train"))
    record = json.loads((made.folder("train") / "result.json").read_text())
    record["key"]["user_files"] = {"features.py": content_digest(made.root / "features.py")}
    (made.folder("train") / "result.json").write_text(json.dumps(record))
    digest = store.put("demo", files_of(made))
    assert digest == model_digest(made.folder("train")) != without
    folder = store.get("demo", digest)
    kept = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert kept >= {"model.skops", "signature.json", "golden.json", "metrics.json", "result.json", "gate.json"}
    assert kept >= {"validate.json", "environment.json", "code/features.py", "complete.json"}
    assert json.loads((folder / "environment.json").read_text())["libraries"] == {"numpy": "1"}
    (made.root / "features.py").write_text("def own(): pass\n")
    with pytest.raises(ArtefactError) as refused:
        files_of(made)
    assert refused.value.code == "MOD_RECORD"


def test_no_model_no_digest(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError):
        model_digest(tmp_path)


@pytest.mark.parametrize(
    ("by", "environment", "wanted"),
    [
        ("Ada", {"BUILD_URL": "https://j/1"}, "Ada"),
        (None, {"BUILD_URL": "https://j/1"}, "https://j/1"),
        (None, {"CIRCLE_BUILD_URL": "https://c/1"}, "https://c/1"),
        (None, {"TRAVIS_BUILD_WEB_URL": "https://t/1"}, "https://t/1"),
        (
            None,
            {"GITHUB_SERVER_URL": "https://g", "GITHUB_REPOSITORY": "a/b", "GITHUB_RUN_ID": "7"},
            "https://g/a/b/actions/runs/7",
        ),
    ],
)
def test_who(by: str | None, environment: dict[str, str], wanted: str) -> None:
    assert who(by, environment) == wanted


def test_who_is_user_and_machine_without_a_build() -> None:
    assert "@" in who(None, {})
