"""The application: one file, run by a Python that sees nothing else."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stages.errors import InfraError
from stages.product import app, libraries, scorer
from stages.product.archive import stored
from stages.targets.app import differences, run
from tests.stages import modelkit
from tests.stages.conftest import Repository

READ = {"sep": ",", "decimal": ".", "encoding": "utf-8", "na_values": [""]}
ABOUT = {"name": "demo", "digest": "3f2a" * 16, "target": "late", "read": READ}
ROWS: list[dict[str, Any]] = [
    {"delay": 12.5, "seats": 100, "carrier": "AA", "origin": "JFK", "windy": True, "when": "2024-06-01T12:00:00"},
    {"delay": 5000, "seats": 1, "carrier": "AA", "origin": "JFK", "windy": None, "when": "2024-06-01T12:00:00"},
    {"delay": None, "seats": 7, "carrier": "ZZ", "origin": "1", "windy": False, "when": "2024-12-01T12:00:00"},
]


@pytest.fixture(scope="module")
def version(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that scikit-learn answers for."""
    return modelkit.project(tmp_path_factory.mktemp("demo")).folder("train")


@pytest.fixture(scope="module")
def unpacked(version: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an application unpacks of its own."""
    folder = tmp_path_factory.mktemp("unpacked")
    signature = json.loads((version / "signature.json").read_text())
    for name, content in app.inner(version, None, signature, onnx=False).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def score(version: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Done]]:
    """The application's command line, in this process."""
    before = signal.getsignal(signal.SIGTERM)
    (version / "model").mkdir(exist_ok=True)
    for name in ("signature.json", "model.skops"):
        shutil.copy(version / name, version / "model")

    def call(*words: object) -> Done:
        capfd.readouterr()
        try:
            code = scorer.main(ABOUT, str(version), [str(word) for word in words])
        except SystemExit as ended:  # of argparse
            code = int(ended.code or 0)
        return Done(code, *capfd.readouterr())

    yield call
    signal.signal(signal.SIGTERM, before)


def jsonl(rows: list[Any]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def from_csv(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


# ---- answers ------------------------------------------------------------------------------------------------


def test_what_it_unpacks_is_enough_for_scikit_learn(unpacked: Path, version: Path, tmp_path: Path) -> None:
    """With the packages of this environment instead of its own, which take long to pack."""
    rows = json.loads((version / "golden.json").read_text())
    (tmp_path / "in.jsonl").write_text(jsonl(rows["requests"][0]["rows"]))
    path = [str(unpacked), sysconfig.get_path("purelib")]
    words = [str(tmp_path / "in.jsonl"), "-o", str(tmp_path / "out.jsonl")]
    call = f"import sys; sys.path += {path!r}; from stages.product import scorer; "
    call += f"sys.exit(scorer.main({ABOUT!r}, {str(unpacked)!r}, {words!r}))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", call], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    chances = [row["true"] for row in rows["answers"][0]["probabilities"]]
    assert [row["probability_true"] for row in told] == pytest.approx(chances)


def test_all_formats_give_the_same_rows(score: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(jsonl(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "in.parquet")
    lines = io.StringIO()
    writer = csv.DictWriter(lines, list(ROWS[0]))
    writer.writeheader()
    writer.writerows(ROWS)
    (tmp_path / "in.csv").write_text(lines.getvalue())

    printed = score(tmp_path / "in.csv")
    assert printed.returncode == 0, printed.stderr
    table = from_csv(printed.stdout)
    assert list(table[0]) == ["prediction", "probability_false", "probability_true", "error"]
    assert [row["prediction"] for row in table] == ["false", "", "false"]
    assert [row["error"] for row in table] == ["", "delay: DAT_MAX (5000)", ""]
    for name, out in (("in.jsonl", "out.csv"), ("in.parquet", "out.csv"), ("in.csv", "out.parquet")):
        done = score(tmp_path / name, "-o", tmp_path / out)
        assert done.returncode == 0, done.stderr
        if out == "out.csv":
            assert [row["probability_true"] for row in from_csv((tmp_path / out).read_text())] == [
                row["probability_true"] for row in table
            ], name
    found = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["prediction"] for row in found] == [False, None, False]


def test_rejects_have_numbers_and_reasons(score: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(jsonl(ROWS) + "{broken\n")
    done = score(tmp_path / "in.jsonl", "-o", tmp_path / "out.csv", "--rejects", tmp_path / "bad.jsonl", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {"exit_code": 0, "rows": 4, "refused": 2}
    rejects = [json.loads(line) for line in (tmp_path / "bad.jsonl").read_text().splitlines()]
    assert [row["row"] for row in rejects] == [2, 4]
    assert rejects[0]["error"].startswith("delay: DAT_MAX")


def test_every_row_refused_ends_with_3(score: Callable[..., Done], tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_text(jsonl([ROWS[1]] * 3))
    done = score(tmp_path / "in.jsonl", "-o", tmp_path / "out.csv", "--rejects", tmp_path / "bad.jsonl")
    assert done.returncode == 3
    assert "error DAT_ALL_REFUSED: in.jsonl: none of 3 rows could be predicted" in done.stderr
    assert len(from_csv((tmp_path / "out.csv").read_text())) == 3
    assert len((tmp_path / "bad.jsonl").read_text().splitlines()) == 3


def test_options_for_text(score: Callable[..., Done], tmp_path: Path) -> None:
    text = "delay;seats;carrier;origin;when\n12,5;100;Zü;JFK;2024-06-01T12:00:00\n"
    (tmp_path / "in.csv").write_text(text, encoding="latin-1")
    done = score(tmp_path / "in.csv", "--sep", ";", "--decimal", ",", "--encoding", "latin-1")
    assert done.returncode == 0, done.stderr
    assert from_csv(done.stdout)[0]["error"] == ""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["none.csv"], 2, "error CFG_FILE"),
        ([], 2, "usage"),
        (["in.csv", "-o", "out.txt"], 2, "error CFG_USAGE: -o out.txt"),
        (["in.csv", "-o", "in.csv"], 2, "that is the input"),
        (["in.csv", "--rejects", "in.csv"], 2, "error CFG_USAGE: --rejects"),
        (["in.csv", "--encoding", "klingon"], 2, "error CFG_USAGE: --encoding"),
        (["in.csv", "--json"], 2, "give -o OUT"),
        (["in.csv"], 3, "error DAT_COLUMN_MISSING"),
        (["--version"], 0, ""),
    ],
)
def test_exit_codes(
    score: Callable[..., Done], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], code: int, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in.csv").write_text("delay\n1\n")
    done = score(*words)
    assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert "Traceback" not in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == ["in.csv"]


# ---- machines -----------------------------------------------------------------------------------------------


SCORER = """
import os, sys
def main(about, folder):
    import library
    print(library.name, os.path.basename(os.path.dirname(library.__file__)), sorted(os.listdir(folder)), sys.argv[1:])
    return 0
"""


def small(to: Path, text: str = SCORER, **changes: Any) -> Path:
    """An application that starts as a real one does, and has nothing to score with."""
    stages = {"stages/__init__.py": b"", "stages/product/__init__.py": b"", "stages/product/scorer.py": text.encode()}
    parts = {"libraries.zip": stored({"library.py": b"name = 'carried'"}), "model.zip": stored(stages)}
    about = ABOUT | app.machine() | {"glibc": "2.17", "libraries": "1", "model": "2"} | changes
    start = Path(app.__file__).with_name("start.py").read_bytes()
    to.write_bytes(app.SHEBANG + stored({"__main__.py": start, "app.json": json.dumps(about).encode(), **parts}))
    to.chmod(0o755)
    return to


ANSWERER = """
import json, sys
def main(about, folder):
    rows = open(sys.argv[1]).read()
    with open(sys.argv[3], "w") as out:
        out.write(about["answers"])
    return 3 if "no row" in rows else 0
"""


@pytest.mark.parametrize("wrong", [0.0, 0.01])
def test_the_proof_finds_another_answer(version: Path, tmp_path: Path, wrong: float) -> None:
    golden = json.loads((version / "golden.json").read_text())
    rows = []
    for answer in golden["answers"]:
        for said, chances in zip(answer["predictions"], answer["probabilities"], strict=True):
            rows.append({"prediction": said} | {f"probability_{name}": p for name, p in chances.items()})
    rows[2]["probability_true"] += wrong
    path = small(tmp_path / "demo.pyz", ANSWERER, answers=jsonl(rows))
    found = differences(path, golden, tmp_path)
    assert found == (["request 1, row 3: a probability differs by 0.01"] if wrong else [])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"python": "3.99"}, "needs CPython 3.99 for"),
        ({"platform": "macosx-14.0-arm64"}, "for macosx-14.0-arm64"),
        ({"glibc": "2.99"}, "needs glibc 2.99 or newer, this system has"),
    ],
)
def test_another_machine_is_named_in_a_line(tmp_path: Path, changes: dict[str, str], said: str) -> None:
    done = run(small(tmp_path / "demo.pyz", **changes), ["in.csv"], tmp_path / "cache")
    assert done.returncode == 2
    first, second = done.stderr.splitlines()
    assert first.startswith("error CFG_PYTHON: demo needs")
    assert said in first
    assert second.startswith("  -> ")
    assert not (tmp_path / "cache").exists()


def test_the_start_is_read_by_old_pythons() -> None:
    import ast

    from stages.product import start

    assert start.__file__ is not None
    ast.parse(Path(start.__file__).read_text(), feature_version=(3, 6))


def test_it_unpacks_once_and_again_when_damaged(tmp_path: Path) -> None:
    path, cache = small(tmp_path / "demo.pyz"), tmp_path / "new" / "cache"
    first = run(path, ["a b"], cache)
    assert first.stdout == "carried app-libraries-1 ['stages'] ['a b']\n"
    assert first.stderr.count("unpacking") == 2
    assert run(path, [], cache).stderr == ""
    (cache / "app-libraries-1" / "library.py").write_text("")
    again = run(path, [], cache)
    assert (again.returncode, again.stderr.count("unpacking")) == (0, 1)
    assert again.stdout.startswith("carried")
    assert sorted(p.name for p in cache.iterdir()) == ["app-libraries-1", "app-model-2"]


@pytest.mark.skipif(os.geteuid() != 0, reason="NOT TESTED: other users need root, as CI has it")
def test_what_another_user_can_change_is_not_run(tmp_path: Path) -> None:
    """A cache that everybody can write, and one that another user owns, are not used at all; a file that another user
    wrote is written again."""
    path, cache = small(tmp_path / "demo.pyz"), tmp_path / "cache"
    run(path, [], cache)
    library = cache / "app-libraries-1" / "library.py"
    good = library.read_text()
    evil = "raise SystemExit('taken over')"
    library.write_text(evil + "#" * (len(good) - len(evil)) if len(good) > len(evil) else good)
    os.chown(library, 54321, 54321)
    done = run(path, [], cache)
    assert (done.returncode, done.stderr.count("unpacking")) == (0, 1), done.stderr
    assert run(path, [], cache).stderr == ""
    for mode, owner in ((0o777, os.getuid()), (0o700, 54321)):
        cache.chmod(mode)
        os.chown(cache, owner, owner)
        done = run(path, [], cache)
        assert (done.returncode, done.stdout[:7], done.stderr.count("unpacking")) == (0, "carried", 2)


def test_it_runs_by_its_name_whatever_else_is_installed(tmp_path: Path) -> None:
    path = small(tmp_path / "demo.pyz")
    for name in ("library", "stages", "sitecustomize"):
        (tmp_path / f"{name}.py").write_text("name = 'another'\n")
    (tmp_path / "python3").symlink_to(sys.executable)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "MLCI_CACHE": str(tmp_path / "c")}
    done = subprocess.run([path], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "carried app-libraries-1 ['stages'] []\n"), done.stderr


def test_nowhere_to_stay(tmp_path: Path) -> None:
    """Then it unpacks for this run alone, and takes it away."""
    (tmp_path / "file").write_text("")
    (tmp_path / "tmp").mkdir()
    environment = {"MLCI_CACHE": str(tmp_path / "file" / "cache"), "TMPDIR": str(tmp_path / "tmp")}
    command = [sys.executable, "-I", "-S", str(small(tmp_path / "demo.pyz"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout[:7]) == (0, "carried"), done.stderr
    assert list((tmp_path / "tmp").iterdir()) == []


# ---- the file -----------------------------------------------------------------------------------------------


def test_versions_of_training_are_asked_for(version: Path, tmp_path: Path) -> None:
    signature = json.loads((version / "signature.json").read_text())
    signature["versions"]["scikit-learn"] = "1.0"
    (tmp_path / "signature.json").write_text(json.dumps(signature))
    with pytest.raises(InfraError, match="DEP_APP_VERSION") as error:
        app.build("demo", "3f2a" * 16, tmp_path, None, READ)
    assert "trained with scikit-learn 1.0" in error.value.what


def test_a_package_that_is_not_there_is_named() -> None:
    with pytest.raises(InfraError, match="DEP_APP: no-such-package is not installed"):
        libraries.needed(["no-such-package"])


def test_deploy_with_onnx_carries_no_scikit_learn(repository: Repository) -> None:
    text = (repository.folder / "ml.yaml").read_text()
    repository.write("ml.yaml", text + "deploy: {desktop: {target: app}}\n")
    for words in (["prepare"], ["train"], ["validate", "--first"], ["deploy", "--env", "desktop"]):
        said = repository.run(*words)
        assert said.exit_code == 0, said.err
    file = repository.folder / ".mlci" / "deploy" / "desktop" / "houses.pyz"
    assert os.access(file, os.X_OK)
    with zipfile.ZipFile(file) as archive:
        about = json.loads(archive.read("app.json"))
        inner = zipfile.ZipFile(archive.open("libraries.zip")).namelist()
    assert "onnxruntime" in about["carries"]
    assert not {"scikit-learn", "pandas", "scipy"} & set(about["carries"])
    assert not [name for name in inner if name.startswith(("sklearn", "pandas", "scipy", "numpy/tests"))]
    assert repository.run("status").data["environments"][0]["answers"]
